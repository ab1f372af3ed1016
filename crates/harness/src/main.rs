//! The command line of the harness.
//!
//! Exit codes: 0 passed (or NOT RUN, which is said), 1 a violation or a run that owed more, 2 the
//! run could not be carried through, 130 interrupted. Children die with this process: they are
//! killed when it unwinds, and drivers end when their stdin does.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode, time::Duration};

use bowline_harness::{
    DriverSpec, ProofRun, RunError, RunOptions, Scenario, Sizes, Verdict, scenario, scenarios,
};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

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
    /// Runs a scenario, or all, and judges it.
    Run(Box<Run>),
    /// Reads and discards what comes to a port of its own, which it prints; of `hostile-latency`.
    #[command(hide = true)]
    Discard,
    /// Judges the logs of a run again.
    Check {
        /// The folder that the run printed.
        folder: PathBuf,
        /// The scenario that was run.
        #[arg(long, default_value = "chaos")]
        scenario: String,
    },
}

/// Sizes that are not given are the scenario's own.
#[derive(Args)]
struct Run {
    /// Names of scenarios, or `all`.
    #[arg(required = true)]
    names: Vec<String>,
    /// Every random choice follows from it [default: the time].
    #[arg(long)]
    seed: Option<u64>,
    /// A small run of about a minute, which owes less.
    #[arg(long)]
    short: bool,
    /// The bowline binary.
    #[arg(long)]
    server: PathBuf,
    /// A driver's command line; given several times, driver processes take turns.
    #[arg(long)]
    driver: Vec<String>,
    /// Driver processes.
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// For how many seconds links break.
    #[arg(long)]
    span: Option<u64>,
    /// The server keeps its logs on disk, where the scenario's own choice is memory.
    #[arg(long)]
    embedded: bool,
    /// Only this kind of fault, of `kinds` and `pairs`, or this row of the hostile ones; may be given
    /// several times.
    #[arg(long)]
    fault: Vec<String>,
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
    /// Rounds of a scenario that does the same again and again.
    #[arg(long)]
    rounds: Option<u64>,
    /// Keep the logs here [default: a temporary folder, removed if the run passes].
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Append the totals to this record, of docs/proof.
    #[arg(long)]
    proof: Option<PathBuf>,
}

/// How a run ended, for the table and the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Passed,
    NotRun,
    Failed,
    Broken,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::List => {
            for Scenario { name, what, .. } in scenarios() {
                println!("{name:<16} {what}");
            }
            ExitCode::SUCCESS
        }
        Command::Discard => match bowline_harness::discard().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
        },
        Command::Check { folder, scenario } => match named(&scenario).as_deref() {
            Some([scenario]) => conclude(&(scenario.judge)(&folder)).exit_code(),
            _ => ExitCode::from(2),
        },
        Command::Run(arguments) => {
            let chosen = arguments.names.iter().map(|name| named(name));
            let Some(chosen) = chosen.collect::<Option<Vec<_>>>() else {
                return ExitCode::from(2);
            };
            let chosen = chosen.concat();
            tokio::select! {
                endings = run_all(&chosen, &arguments) => endings,
                // The run is dropped, and its children are killed with it.
                () = interrupted() => {
                    eprintln!("interrupted");
                    ExitCode::from(130)
                }
            }
        }
    }
}

/// The scenarios that a name stands for; none after having said that there is none.
fn named(name: &str) -> Option<Vec<Scenario>> {
    if name == "all" {
        return Some(scenarios().collect());
    }
    let found = scenario(name);
    if found.is_none() {
        eprintln!("there is no scenario {name:?}: see `harness list`");
    }
    found.map(|scenario| vec![scenario])
}

async fn run_all(chosen: &[Scenario], arguments: &Run) -> ExitCode {
    let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    let seed = arguments.seed.unwrap_or(since_1970.as_secs());
    let mut endings = Vec::with_capacity(chosen.len());
    for scenario in chosen {
        endings.push(run(scenario, arguments, seed).await);
    }
    if chosen.len() > 1 {
        println!();
        for (scenario, ending) in chosen.iter().zip(&endings) {
            println!("{:<16} {}", scenario.name, ending.word());
        }
    }
    let worst = endings.into_iter().max().unwrap_or(Ending::Passed);
    worst.exit_code()
}

async fn run(scenario: &Scenario, arguments: &Run, seed: u64) -> Ending {
    let folder = match &arguments.logs {
        Some(folder) => folder.join(scenario.name),
        None => std::env::temp_dir().join(format!(
            "bowline-harness-{}-{seed}-{}",
            scenario.name,
            std::process::id()
        )),
    };
    let options = match arguments.options(seed, folder.clone()) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            return Ending::Broken;
        }
    };
    let proof = match arguments.proof.as_deref().map(ProofRun::begin).transpose() {
        Ok(proof) => proof,
        Err(problem) => {
            eprintln!("{problem}");
            return Ending::Broken;
        }
    };
    println!(
        "{}, seed {seed}, logs in {}",
        scenario.name,
        folder.display()
    );
    let result = (scenario.run)(options).await;
    let mut ending = conclude(&result);
    let outcome = match &result {
        Ok(verdict) => Some((verdict.passed(), verdict.totals())),
        Err(error) => error.is_failure().then(|| (false, BTreeMap::new())),
    };
    if let (Some(proof), Some((passed, totals))) = (proof, outcome)
        && let Err(problem) = proof.end(seed, passed, totals)
    {
        eprintln!("{problem}");
        ending = Ending::Broken;
    }
    match ending {
        Ending::Passed | Ending::NotRun if arguments.logs.is_none() => {
            // What can't be removed is only litter.
            let _ = fs::remove_dir_all(&folder);
        }
        _ => println!("seed {seed}, logs kept in {}", folder.display()),
    }
    ending
}

fn conclude(result: &Result<Verdict, RunError>) -> Ending {
    let ending = match result {
        Ok(verdict) => {
            print!("{verdict}");
            match verdict.passed() {
                true => Ending::Passed,
                false => Ending::Failed,
            }
        }
        Err(RunError::NotRun(why)) => {
            println!("NOT RUN: {why}");
            return Ending::NotRun;
        }
        Err(error) => {
            eprintln!("the run could not be carried through: {error}");
            return Ending::Broken;
        }
    };
    println!("{}", ending.word());
    ending
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

impl Ending {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::NotRun => "NOT RUN",
            Self::Failed => "FAILED",
            Self::Broken => "BROKEN",
        }
    }

    fn exit_code(self) -> ExitCode {
        match self {
            Self::Passed | Self::NotRun => ExitCode::SUCCESS,
            Self::Failed => ExitCode::from(1),
            Self::Broken => ExitCode::from(2),
        }
    }
}

impl Run {
    fn options(&self, seed: u64, folder: PathBuf) -> Result<RunOptions, String> {
        if self.processes == 0 || self.clients == Some(0) || self.per_client == Some(0) {
            return Err("clients, channels per client and processes must be at least 1".into());
        }
        let drivers: Option<Vec<_>> = self
            .driver
            .iter()
            .map(|line| DriverSpec::parse(line))
            .collect();
        Ok(RunOptions {
            seed,
            short: self.short,
            server: self.server.clone(),
            drivers: drivers.ok_or("--driver is empty")?,
            driver_processes: self.processes,
            folder,
            span: self.span.map(Duration::from_secs),
            embedded: self.embedded,
            faults: self.fault.clone(),
            sizes: Sizes {
                clients: self.clients,
                channels: self.channels,
                per_client: self.per_client,
                publications: self.publications,
                upstream: self.upstream,
                rounds: self.rounds,
            },
        })
    }
}
