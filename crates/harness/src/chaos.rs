//! The scenario `chaos`: many clients on many channels through breaking links.
//!
//! Owns the order of the run: start, subscribe, publish under faults, heal, converge, stop, judge.
//! Each wait has a deadline; nothing sleeps in the hope that something is done by then.

use std::{fmt, fs, path::PathBuf, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    driver::DriverSpec,
    log::{Load, Record},
    rng::Rng,
    scenario::{RunError, RunOptions, Scenario},
    verdict::Verdict,
};

mod faults;
mod judge;
mod ledger;
mod publish;
mod upstream;
mod world;

use world::World;

/// The scenarios of this module.
pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "chaos",
    what: "many clients on many channels through links that break at random from a seed",
    run: |options| Box::pin(async move { run(&ChaosOptions::new(options)?).await }),
    judge: |folder| Ok(judge::judge(folder)?),
}];

const SHORT_SPAN: Duration = Duration::from_secs(25);
const FULL_SPAN: Duration = Duration::from_secs(180);
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
    /// Every random choice follows from it.
    seed: u64,
    /// How much.
    load: Load,
    /// How long faults go on.
    span: Duration,
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
    fn new(options: RunOptions) -> Result<Self, RunError> {
        let short = options.short;
        let size =
            |given: Option<usize>, full, small| given.unwrap_or(if short { small } else { full });
        let sizes = options.sizes;
        let load = Load {
            clients: size(sizes.clients, 200, 24),
            channels: size(sizes.channels, 50, 20),
            per_client: size(sizes.per_client, 5, 5),
            publications: size(sizes.publications, 100_000, 8_000),
            upstream: size(sizes.upstream, 20_000, 1_500),
            short,
        };
        if load.per_client > load.channels {
            let problem = "a client can't watch more channels than there are";
            return Err(RunError::Options(problem.into()));
        }
        if options.drivers.is_empty() {
            return Err(RunError::Options("chaos needs a --driver".into()));
        }
        Ok(Self {
            seed: options.seed,
            load,
            span: options
                .span
                .unwrap_or(if short { SHORT_SPAN } else { FULL_SPAN }),
            server: options.server,
            drivers: options.drivers,
            driver_processes: options.driver_processes.min(load.clients),
            folder: options.folder,
        })
    }
}

/// Runs the scenario and judges its logs.
async fn run(options: &ChaosOptions) -> Result<Verdict, RunError> {
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
    settle(&mut world).await?;
    let folder = world.stop().await?;
    say(format_args!("judging the logs in {}", folder.display()));
    // Two million lines: off the runtime, since nothing else is left to do on this thread.
    let verdict = tokio::task::spawn_blocking(move || judge::judge(&folder)).await;
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
    let work = async {
        let faults = async {
            faults::play(&world.links, &world.http_links, options, rng).await;
            Ok(())
        };
        tokio::try_join!(
            faults,
            publish::run(world.publisher(), options, rng.fork(2)),
            upstream::run(&told, options, rng.fork(3)),
            upstream::freeze(&told, options, rng.fork(4)),
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

/// The phase in which everything must come right by itself.
async fn settle(world: &mut World) -> Result<(), RunError> {
    world.links.heal();
    world.http_links.heal();
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
    let stats = world.server.stats().await?;
    world.ledger.write(&Record::Stats { stats })?;
    world.write_counts()
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
            self.server.check_alive()?;
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
