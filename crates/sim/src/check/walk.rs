//! One reader's way through one channel: where it stood before each step.

use std::slice;

use bowline_proto::Position;

use crate::observed::Step;

/// Each step with the cursor before it.
pub(super) struct Walk<'a> {
    steps: slice::Iter<'a, Step>,
    cursor: Option<Position>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(steps: &'a [Step]) -> Self {
        Self {
            steps: steps.iter(),
            cursor: None,
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Option<Position>, &'a Step);

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.steps.next()?;
        let before = self.cursor;
        self.cursor = after(before, step);
        Some((before, step))
    }
}

/// Where a reader stands after a step.
pub(super) fn after(before: Option<Position>, step: &Step) -> Option<Position> {
    match step {
        Step::Asked(position) => *position,
        Step::Began { recovery, .. } => {
            let goes_on = recovery.recovered && recovery.reason.is_none();
            match (before, recovery.position) {
                // Where the channel does not exist, each answer counts anew from its time.
                (Some(cursor), Some(at))
                    if goes_on && cursor.epoch == at.epoch && cursor.offset > 0 =>
                {
                    Some(cursor)
                }
                (_, position) => position,
            }
        }
        Step::Gap { position, .. } | Step::Message { position, .. } => *position,
        Step::Ended => None,
    }
}

/// Where a reader stands after all steps.
pub(super) fn end(steps: &[Step]) -> Option<Position> {
    steps.iter().fold(None, after)
}
