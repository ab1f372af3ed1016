//! The closing handshake from both sides, in every order.

use super::*;
use crate::close::CloseCode;

const CODE: CloseCode = CloseCode::GOING_AWAY;

fn frame() -> CloseFrame<'static> {
    CloseFrame::new(CODE, "bye")
}

#[test]
fn the_peer_begins_and_its_code_is_echoed_without_the_reason() {
    for (role, step) in [
        (Role::Server, Step::Shutdown),
        (Role::Client, Step::AwaitEof),
    ] {
        let mut closing = Closing::new(role);
        assert_eq!(closing.step(), Step::Exchange);
        assert!(closing.may_send());
        let answer = closing.received(Some(&frame()));
        assert_eq!(answer, Some(Some(CloseFrame::new(CODE, ""))));
        assert_eq!(closing.step(), step);
        assert!(!closing.may_send());
        assert!(!closing.start(), "a second close frame must not be sent");
        let initiator = Some(Initiator::Remote);
        assert_eq!(
            closing.outcome(),
            Outcome {
                clean: true,
                code: 1001,
                initiator
            }
        );
    }
}

#[test]
fn a_close_without_body_is_answered_without_body() {
    let mut closing = Closing::new(Role::Server);
    assert_eq!(closing.received(None), Some(None));
    let initiator = Some(Initiator::Remote);
    assert_eq!(
        closing.outcome(),
        Outcome {
            clean: true,
            code: 1005,
            initiator
        }
    );
}

#[test]
fn this_side_begins_and_the_answer_is_not_answered() {
    for (role, step) in [
        (Role::Server, Step::Shutdown),
        (Role::Client, Step::AwaitEof),
    ] {
        let mut closing = Closing::new(role);
        assert!(closing.start());
        assert!(!closing.start());
        assert_eq!(closing.step(), Step::AwaitClose);
        assert!(!closing.may_send());
        assert_eq!(closing.received(Some(&frame())), None);
        assert_eq!(closing.step(), step);
        let initiator = Some(Initiator::Local);
        assert_eq!(
            closing.outcome(),
            Outcome {
                clean: true,
                code: 1001,
                initiator
            }
        );
    }
}

#[test]
fn a_link_that_ends_early_is_unclean() {
    let mut closing = Closing::new(Role::Server);
    assert_eq!(
        closing.outcome(),
        Outcome {
            clean: false,
            code: 1006,
            initiator: None
        }
    );
    assert!(closing.start());
    let initiator = Some(Initiator::Local);
    assert_eq!(
        closing.outcome(),
        Outcome {
            clean: false,
            code: 1006,
            initiator
        }
    );
}

#[test]
fn a_violation_sends_its_code_once_and_shuts_down() {
    let mut closing = Closing::new(Role::Client);
    let answer = closing.fail(&ProtocolError::InvalidUtf8);
    assert_eq!(
        answer,
        Some(CloseFrame::new(CloseCode::INVALID_PAYLOAD, ""))
    );
    assert_eq!(closing.fail(&ProtocolError::InvalidUtf8), None);
    assert_eq!(closing.received(Some(&frame())), None);
    assert_eq!(closing.step(), Step::Shutdown);
    let initiator = Some(Initiator::Local);
    assert_eq!(
        closing.outcome(),
        Outcome {
            clean: false,
            code: 1006,
            initiator
        }
    );
}

#[test]
fn a_violation_after_our_close_frame_sends_no_second_one() {
    let mut closing = Closing::new(Role::Server);
    assert!(closing.start());
    assert_eq!(closing.fail(&ProtocolError::ReservedBits), None);
    assert_eq!(closing.step(), Step::Shutdown);
    assert!(!closing.outcome().clean);
}

#[test]
fn an_abort_does_not_wait_and_does_not_spoil_a_finished_handshake() {
    let mut closing = Closing::new(Role::Server);
    assert!(closing.abort());
    assert_eq!(closing.step(), Step::Shutdown);

    let mut closing = Closing::new(Role::Client);
    assert_eq!(closing.received(None), Some(None));
    assert!(!closing.abort());
    assert_eq!(closing.step(), Step::AwaitEof);
    assert_eq!(closing.outcome().initiator, Some(Initiator::Remote));
}
