//! The order in which accepted messages reach the log and the application.
//!
//! Owns the queue of one connection: one run at a time, in which either several messages are stored
//! together or one is handled; what arrives meanwhile is the next run. Must not know how a run is
//! done. Which numbers are accepted is [`Upstream`]'s decision; it bounds the numbered part, but for
//! [`skip`](Pipeline::skip)s, of which no two wait in a row.

use std::collections::VecDeque;

use crate::{message::ErrorInfo, server::Upstream};

/// The accepted messages of one connection; `W` is what the shell does for one of them.
#[derive(Debug)]
pub struct Pipeline<W> {
    queue: VecDeque<Item<W>>,
    running: bool,
}

#[derive(Debug)]
struct Item<W> {
    seq: Option<u64>,
    kind: Kind,
    work: W,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It goes to the log as it is, and so together with others.
    Stored,
    /// The same, and it says nothing but that the numbers up to its own have ended.
    Skip,
    /// The application has it first.
    Handled,
}

impl<W> Pipeline<W> {
    /// Nothing was accepted.
    pub const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            running: false,
        }
    }

    /// Adds a message; `is_stored` where it goes to the log as it is, and so together with others.
    pub fn push(&mut self, seq: Option<u64>, is_stored: bool, work: W) {
        let kind = if is_stored {
            Kind::Stored
        } else {
            Kind::Handled
        };
        self.queue.push_back(Item { seq, kind, work });
    }

    /// Adds a `skip`, which covers one that waits just before it: any number of them are one.
    pub fn skip(&mut self, seq: u64, work: W) {
        self.queue.pop_back_if(|item| item.kind == Kind::Skip);
        let (seq, kind) = (Some(seq), Kind::Skip);
        self.queue.push_back(Item { seq, kind, work });
    }

    /// The next run, which must then be done and [`finished`](Self::finish); none while one is, or
    /// where nothing waits.
    pub fn start(&mut self) -> Option<Vec<W>> {
        if self.running {
            return None;
        }
        let first = self.queue.pop_front()?;
        self.running = true;
        let mut run = vec![first.work];
        if first.kind != Kind::Handled {
            let together = |item: &mut Item<W>| item.kind != Kind::Handled;
            while let Some(item) = self.queue.pop_front_if(together) {
                run.push(item.work);
            }
        }
        Some(run)
    }

    /// The run is done; each of its numbered messages is then [`settled`](Self::settle), in order.
    pub fn finish(&mut self) {
        self.running = false;
    }

    /// A numbered message has ended. What was accepted behind a failed one is dropped: its sender
    /// is told to send it again.
    pub fn settle(&mut self, upstream: &mut Upstream, seq: u64, outcome: Result<(), ErrorInfo>) {
        match outcome {
            Ok(()) => upstream.stored(seq),
            Err(error) => {
                upstream.failed(seq, error);
                self.queue.retain(|item| item.seq.is_none());
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a run is on its way.
    pub fn is_running(&self) -> bool {
        self.running
    }
}

impl<W> Default for Pipeline<W> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, server::Intake};

    #[test]
    fn stored_messages_go_together_and_handled_ones_alone() {
        let mut pipeline = Pipeline::new();
        for (name, is_stored) in [('a', true), ('b', true), ('h', false), ('c', true)] {
            pipeline.push(None, is_stored, name);
        }
        assert_eq!(pipeline.start(), Some(vec!['a', 'b']));
        assert_eq!(pipeline.start(), None, "one run at a time");
        pipeline.finish();
        assert_eq!(pipeline.start(), Some(vec!['h']));
        pipeline.finish();
        assert_eq!(pipeline.start(), Some(vec!['c']));
        assert!(pipeline.is_empty() && pipeline.is_running());
    }

    #[test]
    fn skips_in_a_row_are_one() {
        let mut upstream = Upstream::new(0, 8);
        let mut pipeline = Pipeline::new();
        for seq in 1..=1_000 {
            assert_eq!(upstream.skip(seq), Intake::Accept);
            pipeline.skip(seq, seq);
            if seq == 1 {
                assert_eq!(pipeline.start(), Some(vec![1]));
            }
        }
        assert_eq!(pipeline.len(), 1);
        pipeline.push(None, true, 0);
        pipeline.skip(1_001, 1_001);
        pipeline.skip(1_002, 1_002);
        pipeline.finish();
        pipeline.settle(&mut upstream, 1, Ok(()));
        assert_eq!(pipeline.start(), Some(vec![1_000, 0, 1_002]));
        pipeline.finish();
        pipeline.settle(&mut upstream, 1_000, Ok(()));
        assert_eq!(upstream.acked(), 1_000);
    }

    #[test]
    fn what_follows_a_failure_is_dropped_but_not_what_has_no_number() {
        let mut upstream = Upstream::new(0, 8);
        let mut pipeline = Pipeline::new();
        for seq in 1..=2 {
            assert_eq!(upstream.receive(seq, None), Intake::Accept);
            pipeline.push(Some(seq), true, seq);
        }
        assert_eq!(pipeline.start(), Some(vec![1, 2]));
        assert_eq!(upstream.receive(3, None), Intake::Accept);
        pipeline.push(Some(3), true, 3);
        pipeline.push(None, true, 100);
        pipeline.finish();
        pipeline.settle(&mut upstream, 1, Ok(()));
        pipeline.settle(&mut upstream, 2, Err(Code::StorageFull.into()));
        assert_eq!(pipeline.start(), Some(vec![100]));
        let owed = upstream.poll();
        assert_eq!(owed.acked, Some(1));
        assert_eq!(owed.refused.map(|(seq, _)| seq), Some(2));
    }
}
