//! Which faults a chaos run meets, and how many it owes each link.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ChaosOptions;
use crate::{
    plan::{PlanOptions, plan, play as play_plan},
    proxy::{Fault, FaultKind, Proxy},
    rng::Rng,
    scenario::RunError,
};

/// Each link owes cuts and is dealt so many more, for those that find no connection. What it misses all
/// the same is topped up.
const CUTS_SPARE: usize = 2;
/// Where no cuts are owed.
const CUTS_MIN: usize = 2;
/// The other rounds of the links of clients.
const CLIENT_MIX: [(FaultKind, u32); 6] = [
    (FaultKind::HoleToClient, 9),
    (FaultKind::HoleBoth, 8),
    (FaultKind::HoleToServer, 7),
    (FaultKind::Throttle, 8),
    (FaultKind::Delay, 6),
    (FaultKind::Refuse, 6),
];
const HTTP_MIX: [(FaultKind, u32); 6] = [
    (FaultKind::Reset, 4),
    (FaultKind::Cut, 4),
    (FaultKind::HoleToClient, 2),
    (FaultKind::HoleToServer, 1),
    (FaultKind::Delay, 1),
    (FaultKind::Refuse, 1),
];
/// Of the rounds of a link so many are not cuts, for each that is.
const OTHERS_PERCENT: usize = 66;

const TOP_UP_DEADLINE: Duration = Duration::from_secs(60);
const TOP_UP_INTERVAL: Duration = Duration::from_millis(200);

/// Plays the plans of both kinds of links.
pub(super) async fn play(clients: &Proxy, http: &Proxy, options: &ChaosOptions, rng: &Rng) {
    let owed = options.theme.owed(options.load.short).cuts_each as usize;
    let cuts = owed.max(CUTS_MIN) + CUTS_SPARE;
    let others = cuts * OTHERS_PERCENT / 100;
    let client_plan = PlanOptions {
        links: clients.links().len(),
        rounds: cuts + others,
        span: options.span,
        each: vec![
            (FaultKind::Reset, cuts.div_ceil(2)),
            (FaultKind::Cut, cuts / 2),
        ],
        mix: CLIENT_MIX.to_vec(),
    };
    let http_plan = PlanOptions {
        links: http.links().len(),
        each: Vec::new(),
        mix: HTTP_MIX.to_vec(),
        ..client_plan
    };
    let client_plan = plan(&mut rng.fork(20), &client_plan);
    let http_plan = plan(&mut rng.fork(21), &http_plan);
    tokio::join!(
        play_plan(clients.links(), &client_plan),
        play_plan(http.links(), &http_plan),
    );
}

/// A cut that found no connection, or one whose server had not answered yet, does not count: links
/// that still owe some are cut again, as soon as they are up.
pub(super) async fn top_up(links: &Proxy, options: &ChaosOptions) -> Result<(), RunError> {
    let owed = options.theme.owed(options.load.short).cuts_each;
    let until = Instant::now() + TOP_UP_DEADLINE;
    let mut ticks = interval(TOP_UP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut lacking = 0;
        for link in links
            .links()
            .iter()
            .filter(|link| link.counts().cuts < owed)
        {
            lacking += 1;
            if link.is_up() {
                link.begin(Fault::Reset { after_bytes: 0 });
            }
        }
        if lacking == 0 {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(RunError::Late {
                what: format!("{lacking} links have not been cut {owed} times"),
                deadline: TOP_UP_DEADLINE,
            });
        }
    }
}
