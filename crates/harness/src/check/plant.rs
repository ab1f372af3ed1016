//! Planted faults: a checker that has never failed has shown nothing.
//!
//! Each plant changes one line of a history as a broken client or server would have; the checker
//! named with it must then find something.

use crate::{
    log::{History, Step, Track},
    rng::Rng,
};

/// What can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The last delivery of a track is missing: only loss can see it.
    Dropped,
    /// One delivery is there twice.
    Doubled,
    /// Two neighbouring deliveries changed places.
    Swapped,
    /// One delivery in the middle is missing.
    Skipped,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dropped, Self::Doubled, Self::Swapped, Self::Skipped];

    /// The name of the checker that must see it.
    pub fn checker(self) -> &'static str {
        match self {
            Self::Dropped => "no loss",
            Self::Doubled => "no double",
            Self::Swapped => "one order",
            Self::Skipped => "no silent gap",
        }
    }
}

/// Plants one fault in a random track that has the place for it; answers the index of the track and
/// the track as it was, for putting it back. None if no track has.
pub fn plant(history: &mut History, plant: Plant, rng: &mut Rng) -> Option<(usize, Track)> {
    let mut order: Vec<usize> = (0..history.tracks.len()).collect();
    rng.shuffle(&mut order);
    for index in order {
        let expected = {
            let track = &history.tracks[index];
            history.expected.contains(&(track.client, track.channel))
        };
        let before = history.tracks[index].clone();
        if expected && change(&mut history.tracks[index].steps, plant, rng) {
            return Some((index, before));
        }
    }
    None
}

fn change(steps: &mut Vec<Step>, plant: Plant, rng: &mut Rng) -> bool {
    let is_delivery = |step: &Step| {
        matches!(
            step,
            Step::Delivered {
                position: Some(_),
                ..
            }
        )
    };
    // Three deliveries in a row: with neighbours on both sides, nothing can excuse the change.
    let middles: Vec<usize> = (1..steps.len().saturating_sub(1))
        .filter(|at| steps[at - 1..=at + 1].iter().all(is_delivery))
        .collect();
    if middles.is_empty() {
        return false;
    }
    let at = middles[rng.index(middles.len())];
    match plant {
        Plant::Dropped => match steps.last() {
            Some(last) if is_delivery(last) => {
                steps.pop();
            }
            _ => return false,
        },
        Plant::Doubled => steps.insert(at, steps[at]),
        Plant::Swapped => steps.swap(at, at + 1),
        Plant::Skipped => {
            steps.remove(at);
        }
    }
    true
}
