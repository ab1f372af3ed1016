//! The measurements, each of the server under test and of the bare loop in turns.
//!
//! Owns what is measured and how often. Samples of the two sides alternate, so that a drift of
//! the machine meets both. Where a cost of the processor is measured, each sample has processes of
//! its own: where their memory and their sockets happen to lie moves it by a third.

use std::{
    io::{self, Write},
    thread::sleep,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    Options,
    fleet::{Fleet, IN_FLIGHT_MAX},
    histogram::Histogram,
    pinger::Pinger,
    probe::probe,
    report::{Figure, print_header, print_note, print_row},
    server::ServerCommand,
    who::Who,
};

/// Clients that connect before memory is first looked at: what a first connection allocates once
/// for the process is not the cost of the next one.
const WARM_UP_CLIENTS: usize = 64;

/// Publications before a fan-out is measured.
const WARM_UP_PUBLICATIONS: usize = 4;

/// How long a server rests before its memory is first looked at.
const SETTLE: Duration = Duration::from_secs(2);

/// The data of a publication where compression is measured: above `compression_min_bytes`.
const COMPRESSED_BYTES: usize = 2_048;

/// How long a server may take to stop: `shutdown_timeout` by default, and what the system needs to
/// end a process with so many sockets.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// What all measurements share.
pub(crate) struct Suite<'a> {
    options: &'a Options,
    server: ServerCommand,
    bare: ServerCommand,
    bytes: usize,
    /// What a publication is on the wire.
    frame_bytes: usize,
}

