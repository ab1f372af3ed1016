//! One server with its clients and publishers, driven from outside.
//!
//! Owns the processes of one side of the comparison. Must not know which side it is.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    process::{ChildStdin, ChildStdout, ExitStatus},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::{Duration, Instant},
};

use crate::{
    clients::now_ns,
    free_address,
    histogram::Histogram,
    http::Publisher,
    next_source,
    process::{Process, open_files_max},
    server::{Scratch, ServerCommand},
    stream::Dialect,
    who::Who,
};

/// Separate publishes in flight at most.
pub(crate) const IN_FLIGHT_MAX: usize = 16;

/// Files that a process of clients has open besides its sockets.
const OTHER_FILES: usize = 32;

/// There are at least so many processes of clients, so that they can use more than one core.
const PROCESSES_MIN: usize = 2;

/// How far ahead a schedule begins, for all processes to know it.
const SCHEDULE_LEAD_NS: u64 = 200_000_000;

/// How long clients may say nothing that is waited for: a server that loses a publication fails
/// the run, instead of holding it up.
const WORD_TIMEOUT: Duration = Duration::from_secs(60);

/// Lines of a process of clients that are not read yet.
const LINES_MAX: usize = 64;

/// A process of clients, by its pipes.
#[derive(Debug)]
struct Clients {
    process: Process,
    input: ChildStdin,
    lines: Receiver<String>,
    /// The last `done` that it said: publications for each of its clients.
    done: u64,
    /// How many publications each of its clients is owed.
    owed: u64,
}

/// A server, its clients and its publishers.
pub(crate) struct Fleet {
    // Dropped first, so that no client sees its server end.
    clients: Vec<Clients>,
    publishers: Vec<Publisher>,
    server: Process,
    /// Its data, removed behind it.
    _scratch: Scratch,
    address: SocketAddr,
    bytes: usize,
    who: Who,
    dialect: Dialect,
    clients_give_way: bool,
}

impl Fleet {
    /// Starts the server, without clients.
    pub(crate) fn start(command: &ServerCommand, bytes: usize, who: Who) -> io::Result<Self> {
        let address = free_address()?;
        let scratch = Scratch::new()?;
        let arguments = command.arguments(address, &scratch, who)?;
        Ok(Self {
            clients: Vec::new(),
            publishers: Vec::new(),
            server: Process::serve(&command.program, &arguments, address)?,
            _scratch: scratch,
            address,
            bytes,
            who,
            dialect: who.dialect()?,
            clients_give_way: false,
        })
    }

    /// Clients from now on run only where nothing else wants the processor, as if on machines of their own.
    pub(crate) fn clients_give_way(&mut self) {
        self.clients_give_way = true;
    }

    /// Connects this many clients more and waits until all are welcome.
    pub(crate) fn connect(&mut self, count: usize) -> io::Result<()> {
        let per_process = open_files_max().saturating_sub(OTHER_FILES).max(1);
        let processes = count.div_ceil(per_process).max(PROCESSES_MIN).min(count);
        let first = self.clients.len();
        for index in 0..processes {
            let share = count * (index + 1) / processes - count * index / processes;
            let arguments = [
                "clients".to_owned(),
                format!("--addr={}", self.address),
                format!("--source={}", next_source()),
                format!("--count={share}"),
                format!("--who={}", self.who.argument()),
            ];
            let clients = Clients::start(&arguments, self.clients_give_way)?;
            self.clients.push(clients);
        }
        for clients in &mut self.clients[first..] {
            clients.wait("ready")?;
        }
        Ok(())
    }

    /// Publishes so many times at once, each on a connection of its own, and waits until all
    /// clients have received all of it.
    pub(crate) fn publish(&mut self, in_flight: usize) -> io::Result<()> {
        self.connect_publishers(in_flight)?;
        for publisher in &mut self.publishers[..in_flight] {
            publisher.send()?;
        }
        for publisher in &mut self.publishers[..in_flight] {
            publisher.answer()?;
        }
        self.delivered(in_flight as u64)
    }

    /// Publishes at a fixed rate and counts how long after its due time each delivery came, which
    /// includes the time for which a publish had to wait for the one before.
    pub(crate) fn publish_on_schedule(&mut self, rate: u64, count: u64) -> io::Result<Histogram> {
        self.connect_publishers(1)?;
        let interval_ns = 1_000_000_000 / rate.max(1);
        let start_ns = now_ns() + SCHEDULE_LEAD_NS;
        for clients in &mut self.clients {
            writeln!(clients.input, "clock {start_ns} {interval_ns} {count}")?;
            clients.wait("clocked")?;
        }
        for turn in 0..count {
            let due = start_ns + turn * interval_ns;
            thread::sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
            self.publishers[0].send()?;
            self.publishers[0].answer()?;
        }
        let mut all = Histogram::default();
        for clients in &mut self.clients {
            let line = clients.wait("latency")?;
            let theirs = Histogram::from_line(&line).map_err(io::Error::other)?;
            all.merge(&theirs);
        }
        self.delivered(count)?;
        Ok(all)
    }

