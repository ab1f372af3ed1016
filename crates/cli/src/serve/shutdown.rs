//! Signals: the first one asks the server to go, the second one ends it.
//!
//! Owns SIGINT and SIGTERM, which mean the same. Must not know how the server goes.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::logging::Queue;

/// What shells expect of a program that a signal ended: 128 and its number.
const SIGNALLED: i32 = 128;

/// What the last lines of the log may take of "at once": nobody notices it.
const FLUSH_MAX: Duration = Duration::from_millis(50);

/// Listens from now on; the future is done at the first signal.
pub(super) fn first_signal(log: Queue) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut signals = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    Ok(async move {
        let kind = next(&mut signals).await;
        tracing::info!(
            signal = kind.as_raw_value(),
            "shutting down; a second signal exits at once"
        );
        tokio::spawn(async move {
            let kind = next(&mut signals).await;
            tracing::warn!("exiting at once");
            log.flush(FLUSH_MAX);
            std::process::exit(SIGNALLED + kind.as_raw_value());
        });
    })
}

async fn next((interrupt, terminate): &mut (Signal, Signal)) -> SignalKind {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    }
}
