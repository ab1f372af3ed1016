//! The scenario `chaos`: many clients on many channels through breaking links.
//!
//! Owns the order of the run: start, subscribe, publish under faults, heal, converge, stop, judge.
//! Each wait has a deadline; nothing sleeps in the hope that something is done by then.

use std::{
    fmt, fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    driver::DriverSpec,
    log::{Load, Record},
    rng::Rng,
    scenario::{RunError, RunOptions, Scenario},
    verdict::Verdict,
};

mod faults;
mod ground;
mod judge;
mod kinds;
mod ledger;
mod processes;
mod publish;
mod rules;
mod strike;
mod strikes;
mod theme;
mod upstream;
mod world;

use theme::Theme;
use world::World;

/// The scenarios of this module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "chaos",
        what: "many clients on many channels through links that break at random from a seed",
        run: |options| Box::pin(run(options, Theme::Links)),
        judge: |folder| Ok(judge::judge(folder, Theme::Links)?),
    },
    Scenario {
        name: "restarts",
        what: "the server is killed (SIGKILL) and comes back with an empty memory",
        run: |options| Box::pin(run(options, Theme::Restarts)),
        judge: |folder| Ok(judge::judge(folder, Theme::Restarts)?),
    },
    Scenario {
        name: "kinds",
        what: "every kind of fault, one after the other: links, frames, hosts, processes, disk, clock",
        run: |options| Box::pin(run(options, Theme::Kinds)),
        judge: |folder| Ok(judge::judge(folder, Theme::Kinds)?),
    },
    Scenario {
        name: "pairs",
        what: "two kinds of faults at once, pair after pair drawn from the seed",
        run: |options| Box::pin(run(options, Theme::Pairs)),
        judge: |folder| Ok(judge::judge(folder, Theme::Pairs)?),
    },
    Scenario {
        name: "kill-random",
        what: "the server is killed (SIGKILL) at random moments and comes back with its log",
        run: |options| Box::pin(run(options, Theme::Kills)),
        judge: |folder| Ok(judge::judge(folder, Theme::Kills)?),
    },
];

const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(60);
/// Clients back off for up to a second and a hole must be noticed first; the rest is a loaded
/// machine.
const SETTLE_DEADLINE: Duration = Duration::from_secs(90);
const STOP_DEADLINE: Duration = Duration::from_secs(40);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Clone, Debug)]
struct ChaosOptions {
    /// What breaks.
    theme: Theme,
    /// Every random choice follows from it.
    seed: u64,
    /// How much.
    load: Load,
    /// How long faults go on.
    span: Duration,
    /// The server keeps its logs on disk.
    embedded: bool,
    /// Only these kinds of faults; empty means all.
    faults: Vec<String>,
    /// The `bowline` binary.
    server: PathBuf,
    /// Driver processes take turns with these.
    drivers: Vec<DriverSpec>,
    /// How many driver processes share the clients.
    driver_processes: usize,
    /// Where logs go; must not hold those of another run.
    folder: PathBuf,
}

impl ChaosOptions {
    fn new(options: RunOptions, theme: Theme) -> Result<Self, RunError> {
        let load = theme.load(options.short, options.sizes);
        if load.per_client > load.channels {
            let problem = "a client can't watch more channels than there are";
            return Err(RunError::Options(problem.into()));
        }
        if options.drivers.is_empty() {
            return Err(RunError::Options("this scenario needs a --driver".into()));
        }
        if options.embedded && theme == Theme::Restarts {
            let problem = "this scenario is about a server that loses its memory";
            return Err(RunError::Options(problem.into()));
        }
        Ok(Self {
            theme,
            seed: options.seed,
            load,
            span: options.span.unwrap_or(theme.span(options.short)),
            embedded: options.embedded || theme.keeps_logs(),
            faults: options.faults,
            server: options.server,
            drivers: options.drivers,
            driver_processes: options.driver_processes.min(load.clients),
            folder: options.folder,
        })
    }
}

/// Runs a scenario and judges its logs.
async fn run(options: RunOptions, theme: Theme) -> Result<Verdict, RunError> {
    let options = &ChaosOptions::new(options, theme)?;
    fs::create_dir_all(&options.folder)?;
    let rng = Rng::new(options.seed);
    let mut world = World::start(options, &rng).await?;
    say(format_args!(
        "{} subscriptions are asked for",
        world.expected.len()
    ));
    world
        .wait(SUBSCRIBE_DEADLINE, |world| {
            let missing = world.progress.missing(&world.expected);
            (missing > 0).then(|| format!("{missing} subscriptions are missing"))
        })
        .await?;
    break_and_publish(&mut world, options, &rng).await?;
    settle(&mut world, theme).await?;
    let folder = world.stop().await?;
    say(format_args!("judging the logs in {}", folder.display()));
    // Two million lines: off the runtime, since nothing else is left to do on this thread.
    let verdict = tokio::task::spawn_blocking(move || judge::judge(&folder, theme)).await;
    Ok(verdict.map_err(|error| RunError::Failed(error.to_string()))??)
}

