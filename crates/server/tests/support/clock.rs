//! Time that a test moves, so that none of its bounds depends on the speed of a machine.

use std::{sync::mpsc, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{advance, pause, resume},
};

/// Longer than what is done meanwhile takes. Whoever waits in vain is then found by his deadline.
const STANDS_MAX: Duration = Duration::from_secs(20);

/// Lets so much time pass at once.
pub(crate) async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

/// Time stands still until this is dropped, and what goes over sockets takes none.
pub(crate) struct Still {
    _held: mpsc::Sender<()>,
}

impl Still {
    pub(crate) fn begin() -> Self {
        pause();
        let (held, end) = mpsc::channel();
        // As long as a blocking task runs, tokio does not move paused time to the next timer.
        spawn_blocking(move || end.recv_timeout(STANDS_MAX));
        Self { _held: held }
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        resume();
    }
}
