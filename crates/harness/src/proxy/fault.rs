//! What can be wrong with a link, as data.

use std::time::Duration;

/// A fault of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The link is closed with FIN on both sides after so many more bytes, counted both ways. If
    /// no connection is up, the next one is struck.
    Cut {
        /// 0 strikes at once.
        after_bytes: u64,
    },
    /// The same with RST.
    Reset {
        /// 0 strikes at once.
        after_bytes: u64,
    },
    /// Nothing passes either way; the sockets stay open. What waits passes when it ends.
    HoleBoth,
    /// Nothing passes from client to server.
    HoleToServer,
    /// Nothing passes from server to client.
    HoleToClient,
    /// Every byte is late by `fixed` plus up to `jitter`, both ways; order is kept.
    Delay {
        /// The least delay.
        fixed: Duration,
        /// What may come on top.
        jitter: Duration,
    },
    /// At most so many bytes a second from server to client.
    Throttle {
        /// At least 1.
        bytes_per_s: u32,
    },
    /// The link is reset and new connections are refused by the kernel.
    Refuse,
}

/// A fault without its numbers, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// See [`Fault::Cut`].
    Cut,
    /// See [`Fault::Reset`].
    Reset,
    /// See [`Fault::HoleBoth`].
    HoleBoth,
    /// See [`Fault::HoleToServer`].
    HoleToServer,
    /// See [`Fault::HoleToClient`].
    HoleToClient,
    /// See [`Fault::Delay`].
    Delay,
    /// See [`Fault::Throttle`].
    Throttle,
    /// See [`Fault::Refuse`].
    Refuse,
}

impl Fault {
    /// Which kind it is.
    pub fn kind(self) -> FaultKind {
        match self {
            Self::Cut { .. } => FaultKind::Cut,
            Self::Reset { .. } => FaultKind::Reset,
            Self::HoleBoth => FaultKind::HoleBoth,
            Self::HoleToServer => FaultKind::HoleToServer,
            Self::HoleToClient => FaultKind::HoleToClient,
            Self::Delay { .. } => FaultKind::Delay,
            Self::Throttle { .. } => FaultKind::Throttle,
            Self::Refuse => FaultKind::Refuse,
        }
    }
}

impl FaultKind {
    /// All kinds, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Cut,
        Self::Reset,
        Self::HoleBoth,
        Self::HoleToServer,
        Self::HoleToClient,
        Self::Delay,
        Self::Throttle,
        Self::Refuse,
    ];

    /// The name in logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::HoleBoth => "hole_both",
            Self::HoleToServer => "hole_to_server",
            Self::HoleToClient => "hole_to_client",
            Self::Delay => "delay",
            Self::Throttle => "throttle",
            Self::Refuse => "refuse",
        }
    }
}

/// The state of one direction of a link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flow {
    /// Nothing passes, because of this fault.
    pub(super) hole: Option<FaultKind>,
    /// Fixed delay and jitter.
    pub(super) delay: Option<(Duration, Duration)>,
    /// Bytes a second.
    pub(super) rate: Option<u32>,
}

/// The state of a link, both ways.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions {
    pub(super) to_server: Flow,
    pub(super) to_client: Flow,
    pub(super) refuse: bool,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From client to server.
    ToServer,
    /// From server to client.
    ToClient,
}

/// How a connection is brought down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Fin,
    Reset,
}

impl Conditions {
    pub(super) fn flow(&self, direction: Direction) -> Flow {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }

    /// Puts a lasting fault in force; cuts and resets are events and change nothing here.
    pub(super) fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Cut { .. } | Fault::Reset { .. } => {}
            Fault::HoleBoth => {
                self.to_server.hole = Some(FaultKind::HoleBoth);
                self.to_client.hole = Some(FaultKind::HoleBoth);
            }
            Fault::HoleToServer => self.to_server.hole = Some(FaultKind::HoleToServer),
            Fault::HoleToClient => self.to_client.hole = Some(FaultKind::HoleToClient),
            Fault::Delay { fixed, jitter } => {
                self.to_server.delay = Some((fixed, jitter));
                self.to_client.delay = Some((fixed, jitter));
            }
            Fault::Throttle { bytes_per_s } => self.to_client.rate = Some(bytes_per_s.max(1)),
            Fault::Refuse => self.refuse = true,
        }
    }

    pub(super) fn end(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::Cut | FaultKind::Reset => {}
            FaultKind::HoleBoth | FaultKind::HoleToServer | FaultKind::HoleToClient => {
                for flow in [&mut self.to_server, &mut self.to_client] {
                    if flow.hole == Some(kind) {
                        flow.hole = None;
                    }
                }
            }
            FaultKind::Delay => {
                self.to_server.delay = None;
                self.to_client.delay = None;
            }
            FaultKind::Throttle => self.to_client.rate = None,
            FaultKind::Refuse => self.refuse = false,
        }
    }
}
