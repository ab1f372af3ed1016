//! `/ws/stats/rate-limit`: what is counted for each address.
//!
//! Owns the order (that of the addresses) and what is shown of one. Addresses that are exempt are
//! not counted and so not there.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Bound,
};

use serde::Serialize;
use utoipa::ToSchema;

use super::{AddressKey, Limits, addresses::Address};
use crate::{stats::rfc3339, sync::lock};

/// A page of addresses, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RateLimits {
    /// The length of the window in seconds.
    window_s: f64,
    /// Attempts that an address has within it.
    attempts_max: u32,
    /// The addresses that have something open, or had an attempt within the window.
    addresses: Vec<RateLimit>,
    /// The next page is `after` this; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<IpAddr>,
}

/// One address.
#[derive(Debug, Serialize, ToSchema)]
struct RateLimit {
    /// The address, or the network of an IPv6 one: `2001:db8::/64`.
    ip: String,
    /// WebSocket connections.
    open: u32,
    /// Those of them without a verified user.
    unverified: u32,
    /// Sockets that speak HTTP.
    sockets: u32,
    /// Unverified or failed attempts within the window.
    attempts: usize,
    /// Refusals by the limits on this address, since it is remembered.
    refused: u64,
    /// Until when further attempts are refused; none while they are not.
    #[schema(format = DateTime)]
    blocked_until: Option<String>,
}

impl Limits {
    /// A page of addresses behind `after`, or only the one that is asked for.
    pub(crate) fn report(
        &self,
        after: Option<AddressKey>,
        only: Option<AddressKey>,
        limit: usize,
    ) -> RateLimits {
        let now = self.clock.now();
        let mut inner = lock(&self.inner);
        inner.addresses.expire(&self.config, now);
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = inner.addresses.sorted();
        let behind = |key: &AddressKey| match after {
            Bound::Excluded(after) => *key > after,
            _ => true,
        };
        let mut wanted = known
            .into_iter()
            .filter(|(key, _)| behind(key) && only.is_none_or(|only| only == *key))
            .peekable();
        let mut addresses = Vec::new();
        let mut next = None;
        while let Some((key, address)) = wanted.next() {
            addresses.push(self.rate_limit(key, address));
            if addresses.len() == limit {
                next = wanted.peek().map(|_| key.ip());
                break;
            }
        }
        RateLimits {
            window_s: self.config.rate_limit_window.as_secs_f64(),
            attempts_max: self.config.rate_limit_attempts_max,
            addresses,
            next,
        }
    }

    /// Forgets the addresses that have nothing open and no attempt within the window, and answers
    /// how many those were.
    pub(crate) fn forget_past(&self) -> usize {
        let now = self.clock.now();
        lock(&self.inner).addresses.expire(&self.config, now)
    }

    fn rate_limit(&self, key: AddressKey, address: &Address) -> RateLimit {
        let until = address.blocked_until(&self.config);
        RateLimit {
            ip: key.to_string(),
            open: address.open(),
            unverified: address.unverified(),
            sockets: address.sockets,
            attempts: address.attempts(),
            refused: address.refused,
            blocked_until: until.map(|until| rfc3339(self.clock, until)),
        }
    }
}

impl AddressKey {
    /// The address, or the first one of the network.
    fn ip(self) -> IpAddr {
        match self {
            Self::V4(bits) => Ipv4Addr::from_bits(bits).into(),
            Self::V6(bits) => Ipv6Addr::from_bits(u128::from(bits) << 64).into(),
        }
    }
}
