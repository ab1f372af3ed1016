//! The measurements, each of the server under test and of the bare loop in turns.
//!
//! Owns what is measured and how often. Samples of the two sides alternate, so that a drift of
//! the machine meets both; the median is printed.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    Options,
    fleet::{Fleet, IN_FLIGHT_MAX, ServerCommand},
    probe::probe,
    report::{median, print_header, print_row},
};

/// Clients that connect before memory is first looked at: what a first connection allocates once
/// for the process is not the cost of the next one.
const WARM_UP_CLIENTS: usize = 64;

/// Publications before a fan-out is measured.
const WARM_UP_PUBLICATIONS: usize = 4;

/// How long a server rests before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(2);

/// What all measurements share.
pub(crate) struct Suite<'a> {
    options: &'a Options,
    server: ServerCommand,
    bare: ServerCommand,
}

/// A measurement, which prints its rows.
pub(crate) type Measurement = fn(&Suite<'_>) -> io::Result<()>;

/// Prints the header and runs the measurements.
pub(crate) fn run(options: &Options, measurements: &[Measurement]) -> io::Result<()> {
    let server = server_command(options)?;
    let bytes = usize::from(options.bytes);
    let sample = probe(Fleet::start(&server, bytes)?.address(), bytes)?;
    let frame = sample.message.len();
    let bare = ServerCommand {
        program: std::env::current_exe()?.to_string_lossy().into_owned(),
        arguments: vec![
            "bare".to_owned(),
            "--addr={addr}".to_owned(),
            format!("--welcome={}", BASE64_STANDARD.encode(sample.welcome)),
            format!("--message={}", BASE64_STANDARD.encode(sample.message)),
        ],
    };
    print_header();
    println!("a publication of {bytes} bytes is a frame of {frame}");
    let suite = Suite {
        options,
        server,
        bare,
    };
    for measurement in measurements {
        measurement(&suite)?;
        io::stdout().flush()?;
    }
    Ok(())
}

/// RSS per idle subscribed connection.
pub(crate) fn idle(suite: &Suite<'_>) -> io::Result<()> {
    let count = suite.options.connections;
    let measure = |fleet: &mut Fleet| {
        fleet.connect(WARM_UP_CLIENTS)?;
        sleep(SETTLE);
        let before = fleet.rss_bytes()?;
        fleet.connect(count)?;
        sleep(SETTLE);
        let grown = fleet.rss_bytes()?.saturating_sub(before);
        Ok::<_, io::Error>(grown as f64 / count as f64)
    };
    let server = measure(&mut suite.start(&suite.server)?)?;
    let bare = measure(&mut suite.start(&suite.bare)?)?;
    let what = format!("idle: RSS per connection, {count} subscribed");
    print_row(&what, "bytes", server, bare);
    Ok(())
}

/// CPU per connection, from accept to `welcome`.
pub(crate) fn accept(suite: &Suite<'_>) -> io::Result<()> {
    let samples = suite.options.samples.max(1);
    let count = (suite.options.connections / samples).max(1);
    let measure = |fleet: &mut Fleet| {
        let before = fleet.cpu_ns()?;
        fleet.connect(count)?;
        Ok(micros(fleet.cpu_ns()? - before, count))
    };
    let what = format!("accept: CPU per connection to welcome, {samples} x {count}");
    let (server, bare) = suite.alternate(|fleet| fleet.connect(WARM_UP_CLIENTS), measure)?;
    print_row(&what, "us", server, bare);
    Ok(())
}

/// CPU per delivery, one publish at a time and several in flight.
pub(crate) fn fanout(suite: &Suite<'_>) -> io::Result<()> {
    for &subscribers in &suite.options.subscribers {
        for in_flight in [1, IN_FLIGHT_MAX] {
            let rounds = suite.options.deliveries.div_ceil(subscribers * in_flight);
            let prepare = |fleet: &mut Fleet| {
                fleet.connect(subscribers)?;
                (0..WARM_UP_PUBLICATIONS).try_for_each(|_| fleet.publish(in_flight))
            };
            let measure = |fleet: &mut Fleet| {
                fleet.renew_publishers(in_flight)?;
                let before = fleet.cpu_ns()?;
                (0..rounds).try_for_each(|_| fleet.publish(in_flight))?;
                let spent = fleet.cpu_ns()? - before;
                Ok(micros(spent, rounds * in_flight * subscribers))
            };
            let (server, bare) = suite.alternate(prepare, measure)?;
            let what =
                format!("fanout: CPU per delivery, {subscribers} subs, {in_flight} in flight");
            print_row(&what, "us", server, bare);
        }
    }
    Ok(())
}

/// How late deliveries are at a fixed rate.
pub(crate) fn latency(suite: &Suite<'_>) -> io::Result<()> {
    let options = suite.options;
    let measure = |command: &ServerCommand| {
        let mut fleet = suite.start(command)?;
        fleet.connect(options.latency_subscribers)?;
        (0..WARM_UP_PUBLICATIONS).try_for_each(|_| fleet.publish(1))?;
        fleet.publish_on_schedule(options.rate, options.publications)
    };
    let server = measure(&suite.server)?;
    let bare = measure(&suite.bare)?;
    for (per_mille, name) in [(500, "p50"), (990, "p99"), (999, "p99.9")] {
        let subscribers = options.latency_subscribers;
        let what = format!(
            "latency: {name}, {subscribers} subs, {} per second",
            options.rate
        );
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let (server, bare) = (server.percentile(per_mille), bare.percentile(per_mille));
        print_row(&what, "ms", millis(server), millis(bare));
    }
    Ok(())
}

impl Suite<'_> {
    fn start(&self, command: &ServerCommand) -> io::Result<Fleet> {
        Fleet::start(command, usize::from(self.options.bytes))
    }

    /// Samples both sides in turns and answers the medians: the server's, the bare loop's.
    fn alternate(
        &self,
        prepare: impl Fn(&mut Fleet) -> io::Result<()>,
        measure: impl Fn(&mut Fleet) -> io::Result<f64>,
    ) -> io::Result<(f64, f64)> {
        let mut server = self.start(&self.server)?;
        let mut bare = self.start(&self.bare)?;
        prepare(&mut server)?;
        prepare(&mut bare)?;
        let mut samples = (Vec::new(), Vec::new());
        for _ in 0..self.options.samples.max(1) {
            samples.0.push(measure(&mut server)?);
            samples.1.push(measure(&mut bare)?);
        }
        Ok((median(samples.0), median(samples.1)))
    }
}

fn micros(nanos: u64, count: usize) -> f64 {
    nanos as f64 / 1e3 / count as f64
}

fn server_command(options: &Options) -> io::Result<ServerCommand> {
    let Some(command) = &options.server else {
        return Ok(ServerCommand {
            program: build_example()?,
            arguments: vec!["{addr}".to_owned()],
        });
    };
    let mut words = command.split_whitespace().map(str::to_owned);
    let program = words.next();
    Ok(ServerCommand {
        program: program.ok_or_else(|| io::Error::other("--server is empty"))?,
        arguments: words.collect(),
    })
}

/// Builds the example server and answers where cargo has put it.
fn build_example() -> io::Result<String> {
    let output = Command::new("cargo")
        .args(["build", "--release", "-p", "bowline", "--example", "echo"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let executable = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|artifact| artifact["target"]["name"] == "echo")
        .find_map(|artifact| artifact["executable"].as_str().map(str::to_owned));
    executable.ok_or_else(|| io::Error::other("the example server can't be built"))
}
