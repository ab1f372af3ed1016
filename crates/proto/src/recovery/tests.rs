//! One test per row of the recovery table of PROTOCOL.md.

use super::*;

const ENGINE: EngineClock = EngineClock {
    epoch: 0xe,
    now_s: 1_000_000,
    forget_after_s: 1_000,
};

/// Floor 11, head 30; offsets up to 20 under term 1, the rest under term 2.
fn record() -> ChannelRecord {
    ChannelRecord {
        epoch: 7,
        floor: 11,
        head: 30,
        terms: vec![
            TermStart {
                term: 1,
                first_offset: 1,
            },
            TermStart {
                term: 2,
                first_offset: 21,
            },
        ],
    }
}

fn resume(epoch: u64, offset: u64, term: u32) -> (bool, Option<RecoveryReason>, u64) {
    outcome(From::After(Position {
        epoch,
        offset,
        term,
    }))
}

fn outcome(from: From) -> (bool, Option<RecoveryReason>, u64) {
    let recovery = recover(from, &ChannelState::Present(record()), ENGINE);
    (
        recovery.recovered,
        recovery.reason,
        recovery.position.expect("it has history").offset,
    )
}

#[test]
fn a_position_that_holds_is_recovered_where_it_stands() {
    assert_eq!(resume(7, 10, 1), (true, None, 10));
    assert_eq!(resume(7, 20, 1), (true, None, 20));
    assert_eq!(resume(7, 20, 2), (true, None, 20));
    assert_eq!(resume(7, 21, 2), (true, None, 21));
    assert_eq!(resume(7, 30, 2), (true, None, 30));
}

#[test]
fn below_the_floor_it_is_expired_and_begins_at_the_floor() {
    assert_eq!(resume(7, 9, 1), (false, Some(RecoveryReason::Expired), 10));
    assert_eq!(resume(7, 9, 99), (false, Some(RecoveryReason::Expired), 10));
}

#[test]
fn past_the_end_of_its_term_it_is_rewound_to_that_end() {
    assert_eq!(resume(7, 25, 1), (false, Some(RecoveryReason::Rewound), 20));
    assert_eq!(resume(7, 31, 2), (false, Some(RecoveryReason::Rewound), 30));
}

#[test]
fn an_unknown_term_is_rewound_to_the_head() {
    assert_eq!(resume(7, 25, 3), (false, Some(RecoveryReason::Rewound), 30));
    assert_eq!(resume(7, 19, 2), (false, Some(RecoveryReason::Rewound), 30));
    assert_eq!(resume(7, 15, 2), (false, Some(RecoveryReason::Rewound), 30));
}

#[test]
fn another_epoch_begins_at_the_floor() {
    assert_eq!(
        resume(8, 25, 2),
        (false, Some(RecoveryReason::UnknownEpoch), 10)
    );
}

#[test]
fn a_start_without_position_is_new() {
    let new = Some(RecoveryReason::New);
    assert_eq!(outcome(From::Now), (true, new, 30));
    assert_eq!(outcome(From::First), (true, new, 10));
    assert_eq!(outcome(From::Last(5)), (true, new, 25));
    assert_eq!(outcome(From::Last(500)), (true, new, 10));
}

#[test]
fn the_position_of_an_absent_channel_holds_while_it_is_young() {
    let taken = recover(From::Now, &ChannelState::Absent, ENGINE)
        .position
        .expect("it has one");
    assert_eq!(
        taken,
        Position {
            epoch: 0xe,
            offset: 0,
            term: 1_000_000
        }
    );
    let again = |engine, state: &ChannelState| {
        let recovery = recover(From::After(taken), state, engine);
        (recovery.recovered, recovery.reason)
    };
    let late = EngineClock {
        now_s: 1_001_000,
        ..ENGINE
    };
    let young = EngineClock {
        now_s: 1_000_999,
        ..ENGINE
    };
    let whole = ChannelState::Present(ChannelRecord {
        floor: 1,
        ..record()
    });
    let trimmed = ChannelState::Present(record());
    assert_eq!(again(young, &ChannelState::Absent), (true, None));
    assert_eq!(again(young, &whole), (true, None));
    assert_eq!(
        again(young, &trimmed),
        (false, Some(RecoveryReason::Expired))
    );
    let unknown = (false, Some(RecoveryReason::UnknownEpoch));
    assert_eq!(again(late, &ChannelState::Absent), unknown);
    assert_eq!(again(late, &whole), unknown);
    assert_eq!(
        again(
            EngineClock {
                epoch: 0xf,
                ..ENGINE
            },
            &whole
        ),
        unknown
    );
}

#[test]
fn a_channel_without_history_recovers_nothing() {
    let after = From::After(Position {
        epoch: 7,
        offset: 3,
        term: 1,
    });
    let asked = recover(after, &ChannelState::NoHistory, ENGINE);
    assert_eq!(
        (asked.recovered, asked.reason),
        (false, Some(RecoveryReason::NoHistory))
    );
    let fresh = recover(From::Now, &ChannelState::NoHistory, ENGINE);
    assert_eq!(
        (fresh.recovered, fresh.reason, fresh.position),
        (true, Some(RecoveryReason::New), None)
    );
}
