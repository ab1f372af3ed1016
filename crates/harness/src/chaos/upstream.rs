//! What clients are told to do during a run: publish, and read slowly.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    ChaosOptions,
    ledger::Ledger,
    publish::{pad, pad_len},
};
use crate::{
    driver::Driver, log::Record, progress::Progress, proxy::Proxy, rng::Rng, scenario::RunError,
};

/// The contract with drivers: so many unresolved publishes per client.
const UNRESOLVED_MAX: u32 = 64;
/// Publishes come in bursts, so that a cut finds several under way.
const BURST: usize = 4;
/// While all clients are behind, look again after this.
const FULL_PAUSE: Duration = Duration::from_millis(10);
/// One burst in so many goes to a client whose answers are being swallowed: the server stores it,
/// the client can't know, and the resend must be refused as a duplicate.
const UNHEARD_SHARE: u64 = 4;
const PACE_PERCENT: u32 = 95;
const FREEZE_INTERVAL: Duration = Duration::from_millis(500);
const FREEZE_MS: (u64, u64) = (200, 3_000);

#[derive(Clone, Copy, Debug)]
pub(super) struct Upstream<'a> {
    pub(super) drivers: &'a [Driver],
    pub(super) progress: &'a Arc<Progress>,
    pub(super) ledger: &'a Ledger,
    pub(super) links: &'a Proxy,
    pub(super) channels: &'a [String],
    pub(super) watching: &'a [Vec<usize>],
}

/// Tells clients to publish, paced over the span, or at that pace until the faults are over.
pub(super) async fn run(
    upstream: &Upstream<'_>,
    options: &ChaosOptions,
    mut rng: Rng,
    is_over: &AtomicBool,
) -> Result<(), RunError> {
    let is_open_ended = options.theme.is_open_ended();
    let begun = Instant::now();
    let total = options.load.upstream;
    let pace = options.span * PACE_PERCENT / 100;
    let mut issued = vec![0_u64; upstream.watching.len()];
    let mut number = 0;
    while (is_open_ended && !is_over.load(Relaxed)) || (!is_open_ended && number < total) {
        sleep_until(begun + pace.mul_f64(number as f64 / total as f64)).await;
        let client = upstream.choose(&mut rng);
        if upstream.progress.unresolved(client) + BURST as u32 > UNRESOLVED_MAX {
            sleep(FULL_PAUSE).await;
            continue;
        }
        let burst = match is_open_ended {
            true => BURST,
            false => BURST.min(total - number),
        };
        for _ in 0..burst {
            issued[client] += 1;
            upstream.publish(client, issued[client], &mut rng).await?;
            number += 1;
        }
    }
    Ok(())
}

/// Freezes the reader of a random client now and then, until the span, or the faults, are over.
pub(super) async fn freeze(
    upstream: &Upstream<'_>,
    options: &ChaosOptions,
    mut rng: Rng,
    is_over: &AtomicBool,
) -> Result<(), RunError> {
    let until = Instant::now() + options.span;
    let goes_on = || match options.theme.is_open_ended() {
        true => !is_over.load(Relaxed),
        false => Instant::now() < until,
    };
    while goes_on() {
        sleep(FREEZE_INTERVAL).await;
        let client = rng.index(upstream.watching.len());
        let command = json!({
            "cmd": "freeze_reader",
            "client": Progress::client_name(client),
            "ms": FREEZE_MS.0 + rng.below(FREEZE_MS.1 - FREEZE_MS.0),
        });
        upstream.driver(client).command(command).await?;
    }
    Ok(())
}

impl Upstream<'_> {
    fn choose(&self, rng: &mut Rng) -> usize {
        let anyone = rng.index(self.watching.len());
        if rng.below(UNHEARD_SHARE) > 0 {
            return anyone;
        }
        let links = self.links.links().iter().enumerate();
        let unheard: Vec<usize> = links
            .filter(|(_, link)| link.hides_answers())
            .map(|(client, _)| client)
            .collect();
        unheard
            .get(rng.index(unheard.len()))
            .copied()
            .unwrap_or(anyone)
    }

    fn driver(&self, client: usize) -> &Driver {
        &self.drivers[client % self.drivers.len()]
    }

    async fn publish(&self, client: usize, number: u64, rng: &mut Rng) -> Result<(), RunError> {
        let watched = &self.watching[client];
        let channel = &self.channels[watched[rng.index(watched.len())]];
        let name = Progress::client_name(client);
        let m = format!("u-{name}-{number:06}");
        let pad_len = pad_len(channel, rng);
        self.ledger.write(&Record::Upstream {
            client: name.clone(),
            m: m.clone(),
            channel: channel.clone(),
            pad_len,
        })?;
        self.progress.publish_sent(client);
        let command = json!({
            "cmd": "publish",
            "client": name,
            "channel": channel,
            "m": m,
            "data": {"m": m, "pad": pad(pad_len)},
        });
        Ok(self.driver(client).command(command).await?)
    }
}
