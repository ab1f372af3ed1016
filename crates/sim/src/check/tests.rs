//! Each checker finds the fault that it is for, planted into the account of a clean seed.

use std::{collections::BTreeSet, sync::Arc};

use bowline_proto::{
    Position,
    message::GapReason,
    recovery::{Recovery, RecoveryReason},
};

use super::*;
use crate::{
    Cuts, Fault,
    observed::{Ended, Standing, Step, Target, Then},
    trace::Trace,
    world::World,
};

fn clean() -> Account {
    // What an older disk took may have come twice, and be gone.
    let cuts = Cuts {
        without: BTreeSet::from([Fault::OlderDisk]),
        ..Cuts::default()
    };
    let mut world = World::new(1, &cuts, Trace::default());
    world.run();
    crate::account(&world)
}

/// The steps of a reader that runs to the end, and where two messages follow each other in them.
fn pair(account: &mut Account) -> (&mut Vec<Step>, usize) {
    let has_position = |step: &Step| {
        matches!(
            step,
            Step::Message {
                position: Some(_),
                ..
            }
        )
    };
    for life in account.lives.iter_mut().filter(|life| life.is_alive) {
        let wanted: Vec<Arc<str>> = life.wanted.keys().cloned().collect();
        for channel in wanted {
            let Some(steps) = life.steps.get(&channel) else {
                continue;
            };
            let at = (1..steps.len().saturating_sub(2))
                .find(|at| steps[at - 1..at + 2].iter().all(has_position));
            if let Some(at) = at {
                let steps = life.steps.get_mut(&channel).expect("it was just there");
                return (steps, at);
            }
        }
    }
    panic!("nobody heard three messages in a row");
}

fn began(step: &mut Step) -> Option<&mut Recovery> {
    match step {
        Step::Began { recovery, .. } => Some(recovery),
        _ => None,
    }
}

fn finds(plant: impl FnOnce(&mut Account), checker: &str, clean: &Account) {
    let mut account = clean.clone();
    plant(&mut account);
    let found = judge(&account);
    assert!(
        found.iter().any(|violation| violation.checker == checker),
        "{checker} found nothing: {found:?}"
    );
}

#[test]
fn each_checker_finds_what_it_is_for() {
    let clean = clean();
    assert_eq!(judge(&clean), []);
    let lost_end = |account: &mut Account| {
        let (steps, at) = pair(account);
        steps.truncate(at);
    };
    finds(lost_end, "loss", &clean);
    let doubled = |account: &mut Account| {
        let (steps, at) = pair(account);
        steps.insert(at, steps[at].clone());
    };
    finds(doubled, "double", &clean);
    let swapped = |account: &mut Account| {
        let (steps, at) = pair(account);
        steps.swap(at, at - 1);
    };
    finds(swapped, "order", &clean);
    let left_out = |account: &mut Account| {
        let (steps, at) = pair(account);
        steps.remove(at);
    };
    finds(left_out, "silent-gap", &clean);
    let unsaid = |account: &mut Account| {
        let steps = account.lives.iter_mut().flat_map(|life| &mut life.steps);
        let mut recoveries = steps.flat_map(|(_, steps)| steps).filter_map(began);
        let told = recoveries.find(|told| told.reason == Some(RecoveryReason::NoHistory));
        let told = told.expect("somebody was away from a channel without history");
        (told.recovered, told.reason) = (true, Some(RecoveryReason::New));
    };
    finds(unsaid, "silent-gap", &clean);
    let alarm = |account: &mut Account| {
        let (steps, at) = pair(account);
        let position = Position {
            epoch: 1,
            offset: 0,
            term: 1,
        };
        let recovery = Recovery {
            recovered: false,
            reason: Some(RecoveryReason::Expired),
            position: Some(position),
        };
        let then = Then::default();
        let began = Step::Began { recovery, then };
        steps.insert(at, began);
    };
    finds(alarm, "false-alarm", &clean);
}

#[test]
fn what_is_told_of_forgotten_channels_is_judged() {
    let clean = clean();
    assert_eq!(judge(&clean), []);
    assert!(clean.truth.recreated > 0, "the seed forgets channels");
    // The record that somebody follows stands, and all of it is there.
    let stands = |account: &mut Account, is_forgotten, reason, from: u64| {
        let (steps, at) = pair(account);
        let Step::Message { position, .. } = steps[at - 1] else {
            unreachable!("they are messages");
        };
        let position = position.expect("they have positions");
        let standing = Standing {
            epoch: position.epoch,
            floor: 1,
            is_forgotten,
        };
        let told = Step::Gap {
            position: Some(Position {
                offset: from,
                ..position
            }),
            reason,
            missed: None,
            then: Then {
                records: vec![standing],
                ..Then::default()
            },
        };
        steps.insert(at, told);
    };
    let unknown = |account: &mut Account| stands(account, false, GapReason::UnknownEpoch, 0);
    finds(unknown, "false-alarm", &clean);
    let too_far = |account: &mut Account| stands(account, true, GapReason::UnknownEpoch, 1);
    finds(too_far, "false-alarm", &clean);
    // Who waits for a channel that does not exist is given its second record as if it were the first.
    let unseen = |account: &mut Account| {
        let truth = &account.truth;
        let mut followed = account.lives.iter_mut().flat_map(|life| &mut life.steps);
        let followed = followed.find(|(channel, _)| truth.records(channel).len() > 1);
        let (channel, steps) = followed.expect("somebody followed one that was created anew");
        let second = &truth.records(channel)[1];
        let (offset, entry) = second.entries.first_key_value().expect("it has some");
        let waits = Position {
            epoch: 1,
            offset: 0,
            term: 0,
        };
        let heard = Step::Message {
            position: Some(Position {
                epoch: second.epoch,
                offset: *offset,
                term: entry.term,
            }),
            data: entry.data.clone(),
        };
        *steps = vec![Step::Asked(Some(waits)), heard];
    };
    finds(unseen, "silent-gap", &clean);
}

#[test]
fn bounds_and_upstream_are_judged() {
    let clean = clean();
    finds(
        |account| account.fullest.queue_bytes = usize::MAX,
        "bounds",
        &clean,
    );
    finds(
        |account| {
            let mut alive = account.lives.iter_mut().filter(|life| life.is_alive);
            alive.next().expect("somebody is").stuck = Some("stands still".to_owned());
        },
        "liveness",
        &clean,
    );
    let denied = |account: &mut Account| {
        let sent = account.lives.iter_mut().flat_map(|life| &mut life.sent);
        let mut acked = sent.filter(|sent| {
            sent.ends == [Ended::Acked] && matches!(sent.target, Target::Channel(_))
        });
        acked.next().expect("something was acked").ends = vec![Ended::Refused];
    };
    finds(denied, "upstream", &clean);
    let unended = |account: &mut Account| {
        let mut sent = account.lives.iter_mut().flat_map(|life| &mut life.sent);
        sent.next().expect("something was sent").ends.clear();
    };
    finds(unended, "upstream", &clean);
    let again = |account: &mut Account| {
        let taken = account.handled.iter().find(|one| !one.untold);
        let taken = taken.expect("something was handled").clone();
        account.handled.push(taken);
    };
    finds(again, "upstream", &clean);
    let forgotten = |account: &mut Account| {
        let mut acked = account.published.iter_mut();
        let acked = acked.find(|one| one.end == Some(Ended::Acked));
        acked.expect("something was acked").data = "\"never\"".into();
    };
    finds(forgotten, "loss", &clean);
}
