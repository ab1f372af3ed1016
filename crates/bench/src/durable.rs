//! `bench durable`: acknowledged publishes a second, beside Redis and beside the bare system calls.
//!
//! Owns the table. Every system keeps its log in a folder of its own on the same disk and is loaded the
//! same way: each publisher has one unanswered message of 256 bytes. Redis syncs before it answers
//! (`appendfsync always`); JetStream, as Debian has it, answers before its sync, and is a row for that.

mod load;
mod speak;

use std::{
    fs::{self, File},
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;

use crate::{free_address, histogram::Histogram, process::Process};
use speak::Dialect;

pub(crate) const PAYLOAD_BYTES: usize = 256;
const WRITE_METRICS: [&str; 3] = [
    "written_bytes",
    "compaction_written_bytes",
    "hint_written_bytes",
];

/// What is compared.
#[derive(Clone, Debug, Args)]
pub(crate) struct DurableOptions {
    /// The `bowline` binary, built in release.
    #[arg(long)]
    server: PathBuf,
    /// A folder on the disk that is meant; emptied before each row.
    #[arg(long)]
    folder: PathBuf,
    /// Publishers, one row of each system for each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,256")]
    publishers: Vec<usize>,
    /// Seconds of each row.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// What a row has measured.
pub(crate) struct Row {
    pub(crate) acked: u64,
    pub(crate) took: Duration,
    pub(crate) latencies: Histogram,
}

/// Prints the table.
pub(crate) fn run(options: &DurableOptions) -> io::Result<()> {
    println!(
        "{:<34} {:>5} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "system", "pubs", "acked/s", "cpu us", "written", "device", "p50 us", "p99 us"
    );
    let span = Duration::from_secs(options.seconds);
    bare(&options.folder, span)?;
    for &publishers in &options.publishers {
        for dialect in Dialect::ALL {
            if let Err(error) = measure(options, dialect, publishers, span) {
                println!("{:<34} {publishers:>5} NOT RUN: {error}", dialect.name());
            }
        }
    }
    println!(
        "written, device: bytes passed to write calls, and bytes for the device, per payload byte"
    );
    Ok(())
}

fn measure(
    options: &DurableOptions,
    dialect: Dialect,
    publishers: usize,
    span: Duration,
) -> io::Result<()> {
    let folder = empty(&options.folder)?;
    let address = free_address()?;
    let (program, arguments) = command(options, dialect, &folder, address);
    let server = Process::serve(&program, &arguments, address)?;
    let links = speak::open(dialect, address, publishers)?;
    let (cpu, device) = (server.cpu_ns()?, device_bytes(&server)?);
    let row = load::run(dialect, links, span)?;
    let cpu = server.cpu_ns()? - cpu;
    let payload = (row.acked * PAYLOAD_BYTES as u64) as f64;
    let device = (device_bytes(&server)? - device) as f64 / payload;
    let written = match dialect {
        Dialect::WebSocket | Dialect::Http => {
            let stats = speak::stats(address)?;
            let sum: u64 = WRITE_METRICS.iter().map(|name| number(&stats, name)).sum();
            format!("{:.2}", sum as f64 / payload)
        }
        _ => "-".to_owned(),
    };
    print_row(
        dialect.name(),
        publishers,
        &row,
        Some(cpu),
        &written,
        Some(device),
    );
    Ok(())
}

/// A loop of one `write` and one `fdatasync` for each message, and nothing else.
fn bare(folder: &Path, span: Duration) -> io::Result<()> {
    let folder = empty(folder)?;
    let mut file = File::create(folder.join("bare"))?;
    let (begun, mut latencies, mut acked) = (Instant::now(), Histogram::default(), 0);
    while begun.elapsed() < span {
        let sent = Instant::now();
        file.write_all(&[b'x'; PAYLOAD_BYTES])?;
        file.sync_data()?;
        let nanos = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX);
        latencies.record(nanos, 1);
        acked += 1;
    }
    let took = begun.elapsed();
    let row = Row {
        acked,
        took,
        latencies,
    };
    print_row("bare write + fdatasync", 1, &row, None, "1.00", None);
    Ok(())
}

fn print_row(
    name: &str,
    publishers: usize,
    row: &Row,
    cpu_ns: Option<u64>,
    written: &str,
    device: Option<f64>,
) {
    let cpu = cpu_ns.map_or("-".to_owned(), |nanos| {
        format!("{:.1}", nanos as f64 / 1_000.0 / row.acked.max(1) as f64)
    });
    let device = device.map_or("-".to_owned(), |device| format!("{device:.2}"));
    println!(
        "{name:<34} {publishers:>5} {:>9.0} {cpu:>9} {written:>8} {device:>8} {:>8} {:>8}",
        row.acked as f64 / row.took.as_secs_f64(),
        row.latencies.percentile(500) / 1_000,
        row.latencies.percentile(990) / 1_000,
    );
}

fn command(
    options: &DurableOptions,
    dialect: Dialect,
    folder: &Path,
    address: SocketAddr,
) -> (String, Vec<String>) {
    let folder = folder.display().to_string();
    let port = address.port().to_string();
    let (program, line) = match dialect {
        Dialect::WebSocket | Dialect::Http => (
            options.server.display().to_string(),
            format!(
                "serve --dev --listen {address} --data-dir {folder} --log-level error \
                 --set websocket.messages_per_second=1000000 --set websocket.messages_burst=1000000 \
                 --set server.http_requests=1024"
            ),
        ),
        Dialect::Redis => (
            "redis-server".to_owned(),
            format!(
                "--port {port} --dir {folder} --appendonly yes --appendfsync always --save  \
                 --auto-aof-rewrite-percentage 0"
            ),
        ),
        Dialect::JetStream => (
            "nats-server".to_owned(),
            format!("-js -a 127.0.0.1 -p {port} -sd {folder}"),
        ),
    };
    // `--save ""` is an argument of its own.
    let arguments = line.split(' ').map(str::to_owned);
    let mut before = "";
    let mut kept = Vec::new();
    for argument in arguments {
        if !argument.is_empty() || before == "--save" {
            kept.push(argument.clone());
        }
        before = if argument == "--save" { "--save" } else { "" };
    }
    (program, kept)
}

/// What the kernel has counted as written to storage.
fn device_bytes(server: &Process) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/io", server.id()))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// The number behind `"name":` in a JSON text.
fn number(text: &str, name: &str) -> u64 {
    let behind = text.split_once(&format!("\"{name}\":"));
    let digits = behind.map_or("", |(_, rest)| rest);
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().unwrap_or(0)
}

fn empty(folder: &Path) -> io::Result<PathBuf> {
    let folder = folder.join("bench-durable");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
