//! Patience for what must follow.

use std::time::Duration;

use tokio::time::timeout;

/// Every behaviour here takes milliseconds.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(4), future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}