    /// Lets each client send a message and waits for all answers.
    pub(crate) fn ping(&mut self) -> io::Result<()> {
        for clients in &mut self.clients {
            writeln!(clients.input, "ping")?;
        }
        self.clients
            .iter_mut()
            .try_for_each(|clients| clients.wait("ponged").map(drop))
    }

    /// Asks the server to stop, and answers how that went once it and all connections are gone.
    pub(crate) fn farewell(&mut self, within: Duration) -> io::Result<Farewell> {
        self.publishers.clear();
        for clients in &mut self.clients {
            writeln!(clients.input, "farewell")?;
            clients.wait("expected")?;
        }
        let begun = Instant::now();
        self.server.terminate()?;
        let status = self.server.ended(within)?;
        let took = begun.elapsed();
        let (mut told, mut closed) = (0, 0);
        for clients in &mut self.clients {
            let line = clients.wait("gone")?;
            let (first, second) = line.split_once(' ').unwrap_or((&line, ""));
            let number = |word: &str| word.parse::<u64>().map_err(io::Error::other);
            told += number(first)?;
            closed += number(second)?;
        }
        Ok(Farewell {
            status,
            took,
            told,
            closed,
        })
    }

    /// The CPU time of the server so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> io::Result<u64> {
        self.server.cpu_ns()
    }

    /// The resident memory of the server, in bytes.
    pub(crate) fn rss_bytes(&self) -> io::Result<u64> {
        self.server.rss_bytes()
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects so many publishers anew, ahead of a measurement: while the other side is measured
    /// a server may end connections that are idle.
    pub(crate) fn renew_publishers(&mut self, count: usize) -> io::Result<()> {
        self.publishers.clear();
        self.connect_publishers(count)
    }

    fn connect_publishers(&mut self, count: usize) -> io::Result<()> {
        assert!(count <= IN_FLIGHT_MAX, "the bound of publishers");
        while self.publishers.len() < count {
            let publisher = Publisher::connect(self.address, self.bytes, &self.dialect)?;
            self.publishers.push(publisher);
        }
        Ok(())
    }

    fn delivered(&mut self, publications: u64) -> io::Result<()> {
        for clients in &mut self.clients {
            clients.owed += publications;
            while clients.done < clients.owed {
                clients.wait("done")?;
            }
        }
        Ok(())
    }
}

/// How a server has stopped.
#[derive(Debug)]
pub(crate) struct Farewell {
    pub(crate) status: ExitStatus,
    pub(crate) took: Duration,
    /// Clients that were told `reconnect`.
    pub(crate) told: u64,
    /// Clients that were closed with 4503.
    pub(crate) closed: u64,
}

impl Clients {
    fn start(arguments: &[String], gives_way: bool) -> io::Result<Self> {
        let program = std::env::current_exe()?.to_string_lossy().into_owned();
        let mut process = if gives_way {
            let idle = ["--idle", "0", &program].map(str::to_owned);
            Process::start("chrt", &[&idle, arguments].concat())?
        } else {
            Process::start(&program, arguments)?
        };
        let (input, output) = process.pipes()?;
        Ok(Self {
            process,
            input,
            lines: lines(output),
            done: 0,
            owed: 0,
        })
    }

    /// Waits for a line that begins with this word and answers the rest of it. Only `done` may
    /// come in between, and is kept.
    fn wait(&mut self, word: &str) -> io::Result<String> {
        loop {
            let Ok(line) = self.lines.recv_timeout(WORD_TIMEOUT) else {
                let id = self.process.id();
                let problem = format!("the clients of process {id} ended, or wait for {word}");
                return Err(io::Error::other(problem));
            };
            let (first, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            if first == "done" {
                self.done = rest.parse().map_err(io::Error::other)?;
            }
            if first == word {
                return Ok(rest.to_owned());
            }
            if first != "done" {
                return Err(io::Error::other(format!(
                    "clients said {first}, not {word}"
                )));
            }
        }
    }
}

/// Reads lines aside, so that waiting for one can time out; ends with the pipe.
fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_MAX);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
