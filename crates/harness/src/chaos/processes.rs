//! Kills of the server (SIGKILL), and whether it is still there.

use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{ChaosOptions, ledger::Ledger, theme::Theme};
use crate::{log::Record, process::Server, rng::Rng, scenario::RunError};

/// Between two kills, or between the last one and the end.
const LIFE_MS: (u64, u64) = (4_000, 8_000);
/// The same where it keeps its log: as often as clients come back in between.
const LIFE_WITH_LOG_MS: (u64, u64) = (300, 2_500);
/// Before it is killed the server stands still for so long, so that it dies with messages on their way.
const DYING_MS: (u64, u64) = (0, 800);

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
