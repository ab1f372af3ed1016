//! The limits on who comes in: by address, by user, in all, and by the rate of handshakes.
//!
//! Owns every count that decides over a new connection, and the [`Pass`] that each connection holds
//! while it is open. Must not know sockets, HTTP or messages: it says no, others say it to the peer.
//!
//! A connection is *pending* until it is known who it is. Without a verified user it counts against
//! the limits of its address; with one, against those of the user. So where an address is at its
//! limit, but has verified users or sessions that may be taken over, a further connection may come
//! in to prove that it is one of those, and is refused at its hello if it is not: an office behind
//! one address is never down because of a single guest.

mod address;
mod addresses;
mod admission;
mod proxies;
mod report;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use bowline_proto::{Code, Time, message::ErrorInfo};

use crate::{
    clock::Clock,
    config::Config,
    sync::{Mutex, lock},
};
pub(crate) use address::AddressKey;
use addresses::Addresses;
use admission::Admission;
pub use proxies::{Network, NetworkError};
pub(crate) use proxies::{client_address, is_trusted};
pub(crate) use report::RateLimits;

/// When a place may be free again. Nobody knows, so everybody is told another time within
/// [`PLACE_SPREAD_MS`], lest all come at once.
const PLACE_RETRY_MS: u64 = 1_000;
/// See [`PLACE_RETRY_MS`].
const PLACE_SPREAD_MS: u64 = 4_000;
/// Multiples of it, cut to 64 bits, lie evenly spread (Fibonacci hashing).
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// All counts that decide over new connections.
#[derive(Debug)]
pub(crate) struct Limits {
    config: Arc<Config>,
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    addresses: Addresses,
    /// Open connections of each verified user.
    users: HashMap<Arc<str>, u32>,
    /// Connections with a pass, those included whose session another has taken and that still close.
    open: usize,
    /// Those of them that are not welcomed yet.
    handshakes: usize,
    admission: Admission,
    /// Refusals so far, for the spread.
    refusals: u64,
}

/// Why a connection may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) retry_after_ms: Option<u64>,
}

/// A connection's place among all others, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    limits: Arc<Limits>,
    place: Mutex<Place>,
}

#[derive(Debug)]
struct Place {
    /// Where it comes from; none where the limits by address do not hold.
    address: Option<AddressKey>,
    stage: Stage,
    welcomed: bool,
    /// It counts among all that are open, which ends with the connection itself.
    counted: bool,
}

#[derive(Debug)]
enum Stage {
    /// It is not known yet who it is. With a refusal, it must prove that the limit is not its own.
    Pending(Option<Refusal>),
    /// It could not: it holds a place among those that may try until it is gone.
    Refused,
    Anonymous,
    Verified(Arc<str>),
    Released,
}

/// A socket's place among those that speak HTTP from the same address.
#[derive(Debug)]
pub(crate) struct SocketPass {
    limits: Arc<Limits>,
    address: Option<AddressKey>,
}

impl Refusal {
    pub(crate) const fn now(code: Code) -> Self {
        Self {
            code,
            retry_after_ms: None,
        }
    }

    /// As it is told to the peer.
    pub(crate) fn info(&self) -> ErrorInfo {
        let info = ErrorInfo::new(self.code);
        match self.retry_after_ms {
            None => info,
            Some(after) => info.with_retry_after_ms(after),
        }
    }
}

impl Limits {
    pub(crate) fn new(config: Arc<Config>, clock: Clock) -> Self {
        let inner = Inner {
            addresses: Addresses::default(),
            users: HashMap::new(),
            open: 0,
            handshakes: 0,
            admission: Admission::new(config.handshakes_per_second, clock.now()),
            refusals: 0,
        };
        Self {
            config,
            clock,
            inner: Mutex::new(inner),
        }
    }

    /// Lets a connection in, or says why not. One that is `provable` speaks next, and so can show a
    /// verified user or a session that it takes over.
    pub(crate) fn enter(
        self: &Arc<Self>,
        ip: Option<IpAddr>,
        provable: bool,
    ) -> Result<Pass, Refusal> {
        let address = ip.and_then(|ip| self.key(ip));
        let now = self.clock.now();
        let mut inner = lock(&self.inner);
        let deferred = self.judge(&mut inner, address, provable, now)?;
        inner
            .admission
            .begin(self.config.handshakes_per_second, now);
        inner.open += 1;
        inner.handshakes += 1;
        if let Some(key) = address {
            inner.addresses.entry(key, &self.config, now).pending += 1;
        }
        Ok(Pass {
            limits: self.clone(),
            place: Mutex::new(Place {
                address,
                stage: Stage::Pending(deferred),
                welcomed: false,
                counted: true,
            }),
        })
    }

