//! What breaks in a run: the themes of the scenarios, their sizes, and what each owes.

use std::time::Duration;

use super::strikes;
use crate::{log::Load, proxy::FaultKind, scenario::Sizes};

/// What breaks, beside readers that freeze now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Theme {
    /// Links, byte by byte.
    Links,
    /// The server is killed and comes back with an empty memory.
    Restarts,
    /// Every kind of fault, one after the other; the server keeps its logs on disk.
    Kinds,
    /// Two kinds of faults at once, pair after pair; the server keeps its logs on disk.
    Pairs,
    /// The server is killed and comes back with its log.
    Kills,
}

/// What a run must have met before its clean logs mean anything.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    /// Each kind of fault.
    pub(super) faults: Vec<(String, u64)>,
    /// Cuts of the link of each client.
    pub(super) cuts_each: u64,
    pub(super) recovered: u64,
    pub(super) catchups: u64,
    pub(super) upstream_duplicates: u64,
    pub(super) explicit_gaps: u64,
    /// Kills of the server.
    pub(super) kills: u64,
    /// Different pairs of faults that met.
    pub(super) pairs: u64,
    /// Strikes of each kind.
    pub(super) strikes: u64,
    /// Messages under way during the strikes of each kind, in all.
    pub(super) in_flight: u64,
}

/// Sizes of a scenario: full, short.
struct Scale {
    clients: (usize, usize),
    channels: (usize, usize),
    publications: (usize, usize),
    upstream: (usize, usize),
    span_s: (u64, u64),
}

const CHANNELS_PER_CLIENT: usize = 5;

impl Theme {
    /// Whether it is the faults that say when a run is over, rather than the span.
    pub(super) fn is_open_ended(self) -> bool {
        matches!(self, Self::Kinds | Self::Pairs | Self::Kills)
    }

    /// Whether clients may only miss what a channel's own bounds let go.
    pub(super) fn keeps_logs(self) -> bool {
        matches!(self, Self::Kinds | Self::Pairs | Self::Kills)
    }

    pub(super) fn load(self, short: bool, wanted: Sizes) -> Load {
        let scale = self.scale();
        let size = |given: Option<usize>, of: (usize, usize)| given.unwrap_or(pick(short, of));
        Load {
            clients: size(wanted.clients, scale.clients),
            channels: size(wanted.channels, scale.channels),
            per_client: wanted.per_client.unwrap_or(CHANNELS_PER_CLIENT),
            publications: size(wanted.publications, scale.publications),
            upstream: size(wanted.upstream, scale.upstream),
            short,
        }
    }

    pub(super) fn span(self, short: bool) -> Duration {
        Duration::from_secs(pick(short, self.scale().span_s))
    }

    pub(super) fn owed(self, short: bool) -> Owed {
        let each = |names: &[&str], least: (u64, u64)| -> Vec<(String, u64)> {
            let least = pick(short, least);
            names
                .iter()
                .map(|name| ((*name).to_owned(), least))
                .collect()
        };
        match self {
            Self::Links => Owed {
                faults: each(&FaultKind::ALL.map(FaultKind::name), (50, 3)),
                cuts_each: pick(short, (10, 3)),
                recovered: pick(short, (1_000, 50)),
                catchups: pick(short, (100, 10)),
                upstream_duplicates: pick(short, (100, 5)),
                explicit_gaps: pick(short, (20, 2)),
                ..Owed::default()
            },
            Self::Restarts => Owed {
                explicit_gaps: pick(short, (200, 20)),
                kills: pick(short, (8, 1)),
                ..Owed::default()
            },
            Self::Kinds => Owed {
                recovered: pick(short, (2_000, 200)),
                strikes: strikes::owed(short).0,
                in_flight: pick(short, (1_000, 10)),
                ..Owed::default()
            },
            Self::Pairs => Owed {
                recovered: pick(short, (500, 50)),
                pairs: strikes::owed(short).1,
                ..Owed::default()
            },
            Self::Kills => owed_by_kills(short),
        }
    }

    fn scale(self) -> Scale {
        match self {
            Self::Links => Scale {
                clients: (200, 24),
                channels: (50, 20),
                publications: (100_000, 8_000),
                upstream: (20_000, 1_500),
                span_s: (180, 25),
            },
            // The sizes over the span are the pace.
            Self::Kinds | Self::Pairs => Scale {
                clients: (24, 16),
                channels: (20, 20),
                publications: (60_000, 3_000),
                upstream: (15_000, 900),
                span_s: (100, 10),
            },
            Self::Kills => Scale {
                clients: (40, 16),
                channels: (20, 12),
                publications: (40_000, 2_000),
                upstream: (8_000, 500),
                span_s: (240, 15),
            },
            Self::Restarts => Scale {
                clients: (60, 24),
                channels: (30, 20),
                publications: (30_000, 4_000),
                upstream: (6_000, 1_000),
                span_s: (90, 15),
            },
        }
    }
}

fn owed_by_kills(short: bool) -> Owed {
    Owed {
        recovered: pick(short, (2_000, 50)),
        kills: pick(short, (40, 4)),
        ..Owed::default()
    }
}

fn pick<T>(short: bool, (full, small): (T, T)) -> T {
    if short { small } else { full }
}
