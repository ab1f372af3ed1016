//! What the engine says of its health, told in the log when it changes.

use std::{sync::Arc, time::Duration};

use bowline_engine::{Engine, EngineHealth};

/// Often enough that the log tells it about when it happened; a look costs a lock.
const INTERVAL: Duration = Duration::from_millis(250);

/// Watches for as long as it is polled.
pub(super) async fn watch(engine: Arc<dyn Engine>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = EngineHealth::Ready;
    loop {
        ticks.tick().await;
        let health = engine.health();
        if health == before {
            continue;
        }
        match &health {
            EngineHealth::Refusing(reason) => {
                tracing::error!(%reason, "the engine takes no messages");
            }
            EngineHealth::Ready => tracing::info!("the engine takes messages again"),
        }
        before = health;
    }
}