/// The phase in which everything breaks.
async fn break_and_publish(
    world: &mut World,
    options: &ChaosOptions,
    rng: &Rng,
) -> Result<(), RunError> {
    let begun = Instant::now();
    let told = world.upstream();
    let is_over = &AtomicBool::new(false);
    let breaking = async {
        break_all(world, options, rng).await?;
        is_over.store(true, Relaxed);
        Ok(())
    };
    let work = async {
        tokio::try_join!(
            breaking,
            publish::run(world.publisher(), options, rng.fork(2), is_over),
            upstream::run(&told, options, rng.fork(3), is_over),
            upstream::freeze(&told, options, rng.fork(4), is_over),
        )?;
        faults::top_up(&world.links, options).await
    };
    let progress = world.progress.clone();
    let watch = async {
        let mut ticks = interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(reason) = progress.failure() {
                return RunError::Failed(reason);
            }
            say(format_args!(
                "{:>4} s: {} deliveries, {} acked, {} dropped, {} unresolved, {} recovered, {} gaps, {} cuts",
                begun.elapsed().as_secs(),
                progress.deliveries.load(Relaxed),
                progress.acked.load(Relaxed),
                progress.dropped.load(Relaxed),
                progress.unresolved_total(),
                progress.recovered.load(Relaxed),
                progress.gaps.load(Relaxed),
                world
                    .links
                    .links()
                    .iter()
                    .map(|link| link.counts().cuts)
                    .sum::<u64>(),
            ));
        }
    };
    tokio::select! {
        // A failure ends the run at once; otherwise both are polled in turn.
        error = watch => Err(error),
        done = work => done,
    }
}

/// Everything that breaks by the theme; done when the span is over.
async fn break_all(world: &World, options: &ChaosOptions, rng: &Rng) -> Result<(), RunError> {
    match options.theme {
        Theme::Links => faults::play(&world.links, &world.http_links, options, rng).await,
        Theme::Kinds | Theme::Pairs => strikes::play(world, options, rng.fork(9)).await?,
        Theme::Restarts | Theme::Kills => {
            processes::kill(&world.server, &world.ledger, options, rng.fork(7)).await?;
        }
    }
    Ok(())
}

/// The phase in which everything must come right by itself.
async fn settle(world: &mut World, theme: Theme) -> Result<(), RunError> {
    world.links.heal();
    world.http_links.heal();
    if theme.is_open_ended() {
        rules::cut_all(&world.links);
    }
    say(format_args!(
        "healed; waiting for {} publishes",
        world.progress.unresolved_total()
    ));
    world
        .wait(SETTLE_DEADLINE, |world| {
            let left = world.progress.unresolved_total();
            (left > 0).then(|| format!("{left} publishes of clients are unresolved"))
        })
        .await?;
    // The last message of each channel: who has it has converged.
    publish::last_messages(&world.publisher()).await?;
    world
        .wait(SETTLE_DEADLINE, |world| {
            let lagging = world
                .progress
                .lagging(&world.expected, publish::last_message);
            (lagging > 0).then(|| format!("{lagging} subscriptions have not caught up"))
        })
        .await?;
    say(format_args!("converged"));
    let stats = world.server.get_mut().stats().await?;
    world.ledger.write(&Record::Stats { stats })?;
    match theme.is_open_ended() {
        // Each strike was counted as it struck.
        true => Ok(()),
        false => world.write_counts(),
    }
}

impl World {
    /// Polls until `lacking` has nothing to say, with a deadline.
    async fn wait(
        &mut self,
        deadline: Duration,
        lacking: impl Fn(&Self) -> Option<String>,
    ) -> Result<(), RunError> {
        let until = Instant::now() + deadline;
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            processes::check_alive(&mut self.server)?;
            if let Some(reason) = self.progress.failure() {
                return Err(RunError::Failed(reason));
            }
            let Some(what) = lacking(self) else {
                return Ok(());
            };
            if Instant::now() > until {
                return Err(RunError::Late { what, deadline });
            }
        }
    }
}

fn say(line: fmt::Arguments<'_>) {
    println!("{line}");
}
