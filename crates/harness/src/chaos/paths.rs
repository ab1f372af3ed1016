//! Faults of the network between hosts: what each client's path and the whole network meet.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::ChaosOptions;
use crate::{
    network::{Network, NetworkFault, PathFault},
    rng::Rng,
    scenario::RunError,
};

/// Each path meets a fault so often.
const PATH_INTERVAL: Duration = Duration::from_secs(5);
/// From well under to well over the silence after which either side gives a link up (2 s).
const PATH_MS: (u64, u64) = (500, 4_000);
/// The whole network meets a fault so often.
const NETWORK_INTERVAL: Duration = Duration::from_secs(4);
const NETWORK_MS: (u64, u64) = (300, 2_500);

#[derive(Clone, Copy, Debug)]
enum Step {
    BeginPath(usize, PathFault),
    EndPath(usize, PathFault),
    Begin(NetworkFault),
    End(NetworkFault),
}

/// Plays the faults until the span is over. Answers how often each kind took hold.
pub(super) async fn play(
    network: &Network,
    options: &ChaosOptions,
    mut rng: Rng,
) -> Result<BTreeMap<String, u64>, RunError> {
    let begun = Instant::now();
    let mut counts = BTreeMap::new();
    let mut feel = |name: &str, felt: bool| {
        *counts.entry(name.to_owned()).or_insert(0) += u64::from(felt);
    };
    for (at, step) in plan(options.load.clients, options.span, &mut rng) {
        sleep_until(begun + at).await;
        match step {
            Step::BeginPath(client, fault) => network.begin_paths(&[client], fault)?,
            Step::EndPath(client, fault) => {
                let met = network.end_paths(&[client], fault)?;
                feel(fault.name(), met > 0);
            }
            Step::Begin(fault) => network.begin(fault)?,
            Step::End(fault) => {
                network.end(fault)?;
                feel(fault.name(), true);
            }
        }
    }
    Ok(counts)
}

/// In order of time. Faults of one path never overlap, nor do those of the network; each kind comes as
/// often as any other.
fn plan(clients: usize, span: Duration, rng: &mut Rng) -> Vec<(Duration, Step)> {
    let mut steps = Vec::new();
    let slots = |every: Duration, lasts: (u64, u64), rng: &mut Rng| {
        let count = span.as_millis() / every.as_millis();
        let mut slots = Vec::new();
        for number in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            let length = rng.millis(lasts.0, lasts.1);
            let slack = u64::try_from((every - length).as_millis()).unwrap_or(0);
            let begins = every * number + rng.millis(0, slack.saturating_sub(1));
            slots.push((begins, begins + length));
        }
        slots
    };
    let mut turn = rng.index(PathFault::ALL.len());
    for client in 0..clients {
        for (begins, ends) in slots(PATH_INTERVAL, PATH_MS, rng) {
            let fault = PathFault::ALL[turn % PathFault::ALL.len()];
            turn += 1;
            steps.push((begins, Step::BeginPath(client, fault)));
            steps.push((ends, Step::EndPath(client, fault)));
        }
    }
    for (turn, (begins, ends)) in slots(NETWORK_INTERVAL, NETWORK_MS, rng)
        .into_iter()
        .enumerate()
    {
        let fault = NetworkFault::ALL[turn % NetworkFault::ALL.len()];
        steps.push((begins, Step::Begin(fault)));
        steps.push((ends, Step::End(fault)));
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_meets_one_fault_at_a_time_and_every_fault_ends_within_the_span() {
        let span = Duration::from_secs(30);
        for seed in 0..20 {
            let mut open = [false; 10];
            let mut network_open = false;
            let steps = plan(open.len(), span, &mut Rng::new(seed));
            assert!(steps.len() > 2 * open.len(), "seed {seed}");
            for (at, step) in steps {
                assert!(at <= span, "seed {seed}");
                match step {
                    Step::BeginPath(client, _) => {
                        assert!(!std::mem::replace(&mut open[client], true), "seed {seed}");
                    }
                    Step::EndPath(client, _) => open[client] = false,
                    Step::Begin(_) => {
                        assert!(!std::mem::replace(&mut network_open, true), "seed {seed}");
                    }
                    Step::End(_) => network_open = false,
                }
            }
            assert!(!network_open && !open.contains(&true), "seed {seed}");
        }
    }
}
