//! What runs for a link, and the fence that lets nothing more begin.
//!
//! Owns the order between the links of one session: what an older one has accepted is over before a
//! newer one goes on. Must not know what runs, nor who claims a session.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Link;
use crate::sync::lock;

/// How many of one link's may run. Its messages are done one run after the other, so there are more
/// than one only where an engine stands still: one for each `publish_timeout`.
const WORK_MAX: u32 = 1 << 28;

/// An append or a handler call of a link on its way; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Work(Arc<Link>);

/// The places for what runs.
pub(super) const fn places() -> Semaphore {
    Semaphore::const_new(WORK_MAX as usize)
}

impl Link {
    /// Begins an append or a handler call; none once a newer link has the session.
    pub(crate) fn begin_work(self: &Arc<Self>) -> Option<Work> {
        let permit = self.work.try_acquire().ok()?;
        permit.forget();
        Some(Work(self.clone()))
    }

    /// Waits until nothing runs that it or those before it in its session have accepted, and lets
    /// nothing more begin.
    pub(crate) async fn fence(&self) {
        self.seal().await;
        self.fence_before().await;
    }

    /// The same for this link alone.
    async fn seal(&self) {
        if let Ok(all) = self.work.acquire_many(WORK_MAX).await {
            self.work.close();
            drop(all);
        }
    }

    /// Sets whose session it holds now: who takes it over from this one meanwhile waits for that one
    /// as well.
    pub(crate) fn follow(&self, before: Option<Arc<Self>>) {
        let ended = std::mem::replace(&mut lock(&self.inner).before, before);
        // Outside the lock, since it may be the last that knows it.
        drop(ended);
    }

    /// Fences the link whose session it holds, and those before it.
    pub(crate) async fn fence_before(&self) {
        loop {
            let Some(link) = lock(&self.inner).before.clone() else {
                return;
            };
            link.seal().await;
            // Only one that is waited for is kept, so that a row of them never grows long.
            let before = lock(&link.inner).before.clone();
            self.follow(before);
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.work.add_permits(1);
    }
}
