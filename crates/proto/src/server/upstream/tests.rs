//! PROTOCOL.md, "Upstream", one rule a test.

use super::*;

fn owed(upstream: &mut Upstream) -> (Option<u64>, Option<(u64, String)>) {
    let Owed { acked, refused } = upstream.poll();
    (
        acked,
        refused.map(|(seq, error)| (seq, error.code.into_owned())),
    )
}

fn refusal(seq: u64, code: &str) -> Option<(u64, String)> {
    Some((seq, code.to_owned()))
}

#[test]
fn acks_are_cumulative_and_told_once() {
    let mut upstream = Upstream::new(0, 10);
    for seq in 1..=3 {
        assert_eq!(upstream.receive(seq, None), Intake::Accept);
    }
    assert_eq!(owed(&mut upstream), (None, None));
    upstream.stored(3);
    assert_eq!(owed(&mut upstream), (Some(3), None));
    assert_eq!(owed(&mut upstream), (None, None));
}

#[test]
fn a_stored_number_is_acked_again_and_one_on_its_way_is_dropped() {
    let mut upstream = Upstream::new(7, 10);
    assert_eq!(upstream.receive(7, None), Intake::Duplicate);
    assert_eq!(owed(&mut upstream), (Some(7), None));
    assert_eq!(upstream.receive(8, None), Intake::Accept);
    assert_eq!(upstream.receive(8, None), Intake::Discard);
}

#[test]
fn a_jump_is_refused_at_the_number_that_is_missing() {
    let mut upstream = Upstream::new(0, 10);
    assert_eq!(upstream.receive(1, None), Intake::Accept);
    assert_eq!(upstream.receive(3, None), Intake::Refused);
    assert_eq!(owed(&mut upstream), (None, None), "1 is still on its way");
    upstream.stored(1);
    assert_eq!(owed(&mut upstream), (Some(1), refusal(2, "out_of_order")));
    assert_eq!(upstream.receive(4, None), Intake::Discard);
    assert_eq!(upstream.receive(2, None), Intake::Accept);
    assert_eq!(upstream.receive(3, None), Intake::Accept);
}

#[test]
fn a_refusal_waits_for_what_is_below_it_and_discards_what_is_above() {
    let mut upstream = Upstream::new(0, 10);
    upstream.receive(1, None);
    assert_eq!(
        upstream.receive(2, Some(Code::MessageTooBig.into())),
        Intake::Refused
    );
    assert_eq!(upstream.receive(3, None), Intake::Discard);
    assert_eq!(owed(&mut upstream), (None, None));
    upstream.stored(1);
    assert_eq!(
        owed(&mut upstream),
        (Some(1), refusal(2, "message_too_big"))
    );
    assert_eq!(upstream.skip(2), Intake::Accept);
    assert_eq!(upstream.receive(3, None), Intake::Accept);
    upstream.stored(3);
    assert_eq!(owed(&mut upstream), (Some(3), None));
}

#[test]
fn a_failure_below_replaces_a_refusal_above() {
    let mut upstream = Upstream::new(0, 10);
    upstream.receive(1, None);
    upstream.receive(2, Some(Code::Forbidden.into()));
    upstream.failed(1, Code::StorageFull.into());
    assert_eq!(owed(&mut upstream), (Some(0), refusal(1, "storage_full")));
    assert_eq!(upstream.receive(2, None), Intake::Discard);
    assert_eq!(upstream.receive(1, None), Intake::Accept);
}

#[test]
fn beyond_inflight_max_it_refuses_and_goes_on_when_they_are_stored() {
    let mut upstream = Upstream::new(0, 2);
    upstream.receive(1, None);
    upstream.receive(2, None);
    assert_eq!(upstream.receive(3, None), Intake::Refused);
    upstream.stored(2);
    assert_eq!(
        owed(&mut upstream),
        (Some(2), refusal(3, "too_many_inflight"))
    );
    assert_eq!(upstream.receive(3, None), Intake::Accept);
}

#[test]
fn a_skip_takes_every_number_up_to_it() {
    let mut upstream = Upstream::new(4, 10);
    assert_eq!(upstream.skip(4), Intake::Duplicate);
    assert_eq!(upstream.skip(9), Intake::Accept);
    assert_eq!(upstream.skip(8), Intake::Discard);
    upstream.stored(9);
    assert_eq!(owed(&mut upstream), (Some(9), None));
    assert_eq!(upstream.receive(10, None), Intake::Accept);
}

#[test]
fn a_skip_that_could_not_be_stored_is_answered() {
    let mut upstream = Upstream::new(7, 10);
    assert_eq!(upstream.skip(10), Intake::Accept);
    upstream.failed(10, Code::StorageFull.into());
    assert_eq!(owed(&mut upstream), (Some(7), refusal(8, "storage_full")));
    assert_eq!(upstream.receive(11, None), Intake::Discard);
    assert_eq!(upstream.skip(10), Intake::Accept);
    upstream.stored(10);
    assert_eq!(owed(&mut upstream), (Some(10), None));
}

#[test]
fn a_number_of_unknown_fate_that_turns_out_stored_unblocks() {
    let mut upstream = Upstream::new(0, 10);
    upstream.receive(1, None);
    upstream.failed(1, Code::FateUnknown.into());
    assert_eq!(owed(&mut upstream).1, refusal(1, "fate_unknown"));
    assert_eq!(upstream.receive(1, None), Intake::Accept);
    upstream.stored(1);
    assert_eq!(upstream.receive(2, None), Intake::Accept);
}
