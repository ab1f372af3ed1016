//! One direction of a proxied connection.
//!
//! Reads into a bounded delay line and writes from it as far as the conditions of the link allow.
//! Bytes are never changed, reordered or lost, except that a cut ends them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    time::{Instant, sleep_until},
};

use super::{
    fault::{Direction, Ending, FaultKind, Flow},
    line::DelayLine,
    link::Link,
};
use crate::rng::Rng;

const READ_BYTES_MAX: usize = 8 * 1024;

/// Why a connection must come down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    ByFault(Ending),
    ByPeer,
}

/// What the two pumps of a connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The server has answered: a byte was passed on to the client.
    answered: AtomicBool,
    /// One side has hung up: a cut would no longer break anything.
    ended: AtomicBool,
}

pub(super) struct Pump<'a> {
    link: &'a Link,
    direction: Direction,
    marks: &'a Marks,
    line: DelayLine,
    rng: Rng,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    Ended,
    Reset,
}

impl Marks {
    pub(super) fn answered(&self) -> bool {
        self.answered.load(Relaxed)
    }
}

impl<'a> Pump<'a> {
    pub(super) fn new(link: &'a Link, direction: Direction, marks: &'a Marks, rng: Rng) -> Self {
        Self {
            link,
            direction,
            marks,
            line: DelayLine::default(),
            rng,
        }
    }

    /// Runs until the reader's FIN was passed on, or until something breaks.
    pub(super) async fn run(
        mut self,
        mut reader: ReadHalf<'_>,
        mut writer: WriteHalf<'_>,
    ) -> Result<(), Broken> {
        let mut changes = self.link.conditions.subscribe();
        let mut buffer = [0; READ_BYTES_MAX];
        let mut input = Input::Open;
        loop {
            let flow = changes.borrow_and_update().flow(self.direction);
            if !self.marks.ended.load(Relaxed)
                && let Some(ending) = self.link.take_due_cut()
            {
                return Err(Broken::ByFault(ending));
            }
            self.feel_hole(&flow, input);
            if flow.hole.is_none() && self.line.is_empty() {
                match input {
                    Input::Open => {}
                    Input::Ended => return writer.shutdown().await.map_err(|_| Broken::ByPeer),
                    Input::Reset => return Err(Broken::ByPeer),
                }
            }
            let ready = self.allowed(&flow);
            let wake = self.line.wake_at(&flow).filter(|_| ready.is_empty());
            tokio::select! {
                // A fault begins at once; then what waits goes out before more is taken in.
                biased;
                _ = changes.changed() => {}
                written = writer.write(ready), if !ready.is_empty() => {
                    let count = written.map_err(|_| Broken::ByPeer)?;
                    self.wrote(count, &flow);
                }
                read = reader.read(&mut buffer), if input == Input::Open && self.line.has_room() => {
                    input = match read {
                        Ok(0) => Input::Ended,
                        Ok(count) => {
                            self.took(&buffer[..count], &flow);
                            Input::Open
                        }
                        // What was read before the reset still passes, as on a real network.
                        Err(_) => Input::Reset,
                    };
                    self.marks.ended.fetch_or(input != Input::Open, Relaxed);
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// What may be written now, up to the byte at which an armed cut strikes.
    fn allowed(&self, flow: &Flow) -> &[u8] {
        let ready = self.line.ready(Instant::now(), flow);
        match self.link.bytes_to_cut() {
            Some(left) if !self.marks.ended.load(Relaxed) => {
                &ready[..ready.len().min(usize::try_from(left).unwrap_or(usize::MAX))]
            }
            _ => ready,
        }
    }

    fn took(&mut self, bytes: &[u8], flow: &Flow) {
        if flow.delay.is_some() {
            self.link.feel(FaultKind::Delay);
        }
        self.line.push(Instant::now(), bytes, flow, &mut self.rng);
    }

    fn wrote(&mut self, count: usize, flow: &Flow) {
        if flow.rate.is_some() {
            self.link.feel(FaultKind::Throttle);
        }
        let first = self.direction == Direction::ToClient && count > 0;
        if first && !self.marks.answered.swap(true, Relaxed) {
            self.link.count_up();
        }
        self.line.advance(Instant::now(), count, flow);
        if !self.marks.ended.load(Relaxed) {
            self.link.count_to_cut(count);
        }
    }

    fn feel_hole(&self, flow: &Flow, input: Input) {
        if let Some(kind) = flow.hole
            && (!self.line.is_empty() || input != Input::Open)
        {
            self.link.feel(kind);
        }
    }
}
