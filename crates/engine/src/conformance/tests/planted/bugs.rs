//! The bugs, each with the case that must find it.

use std::sync::{Arc, Mutex};

use bowline_proto::{
    Position,
    recovery::{ChannelRecord, ChannelState},
};

use super::{Bug, Doubling, Outcomes, Swapping};
use crate::{
    config::{EngineConfig, Retention},
    contract::{Append, AppendError, Effect, PageLimit},
};

/// What is wrong, the case that finds it, and the bug.
type Named = (&'static str, &'static str, Bug);

pub(super) fn all() -> Vec<Named> {
    [appends(), reads(), hints(), bounds(), spans(), patterns()].concat()
}

fn named(name: &'static str, case: &'static str, plant: fn(&mut Bug)) -> Named {
    let mut bug = Bug::default();
    plant(&mut bug);
    (name, case, bug)
}

fn appends() -> Vec<Named> {
    vec![
        named("doubles appends", "offsets_rise_by_one_from_one", |bug| {
            bug.again = Some(|batch| without_keys(without_producers(batch.to_vec())))
        }),
        named(
            "reverses batches",
            "a_batch_is_applied_in_order_over_channels",
            |bug| bug.batch = Some(|batch| batch.into_iter().rev().collect()),
        ),
        named("loses sessions", "a_number_is_stored_once", |bug| {
            bug.batch = Some(without_producers)
        }),
        named(
            "loses keys",
            "a_repeated_key_answers_the_first_position",
            |bug| bug.batch = Some(without_keys),
        ),
        named(
            "loses tags",
            "a_publication_keeps_its_kind_user_and_tag",
            |bug| bug.batch = Some(unmarked),
        ),
        named(
            "aborts nothing",
            "a_failure_aborts_the_rest_of_its_session_only",
            |bug| bug.one_by_one = true,
        ),
        named(
            "hides duplicates",
            "a_number_is_stored_once_within_a_batch",
            |bug| bug.outcomes = Some(never_duplicate),
        ),
        named(
            "answers wrong positions",
            "offsets_rise_by_one_from_one",
            |bug| bug.outcomes = Some(shifted),
        ),
        named(
            "answers an empty batch",
            "an_empty_batch_has_no_outcomes",
            |bug| bug.outcomes = Some(never_empty),
        ),
        named(
            "answers one epoch for all channels",
            "each_channel_has_its_epoch_and_all_share_a_term",
            |bug| bug.outcomes = Some(one_epoch),
        ),
        named(
            "keeps ended sessions",
            "an_ended_session_begins_anew",
            |bug| bug.keeps_ended_sessions = true,
        ),
        named(
            "answers 0 for no session",
            "an_unknown_session_has_no_number",
            |bug| bug.session = Some(|highest| highest.or(Some(0))),
        ),
    ]
}

fn reads() -> Vec<Named> {
    vec![
        named(
            "creates channels when asked",
            "asking_never_creates_a_channel",
            |bug| bug.creates_on_ask = true,
        ),
        named(
            "ignores a page's count",
            "a_page_is_bounded_by_count",
            |bug| {
                bug.limit = Some(|limit| PageLimit {
                    count: usize::MAX,
                    ..limit
                })
            },
        ),
        named(
            "ignores a page's bytes",
            "a_page_is_bounded_by_bytes",
            |bug| {
                bug.limit = Some(|limit| PageLimit {
                    bytes: usize::MAX,
                    ..limit
                })
            },
        ),
        named(
            "loses the first of a page",
            "what_was_appended_is_read_in_order",
            |bug| {
                bug.page =
                    Some(|page| drop(page.publications.drain(..1.min(page.publications.len()))))
            },
        ),
        named(
            "says 1 for every floor",
            "history_is_bounded_by_count",
            |bug| {
                bug.page = Some(|page| page.floor = 1);
                bug.state = Some(|state| record(state, |record| record.floor = 1));
            },
        ),
        named(
            "gives all channels one epoch",
            "offsets_rise_by_one_from_one",
            |bug| bug.state = Some(|state| record(state, |record| record.epoch = 1)),
        ),
        named(
            "has no clock's epoch",
            "each_opening_has_its_own_epochs",
            |bug| bug.clock = Some(|clock| clock.epoch = 0),
        ),
        named(
            "counts no bytes",
            "stats_agree_with_what_is_stored",
            |bug| bug.stats = Some(|stats| stats.bytes = 0),
        ),
    ]
}

fn hints() -> Vec<Named> {
    vec![
        named(
            "swaps hints",
            "hints_tell_what_was_committed_in_order",
            |bug| {
                bug.hints = Some(|inner| {
                    Some(Arc::new(Swapping {
                        inner,
                        held: Mutex::default(),
                    }))
                })
            },
        ),
        named(
            "doubles hints",
            "duplicates_and_refusals_give_no_hints",
            |bug| bug.hints = Some(|inner| Some(Arc::new(Doubling(inner)))),
        ),
        named("gives no hints", "every_listener_is_told", |bug| {
            bug.hints = Some(|_| None)
        }),
    ]
}

