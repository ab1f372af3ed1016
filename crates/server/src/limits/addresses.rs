//! What is counted for each address, in a bounded map.
//!
//! Owns connections by address, the sliding window of attempts, and the rate of verdicts. Must not
//! know connections beyond their number.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bowline_proto::Time;

use super::AddressKey;
use crate::{bucket::Bucket, config::Config};

/// Verdicts per second that one address may ask for on average: a client asks once after a failed
/// dial, and dials are seconds apart.
const VERDICTS_PER_SECOND: u32 = 1;
/// So many verdicts at once: an office behind one address.
const VERDICTS_BURST: u32 = 10;
/// Where there are too many, this part of the bound is freed, so that the next ones need not look again.
const FORGOTTEN_PART: usize = 8;

/// The addresses that have something open, or had an attempt within the window.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    map: HashMap<AddressKey, Address>,
    /// How many had something open when it was last looked for what may be forgotten.
    open_at_look: usize,
}

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Address {
    /// WebSocket connections of which it is not known yet who they are.
    pub(super) pending: u32,
    /// Those that could not prove to be somebody else than the limit was for, until they are gone.
    pub(super) leaving: u32,
    /// WebSocket connections without a verified user.
    pub(super) anonymous: u32,
    /// WebSocket connections of verified users.
    pub(super) verified: u32,
    /// Sockets that speak HTTP, until they are upgraded.
    pub(super) sockets: u32,
    /// Refusals by the limits on this address, since it is remembered.
    pub(super) refused: u64,
    /// When unverified or failed attempts ended, oldest first; at most as many as are allowed.
    attempts: VecDeque<Time>,
    verdicts: Option<Bucket>,
}

impl Addresses {
    /// The address's counts, new or known. Of those that have nothing open `addresses_max` are kept
    /// (more only where so many have closed since it was last looked); what is open is never
    /// forgotten, and is bounded by the connections.
    pub(super) fn entry(&mut self, key: AddressKey, config: &Config, now: Time) -> &mut Address {
        let full = config.addresses_max.saturating_add(self.open_at_look);
        if self.map.len() >= full && !self.map.contains_key(&key) {
            self.forget(config, now);
        }
        let address = self.map.entry(key).or_default();
        address.expire(config, now);
        address
    }

    pub(super) fn get_mut(&mut self, key: AddressKey) -> Option<&mut Address> {
        self.map.get_mut(&key)
    }

    /// All addresses in their order.
    pub(super) fn sorted(&self) -> BTreeMap<AddressKey, &Address> {
        self.map
            .iter()
            .map(|(key, address)| (*key, address))
            .collect()
    }

    /// Forgets what has passed, and answers of how many addresses nothing is left.
    pub(super) fn expire(&mut self, config: &Config, now: Time) -> usize {
        let before = self.map.len();
        self.map.retain(|_, address| {
            address.expire(config, now);
            address.is_open() || !address.attempts.is_empty()
        });
        before - self.map.len()
    }

    /// Forgets what has passed; where that makes no room, some addresses that have nothing open.
    fn forget(&mut self, config: &Config, now: Time) {
        self.expire(config, now);
        self.open_at_look = self
            .map
            .values()
            .filter(|address| address.is_open())
            .count();
        let wanted = config.addresses_max - config.addresses_max / FORGOTTEN_PART;
        let idle = self.map.len() - self.open_at_look;
        let mut surplus = idle.saturating_sub(wanted.min(config.addresses_max - 1));
        self.map.retain(|_, address| {
            let stays = surplus == 0 || address.is_open();
            surplus -= usize::from(!stays);
            stays
        });
    }
}

impl Address {
    /// Connections without a verified user, those included that may still prove one.
    pub(super) const fn unverified(&self) -> u32 {
        self.pending + self.anonymous
    }

    /// WebSocket connections in all.
    pub(super) const fn open(&self) -> u32 {
        self.unverified() + self.verified
    }

    fn is_open(&self) -> bool {
        self.open() + self.leaving + self.sockets > 0
    }

    fn expire(&mut self, config: &Config, now: Time) {
        while let Some(oldest) = self.attempts.front()
            && *oldest + config.rate_limit_window <= now
        {
            self.attempts.pop_front();
        }
        if self.attempts.is_empty() {
            self.attempts = VecDeque::new();
        }
    }