/// A measurement, which prints its rows.
pub(crate) type Measurement = fn(&Suite<'_>) -> io::Result<()>;

/// Prints the header and runs the measurements.
pub(crate) fn run(options: &Options, measurements: &[Measurement]) -> io::Result<()> {
    let bytes = usize::from(options.bytes);
    let server = ServerCommand::new(options.server.as_deref())?;
    let suite = Suite::new(options, server, bytes)?;
    print_header();
    println!(
        "a publication of {bytes} bytes is a frame of {}",
        suite.frame_bytes
    );
    for measurement in measurements {
        measurement(&suite)?;
        io::stdout().flush()?;
    }
    Ok(())
}

/// RSS per idle connection, some time after one message each way.
pub(crate) fn idle(suite: &Suite<'_>) -> io::Result<()> {
    let count = suite.options.connections;
    let rest = Duration::from_secs(suite.options.rest);
    for who in suite.options.wanted([Who::Guests, Who::Hs256, Who::Tls]) {
        let server = suite.idle_bytes(&suite.server, who, count, rest)?;
        let bare = suite.idle_bytes(&suite.bare, who.bare(), count, SETTLE)?;
        let what = format!("idle: RSS per connection, {count}, {}", who.name());
        print_row(&what, "bytes", Figure::new(server, bare));
    }
    Ok(())
}

/// CPU per connection, from accept to `welcome`.
pub(crate) fn accept(suite: &Suite<'_>) -> io::Result<()> {
    let samples = suite.options.samples.max(1);
    let count = (suite.options.connections / samples).max(1);
    let all = [Who::Guests, Who::Deflate, Who::Tls, Who::Hs256, Who::Es256];
    for who in suite.options.wanted(all) {
        let what = format!(
            "accept: CPU to welcome, {samples} x {count}, {}",
            who.name()
        );
        print_row(&what, "us", suite.accept(who, count)?);
    }
    Ok(())
}

/// CPU per delivery, one publish at a time and several in flight.
pub(crate) fn fanout(suite: &Suite<'_>) -> io::Result<()> {
    for &subscribers in &suite.options.subscribers {
        for in_flight in [1, 8, IN_FLIGHT_MAX] {
            let figure = suite.fanout(Who::Guests, subscribers, in_flight)?;
            let what = format!("fanout: CPU per delivery, {subscribers}, {in_flight} in flight");
            print_row(&what, "us", figure);
        }
    }
    let subscribers = *suite.options.subscribers.first().unwrap_or(&1_000);
    let bytes = COMPRESSED_BYTES;
    let larger = Suite::new(suite.options, suite.server.clone(), bytes)?;
    for who in suite.options.wanted([Who::Guests, Who::Deflate, Who::Tls]) {
        let figure = larger.fanout(who, subscribers, 1)?;
        let what = format!("fanout: {bytes} bytes, {subscribers}, {}", who.name());
        print_row(&what, "us", figure);
    }
    Ok(())
}

/// What an idle connection, a handshake and a delivery cost at growing numbers of connections.
pub(crate) fn flat(suite: &Suite<'_>) -> io::Result<()> {
    for &count in &suite.options.scale {
        let idle = |command| suite.idle_bytes(command, Who::Guests, count, SETTLE);
        let (server, bare) = (idle(&suite.server)?, idle(&suite.bare)?);
        print_row(
            &format!("flat: RSS per connection, {count}"),
            "bytes",
            Figure::new(server, bare),
        );
        let figure = suite.accept(Who::Guests, count)?;
        print_row(&format!("flat: CPU to welcome, {count}"), "us", figure);
        let figure = suite.fanout(Who::Guests, count, 1)?;
        print_row(&format!("flat: CPU per delivery, {count}"), "us", figure);
    }
    Ok(())
}

/// How long a ping takes on a connection that has no part in a great fan-out, with and without it; beside
/// it a ping to a thread that only echoes, at the same time. With and without alternate. The subscribers stand
/// for other machines: they give way to the server and to the pings, unless they are to crowd them.
pub(crate) fn unrelated(suite: &Suite<'_>) -> io::Result<()> {
    let options = suite.options;
    let (rate, subscribers) = (options.rate, options.connections);
    let mut fleet = suite.start(&suite.server, Who::Guests)?;
    if !options.crowded {
        fleet.clients_give_way();
    }
    fleet.connect(subscribers)?;
    (0..WARM_UP_PUBLICATIONS).try_for_each(|_| fleet.publish(1))?;
    let (mut without, mut during) = (Pings::default(), Pings::default());
    let mut deliveries = Histogram::default();
    let share = options.publications.div_ceil(rate.max(1));
    for _ in 0..options.samples.max(1) {
        without.measure(&mut fleet, |_| {
            sleep(Duration::from_secs(share));
            Ok(())
        })?;
        // In the quiet the server has ended what was idle.
        fleet.renew_publishers(1)?;
        during.measure(&mut fleet, |fleet| {
            deliveries.merge(&fleet.publish_on_schedule(rate, options.publications)?);
            Ok(())
        })?;
    }
    print_note(&format!(
        "a ping with and without {rate} publications/s to {subscribers}: left the server, right a thread that only echoes"
    ));
    for (per_mille, name) in PERCENTILES {
        let (during, without) = (during.millis(per_mille), without.millis(per_mille));
        let row = |what, unit, [server, echo]: [f64; 2]| {
            let what = format!("unrelated: {name} of a ping, {what}");
            print_row(&what, unit, Figure::new(server, echo));
        };
        row("with them", "ms", during);
        row("without them", "ms", without);
        let times = [during[0] / without[0], during[1] / without[1]];
        row("with over without", "times", times);
    }
    let late = PERCENTILES.map(|(per_mille, name)| {
        let millis = deliveries.percentile(per_mille) as f64 / 1e6;
        format!("{name} {millis:.1}")
    });
    print_note(&format!(
        "meanwhile a delivery came after, ms: {}",
        late.join(", ")
    ));
    Ok(())
}

/// How long pings took: to the server, and to a thread that only echoes.
#[derive(Default)]
struct Pings([Histogram; 2]);

impl Pings {
    /// Pings both for as long as this takes.
    fn measure(
        &mut self,
        fleet: &mut Fleet,
        meanwhile: impl FnOnce(&mut Fleet) -> io::Result<()>,
    ) -> io::Result<()> {
        let pingers = [Pinger::of_server(fleet.address())?, Pinger::of_echo()?];
        meanwhile(fleet)?;
        for (sum, pinger) in self.0.iter_mut().zip(pingers) {
            sum.merge(&pinger.stop()?);
        }
        Ok(())
    }

    fn millis(&self, per_mille: u64) -> [f64; 2] {
        let millis = |histogram: &Histogram| histogram.percentile(per_mille) as f64 / 1e6;
        [millis(&self.0[0]), millis(&self.0[1])]
    }
}

/// How a server with many connections stops.
pub(crate) fn shutdown(suite: &Suite<'_>) -> io::Result<()> {
    let count = suite.options.connections;
    let mut fleet = suite.start(&suite.server, Who::Guests)?;
    fleet.connect(count)?;
    let farewell = fleet.farewell(STOP_TIMEOUT)?;
    let seconds = farewell.took.as_secs_f64();
    print_note(&format!(
        "shutdown: {count} connections, {} after {seconds:.2} s; {} told to reconnect, {} closed with 4503",
        farewell.status, farewell.told, farewell.closed
    ));
    let all = count as u64;
    if farewell.status.success() && (farewell.told, farewell.closed) == (all, all) {
        Ok(())
    } else {
        Err(io::Error::other(
            "not every client was told and closed, or the server failed",
        ))
    }
}

/// How late deliveries are at a fixed rate.
pub(crate) fn latency(suite: &Suite<'_>) -> io::Result<()> {
    let options = suite.options;
    let measure = |command: &ServerCommand| {
        let mut fleet = suite.start(command, Who::Guests)?;
        fleet.connect(options.latency_subscribers)?;
        (0..WARM_UP_PUBLICATIONS).try_for_each(|_| fleet.publish(1))?;
        fleet.publish_on_schedule(options.rate, options.publications)
    };
    let server = measure(&suite.server)?;
    let bare = measure(&suite.bare)?;
    for (per_mille, name) in PERCENTILES {
        let subscribers = options.latency_subscribers;
        let what = format!(
            "latency: {name}, {subscribers} subs, {} per second",
            options.rate
        );
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let (server, bare) = (server.percentile(per_mille), bare.percentile(per_mille));
        print_row(&what, "ms", Figure::new(millis(server), millis(bare)));
    }
    Ok(())
}

/// The percentiles that are printed, per mille.
const PERCENTILES: [(u64, &str); 3] = [(500, "p50"), (990, "p99"), (999, "p99.9")];

impl<'a> Suite<'a> {
    /// Asks the server for the bytes that the bare loop is to send.
    fn new(options: &'a Options, server: ServerCommand, bytes: usize) -> io::Result<Self> {
        let sample = probe(Fleet::start(&server, bytes, Who::Guests)?.address(), bytes)?;
        let bare = ServerCommand {
            program: std::env::current_exe()?.to_string_lossy().into_owned(),
            arguments: vec![
                "bare".to_owned(),
                "--addr={addr}".to_owned(),
                format!("--welcome={}", BASE64_STANDARD.encode(sample.welcome)),
                format!("--message={}", BASE64_STANDARD.encode(&sample.message)),
            ],
        };
        Ok(Self {
            options,
            server,
            bare,
            bytes,
            frame_bytes: sample.message.len(),
        })
    }

    fn start(&self, command: &ServerCommand, who: Who) -> io::Result<Fleet> {
        Fleet::start(command, self.bytes, who)
    }

    /// By how much the server's memory has grown with each of so many connections.
    fn idle_bytes(
        &self,
        command: &ServerCommand,
        who: Who,
        count: usize,
        rest: Duration,
    ) -> io::Result<f64> {
        let is_bare = command.program == self.bare.program;
        let mut fleet = self.start(command, who)?;
        let speak = |fleet: &mut Fleet| {
            // Since the last time, which may be long ago, the server has ended what was idle.
            fleet.renew_publishers(1)?;
            fleet.publish(1)?;
            // The bare loop answers no pings.
            if is_bare { Ok(()) } else { fleet.ping() }
        };
        fleet.connect(WARM_UP_CLIENTS)?;
        speak(&mut fleet)?;
        sleep(SETTLE);
        let before = fleet.rss_bytes()?;
        fleet.connect(count)?;
        speak(&mut fleet)?;
        sleep(rest);
        let grown = fleet.rss_bytes()?.saturating_sub(before);
        Ok(grown as f64 / count as f64)
    }

    fn accept(&self, who: Who, count: usize) -> io::Result<Figure> {
        let measure = |fleet: &mut Fleet| {
            let before = fleet.cpu_ns()?;
            fleet.connect(count)?;
            Ok(micros(fleet.cpu_ns()? - before, count))
        };
        self.alternate(who, |fleet| fleet.connect(WARM_UP_CLIENTS), measure)
    }

    fn fanout(&self, who: Who, subscribers: usize, in_flight: usize) -> io::Result<Figure> {
        let rounds = self.options.deliveries.div_ceil(subscribers * in_flight);
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
        self.alternate(who, prepare, measure)
    }

    /// Samples both sides in turns, each time in processes of their own.
    fn alternate(
        &self,
        who: Who,
        prepare: impl Fn(&mut Fleet) -> io::Result<()>,
        measure: impl Fn(&mut Fleet) -> io::Result<f64>,
    ) -> io::Result<Figure> {
        let sample = |command: &ServerCommand, who: Who| {
            let mut fleet = self.start(command, who)?;
            prepare(&mut fleet)?;
            measure(&mut fleet)
        };
        let samples = 0..self.options.samples.max(1);
        let pairs: io::Result<Vec<_>> = samples
            .map(|_| Ok((sample(&self.server, who)?, sample(&self.bare, who.bare())?)))
            .collect();
        Ok(Figure::median(&pairs?))
    }
}

fn micros(nanos: u64, count: usize) -> f64 {
    nanos as f64 / 1e3 / count as f64
}
