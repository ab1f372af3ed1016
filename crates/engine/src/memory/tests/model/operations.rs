//! What is done to the log and to its model, drawn at random.

use super::*;

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) channel: usize,
    pub(super) size: usize,
    pub(super) producer: Option<(u8, u64)>,
    pub(super) key: Option<u8>,
    pub(super) advance: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Append(Vec<Step>),
    EndSession(u8),
    Wait(u64),
    Tick,
    Compact,
    /// These are appended so much later, after so many steps of a rewriting.
    CompactAmid(usize, u64, Vec<Step>),
    /// The engine is closed in order and opened again.
    Reopen,
    /// The power goes while these are being appended, and comes back.
    Crash(Vec<Step>),
    /// The power goes in the middle of the sync of these: they are there wholly or not at all.
    Tear(Vec<Step>),
    /// The power goes after so many changes of the disk by a rewriting.
    CompactCrash(u64),
    Full(bool),
    /// What is on the disk now is put back later.
    PutAside,
    PutBack,
}

pub(super) fn steps() -> impl Strategy<Value = Step> {
    (
        0..CHANNELS.len(),
        prop_oneof![4 => Just(1_usize), 2 => Just(60), 2 => Just(130), 1 => Just(399), 1 => Just(901)],
        proptest::option::of((0..3_u8, 1..12_u64)),
        proptest::option::weighted(0.3, 0..4_u8),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(channel, size, producer, key, advance)| Step {
            channel,
            size,
            producer,
            key,
            advance,
        })
}

pub(super) fn operations() -> impl Strategy<Value = Operation> {
    let spans = [
        1, 4_000, 9_999, 10_000, 19_999, 30_000, 60_000, 100_000, 200_000, 400_000,
    ];
    let batch = || proptest::collection::vec(steps(), 0..6);
    prop_oneof![
        16 => batch().prop_map(Operation::Append),
        1 => (0..3_u8).prop_map(Operation::EndSession),
        2 => proptest::sample::select(spans.to_vec()).prop_map(Operation::Wait),
        1 => Just(Operation::Tick),
        3 => Just(Operation::Compact),
        3 => (0..4_usize, proptest::sample::select(spans.to_vec()), batch())
            .prop_map(|(steps, span_ms, batch)| Operation::CompactAmid(steps, span_ms, batch)),
        1 => Just(Operation::Reopen),
        2 => batch().prop_map(Operation::Crash),
        4 => batch().prop_map(Operation::Tear),
        2 => (0..12_u64).prop_map(Operation::CompactCrash),
        1 => proptest::bool::weighted(0.3).prop_map(Operation::Full),
        1 => Just(Operation::PutAside),
        1 => Just(Operation::PutBack),
    ]
}

pub(super) fn to_append(step: &Step, payload: &[u8]) -> Append {
    let producer = step.producer.map(|(number, seq)| Producer {
        session: session(number),
        seq,
    });
    let effect = if step.advance {
        Effect::Advance
    } else {
        Effect::Publish {
            channel: CHANNELS[step.channel].into(),
            data: Data::Binary(payload.to_vec().into()),
            user: None,
            tag: None,
            key: step.key.map(|number| IdempotencyKey([number; 16])),
        }
    };
    Append { producer, effect }
}
