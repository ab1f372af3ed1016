//! `bench`: what Bowline costs beside the bare system calls, measured in the same run.
//!
//! Owns the command line. One process runs the measurement; the server under test, the bare loop
//! that it is compared with, and the clients are processes of their own, so that the CPU and the
//! memory of each can be told apart.

#![forbid(unsafe_code)]

mod bare;
mod clients;
mod durable;
mod fleet;
mod histogram;
mod http;
mod pinger;
mod probe;
mod process;
mod report;
mod server;
mod stream;
mod suite;
mod who;
mod wire;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
};

use clap::{Args, Parser, Subcommand};
use who::Who;

/// Measures a server beside a bare loop that accepts, upgrades and sends the same bytes.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// RSS per idle connection: guests, users with a session and their personal channel, and TLS.
    Idle(Options),
    /// CPU per connection, from accept to `welcome`.
    Accept(Options),
    /// CPU per delivery: one publish at a time, and 8 and 16 separate ones in flight.
    Fanout(Options),
    /// p50, p99 and p99.9 of delivery at a fixed rate.
    Latency(Options),
    /// The same of a ping on a connection beside a great fan-out.
    Unrelated(Options),
    /// Whether costs stay as they are while connections become many.
    Flat(Options),
    /// How a server with many connections stops; fails unless every client is told.
    Shutdown(Options),
    /// All of them.
    All(Options),
    /// Acknowledged publishes a second, beside Redis, JetStream and a bare write and sync.
    Durable(durable::DurableOptions),
    /// The bare loop; started by the measurement.
    Bare(bare::BareOptions),
    /// A process of clients; started by the measurement.
    Clients(clients::ClientOptions),
}

/// What is measured, and how long.
#[derive(Clone, Debug, Args)]
struct Options {
    /// The command of the server under test. `{addr}` stands for its address, `{config}` for a
    /// settings file, `{dir}` for a directory. It is run without a shell, since the process itself is
    /// measured. Default: `bowline serve` with its defaults, built in release.
    #[arg(long)]
    server: Option<String>,
    /// Rows of these kinds of clients alone, of those that have rows of their own: a server that speaks no
    /// TLS has none of it.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Who>,
    /// Connections of all but `fanout`, `latency` and `flat`.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Subscribers of `fanout`, one measurement for each.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    subscribers: Vec<usize>,
    /// Samples, of which the median is printed.
    #[arg(long, default_value_t = 5)]
    samples: usize,
    /// Deliveries in each sample of `fanout`.
    #[arg(long, default_value_t = 200_000)]
    deliveries: usize,
    /// Bytes of a publication's `data`: at least 128, so that its frame can't be taken for a ping.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(128..=32_768))]
    bytes: u16,
    /// Publications a second of `latency` and `unrelated`.
    #[arg(long, default_value_t = 20)]
    rate: u64,
    /// Seconds for which connections rest before `idle` looks at memory.
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// Connections of `flat`, one measurement for each.
    #[arg(long, value_delimiter = ',', default_value = "1000,6000,18000")]
    scale: Vec<usize>,
    /// Subscribers of `latency`.
    #[arg(long, default_value_t = 1_000)]
    latency_subscribers: usize,
    /// Subscribers of `unrelated` compete with the server for the processors, instead of giving way as if on
    /// machines of their own.
    #[arg(long)]
    crowded: bool,
    /// Publications of `latency` and `unrelated`.
    #[arg(long, default_value_t = 200)]
    publications: u64,
}

impl Options {
    /// Those of `all` that are asked for.
    fn wanted<const N: usize>(&self, all: [Who; N]) -> impl Iterator<Item = Who> {
        all.into_iter()
            .filter(|who| self.only.is_empty() || self.only.contains(who))
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> io::Result<()> {
    process::raise_open_files()?;
    match command {
        Command::Idle(options) => suite::run(&options, &[suite::idle]),
        Command::Accept(options) => suite::run(&options, &[suite::accept]),
        Command::Fanout(options) => suite::run(&options, &[suite::fanout]),
        Command::Latency(options) => suite::run(&options, &[suite::latency]),
        Command::Unrelated(options) => suite::run(&options, &[suite::unrelated]),
        Command::Flat(options) => suite::run(&options, &[suite::flat]),
        Command::Shutdown(options) => suite::run(&options, &[suite::shutdown]),
        Command::All(options) => suite::run(
            &options,
            &[
                suite::idle,
                suite::accept,
                suite::fanout,
                suite::latency,
                suite::unrelated,
                suite::flat,
                suite::shutdown,
            ],
        ),
        Command::Durable(options) => durable::run(&options),
        Command::Bare(options) => bare::run(&options),
        Command::Clients(options) => clients::run(&options),
    }
}

/// The loopback address from which the next process of clients dials, so that each has a range of
/// ports of its own: those of a sample, or a run, just before are still in TIME_WAIT.
fn next_source() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(2);
    let run = std::process::id() % 600 * 100;
    let index = u16::try_from(run + NEXT.fetch_add(1, Ordering::Relaxed));
    let [high, low] = index
        .expect("a run has far fewer than 5,000 processes")
        .to_be_bytes();
    Ipv4Addr::new(127, 0, high, low)
}

/// A loopback address that nobody listens on at this moment.
fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}
