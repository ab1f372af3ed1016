//! A process of clients: many sockets, one epoll, no look at any payload.
//!
//! Speaks to its parent in lines. It prints `ready` once all have their `welcome`, and `done K`
//! each time its clients have received K publications for each of them. It reads
//! - `clock START INTERVAL COUNT` (nanoseconds of the monotonic clock, which all processes share),
//!   answers `clocked`, and prints `latency` with a histogram after COUNT more publications: the
//!   k-th was due at START + k × INTERVAL;
//! - `ping`: each client sends one, and `ponged` is printed once all are answered;
//! - `farewell`: from now on the server may go. Once every connection has ended `gone` is printed,
//!   with how many were told `reconnect` and how many were closed with 4503.
//!
//! The end of its input is its end.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    os::fd::OwnedFd,
};

use clap::Args;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    time::{ClockId, clock_gettime},
};
use socket2::{Domain, Socket, Type};

use crate::{
    histogram::Histogram,
    http::{HEAD_BYTES_MAX, head_end},
    stream::{Dialect, Stream},
    who::{Signer, Who},
    wire::{CLOSE, Walker, hello, ping, pong, upgrade},
};

/// Handshakes on their way at once: enough to keep a server busy, well below its backlog.
const HANDSHAKES_MAX: usize = 32;

const EVENTS_MAX: usize = 256;
const READ_BYTES: usize = 64 * 1024;
const STDIN: u64 = u64::MAX;

/// PROTOCOL.md, 11.1: draining or overloaded.
const CLOSE_DRAINING: u16 = 4503;

/// The options of a process of clients.
#[derive(Debug, Args)]
pub(crate) struct ClientOptions {
    /// The server's address.
    #[arg(long)]
    addr: SocketAddr,
    /// The address to dial from.
    #[arg(long)]
    source: Ipv4Addr,
    /// How many clients.
    #[arg(long)]
    count: usize,
    /// Who they are.
    #[arg(long, value_enum)]
    who: Who,
}

#[derive(Debug)]
enum Stage {
    /// What has come of the answer to the upgrade.
    Upgrading(Vec<u8>),
    /// `hello` is sent.
    Welcoming,
    /// Receives publications.
    Subscribed,
}

#[derive(Debug)]
struct Client {
    stream: Stream,
    stage: Stage,
    walker: Walker,
    /// Publications since the last `clock`.
    received: u64,
}

/// A running measurement of latency.
#[derive(Debug)]
struct Schedule {
    start_ns: u64,
    interval_ns: u64,
    count: u64,
    histogram: Histogram,
}

/// How the connections of this process have ended, once they may.
#[derive(Debug, Default)]
struct Farewell {
    ended: usize,
    told: u64,
    closed: u64,
}

struct Clients<'a> {
    options: &'a ClientOptions,
    signer: Option<Signer>,
    dialect: Dialect,
    epoll: OwnedFd,
    clients: Vec<Client>,
    welcomed: usize,
    /// Publications of all clients.
    received: u64,
    pongs: u64,
    schedule: Option<Schedule>,
    farewell: Option<Farewell>,
}

/// Runs until its input ends.
pub(crate) fn run(options: &ClientOptions) -> io::Result<()> {
    let mut clients = Clients {
        options,
        signer: options.who.signer()?,
        dialect: options.who.dialect()?,
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        clients: Vec::with_capacity(options.count),
        welcomed: 0,
        received: 0,
        pongs: 0,
        schedule: None,
        farewell: None,
    };
    let stdin = io::stdin();
    epoll::add(
        &clients.epoll,
        &stdin,
        EventData::new_u64(STDIN),
        EventFlags::IN,
    )?;
    clients.dial()?;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        epoll::wait(&clients.epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            match event.data.u64() {
                STDIN => {
                    let mut line = String::new();
                    if stdin.read_line(&mut line)? == 0 {
                        return Ok(());
                    }
                    clients.command(&line)?;
                }
                index => {
                    let index = usize::try_from(index).expect("an index of this process");
                    clients.read(index, &mut buffer)?;
                }
            }
        }
    }
}

/// The monotonic clock in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let nanos = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    u64::try_from(nanos).expect("the monotonic clock is not negative")
}

