//! Each checker finds the fault that it is for, planted into the account of a clean seed.

use std::{collections::BTreeSet, sync::Arc};

use bowline_proto::{
    Position,
    recovery::{Recovery, RecoveryReason},
};

use super::*;
use crate::{
    Cuts, Fault,
    observed::{Ended, Step, Target, Then},
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
fn bounds_and_upstream_are_judged() {
    let clean = clean();
    finds(
        |account| account.fullest.queue_bytes = usize::MAX,
        "bounds",
        &clean,
    );
    finds(
        |account| account.lives[0].stuck = Some("stands still".to_owned()),
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