fn bounds() -> Vec<Named> {
    vec![
        named(
            "bounds no channels",
            "channels_are_bounded_and_existing_ones_go_on",
            |bug| bug.config = Some(|config| config.channels_max = 1_000),
        ),
        named("bounds no messages", "messages_are_bounded", |bug| {
            bug.config = Some(|config| config.messages_max = 1_000)
        }),
        named("bounds no bytes", "bytes_are_bounded", |bug| {
            bug.config = Some(|config| config.bytes_max = 1_000)
        }),
        named("bounds no sessions", "sessions_are_bounded", |bug| {
            bug.config = Some(|config| config.sessions_max = 1_000)
        }),
        named(
            "bounds no user's sessions",
            "sessions_of_one_user_are_bounded",
            |bug| bug.config = Some(|config| config.sessions_per_user_max = 1_000),
        ),
        named("bounds no keys", "the_newest_keys_are_remembered", |bug| {
            bug.config = Some(|config| config.keys_max = 1_000)
        }),
    ]
}

fn spans() -> Vec<Named> {
    vec![
        named(
            "keeps keys too long",
            "a_key_is_forgotten_after_its_window",
            |bug| bug.config = Some(|config| config.key_window *= 2),
        ),
        named(
            "keeps keys too short",
            "a_key_is_forgotten_after_its_window",
            |bug| bug.config = Some(|config| config.key_window /= 2),
        ),
        named(
            "keeps sessions too long",
            "an_unused_session_expires",
            |bug| bug.config = Some(|config| config.session_ttl *= 2),
        ),
        named(
            "keeps sessions too short",
            "an_unused_session_expires",
            |bug| bug.config = Some(|config| config.session_ttl /= 2),
        ),
        named(
            "serves the expired",
            "expired_publications_are_never_served",
            |bug| bug.config = Some(keep_for_ever),
        ),
        named(
            "forgets channels too early",
            "an_empty_channel_is_remembered_then_forgotten",
            |bug| {
                bug.config = Some(|config| {
                    config.channel_forget_after = config.channel_forget_after.mul_f32(0.9)
                })
            },
        ),
        named(
            "forgets channels too late",
            "an_empty_channel_is_remembered_then_forgotten",
            |bug| bug.config = Some(|config| config.channel_forget_after *= 2),
        ),
    ]
}

fn patterns() -> Vec<Named> {
    vec![
        named(
            "ignores patterns",
            "the_first_pattern_that_matches_decides",
            |bug| bug.config = Some(|config| config.policies.clear()),
        ),
        named(
            "tries patterns backwards",
            "the_first_pattern_that_matches_decides",
            |bug| bug.config = Some(|config| config.policies.reverse()),
        ),
    ]
}

fn without_producers(batch: Vec<Append>) -> Vec<Append> {
    let strip = |append| Append {
        producer: None,
        ..append
    };
    batch.into_iter().map(strip).collect()
}

fn without_keys(mut batch: Vec<Append>) -> Vec<Append> {
    for append in &mut batch {
        if let Effect::Publish { key, .. } = &mut append.effect {
            *key = None;
        }
    }
    batch
}

fn unmarked(mut batch: Vec<Append>) -> Vec<Append> {
    for append in &mut batch {
        if let Effect::Publish { tag, .. } = &mut append.effect {
            *tag = None;
        }
    }
    batch
}

/// Answers every success as new.
fn never_duplicate(outcomes: &mut Outcomes) {
    for appended in outcomes.iter_mut().flatten() {
        appended.duplicate = false;
    }
}

/// Answers each position one too high.
fn shifted(outcomes: &mut Outcomes) {
    for appended in outcomes.iter_mut().flatten() {
        if let Some(Position { offset, .. }) = &mut appended.position {
            *offset += 1;
        }
    }
}

/// Answers something where nothing was asked.
fn never_empty(outcomes: &mut Outcomes) {
    if outcomes.is_empty() {
        outcomes.push(Err(AppendError::Aborted));
    }
}

/// Answers every position with the same epoch.
fn one_epoch(outcomes: &mut Outcomes) {
    for appended in outcomes.iter_mut().flatten() {
        if let Some(Position { epoch, .. }) = &mut appended.position {
            *epoch = 1;
        }
    }
}

fn record(state: &mut ChannelState, change: fn(&mut ChannelRecord)) {
    if let ChannelState::Present(record) = state {
        change(record);
    }
}

fn keep_for_ever(config: &mut EngineConfig) {
    let month = config.channel_forget_after;
    for policy in &mut config.policies {
        policy.history = policy.history.map(|history| Retention {
            age: month,
            ..history
        });
    }
}
