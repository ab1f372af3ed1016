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
    /// Kinds that every link meets, each at least so many times.
    pub each: Vec<(FaultKind, usize)>,
    /// Kinds of the other rounds, and their shares.
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

/// Draws a plan, in order of time. Each link meets its own share of `each`; over all links, each kind
/// of the mix gets its share exactly (up to rounding). Faults of one link never overlap, so that each
/// has its effect alone.
pub fn plan(rng: &mut Rng, options: &PlanOptions) -> Vec<PlannedFault> {
    let mut planned = Vec::with_capacity(options.links * options.rounds);
    for (link, hand) in deal(rng, options).into_iter().enumerate() {
        let parts: u32 = hand.iter().map(|kind| slot_parts(*kind)).sum();
        let part = options.span / parts.max(1);
        let mut begins = Duration::ZERO;
        for kind in hand {
            let slot = part * slot_parts(kind);
            let (fault, wanted) = draw(rng, kind);
            let lasts = wanted.min(slot * 4 / 5);
            let slack = u64::try_from((slot - lasts).as_millis()).unwrap_or(u64::MAX);
            planned.push(PlannedFault {
                at: begins + rng.millis(0, slack.saturating_sub(1)),
                lasts,
                link,
                fault,
            });
            begins += slot;
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

/// How much of a link's time a fault gets: one that lasts needs room for its effect and for what
/// follows from it.
fn slot_parts(kind: FaultKind) -> u32 {
    match kind {
        FaultKind::Cut | FaultKind::Reset => 1,
        _ => 3,
    }
}

/// The kinds that each link meets, shuffled.
fn deal(rng: &mut Rng, options: &PlanOptions) -> Vec<Vec<FaultKind>> {
    let each: Vec<FaultKind> = options
        .each
        .iter()
        .flat_map(|(kind, times)| std::iter::repeat_n(*kind, *times))
        .take(options.rounds)
        .collect();
    let free = options.rounds - each.len();
    let mut deck = deck(rng, options, options.links * free);
    (0..options.links)
        .map(|_| {
            let mut hand = each.clone();
            hand.extend(deck.split_off(deck.len().saturating_sub(free)));
            rng.shuffle(&mut hand);
            hand
        })
        .collect()
}

/// So many kinds of the mix, each with its share, shuffled.
fn deck(rng: &mut Rng, options: &PlanOptions, total: usize) -> Vec<FaultKind> {
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
pub(crate) fn draw(rng: &mut Rng, kind: FaultKind) -> (Fault, Duration) {
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
            each: vec![(FaultKind::Cut, 2)],
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
            // Eight of ten rounds are dealt from the mix; the other two are cuts.
            let owed = if kind == FaultKind::Cut { 20 + 40 } else { 20 };
            assert_eq!(count, owed, "{kind:?}");
        }
        for link in 0..20 {
            let own = |planned: &&PlannedFault| planned.link == link;
            let cuts = planned
                .iter()
                .filter(own)
                .filter(|planned| planned.fault.kind() == FaultKind::Cut);
            assert!(cuts.count() >= 2, "link {link}");
            assert_eq!(planned.iter().filter(own).count(), 10);
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