    /// What [`enter`](Self::enter) would say now, for whoever only asks. The asking has a limit of
    /// its own.
    pub(crate) fn verdict(&self, ip: Option<IpAddr>, provable: bool) -> Result<(), Refusal> {
        let address = ip.and_then(|ip| self.key(ip));
        self.judge(&mut lock(&self.inner), address, provable, self.clock.now())
            .map(drop)
    }

    /// Takes one from the address's bucket of verdicts.
    pub(crate) fn ask_verdict(&self, ip: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(key) = ip.and_then(|ip| self.key(ip)) else {
            return Ok(());
        };
        let now = self.clock.now();
        let mut inner = lock(&self.inner);
        let address = inner.addresses.entry(key, &self.config, now);
        address.ask_verdict(now).map_err(|wait_ms| {
            address.refused += 1;
            Refusal {
                code: Code::RateLimited,
                retry_after_ms: Some(wait_ms),
            }
        })
    }

    /// A place for a socket that speaks HTTP; none where its address has too many. The address of a
    /// trusted proxy stands for many clients and is not counted.
    pub(crate) fn socket(self: &Arc<Self>, ip: IpAddr) -> Option<SocketPass> {
        let counted = !is_trusted(&self.config.trusted_proxies, ip);
        let address = self.key(ip).filter(|_| counted);
        if let Some(key) = address {
            let now = self.clock.now();
            let mut inner = lock(&self.inner);
            let address = inner.addresses.entry(key, &self.config, now);
            if address.sockets >= self.config.verified_connections_per_ip_max {
                address.refused += 1;
                return None;
            }
            address.sockets += 1;
        }
        Some(SocketPass {
            limits: self.clone(),
            address,
        })
    }

    /// How many verified users have a connection.
    pub(crate) fn users(&self) -> usize {
        lock(&self.inner).users.len()
    }

    /// A pass that takes no place, for a connection that is only told why it is refused.
    pub(crate) fn no_pass(self: &Arc<Self>) -> Pass {
        Pass {
            limits: self.clone(),
            place: Mutex::new(Place {
                address: None,
                stage: Stage::Released,
                welcomed: true,
                counted: false,
            }),
        }
    }

    fn key(&self, ip: IpAddr) -> Option<AddressKey> {
        let exempt = self.config.loopback_exempt && ip.to_canonical().is_loopback();
        (!exempt).then(|| AddressKey::new(ip))
    }

    /// `Ok` with a refusal: it may come in to prove that the refusal is not for it.
    fn judge(
        &self,
        inner: &mut Inner,
        address: Option<AddressKey>,
        provable: bool,
        now: Time,
    ) -> Result<Option<Refusal>, Refusal> {
        let deferred = match address {
            Some(key) => self.judge_address(inner, key, provable, now)?,
            None => None,
        };
        let rate = self.config.handshakes_per_second;
        if inner.open >= self.config.connections_max {
            return Err(Self::later(inner, Code::Overloaded));
        }
        if inner.handshakes >= self.config.handshakes_max || !inner.admission.is_open(rate, now) {
            return Err(Refusal {
                code: Code::Overloaded,
                retry_after_ms: Some(inner.admission.turn_in_ms(rate, now)),
            });
        }
        Ok(deferred)
    }

    fn judge_address(
        &self,
        inner: &mut Inner,
        key: AddressKey,
        provable: bool,
        now: Time,
    ) -> Result<Option<Refusal>, Refusal> {
        let config = &self.config;
        let address = inner.addresses.entry(key, config, now);
        let attempts = address.attempts() + address.pending as usize;
        let connections_max = config.connections_per_ip_max;
        let (refusal, hope) = if address.open() >= config.verified_connections_per_ip_max {
            (None, false)
        } else if attempts >= config.rate_limit_attempts_max as usize {
            let until = address.blocked_until(config);
            let wait = until.map(|until| (until - now).as_millis());
            let wait = wait.map(|wait| u64::try_from(wait).unwrap_or(u64::MAX) + 1);
            (Some((Code::TooManyAttempts, wait)), address.verified > 0)
        } else if address.unverified() >= connections_max {
            let hope = address.verified > 0 || address.anonymous > 0;
            (Some((Code::TooManyConnections, None)), hope)
        } else {
            return Ok(None);
        };
        let (code, wait) = refusal.unwrap_or((Code::TooManyConnections, None));
        // So many more may try to prove themselves at once.
        let proving = address.pending + address.leaving;
        let hope = provable && hope && proving < connections_max.saturating_mul(2);
        address.refused += u64::from(!hope);
        let refusal = match wait {
            Some(wait) => Refusal {
                code,
                retry_after_ms: Some(wait),
            },
            None => Self::later(inner, code),
        };
        if hope {
            Ok(Some(refusal))
        } else {
            Err(refusal)
        }
    }

