//! What one subscriber was owed: the walk that loss and silent gap have in common.
//!
//! Follows a track from position to position. Where delivery must go on and where a jump was
//! explained is decided here, once.

use crate::log::{Id, Position, Step, Track};

/// Offsets of one epoch, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) epoch: Id,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What a track shows.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    /// Offsets that were passed over without a word.
    pub(super) skipped: Vec<Range>,
    /// Deliveries that don't belong: before `subscribed`, or of another epoch without a word.
    pub(super) misplaced: Vec<Position>,
    /// Where it stands at the end.
    pub(super) end: Standing,
}

/// Where the next delivery must come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is no subscription.
    #[default]
    Nowhere,
    /// Directly after this offset.
    After { epoch: Id, offset: u64 },
    /// Anywhere: an explicit gap without a position, or a channel without history.
    Anywhere,
}

pub(super) fn walk(track: &Track) -> Coverage {
    let mut coverage = Coverage::default();
    for step in &track.steps {
        coverage.take(*step);
    }
    coverage
}

impl Coverage {
    fn take(&mut self, step: Step) {
        match step {
            Step::Unsubscribed => self.end = Standing::Nowhere,
            Step::Gap { position } => self.end = Standing::at(position),
            Step::Subscribed {
                position,
                recovered,
                ..
            } => {
                // A recovery goes on after what this client saw last, wherever the server thinks
                // that is: a jump that follows would be the violation.
                if !recovered || self.end == Standing::Nowhere {
                    self.end = Standing::at(position);
                }
            }
            Step::Delivered {
                position: Some(position),
                ..
            } => self.deliver(position),
            Step::Delivered { position: None, .. } => {}
        }
    }

    fn deliver(&mut self, position: Position) {
        let Position { epoch, offset, .. } = position;
        let after = match self.end {
            Standing::Nowhere => {
                self.misplaced.push(position);
                offset
            }
            Standing::Anywhere => offset,
            Standing::After {
                epoch: known,
                offset: after,
            } if known == epoch => after,
            // The position of a channel that did not exist yet names the engine's epoch.
            Standing::After { offset: 0, .. } => 0,
            Standing::After { .. } => {
                self.misplaced.push(position);
                offset
            }
        };
        if offset > after + 1 {
            self.skipped.push(Range {
                epoch,
                first: after + 1,
                last: offset - 1,
            });
        }
        self.end = Standing::After {
            epoch,
            // A repetition is for other checkers to find; the subscriber has what it has.
            offset: offset.max(after),
        };
    }
}

impl Standing {
    fn at(position: Option<Position>) -> Self {
        match position {
            Some(Position { epoch, offset, .. }) => Self::After { epoch, offset },
            None => Self::Anywhere,
        }
    }
}
