//! Faults of processes: they stand still (SIGSTOP), or the server is killed (SIGKILL).

use std::collections::BTreeMap;

use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{ChaosOptions, ledger::Ledger, theme::Theme};
use crate::{driver::Driver, log::Record, process::Server, rng::Rng, scenario::RunError};

/// Every other stop outlasts the silence after which either side gives a link up (2 s), beginning with
/// the first.
const LONG_MS: (u64, u64) = (2_500, 4_000);
const BRIEF_MS: (u64, u64) = (200, 1_800);
const RUNNING_MS: (u64, u64) = (300, 1_200);
/// One stop in so many is the server's, beginning with the first.
const SERVER_SHARE: u64 = 3;
/// Between two kills, or between the last one and the end.
const LIFE_MS: (u64, u64) = (4_000, 8_000);
/// The same where it keeps its log: as often as clients come back in between.
const LIFE_WITH_LOG_MS: (u64, u64) = (300, 2_500);
/// Before it is killed the server stands still for so long, so that it dies with messages on their way.
const DYING_MS: (u64, u64) = (0, 800);

/// Stops one process after the other, each for a while, until the span is over. Answers how often.
pub(super) async fn pause(
    server: &Mutex<Server>,
    drivers: &[Driver],
    options: &ChaosOptions,
    mut rng: Rng,
) -> BTreeMap<String, u64> {
    let until = Instant::now() + options.span;
    let mut counts = BTreeMap::new();
    for number in 0_u64.. {
        sleep(rng.millis(RUNNING_MS.0, RUNNING_MS.1)).await;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let (least, most) = if number % 2 == 0 { LONG_MS } else { BRIEF_MS };
        let stopped = rng.millis(least, most).min(left);
        let (name, sent) = match number % SERVER_SHARE {
            0 => {
                let server = server.lock().await;
                let sent = server.signal("STOP").await;
                sleep(stopped).await;
                ("server stopped", sent && server.signal("CONT").await)
            }
            _ => {
                let driver = &drivers[rng.index(drivers.len())];
                let sent = driver.signal("STOP").await;
                sleep(stopped).await;
                ("driver stopped", sent && driver.signal("CONT").await)
            }
        };
        *counts.entry(name.to_owned()).or_insert(0) += u64::from(sent);
    }
    counts
}

/// Kills the server again and again, and starts it again at once, until the span is over.
pub(super) async fn kill(
    server: &Mutex<Server>,
    ledger: &Ledger,
    options: &ChaosOptions,
    mut rng: Rng,
) -> Result<(), RunError> {
    let until = Instant::now() + options.span;
    loop {
        let (least, most) = match options.theme {
            Theme::Kills => LIFE_WITH_LOG_MS,
            _ => LIFE_MS,
        };
        let life = rng.millis(least, most);
        if Instant::now() + life > until {
            sleep(until.saturating_duration_since(Instant::now())).await;
            return Ok(());
        }
        sleep(life).await;
        let mut server = server.lock().await;
        if options.theme != Theme::Kills {
            server.signal("STOP").await;
            sleep(rng.millis(DYING_MS.0, DYING_MS.1)).await;
        }
        server.kill().await?;
        ledger.write(&Record::Killed)?;
        server.restart().await?;
    }
}

/// Whether the server is still there, unless somebody is busy with it.
pub(super) fn check_alive(server: &mut Mutex<Server>) -> Result<(), RunError> {
    Ok(server.get_mut().check_alive()?)
}
