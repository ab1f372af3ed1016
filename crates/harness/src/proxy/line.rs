//! The bytes that one direction of a connection holds: a bounded queue with due times and a rate.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::fault::Flow;
use crate::rng::Rng;

/// What one direction holds at most. Small, so that a hole soon stops the sender.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// One write on a throttled link: small enough that 10 KB/s is a steady trickle.
const THROTTLED_WRITE_BYTES_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct DelayLine {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// A throttled link may write again then.
    free_at: Option<Instant>,
}

#[derive(Debug)]
struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
    written: usize,
    /// Once it is written the connection is cut.
    ends: bool,
}

impl DelayLine {
    pub(super) fn push(&mut self, now: Instant, bytes: &[u8], flow: &Flow, rng: &mut Rng) {
        self.push_late(now, bytes, flow, rng, Duration::ZERO);
    }

    /// The same, later by so much than the conditions ask for.
    pub(super) fn push_late(
        &mut self,
        now: Instant,
        bytes: &[u8],
        flow: &Flow,
        rng: &mut Rng,
        more: Duration,
    ) {
        let late = more
            + flow.delay.map_or(Duration::ZERO, |(fixed, jitter)| {
                fixed + rng.millis(0, u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX))
            });
        // Order is kept: nothing is due before what came before it.
        let due = self
            .chunks
            .back()
            .map_or(now + late, |last| last.due.max(now + late));
        self.bytes += bytes.len();
        self.chunks.push_back(Chunk {
            due,
            bytes: bytes.to_vec(),
            written: 0,
            ends: false,
        });
    }

    /// The connection is to be cut once all that waits now is written.
    pub(super) fn end_here(&mut self) {
        if let Some(last) = self.chunks.back_mut() {
            last.ends = true;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes < LINE_BYTES_MAX
    }

    /// The bytes that may be written now; empty if none may.
    pub(super) fn ready(&self, now: Instant, flow: &Flow) -> &[u8] {
        match (self.wake_at(flow), self.chunks.front()) {
            (Some(at), Some(chunk)) if at <= now => {
                let rest = &chunk.bytes[chunk.written..];
                match flow.rate {
                    Some(_) => &rest[..rest.len().min(THROTTLED_WRITE_BYTES_MAX)],
                    None => rest,
                }
            }
            _ => &[],
        }
    }

    /// When the first byte may be written; none if there is none or a hole swallows it.
    pub(super) fn wake_at(&self, flow: &Flow) -> Option<Instant> {
        if flow.hole.is_some() {
            return None;
        }
        let due = self.chunks.front()?.due;
        match (flow.rate, self.free_at) {
            (Some(_), Some(free_at)) => Some(due.max(free_at)),
            _ => Some(due),
        }
    }

    /// So many bytes were written; whether the connection ends behind them.
    pub(super) fn advance(&mut self, now: Instant, count: usize, flow: &Flow) -> bool {
        let Some(chunk) = self.chunks.front_mut() else {
            return false;
        };
        chunk.written += count;
        self.bytes -= count;
        let mut ends = false;
        if chunk.written == chunk.bytes.len() {
            ends = chunk.ends;
            self.chunks.pop_front();
        }
        self.free_at = flow.rate.map(|rate| {
            let cost = Duration::from_secs_f64(count as f64 / f64::from(rate));
            self.free_at.map_or(now, |at| at.max(now)) + cost
        });
        ends
    }
}
