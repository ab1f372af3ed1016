//! Where each message was stored, as far as any log tells.

use std::collections::HashMap;

use crate::log::{History, Id, Position, Step};

/// One place in the history of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) channel: Id,
    pub(super) position: Position,
}

#[derive(Debug, Default)]
pub(super) struct Places {
    /// The message at each place.
    pub(super) message: HashMap<Place, Id>,
    /// The first place at which each message was seen.
    pub(super) place: HashMap<Id, Place>,
    /// A place with another message than was seen there before (place, first, second).
    pub(super) disagreements: Vec<(Place, Id, Id)>,
    /// A message at another place than it was seen at before (message, first, second).
    pub(super) repetitions: Vec<(Id, Place, Place)>,
    /// The server lost its memory on the way: what was repeated to its next life may be stored in both.
    forgetful: bool,
}

/// Gathers places from what HTTP answered and from every delivery.
pub(super) fn places(history: &History) -> Places {
    let mut places = Places {
        forgetful: history.kills > 0,
        ..Places::default()
    };
    for publication in &history.published {
        if let Some(position) = publication.position {
            places.see(publication.channel, position, publication.message);
        }
    }
    for track in &history.tracks {
        for step in &track.steps {
            if let Step::Delivered {
                position: Some(position),
                message,
            } = *step
            {
                places.see(track.channel, position, message);
            }
        }
    }
    places
}

impl Places {
    fn see(&mut self, channel: Id, position: Position, message: Id) {
        let place = Place { channel, position };
        let first = *self.message.entry(place).or_insert(message);
        if first != message {
            self.disagreements.push((place, first, message));
        }
        let before = *self.place.entry(message).or_insert(place);
        let other_life = self.forgetful && before.position.epoch != position.epoch;
        if before != place && !other_life {
            self.repetitions.push((message, before, place));
        }
    }
}
