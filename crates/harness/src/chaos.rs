//! The scenario `chaos`: many clients on many channels through breaking links.
//!
//! Owns the order of the run: start, subscribe, publish under faults, heal, converge, stop, judge.
//! Each wait has a deadline; nothing sleeps in the hope that something is done by then.

use std::{fmt, fs, io, path::PathBuf, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    driver::{DriverError, DriverSpec},
    log::{HistoryError, Load, Record},
    process::ServerError,
    rng::Rng,
};

mod faults;
mod ledger;
mod publish;
mod upstream;
mod verdict;
mod world;

pub use verdict::{Row, Verdict, judge};

use world::World;

const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(60);
/// Clients back off for up to a second and a hole must be noticed first; the rest is a loaded
/// machine.
const SETTLE_DEADLINE: Duration = Duration::from_secs(90);
const STOP_DEADLINE: Duration = Duration::from_secs(40);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Clone, Debug)]
pub struct ChaosOptions {
    /// Every random choice follows from it.
    pub seed: u64,
    /// How much.
    pub load: Load,
    /// How long faults go on.
    pub span: Duration,
    /// The `bowline` binary.
    pub server: PathBuf,
    /// Driver processes take turns with these.
    pub drivers: Vec<DriverSpec>,
    /// How many driver processes share the clients.
    pub driver_processes: usize,
    /// Where logs go; must not hold those of another run.
    pub folder: PathBuf,
}

/// The run could not be carried through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChaosError {
    /// Files or sockets of the harness itself.
    #[error("the harness: {0}")]
    Io(#[from] io::Error),
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A driver.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A log that can't be judged.
    #[error(transparent)]
    Log(#[from] HistoryError),
    /// A process ended, or a line broke the contract.
    #[error("{0}")]
    Failed(String),
    /// Something did not come about in time.
    #[error("not within {deadline:?}: {what}")]
    Late {
        /// What was waited for, and how far it came.
        what: String,
        /// How long.
        deadline: Duration,
    },
}

/// Runs the scenario and judges its logs.
pub async fn run(options: &ChaosOptions) -> Result<Verdict, ChaosError> {
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
    let verdict = tokio::task::spawn_blocking(move || judge(&folder)).await;
    Ok(verdict.map_err(|error| ChaosError::Failed(error.to_string()))??)
}

/// The phase in which everything breaks.
async fn break_and_publish(
    world: &mut World,
    options: &ChaosOptions,
    rng: &Rng,
) -> Result<(), ChaosError> {
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
                return ChaosError::Failed(reason);
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
async fn settle(world: &mut World) -> Result<(), ChaosError> {
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
    ) -> Result<(), ChaosError> {
        let until = Instant::now() + deadline;
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.server.check_alive()?;
            if let Some(reason) = self.progress.failure() {
                return Err(ChaosError::Failed(reason));
            }
            let Some(what) = lacking(self) else {
                return Ok(());
            };
            if Instant::now() > until {
                return Err(ChaosError::Late { what, deadline });
            }
        }
    }
}

fn say(line: fmt::Arguments<'_>) {
    println!("{line}");
}
