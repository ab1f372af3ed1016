//! How fast the engine `embedded` is on this machine: `cargo run --release --example speed -- FOLDER`.
//!
//! Owns the load; prints one line per measurement. The folder should be on the disk that is meant. It is
//! made, and deleted at the end; one that exists is refused, lest it be somebody's log.
#![expect(
    clippy::disallowed_methods,
    reason = "a measurement reads the clock; nothing of the engine is decided by it"
)]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bowline_engine::{
    Append, ChannelPolicy, Effect, Embedded, Engine, EngineConfig, LogConfig, PageLimit, Retention,
};
use bowline_proto::Data;
use rustix::time::{ClockId, clock_gettime};

const PAYLOAD_BYTES: usize = 256;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = PathBuf::from(arguments.first().expect("the folder to use"));
    let what = arguments.get(1).map_or("all", String::as_str);
    if !matches!(what, "fill" | "reopen") && folder.exists() {
        eprintln!(
            "{} exists: name a folder that may be made and deleted",
            folder.display()
        );
        std::process::exit(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if matches!(what, "all" | "publish") {
        for publishers in [1, 16, 256] {
            empty(&folder);
            runtime.block_on(publish(&folder, publishers, Duration::from_secs(5)));
        }
    }
    if matches!(what, "all" | "read") {
        empty(&folder);
        runtime.block_on(read(&folder));
    }
    if matches!(what, "all" | "open") {
        empty(&folder);
        fill_and_die(&folder);
        reopen(&folder);
    }
    if what == "fill" {
        let filled = runtime.block_on(fill(&folder, 1_000_000, 100_000));
        println!();
        // Until it is killed, with its log open.
        std::thread::sleep(Duration::from_secs(60));
        drop(filled);
        return;
    }
    if what == "reopen" {
        reopen(&folder);
        return;
    }
    if matches!(what, "all" | "compact") {
        empty(&folder);
        runtime.block_on(trimming(&folder, Duration::from_secs(10)));
    }
    empty(&folder);
}

fn empty(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

fn config() -> EngineConfig {
    EngineConfig {
        messages_max: 20_000_000,
        bytes_max: 16 << 30,
        policies: vec![ChannelPolicy {
            pattern: "*".to_owned(),
            history: Some(Retention {
                messages: 10_000_000,
                bytes: 16 << 30,
                ..Retention::default()
            }),
        }],
        ..EngineConfig::default()
    }
}

fn message(channel: &Arc<str>, payload: &Data) -> Append {
    Append {
        producer: None,
        effect: Effect::Publish {
            channel: channel.clone(),
            data: payload.clone(),
            user: None,
            tag: None,
            key: None,
        },
    }
}

fn payload() -> Data {
    Data::Binary(vec![b'x'; PAYLOAD_BYTES].into())
}

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

fn detail(engine: &Embedded, name: &str) -> u64 {
    let details = engine.stats().details;
    details
        .iter()
        .find(|(found, _)| *found == name)
        .map_or(0, |(_, count)| *count)
}

/// Each publisher has one unacknowledged message at a time.
async fn publish(folder: &Path, publishers: usize, span: Duration) {
    let engine = Embedded::open(folder, config(), LogConfig::default()).expect("it opens");
    let engine = Arc::new(engine);
    let (spent, started) = (cpu(), Instant::now());
    let latencies = run_publishers(&engine, publishers, span, 16).await;
    let (spent, took) = (cpu() - spent, started.elapsed());
    let acked = latencies.len() as f64;
    let written = detail(&engine, "written_bytes") + detail(&engine, "compaction_written_bytes");
    println!(
        "publish publishers={publishers} acked/s={:.0} cpu_us={:.2} bytes_per_payload_byte={:.2} \
         p50_us={} p99_us={} per_commit={:.1} fsyncs={}",
        acked / took.as_secs_f64(),
        spent.as_micros() as f64 / acked,
        written as f64 / (acked * PAYLOAD_BYTES as f64),
        latencies[latencies.len() / 2],
        latencies[latencies.len() * 99 / 100],
        acked / detail(&engine, "commits") as f64,
        detail(&engine, "fsyncs"),
    );
}

/// The latencies in microseconds, in rising order.
async fn run_publishers(
    engine: &Arc<Embedded>,
    publishers: usize,
    span: Duration,
    channels: usize,
) -> Vec<u32> {
    let started = Instant::now();
    let tasks: Vec<_> = (0..publishers)
        .map(|number| {
            let engine = engine.clone();
            let channel: Arc<str> = format!("channel:{}", number % channels).into();
            let payload = payload();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while started.elapsed() < span {
                    let sent = Instant::now();
                    let outcome = engine.append(vec![message(&channel, &payload)]).await;
                    outcome[0].as_ref().expect("there is room");
                    latencies.push(sent.elapsed().as_micros() as u32);
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("a publisher"));
    }
    all.sort_unstable();
    all
}

/// A process of its own fills a log, and is killed (SIGKILL) with it open.
fn fill_and_die(folder: &Path) {
    let program = std::env::current_exe().expect("it runs");
    let mut child = Command::new(program)
        .arg(folder)
        .arg("fill")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts again");
    let told = BufReader::new(child.stdout.take().expect("it was piped"));
    // An empty line ends what it has to say.
    for line in told
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        println!("{line}");
    }
    child.kill().expect("it is there");
    child.wait().expect("it was killed");
}

async fn fill(folder: &Path, messages: usize, channels: usize) -> Embedded {
    let engine = Embedded::open(folder, config(), LogConfig::default()).expect("it opens");
    let names: Vec<Arc<str>> = (0..channels)
        .map(|number| format!("room:{number:08}:with-a-name-of-usual-length").into())
        .collect();
    let payload = payload();
    let started = Instant::now();
    for start in (0..messages).step_by(4_096) {
        let end = messages.min(start + 4_096);
        let batch = (start..end).map(|number| message(&names[number % channels], &payload));
        let outcomes = engine.append(batch.collect()).await;
        assert!(outcomes.iter().all(Result::is_ok));
    }
    println!(
        "fill messages={messages} channels={channels} took_ms={} log_mb={}",
        started.elapsed().as_millis(),
        detail(&engine, "log_bytes") >> 20
    );
    engine
}

fn reopen(folder: &Path) {
    for attempt in ["cold-after-kill", "cold", "warm"] {
        if attempt != "warm" {
            // Only root may empty the cache; elsewhere all three are warm.
            let _ = Command::new("sync").status();
            let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
        }
        let started = Instant::now();
        let engine = Embedded::open(folder, config(), LogConfig::default()).expect("it opens");
        let took = started.elapsed();
        let stats = engine.stats();
        println!(
            "open {attempt} messages={} channels={} took_ms={}",
            stats.messages,
            stats.channels,
            took.as_millis()
        );
    }
}

/// Four readers read the last 100 of 100 channels whose messages lie between each other's.
async fn read(folder: &Path) {
    drop(fill(folder, 200_000, 100).await);
    let engine = Embedded::open(folder, config(), LogConfig::default()).expect("it opens");
    let engine = Arc::new(engine);
    let pages = Arc::new(AtomicU64::new(0));
    let (spent, started, span) = (cpu(), Instant::now(), Duration::from_secs(3));
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let (engine, pages) = (engine.clone(), pages.clone());
            tokio::spawn(async move {
                let limit = PageLimit {
                    count: 100,
                    bytes: 1 << 20,
                };
                for number in (reader..).step_by(7) {
                    if started.elapsed() > span {
                        return;
                    }
                    let name = format!("room:{:08}:with-a-name-of-usual-length", number % 100);
                    let page = engine.read(&name, 1_900, limit).await;
                    let page = page.expect("it answers").expect("a record");
                    assert_eq!(page.publications.len(), 100);
                    pages.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.expect("a reader");
    }
    let count = pages.load(Ordering::Relaxed) as f64;
    println!(
        "read last=100 pages/s={:.0} cpu_us={:.1}",
        count / started.elapsed().as_secs_f64(),
        (cpu() - spent).as_micros() as f64 / count
    );
}

/// Publishing while everything written is soon trimmed, beside publishing where nothing is.
async fn trimming(folder: &Path, span: Duration) {
    for (name, messages) in [("idle", 10_000_000), ("compacting", 2_000)] {
        empty(folder);
        let mut config = config();
        config.policies[0].history = Some(Retention {
            messages,
            bytes: 16 << 30,
            ..Retention::default()
        });
        let engine = Embedded::open(folder, config, LogConfig::default()).expect("it opens");
        let engine = Arc::new(engine);
        let latencies = run_publishers(&engine, 256, span, 16).await;
        let payload_bytes = latencies.len() as u64 * PAYLOAD_BYTES as u64;
        let written =
            detail(&engine, "written_bytes") + detail(&engine, "compaction_written_bytes");
        println!(
            "{name} acked={} p50_us={} p99_us={} rewrites={} log_mb={} debt_mb={} \
             bytes_per_payload_byte={:.2}",
            latencies.len(),
            latencies[latencies.len() / 2],
            latencies[latencies.len() * 99 / 100],
            detail(&engine, "compactions"),
            detail(&engine, "log_bytes") >> 20,
            detail(&engine, "compaction_debt_bytes") >> 20,
            written as f64 / payload_bytes as f64,
        );
    }
}