    /// An attempt has ended without a verified user.
    pub(super) fn attempted(&mut self, config: &Config, now: Time) {
        self.expire(config, now);
        while self.attempts.len() >= config.rate_limit_attempts_max as usize {
            self.attempts.pop_front();
        }
        self.attempts.push_back(now);
    }

    /// Attempts within the window.
    pub(super) fn attempts(&self) -> usize {
        self.attempts.len()
    }

    /// Until when the window is full; none while it has room. Call after [`Addresses::entry`].
    pub(super) fn blocked_until(&self, config: &Config) -> Option<Time> {
        let surplus = self
            .attempts
            .len()
            .checked_sub(config.rate_limit_attempts_max as usize)?;
        Some(*self.attempts.get(surplus)? + config.rate_limit_window)
    }

    /// Takes one from the bucket of verdicts, or tells in how many milliseconds there is one.
    pub(super) fn ask_verdict(&mut self, now: Time) -> Result<(), u64> {
        let bucket = self
            .verdicts
            .get_or_insert_with(|| Bucket::full(VERDICTS_BURST, now));
        bucket.take(VERDICTS_PER_SECOND, VERDICTS_BURST, now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn config() -> Config {
        Config {
            addresses_max: 16,
            rate_limit_attempts_max: 3,
            ..Config::default()
        }
    }

    fn key(n: u32) -> AddressKey {
        AddressKey::new(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn the_window_slides() {
        let (config, at) = (config(), Time::from_millis);
        let mut address = Address::default();
        for ms in [0, 10_000, 20_000] {
            assert_eq!(address.blocked_until(&config), None);
            address.attempted(&config, at(ms));
        }
        assert_eq!(address.blocked_until(&config), Some(at(60_000)));
        address.expire(&config, at(59_999));
        assert_eq!(address.attempts(), 3);
        address.expire(&config, at(60_000));
        assert_eq!(
            (address.attempts(), address.blocked_until(&config)),
            (2, None)
        );
        address.attempted(&config, at(60_000));
        assert_eq!(address.blocked_until(&config), Some(at(70_000)));
    }

    #[test]
    fn a_flood_of_addresses_stays_within_the_bound_and_what_is_open_is_kept() {
        let (config, now) = (config(), Time::from_millis(5));
        let mut addresses = Addresses::default();
        addresses.entry(key(0), &config, now).anonymous = 1;
        for n in 1..10_000 {
            addresses
                .entry(key(n), &config, now)
                .attempted(&config, now);
            assert!(addresses.map.len() <= config.addresses_max + 1);
        }
        assert_eq!(addresses.get_mut(key(0)).map(|a| a.anonymous), Some(1));
    }

    #[test]
    fn many_open_addresses_neither_cost_the_others_their_window_nor_a_look_for_each_new_one() {
        let (config, now) = (config(), Time::from_millis(5));
        let mut addresses = Addresses::default();
        for n in 0..10_000 {
            addresses.entry(key(n), &config, now).anonymous = 1;
        }
        addresses
            .entry(key(10_000), &config, now)
            .attempted(&config, now);
        let mut looks = 0;
        for n in 10_001..20_000 {
            let before = addresses.open_at_look;
            addresses.entry(key(n), &config, now).anonymous = 1;
            looks += u32::from(addresses.open_at_look != before);
        }
        assert_eq!(
            addresses.get_mut(key(10_000)).map(|a| a.attempts()),
            Some(1)
        );
        assert!(looks <= 10_000 / 8, "looked {looks} times");
    }

    #[test]
    fn what_has_passed_is_forgotten_first() {
        let config = config();
        let mut addresses = Addresses::default();
        for n in 0..15 {
            let early = Time::from_millis(n.into());
            addresses
                .entry(key(n), &config, early)
                .attempted(&config, early);
        }
        let now = Time::from_millis(60_007);
        addresses
            .entry(key(15), &config, now)
            .attempted(&config, now);
        addresses
            .entry(key(16), &config, now)
            .attempted(&config, now);
        assert!(addresses.get_mut(key(0)).is_none());
        assert!(addresses.get_mut(key(14)).is_some());
    }
}
