//! `bowline-sim`: plays seeds, one with its trace or many on all cores.

use std::{collections::BTreeSet, num::NonZero, process::ExitCode, thread, time::Duration};

use bowline_sim::{Bound, Cuts, Fault, Swarm, Told, minimise, run, swarm};
use clap::Parser;

/// A seeded simulation of clients, a server and its disk. Without --minutes or --seeds it plays one
/// seed and prints its trace.
#[derive(Debug, Parser)]
#[command(name = "bowline-sim", version)]
struct Args {
    /// Play this seed with its trace; the first seed of a swarm.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Play consecutive seeds on all cores for so many minutes.
    #[arg(long, conflicts_with = "seeds")]
    minutes: Option<f64>,
    /// Play so many consecutive seeds on all cores.
    #[arg(long)]
    seeds: Option<u64>,
    /// Threads of a swarm; as many as there are cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// A swarm goes on behind a failing seed.
    #[arg(long)]
    keep_going: bool,
    /// Do not look for a smaller form of a seed that fails.
    #[arg(long)]
    no_minimise: bool,
    /// Do not print the trace.
    #[arg(long)]
    quiet: bool,
    /// At most so many clients.
    #[arg(long)]
    clients: Option<usize>,
    /// At most so many publications.
    #[arg(long)]
    publications: Option<usize>,
    /// Only the first faults.
    #[arg(long)]
    faults: Option<usize>,
    /// Without these kinds of fault.
    #[arg(long, value_delimiter = ',', value_parser = fault)]
    without: Vec<Fault>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let bound = match (args.minutes, args.seeds) {
        (Some(minutes), _) => Some(Bound::Time(Duration::from_secs_f64(minutes * 60.0))),
        (None, Some(seeds)) => Some(Bound::Seeds(seeds)),
        (None, None) => None,
    };
    let Some(bound) = bound else {
        return play(&args);
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = args.threads.unwrap_or(cores);
    let swarm = swarm(args.seed, bound, threads, !args.keep_going);
    report(args.seed, &swarm, !args.no_minimise)
}

fn play(args: &Args) -> ExitCode {
    let cuts = Cuts {
        clients: args.clients,
        publications: args.publications,
        faults: args.faults,
        without: args.without.iter().copied().collect::<BTreeSet<_>>(),
    };
    let told = if args.quiet {
        Told::Nothing
    } else {
        Told::Trace
    };
    let outcome = run(args.seed, &cuts, told);
    print!("{}", outcome.counters);
    for violation in &outcome.violations {
        println!("VIOLATION {violation}");
    }
    if outcome.violations.is_empty() {
        println!("seed {} is clean", args.seed);
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn report(first: u64, swarm: &Swarm, minimises: bool) -> ExitCode {
    print!("{}", swarm.counters);
    let minutes = swarm.elapsed.as_secs_f64() / 60.0;
    println!(
        "{} seeds from {first} in {:.1} s: {:.0} seeds/minute",
        swarm.seeds,
        swarm.elapsed.as_secs_f64(),
        swarm.seeds as f64 / minutes
    );
    for (seed, violations) in &swarm.failures {
        println!("seed {seed} FAILED");
        for violation in violations.iter().take(5) {
            println!("  {violation}");
        }
    }
    let Some((seed, _)) = swarm.failures.first() else {
        println!("all clean");
        return ExitCode::SUCCESS;
    };
    if !minimises {
        return ExitCode::FAILURE;
    }
    match minimise(*seed) {
        Some(cuts) => println!("smaller: bowline-sim --seed {seed}{}", flags(&cuts)),
        None => println!("seed {seed} did not fail again: it is not deterministic"),
    }
    ExitCode::FAILURE
}

fn flags(cuts: &Cuts) -> String {
    let mut flags = String::new();
    for (name, count) in [
        ("clients", cuts.clients),
        ("publications", cuts.publications),
        ("faults", cuts.faults),
    ] {
        if let Some(count) = count {
            flags.push_str(&format!(" --{name} {count}"));
        }
    }
    if !cuts.without.is_empty() {
        let names: Vec<&str> = cuts.without.iter().map(|fault| fault.name()).collect();
        flags.push_str(&format!(" --without {}", names.join(",")));
    }
    flags
}

fn fault(name: &str) -> Result<Fault, String> {
    let known = Fault::ALL
        .iter()
        .copied()
        .find(|fault| fault.name() == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        format!("no such fault; there are {}", names.join(", "))
    })
}
