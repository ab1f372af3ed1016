//! Every kind of fault that a run can be struck by, as data, and which of them make sense together.

use super::{ground::Ground, rules};
use crate::{
    network::{NetworkFault, PathFault},
    proxy::{FaultKind, FrameRule},
    rng::Rng,
};

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of links, byte by byte.
    Bytes(FaultKind),
    /// Of frames with a message of a type.
    Frame(FrameRule),
    /// Of the packets of some clients' paths.
    Path(PathFault),
    /// Of the whole network, on one side of the proxy.
    Network(NetworkFault),
    /// The server stands still.
    ServerStopped,
    /// Clients stand still.
    DriversStopped,
    /// The server is killed, and started again.
    Killed,
    /// The server is told to end, and started again.
    Drained,
    /// The server's disk has no room.
    DiskFull,
    /// The disk fails to make the log durable, and the server is killed and started again.
    SyncFails,
    /// The disk takes its time to make the log durable.
    SyncSlow,
    /// The server's wall clock jumps ahead, and back.
    ClockAhead,
    /// The server's wall clock jumps back, and ahead.
    ClockBehind,
    /// The server may open no file and no socket.
    NoDescriptors,
}

/// What a fault takes hold of: two of them at once must take hold of different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Bytes,
    Frames,
    Network,
    Server,
    Drivers,
    Disk,
    Clock,
}

/// A strike: one fault, or two at once.
pub(super) type Strike = (Kind, Option<Kind>);

impl Kind {
    /// All that can be had on this ground.
    pub(super) fn all(ground: &Ground) -> Vec<Self> {
        let mut kinds: Vec<Self> = FaultKind::ALL.map(Self::Bytes).to_vec();
        kinds.extend(rules::RULES.map(Self::Frame));
        if ground.hosts.is_some() {
            kinds.extend(PathFault::ALL.map(Self::Path));
            kinds.extend(NetworkFault::ALL.map(Self::Network));
        }
        kinds.extend([
            Self::ServerStopped,
            Self::DriversStopped,
            Self::Killed,
            Self::Drained,
            Self::NoDescriptors,
        ]);
        if ground.volume.is_some() {
            kinds.push(Self::DiskFull);
        }
        if ground.traces {
            kinds.extend([Self::SyncFails, Self::SyncSlow]);
        }
        if ground.clock.is_some() {
            kinds.extend([Self::ClockAhead, Self::ClockBehind]);
        }
        kinds
    }

    /// The name in logs and tables.
    pub(super) fn name(self) -> String {
        match self {
            Self::Bytes(kind) => kind.name(),
            Self::Frame(rule) => return rule.name(),
            Self::Path(fault) => fault.name(),
            Self::Network(fault) => fault.name(),
            Self::ServerStopped => "server stopped",
            Self::DriversStopped => "clients stopped",
            Self::Killed => "server killed",
            Self::Drained => "server drained",
            Self::DiskFull => "disk full",
            Self::SyncFails => "EIO of fdatasync",
            Self::SyncSlow => "slow fdatasync",
            Self::ClockAhead => "clock ahead",
            Self::ClockBehind => "clock behind",
            Self::NoDescriptors => "no descriptors",
        }
        .to_owned()
    }

    pub(super) fn hold(self) -> Hold {
        match self {
            Self::Bytes(_) => Hold::Bytes,
            Self::Frame(_) => Hold::Frames,
            Self::Path(_) | Self::Network(_) => Hold::Network,
            Self::DriversStopped => Hold::Drivers,
            Self::DiskFull => Hold::Disk,
            Self::ClockAhead | Self::ClockBehind => Hold::Clock,
            _ => Hold::Server,
        }
    }
}

/// Each kind so many times, in an order drawn from the seed.
pub(super) fn singles(kinds: &[Kind], rounds: usize, rng: &mut Rng) -> Vec<Strike> {
    let mut strikes = Vec::with_capacity(kinds.len() * rounds);
    for _ in 0..rounds {
        let mut round: Vec<Strike> = kinds.iter().map(|kind| (*kind, None)).collect();
        rng.shuffle(&mut round);
        strikes.extend(round);
    }
    strikes
}

/// So many pairs, drawn from the seed, different ones as far as there are: first what the two take hold of, then
/// the kinds, so that the many kinds of frames don't crowd out the others.
pub(super) fn pairs(kinds: &[Kind], count: usize, rng: &mut Rng) -> Vec<Strike> {
    let mut combinations = Vec::new();
    for (index, first) in kinds.iter().enumerate() {
        let others = kinds[index + 1..].iter();
        let others = others.filter(|second| second.hold() != first.hold());
        combinations.extend(others.map(|second| (*first, Some(*second))));
    }
    rng.shuffle(&mut combinations);
    let holds = |strike: &Strike| (strike.0.hold(), strike.1.map(Kind::hold));
    let mut strikes: Vec<Strike> = Vec::new();
    while !combinations.is_empty() {
        let mut turn = Vec::new();
        combinations.retain(|strike| {
            let is_new = !turn.iter().any(|taken| holds(taken) == holds(strike));
            if is_new {
                turn.push(*strike);
            }
            !is_new
        });
        rng.shuffle(&mut turn);
        strikes.extend(turn);
    }
    strikes.into_iter().cycle().take(count).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn kinds() -> Vec<Kind> {
        let mut kinds = Kind::all(&Ground::default());
        kinds.extend([Kind::DiskFull, Kind::ClockAhead]);
        kinds
    }

    #[test]
    fn kinds_have_names_of_their_own() {
        let names: BTreeSet<_> = kinds().into_iter().map(Kind::name).collect();
        assert_eq!(names.len(), kinds().len());
        assert!(names.len() >= 35);
    }

    #[test]
    fn each_kind_comes_as_often_as_any_other() {
        let strikes = singles(&kinds(), 3, &mut Rng::new(1));
        for kind in kinds() {
            let count = strikes.iter().filter(|(one, _)| *one == kind).count();
            assert_eq!(count, 3, "{kind:?}");
        }
    }

    #[test]
    fn pairs_are_different_and_take_hold_of_different_things() {
        for seed in 0..10 {
            let strikes = pairs(&kinds(), 60, &mut Rng::new(seed));
            assert_eq!(strikes, pairs(&kinds(), 60, &mut Rng::new(seed)));
            let names = strikes.iter().map(|(first, second)| {
                let second = second.expect("a pair");
                assert_ne!(first.hold(), second.hold());
                BTreeSet::from([first.name(), second.name()])
            });
            assert_eq!(names.collect::<BTreeSet<_>>().len(), 60);
        }
    }
}
