//! One client beside all others, which asks for nothing but an answer.
//!
//! Owns the measurement of how long a ping takes on a connection that has no part in what the server is busy
//! with, and of the same beside it from a thread that only echoes: what the machine itself takes at that
//! moment. Pings are due at an interval: one that waits for its answer counts for those behind it, but
//! what a pinger itself wakes late puts them all off.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
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
    wire::{ping, pong_of_server},
};

/// How often a ping is due: far more often than publications, so that some meet each.
const INTERVAL_NS: u64 = 10_000_000;

/// A running pinger.
pub(crate) struct Pinger {
    stop: Arc<AtomicBool>,
    running: JoinHandle<io::Result<Histogram>>,
}

impl Pinger {
    /// Pings a server.
    pub(crate) fn of_server(address: SocketAddr) -> io::Result<Self> {
        let mut stream = join(address, false)?;
        read_frame(&mut stream)?;
        Ok(Self::start(stream, now_ns()))
    }

    /// Pings a thread that answers with a server's bytes and does nothing else, half an interval later,
    /// so that the two are not in each other's way.
    pub(crate) fn of_echo() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        stream.set_nodelay(true)?;
        let (mut accepted, _) = listener.accept()?;
        accepted.set_nodelay(true)?;
        // It ends with the pinger's connection.
        thread::spawn(move || {
            let mut asked = vec![0; ping().len()];
            while accepted.read_exact(&mut asked).is_ok() {
                if accepted.write_all(&pong_of_server()).is_err() {
                    return;
                }
            }
        });
        Ok(Self::start(stream, now_ns() + INTERVAL_NS / 2))
    }

    fn start(mut stream: TcpStream, mut due: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let running = thread::spawn(move || {
            let mut histogram = Histogram::default();
            let mut answered = 0;
            while !stopped.load(Ordering::Relaxed) {
                if answered < due {
                    sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
                    due = now_ns();
                }
                stream.write_all(&ping())?;
                // A short frame has its opcode, its length, and `{"type":"po`.
                while read_frame(&mut stream)?.get(12) != Some(&b'o') {}
                answered = now_ns();
                histogram.record(answered.saturating_sub(due), 1);
                due += INTERVAL_NS;
            }
            Ok(histogram)
        });
        Self { stop, running }
    }

    /// Ends and answers what was measured.
    pub(crate) fn stop(self) -> io::Result<Histogram> {
        self.stop.store(true, Ordering::Relaxed);
        let measured = self.running.join();
        measured.map_err(|_| io::Error::other("the pinger panicked"))?
    }
}