    fn later(inner: &mut Inner, code: Code) -> Refusal {
        inner.refusals = inner.refusals.wrapping_add(1);
        let spread = inner.refusals.wrapping_mul(GOLDEN_RATIO) >> 32;
        Refusal {
            code,
            retry_after_ms: Some(PLACE_RETRY_MS + spread % PLACE_SPREAD_MS),
        }
    }
}

impl Pass {
    /// Judges by the address that only the socket itself could tell.
    pub(crate) fn locate(&self, ip: IpAddr, provable: bool) -> Result<(), Refusal> {
        let mut place = lock(&self.place);
        let (None, Some(key)) = (place.address, self.limits.key(ip)) else {
            return Ok(());
        };
        let now = self.limits.clock.now();
        let mut inner = lock(&self.limits.inner);
        let deferred = self.limits.judge_address(&mut inner, key, provable, now)?;
        let address = inner.addresses.entry(key, &self.limits.config, now);
        address.pending += 1;
        place.address = Some(key);
        place.stage = Stage::Pending(deferred);
        Ok(())
    }

    /// It is known now who it is, and whether it takes over the session of another connection,
    /// whose place it then takes as well.
    pub(crate) fn settle(
        &self,
        user: Option<&Arc<str>>,
        replaced: Option<&Self>,
    ) -> Result<(), Refusal> {
        let config = &self.limits.config;
        // Taken before this one's own lock, and let go at once: never two places are locked.
        let old_address = replaced.map(|old| lock(&old.place).address);
        let mut place = lock(&self.place);
        let Stage::Pending(deferred) = place.stage else {
            return Ok(());
        };
        let same_place = old_address == Some(place.address);
        let mut inner = lock(&self.limits.inner);
        let refusal = match user {
            // The verified user's window is the user's own; only guests are held to the address.
            Some(user) => {
                let open = inner.users.get(user).copied().unwrap_or(0);
                (replaced.is_none() && open >= config.connections_per_user_max)
                    .then(|| Limits::later(&mut inner, Code::TooManyConnections))
            }
            None => {
                deferred.filter(|refusal| !(same_place && refusal.code == Code::TooManyConnections))
            }
        };
        if let Some(refusal) = refusal {
            place.stage = Stage::Refused;
            if let Some(address) = place.address.and_then(|key| inner.addresses.get_mut(key)) {
                address.refused += 1;
                address.pending -= 1;
                address.leaving += 1;
            }
            return Err(refusal);
        }
        if let Some(key) = place.address {
            let now = self.limits.clock.now();
            let address = inner.addresses.entry(key, config, now);
            address.pending = address.pending.saturating_sub(1);
            match user {
                Some(_) => address.verified += 1,
                None => {
                    address.anonymous += 1;
                    address.attempted(config, now);
                }
            }
        }
        place.stage = match user {
            Some(user) => {
                *inner.users.entry(user.clone()).or_default() += 1;
                Stage::Verified(user.clone())
            }
            None => Stage::Anonymous,
        };
        drop(inner);
        drop(place);
        if let Some(old) = replaced {
            old.release();
        }
        Ok(())
    }

    /// The handshake is over.
    pub(crate) fn welcomed(&self) {
        let mut place = lock(&self.place);
        if !std::mem::replace(&mut place.welcomed, true) {
            lock(&self.limits.inner).handshakes -= 1;
        }
    }

    /// Gives the place with its address and its user back; what never proved anything was a failed
    /// attempt.
    pub(crate) fn release(&self) {
        let place = &mut lock(&self.place);
        self.limits.leave(place, &mut lock(&self.limits.inner));
    }
}

impl Limits {
    fn leave(&self, place: &mut Place, inner: &mut Inner) {
        let stage = std::mem::replace(&mut place.stage, Stage::Released);
        if matches!(stage, Stage::Released) {
            return;
        }
        if !std::mem::replace(&mut place.welcomed, true) {
            inner.handshakes -= 1;
        }
        if let Stage::Verified(user) = &stage
            && let Some(open) = inner.users.get_mut(user)
        {
            *open -= 1;
            if *open == 0 {
                inner.users.remove(user);
            }
        }
        let Some(address) = place.address.and_then(|key| inner.addresses.get_mut(key)) else {
            return;
        };
        match stage {
            Stage::Pending(_) => {
                address.pending -= 1;
                address.attempted(&self.config, self.clock.now());
            }
            Stage::Refused => address.leaving -= 1,
            Stage::Anonymous => address.anonymous -= 1,
            Stage::Verified(_) => address.verified -= 1,
            Stage::Released => {}
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let place = &mut lock(&self.place);
        let inner = &mut lock(&self.limits.inner);
        self.limits.leave(place, inner);
        inner.open -= usize::from(place.counted);
    }
}

impl Drop for SocketPass {
    fn drop(&mut self) {
        let mut inner = lock(&self.limits.inner);
        if let Some(address) = self.address.and_then(|key| inner.addresses.get_mut(key)) {
            address.sockets -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
