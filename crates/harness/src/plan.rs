//! When which link breaks how: drawn from a seed beforehand, then played in real time.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    proxy::{Fault, FaultKind, Link},
    rng::Rng,
};

/// What a plan must hold.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// How many links there are.
    pub links: usize,
    /// How many faults each link meets.
    pub rounds: usize,
    /// All faults begin and end within it.
    pub span: Duration,
    /// Kinds and their shares.
    pub mix: Vec<(FaultKind, u32)>,
}

/// A fault with its place and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    /// Since the beginning of the plan.
    pub at: Duration,
    /// Zero for cuts and resets, which strike once.
    pub lasts: Duration,
    /// The index of the link.
    pub link: usize,
    /// What happens.
    pub fault: Fault,
}

/// Draws a plan, in order of time. Each kind gets its share exactly (up to rounding); faults of one
/// link never overlap, so that each has its effect alone.
pub fn plan(rng: &mut Rng, options: &PlanOptions) -> Vec<PlannedFault> {
    let mut kinds = deck(rng, options);
    let slot = options.span / u32::try_from(options.rounds.max(1)).unwrap_or(u32::MAX);
    let mut planned = Vec::with_capacity(kinds.len());
    for round in 0..options.rounds {
        for link in 0..options.links {
            let Some(kind) = kinds.pop() else { break };
            let (fault, wanted) = draw(rng, kind);
            let lasts = wanted.min(slot * 4 / 5);
            let slack = u64::try_from((slot - lasts).as_millis()).unwrap_or(u64::MAX);
            let begins = slot * u32::try_from(round).unwrap_or(u32::MAX);
            planned.push(PlannedFault {
                at: begins + rng.millis(0, slack.saturating_sub(1)),
                lasts,
                link,
                fault,
            });
        }
    }
    planned.sort_by_key(|planned| planned.at);
    planned
}

/// Plays a plan against links; returns when its last fault has ended.
pub async fn play(links: &[Arc<Link>], plan: &[PlannedFault]) {
    let begun = Instant::now();
    let mut steps: Vec<(Duration, bool, &PlannedFault)> = Vec::with_capacity(2 * plan.len());
    for planned in plan {
        steps.push((planned.at, true, planned));
        if planned.lasts > Duration::ZERO {
            steps.push((planned.at + planned.lasts, false, planned));
        }
    }
    steps.sort_by_key(|(at, begins, _)| (*at, *begins));
    for (at, begins, planned) in steps {
        sleep_until(begun + at).await;
        let link = &links[planned.link];
        if begins {
            link.begin(planned.fault);
        } else {
            link.end(planned.fault.kind());
        }
    }
}

/// All kinds of the plan, each with its share, shuffled.
fn deck(rng: &mut Rng, options: &PlanOptions) -> Vec<FaultKind> {
    let total = options.links * options.rounds;
    let weights: u32 = options.mix.iter().map(|(_, weight)| weight).sum();
    let mut kinds = Vec::with_capacity(total);
    for (kind, weight) in &options.mix {
        let share = total * *weight as usize / weights.max(1) as usize;
        kinds.extend(std::iter::repeat_n(*kind, share));
    }
    // What rounding left over goes to the first kind.
    if let Some((first, _)) = options.mix.first() {
        kinds.resize(total, *first);
    }
    rng.shuffle(&mut kinds);
    kinds
}

/// Numbers for a fault. Holes last from well under to well over the heartbeats of a run (1 s + 1 s),
/// so that both the healing of a link and its death are met.
fn draw(rng: &mut Rng, kind: FaultKind) -> (Fault, Duration) {
    // A third strikes at once; the rest falls into handshakes, frames and bursts.
    let after_bytes = rng.below(6_000).saturating_sub(2_000);
    match kind {
        FaultKind::Cut => (Fault::Cut { after_bytes }, Duration::ZERO),
        FaultKind::Reset => (Fault::Reset { after_bytes }, Duration::ZERO),
        FaultKind::HoleBoth => (Fault::HoleBoth, rng.millis(300, 4_000)),
        FaultKind::HoleToServer => (Fault::HoleToServer, rng.millis(300, 4_000)),
        FaultKind::HoleToClient => (Fault::HoleToClient, rng.millis(300, 4_000)),
        FaultKind::Delay => {
            let fault = Fault::Delay {
                fixed: rng.millis(10, 200),
                jitter: rng.millis(0, 100),
            };
            (fault, rng.millis(500, 3_000))
        }
        FaultKind::Throttle => {
            let bytes_per_s = 20_000 + u32::try_from(rng.below(180_000)).unwrap_or(0);
            (Fault::Throttle { bytes_per_s }, rng.millis(1_000, 4_000))
        }
        FaultKind::Refuse => (Fault::Refuse, rng.millis(100, 1_500)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> PlanOptions {
        PlanOptions {
            links: 20,
            rounds: 10,
            span: Duration::from_secs(60),
            mix: FaultKind::ALL.map(|kind| (kind, 1)).to_vec(),
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        let draw = |seed| plan(&mut Rng::new(seed), &options());
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn each_kind_has_its_share_and_each_link_its_rounds() {
        let planned = plan(&mut Rng::new(1), &options());
        for kind in FaultKind::ALL {
            let count = planned
                .iter()
                .filter(|planned| planned.fault.kind() == kind)
                .count();
            assert_eq!(count, 25, "{kind:?}");
        }
        for link in 0..20 {
            assert_eq!(
                planned
                    .iter()
                    .filter(|planned| planned.link == link)
                    .count(),
                10
            );
        }
    }

    #[test]
    fn faults_of_a_link_never_overlap_nor_outlast_the_span() {
        for seed in 0..20 {
            let planned = plan(&mut Rng::new(seed), &options());
            let mut free_at = [Duration::ZERO; 20];
            for fault in planned {
                assert!(fault.at >= free_at[fault.link], "seed {seed}: {fault:?}");
                free_at[fault.link] = fault.at + fault.lasts;
                assert!(
                    free_at[fault.link] <= options().span,
                    "seed {seed}: {fault:?}"
                );
            }
        }
    }
}
