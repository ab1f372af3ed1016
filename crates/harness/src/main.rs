//! The command line of the harness.
//!
//! Exit codes: 0 passed, 1 a violation or a run that owed more, 2 the run could not be carried
//! through, 130 interrupted. Children die with this process: they are killed when it unwinds, and
//! drivers end when their stdin does.
#![forbid(unsafe_code)]

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use bowline_harness::{ChaosError, ChaosOptions, DriverSpec, Load, Verdict, judge, run_chaos};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

const SCENARIOS: [(&str, &str); 1] = [(
    "chaos",
    "many clients on many channels through links that break at random from a seed",
)];
const SHORT_SPAN_S: u64 = 25;
const FULL_SPAN_S: u64 = 180;

#[derive(Parser)]
#[command(version, about = "Real processes under faults, judged from their logs")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names the scenarios.
    List,
    /// Runs a scenario and judges it.
    #[command(subcommand)]
    Run(Scenario),
    /// Judges the logs of a run again.
    Check {
        /// The folder that the run printed.
        folder: PathBuf,
    },
}

#[derive(Subcommand)]
enum Scenario {
    /// Many clients on many channels through breaking links.
    Chaos(Chaos),
}

/// Sizes that are not given are those of the full run, or, with --short, of the short one.
#[derive(Args)]
struct Chaos {
    /// Every random choice follows from it [default: the time].
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long)]
    clients: Option<usize>,
    #[arg(long)]
    channels: Option<usize>,
    /// Channels per client.
    #[arg(long)]
    per_client: Option<usize>,
    /// Publications over HTTP.
    #[arg(long)]
    publications: Option<usize>,
    /// Publications by clients.
    #[arg(long)]
    upstream: Option<usize>,
    /// A small run of less than a minute, which owes less.
    #[arg(long)]
    short: bool,
    /// For how many seconds links break.
    #[arg(long)]
    span: Option<u64>,
    /// The bowline binary.
    #[arg(long)]
    server: PathBuf,
    /// A driver's command line; given several times, driver processes take turns.
    #[arg(long, required = true)]
    driver: Vec<String>,
    /// Driver processes.
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// Keep the logs here [default: a temporary folder, removed if the run passes].
    #[arg(long)]
    logs: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::List => {
            for (name, what) in SCENARIOS {
                println!("{name:<8} {what}");
            }
            ExitCode::SUCCESS
        }
        Command::Check { folder } => conclude(judge(&folder).map_err(ChaosError::from)),
        Command::Run(Scenario::Chaos(arguments)) => run(arguments).await,
    }
}

async fn run(arguments: Chaos) -> ExitCode {
    let keep = arguments.logs.is_some();
    let options = match arguments.options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    println!(
        "seed {}, logs in {}",
        options.seed,
        options.folder.display()
    );
    let result = tokio::select! {
        result = run_chaos(&options) => result,
        // The run is dropped, and its children are killed with it.
        () = interrupted() => {
            eprintln!("interrupted");
            return ExitCode::from(130);
        }
    };
    let passed = result.as_ref().is_ok_and(Verdict::passed);
    if passed && !keep {
        // What can't be removed is only litter.
        let _ = fs::remove_dir_all(&options.folder);
    }
    if !passed {
        println!(
            "seed {}, logs kept in {}",
            options.seed,
            options.folder.display()
        );
    }
    conclude(result)
}

fn conclude(result: Result<Verdict, ChaosError>) -> ExitCode {
    match result {
        Ok(verdict) => {
            print!("{verdict}");
            let passed = verdict.passed();
            println!("{}", if passed { "PASSED" } else { "FAILED" });
            ExitCode::from(u8::from(!passed))
        }
        Err(error) => {
            eprintln!("the run could not be carried through: {error}");
            ExitCode::from(2)
        }
    }
}

async fn interrupted() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                // Whichever comes first; both mean the same.
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers the signals kill this process by themselves.
        Err(_) => std::future::pending().await,
    }
}

impl Chaos {
    fn options(self) -> Result<ChaosOptions, String> {
        let size = |given: Option<usize>, full, short| {
            given.unwrap_or(if self.short { short } else { full })
        };
        let load = Load {
            clients: size(self.clients, 200, 24),
            channels: size(self.channels, 50, 20),
            per_client: size(self.per_client, 5, 5),
            publications: size(self.publications, 100_000, 8_000),
            upstream: size(self.upstream, 20_000, 1_500),
            short: self.short,
        };
        if load.clients == 0 || load.per_client == 0 || self.processes == 0 {
            return Err("clients, channels per client and processes must be at least 1".into());
        }
        if load.per_client > load.channels {
            return Err("a client can't watch more channels than there are".into());
        }
        let drivers: Option<Vec<_>> = self
            .driver
            .iter()
            .map(|line| DriverSpec::parse(line))
            .collect();
        let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
        let seed = self.seed.unwrap_or(since_1970.as_secs());
        let span_s = self.span.unwrap_or(if self.short {
            SHORT_SPAN_S
        } else {
            FULL_SPAN_S
        });
        let folder = format!("bowline-harness-{seed}-{}", std::process::id());
        Ok(ChaosOptions {
            seed,
            load,
            span: Duration::from_secs(span_s),
            server: self.server,
            drivers: drivers.ok_or("--driver is empty")?,
            driver_processes: self.processes.min(load.clients),
            folder: self
                .logs
                .unwrap_or_else(|| std::env::temp_dir().join(folder)),
        })
    }
}
