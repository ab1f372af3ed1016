//! One direction of a proxied connection.
//!
//! Reads into a bounded delay line and writes from it as far as the conditions of the link allow.
//! Bytes are never changed, reordered or lost, except that a cut ends them and that a rule may strike a frame.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    time::{Instant, sleep_until},
};

use super::{
    fault::{Direction, Ending, FaultKind, Flow},
    frames::{FrameAction, Splitter, Unit},
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
    /// On framed links.
    splitter: Option<Splitter>,
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
            splitter: link.framed.then(Splitter::new),
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
                    if self.wrote(count, &flow) {
                        return Err(Broken::ByFault(Ending::Fin));
                    }
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
                    if input != Input::Open {
                        self.pass_rest(&flow);
                    }
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
        let Some(splitter) = &mut self.splitter else {
            return self.line.push(Instant::now(), bytes, flow, &mut self.rng);
        };
        splitter.push(bytes);
        while let Some(unit) = self.splitter.as_mut().and_then(Splitter::next) {
            self.pass(&unit, flow);
        }
    }

    /// Hands a frame on, as its rule says.
    fn pass(&mut self, unit: &Unit, flow: &Flow) {
        let now = Instant::now();
        let rule = self.link.take_rule(self.direction, &unit.messages);
        let more = match rule {
            Some(FrameAction::Suppress) => return,
            Some(FrameAction::Delay(by)) => by,
            _ => Duration::ZERO,
        };
        let times = if rule == Some(FrameAction::Duplicate) {
            2
        } else {
            1
        };
        for _ in 0..times {
            self.line
                .push_late(now, &unit.bytes, flow, &mut self.rng, more);
        }
        if rule == Some(FrameAction::DisconnectAfter) {
            self.line.end_here();
        }
    }

    /// Half a frame before the end passes as it is.
    fn pass_rest(&mut self, flow: &Flow) {
        let rest = self.splitter.as_mut().map(Splitter::rest);
        if let Some(rest) = rest.filter(|rest| !rest.bytes.is_empty()) {
            self.pass(&rest, flow);
        }
    }

    /// So many bytes were written; whether the connection ends behind them.
    fn wrote(&mut self, count: usize, flow: &Flow) -> bool {
        if flow.rate.is_some() {
            self.link.feel(FaultKind::Throttle);
        }
        let first = self.direction == Direction::ToClient && count > 0;
        if first && !self.marks.answered.swap(true, Relaxed) {
            self.link.count_up();
        }
        let ends = self.line.advance(Instant::now(), count, flow);
        if !self.marks.ended.load(Relaxed) {
            self.link.count_to_cut(count);
        }
        ends
    }

    fn feel_hole(&self, flow: &Flow, input: Input) {
        if let Some(kind) = flow.hole
            && (!self.line.is_empty() || input != Input::Open)
        {
            self.link.feel(kind);
        }
    }
}
