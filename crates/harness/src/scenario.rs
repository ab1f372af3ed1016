//! The registry of scenarios: what `harness list` names and `harness run NAME` runs.
//!
//! Owns what every scenario is given and what it answers. Must not know what any of them does: a
//! module with scenarios has a `SCENARIOS` of its own, and is named once in [`scenarios`].

use std::{io, path::Path, path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;

use crate::{
    chaos, disk,
    driver::{DriverError, DriverSpec},
    hostile,
    log::HistoryError,
    process::ServerError,
    verdict::Verdict,
};

/// A scenario that can be run by its name.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in one line.
    pub what: &'static str,
    /// Runs it and judges it.
    pub run: fn(RunOptions) -> BoxFuture<'static, Result<Verdict, RunError>>,
    /// Judges the logs of a run again.
    pub judge: fn(&Path) -> Result<Verdict, RunError>,
}

/// What every scenario is given; each takes what it has a use for.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Every random choice follows from it.
    pub seed: u64,
    /// A small run of about a minute, which owes less.
    pub short: bool,
    /// The `bowline` binary.
    pub server: PathBuf,
    /// Driver processes take turns with these; may be empty.
    pub drivers: Vec<DriverSpec>,
    /// How many driver processes share the clients; at least 1.
    pub driver_processes: usize,
    /// Where logs go; does not hold those of another run. It may not exist yet.
    pub folder: PathBuf,
    /// How long faults go on, where the scenario's own time is not wanted.
    pub span: Option<Duration>,
    /// The server keeps its logs on disk where the scenario's own choice is memory.
    pub embedded: bool,
    /// Sizes that are wanted instead of the scenario's own.
    pub sizes: Sizes,
    /// Only these kinds of faults, where a scenario goes through many; empty means all.
    pub faults: Vec<String>,
}

/// Sizes; none means the scenario's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// Clients.
    pub clients: Option<usize>,
    /// Channels in all.
    pub channels: Option<usize>,
    /// Channels that each client subscribes to.
    pub per_client: Option<usize>,
    /// Publications over HTTP.
    pub publications: Option<usize>,
    /// Publications by clients.
    pub upstream: Option<usize>,
    /// Rounds of a scenario that does the same again and again.
    pub rounds: Option<u64>,
}

/// There is no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// This machine or this call lacks something: nothing was shown, and nothing has failed.
    #[error("NOT RUN: {0}")]
    NotRun(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Options(String),
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

impl RunError {
    /// Whether what was run is to blame, rather than the harness or this machine: such an end is recorded.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::NotRun(_) | Self::Options(_) | Self::Io(_) | Self::Log(_) => false,
            Self::Server(ServerError::Start { .. }) | Self::Driver(DriverError::Io { .. }) => false,
            Self::Server(_) | Self::Driver(_) | Self::Failed(_) | Self::Late { .. } => true,
        }
    }
}

/// All scenarios, in the order in which `harness run all` runs them.
pub fn scenarios() -> impl Iterator<Item = Scenario> {
    [chaos::SCENARIOS, hostile::SCENARIOS, disk::SCENARIOS]
        .into_iter()
        .flatten()
        .copied()
}

/// The scenario of this name.
pub fn scenario(name: &str) -> Option<Scenario> {
    scenarios().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_all_is_none_of_them() {
        let names: Vec<_> = scenarios().map(|scenario| scenario.name).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        assert!(!names.contains(&"all"));
    }
}
