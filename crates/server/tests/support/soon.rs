//! Patience for what must follow.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Every behaviour that is waited for here takes milliseconds.
const SOON: Duration = Duration::from_secs(4);
/// What a server does by itself, some of it once a second.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Polls until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let polled = timeout(PATIENCE, async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    });
    polled
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}