impl Clients<'_> {
    /// Dials as many as may be in their handshake.
    fn dial(&mut self) -> io::Result<()> {
        let target = self.options.count.min(self.welcomed + HANDSHAKES_MAX);
        while self.clients.len() < target {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            // The ports of a measurement just before are still in TIME_WAIT.
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((self.options.source, 0)).into())?;
            socket.connect(&self.options.addr.into())?;
            let mut stream = self.dialect.over(TcpStream::from(socket))?;
            stream.socket().set_nodelay(true)?;
            stream.write_all(&upgrade(self.options.who.offers_deflate()))?;
            stream.socket().set_nonblocking(true)?;
            let index = EventData::new_u64(self.clients.len() as u64);
            epoll::add(&self.epoll, stream.socket(), index, EventFlags::IN)?;
            self.clients.push(Client {
                stream,
                stage: Stage::Upgrading(Vec::new()),
                walker: Walker::default(),
                received: 0,
            });
        }
        Ok(())
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<()> {
        let client = &mut self.clients[index];
        let read = match client.stream.read(buffer) {
            Ok(0) => return self.ended(index),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Stage::Upgrading(head) = &mut client.stage {
            head.extend_from_slice(&buffer[..read]);
            return self.upgrade(index);
        }
        let counted = client.walker.feed(&buffer[..read]);
        for _ in 0..counted.pings {
            client.stream.write_all(&pong())?;
        }
        self.pongs += counted.pongs;
        if counted.pongs > 0 && self.pongs.is_multiple_of(self.options.count as u64) {
            println!("ponged");
        }
        if let Some(code) = counted.closed {
            self.closed(index, code)?;
        }
        if let Some(farewell) = &mut self.farewell {
            farewell.told += counted.reconnects;
        }
        let client = &mut self.clients[index];
        match (&client.stage, counted.publications) {
            (_, 0) => Ok(()),
            (Stage::Subscribed, publications) => self.count(index, publications),
            (_, publications) => {
                client.stage = Stage::Subscribed;
                self.welcomed += 1;
                if self.welcomed == self.options.count {
                    println!("ready");
                }
                self.dial()?;
                self.count(index, publications - 1)
            }
        }
    }

    fn closed(&mut self, index: usize, code: u16) -> io::Result<()> {
        let Some(farewell) = &mut self.farewell else {
            return Err(io::Error::other(format!(
                "the server closed a connection: {code}"
            )));
        };
        farewell.closed += u64::from(code == CLOSE_DRAINING);
        self.clients[index].stream.write_all(&CLOSE)
    }

    fn ended(&mut self, index: usize) -> io::Result<()> {
        let Some(farewell) = &mut self.farewell else {
            return Err(io::Error::other("the server ended a connection"));
        };
        let socket = self.clients[index].stream.socket();
        epoll::delete(&self.epoll, socket)?;
        socket.shutdown(Shutdown::Both).ok();
        farewell.ended += 1;
        if farewell.ended == self.options.count {
            println!("gone {} {}", farewell.told, farewell.closed);
        }
        Ok(())
    }

    fn count(&mut self, index: usize, publications: u64) -> io::Result<()> {
        let each = self.options.count as u64;
        let before = self.received / each;
        self.received += publications;
        if let Some(schedule) = &mut self.schedule {
            let client = &mut self.clients[index];
            let now = now_ns();
            for _ in 0..publications {
                let due = schedule.start_ns + client.received * schedule.interval_ns;
                schedule.histogram.record(now.saturating_sub(due), 1);
                client.received += 1;
            }
            if schedule.histogram.len() >= schedule.count * each {
                println!("latency {}", schedule.histogram.to_line());
                self.schedule = None;
            }
        }
        let after = self.received / each;
        if after > before {
            println!("done {after}");
        }
        Ok(())
    }

    fn command(&mut self, line: &str) -> io::Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["clock", start, interval, count] => self.clock(start, interval, count),
            ["ping"] => {
                let mut clients = self.clients.iter_mut();
                clients.try_for_each(|client| client.stream.write_all(&ping()))
            }
            ["farewell"] => {
                self.farewell = Some(Farewell::default());
                println!("expected");
                Ok(())
            }
            _ => Err(io::Error::other(format!("unknown command: {line}"))),
        }
    }

    fn clock(&mut self, start: &str, interval: &str, count: &str) -> io::Result<()> {
        let number = |word: &str| word.parse::<u64>().map_err(io::Error::other);
        self.schedule = Some(Schedule {
            start_ns: number(start)?,
            interval_ns: number(interval)?,
            count: number(count)?,
            histogram: Histogram::default(),
        });
        for client in &mut self.clients {
            client.received = 0;
        }
        println!("clocked");
        Ok(())
    }

    /// Sends `hello` once the answer to the upgrade is whole; nothing else can have come with it,
    /// since a server answers `hello` only.
    fn upgrade(&mut self, index: usize) -> io::Result<()> {
        let client = &mut self.clients[index];
        let Stage::Upgrading(head) = &client.stage else {
            return Ok(());
        };
        if head_end(head).is_none() && head.len() < HEAD_BYTES_MAX {
            return Ok(());
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            let text = String::from_utf8_lossy(head);
            return Err(io::Error::other(format!("the upgrade was refused: {text}")));
        }
        client.stage = Stage::Welcoming;
        let name = format!("u{}-{index}", self.options.source);
        let token = match &self.signer {
            Some(signer) => Some(signer.token(&name)?),
            None => None,
        };
        let user = token.as_deref().map(|token| (token, name.as_str()));
        client.stream.write_all(&hello(user, true))
    }
}
