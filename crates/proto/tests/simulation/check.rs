//! The checkers: loss, double, order, silent gap, upstream once, from what applications saw and
//! what the log has. They know no machine.

use std::collections::BTreeMap;

use bowline_proto::Data;

use crate::{
    log::Log,
    world::{Ended, Seen, Step, World},
};

/// What the runs went through: a run without faults proves nothing.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    faults: u64,
    delivered: u64,
    acked: u64,
    dropped: u64,
    resumed: u64,
    gaps: u64,
    falls: u64,
    takeovers: u64,
    duplicates: u64,
    refusals: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, world: &World) {
        self.faults += world.faults;
        self.gaps += world.server.gaps;
        self.falls += world.server.falls;
        self.takeovers += world.server.takeovers;
        self.duplicates += world.server.duplicates;
        self.refusals += world.server.refusals;
        for seen in &world.seen {
            for step in seen.channels.values().flatten() {
                match step {
                    Step::Message { .. } => self.delivered += 1,
                    Step::Began { resumed: true, .. } => self.resumed += 1,
                    _ => {}
                }
            }
            for (_, fate) in &seen.published {
                match fate {
                    Some(Ended::Acked) => self.acked += 1,
                    _ => self.dropped += 1,
                }
            }
        }
    }

    pub(crate) fn assert_covered(&self) {
        let counts = [
            ("faults", self.faults),
            ("delivered", self.delivered),
            ("acked", self.acked),
            ("dropped", self.dropped),
            ("resumed", self.resumed),
            ("gaps", self.gaps),
            ("falls", self.falls),
            ("takeovers", self.takeovers),
            ("duplicates", self.duplicates),
            ("refusals", self.refusals),
        ];
        for (name, count) in counts {
            assert!(count >= 20, "only {count} {name}");
        }
    }
}

pub(crate) fn violations(world: &World) -> Vec<String> {
    judge(&world.seen, &world.log)
}

pub(crate) fn judge(seen: &[Seen], log: &Log) -> Vec<String> {
    let entries = log.entries();
    let mut found = Vec::new();
    for (client, seen) in seen.iter().enumerate() {
        for (channel, steps) in &seen.channels {
            let truth = entries.get(channel).map(Vec::as_slice).unwrap_or_default();
            check_deliveries(
                &format!("client {client}, c{channel}"),
                steps,
                truth,
                &mut found,
            );
        }
        check_upstream(client, seen, &entries, &mut found);
    }
    found
}

/// Walks one subscriber's channel: each offset is the next, or an announced step.
fn check_deliveries(who: &str, steps: &[Step], truth: &[Data], found: &mut Vec<String>) {
    let mut cursor = None;
    for step in steps {
        match step {
            Step::Began {
                offset,
                resumed: true,
            } => {
                if *offset > cursor {
                    found.push(format!("{who}: silent gap from {cursor:?} to {offset:?}"));
                }
            }
            Step::Began { offset, .. }
            | Step::Gap {
                offset: offset @ Some(_),
            } => cursor = *offset,
            Step::Gap { offset: None } => cursor = None,
            Step::Message { offset, data } => {
                if cursor.is_some_and(|cursor| *offset <= cursor) {
                    found.push(format!("{who}: {offset} again or out of order"));
                }
                if cursor.is_some_and(|cursor| *offset > cursor + 1) {
                    found.push(format!("{who}: silent gap from {cursor:?} to {offset}"));
                }
                let index = usize::try_from(*offset - 1).expect("small");
                if truth.get(index) != Some(data) {
                    found.push(format!("{who}: {offset} is another message"));
                }
                cursor = Some(*offset);
            }
        }
    }
    if cursor != Some(truth.len() as u64) {
        found.push(format!("{who}: ends at {cursor:?} of {}", truth.len()));
    }
}

/// Each message ends once; an acked one is stored once, a refused one never, and in their order.
fn check_upstream(
    client: usize,
    seen: &Seen,
    entries: &BTreeMap<usize, Vec<Data>>,
    found: &mut Vec<String>,
) {
    let mut last = BTreeMap::new();
    for (key, (channel, fate)) in seen.published.iter().enumerate() {
        let data = Data::Json(format!("\"{client}-{key}\"").into());
        let stored = entries.get(channel).map(Vec::as_slice).unwrap_or_default();
        let places: Vec<usize> = stored
            .iter()
            .enumerate()
            .filter(|(_, stored)| **stored == data)
            .map(|(index, _)| index)
            .collect();
        let legal = match fate {
            Some(Ended::Acked) => places.len() == 1,
            Some(Ended::Refused) => places.is_empty(),
            Some(Ended::Unknown) => places.len() <= 1,
            Some(Ended::Twice) | None => false,
        };
        if !legal {
            found.push(format!(
                "message {client}-{key}: {fate:?}, stored at {places:?}"
            ));
        }
        if let Some(place) = places.first() {
            let before = last.insert(*channel, *place);
            if before.is_some_and(|before| before > *place) {
                found.push(format!(
                    "message {client}-{key} is stored before an earlier one"
                ));
            }
        }
    }
}

/// Bugs in what applications see, which the checkers must find.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plant {
    Loss,
    Double,
    Swap,
    LostEnd,
    Unanswered,
}

pub(crate) const PLANTS: [Plant; 5] = [
    Plant::Loss,
    Plant::Double,
    Plant::Swap,
    Plant::LostEnd,
    Plant::Unanswered,
];

impl Plant {
    pub(crate) fn apply(self, seen: &mut [Seen]) {
        let steps = seen[0].channels.get_mut(&0).expect("it is subscribed");
        let is_message = |step: &Step| matches!(step, Step::Message { .. });
        let pair = (1..steps.len())
            .find(|at| is_message(&steps[*at]) && is_message(&steps[*at - 1]))
            .expect("two messages follow each other");
        match self {
            Self::Loss => {
                steps.remove(pair - 1);
                steps.retain(|step| !matches!(step, Step::Began { .. }));
                steps.insert(
                    0,
                    Step::Began {
                        offset: Some(0),
                        resumed: false,
                    },
                );
            }
            Self::Double => steps.insert(pair, steps[pair].clone()),
            Self::Swap => steps.swap(pair - 1, pair),
            Self::LostEnd => {
                steps.truncate(pair);
            }
            Self::Unanswered => seen[0].published[0].1 = None,
        }
    }
}
