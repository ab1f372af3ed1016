//! One client beside all others, which asks for nothing but an answer.
//!
//! Owns the measurement of how long a ping takes on a connection that has no part in what
//! the server is busy with. Pings are due at fixed times, so that one that waits counts for those behind it.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use crate::{
    clients::now_ns,
    histogram::Histogram,
    probe::{join, read_frame},
    wire::ping,
};

/// How often a ping is due: far more often than publications, so that some meet each.
const INTERVAL_NS: u64 = 10_000_000;

/// A running pinger.
pub(crate) struct Pinger {
    stop: Arc<AtomicBool>,
    running: JoinHandle<io::Result<Histogram>>,
}

impl Pinger {
    /// Connects and begins.
    pub(crate) fn start(address: SocketAddr) -> io::Result<Self> {
        let mut stream = join(address, false)?;
        read_frame(&mut stream)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let running = thread::spawn(move || {
            let mut histogram = Histogram::default();
            let mut due = now_ns();
            while !stopped.load(Ordering::Relaxed) {
                sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
                stream.write_all(&ping())?;
                // A short frame has its opcode, its length, and `{"type":"po`.
                while read_frame(&mut stream)?.get(12) != Some(&b'o') {}
                histogram.record(now_ns().saturating_sub(due), 1);
                due += INTERVAL_NS;
            }
            Ok(histogram)
        });
        Ok(Self { stop, running })
    }

    /// Ends and answers what was measured.
    pub(crate) fn stop(self) -> io::Result<Histogram> {
        self.stop.store(true, Ordering::Relaxed);
        let measured = self.running.join();
        measured.map_err(|_| io::Error::other("the pinger panicked"))?
    }
}
