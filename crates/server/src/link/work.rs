//! What runs for a link, and the fence that lets nothing more begin.
//!
//! Owns the order between the links of one session: what an older one has accepted is over before a
//! newer one goes on. Must not know what runs, nor who claims a session.

use std::sync::Arc;

use tokio::sync::SemaphorePermit;

use super::Link;
use crate::sync::lock;

/// An append or a handler call of a link on its way; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Work(Arc<Link>);

impl Link {
    /// Begins an append or a handler call; none while one runs that took too long, and once a newer
    /// link has the session.
    pub(crate) fn try_begin_work(self: &Arc<Self>) -> Option<Work> {
        let place = self.work.try_acquire().ok()?;
        Some(self.working(place))
    }

    /// The same, once what took too long is over; none once a newer link has the session.
    pub(crate) async fn begin_work(self: &Arc<Self>) -> Option<Work> {
        let place = self.work.acquire().await.ok()?;
        Some(self.working(place))
    }

    fn working(self: &Arc<Self>, place: SemaphorePermit<'_>) -> Work {
        place.forget();
        Work(self.clone())
    }

    /// Whether nothing may begin any more.
    pub(crate) fn is_fenced(&self) -> bool {
        self.work.is_closed()
    }

    /// Waits until nothing runs that it or those before it in its session have accepted, and lets
    /// nothing more begin.
    pub(crate) async fn fence(&self) {
        self.seal().await;
        self.fence_before().await;
    }

    /// The same for this link alone.
    async fn seal(&self) {
        if let Ok(last) = self.work.acquire().await {
            self.work.close();
            drop(last);
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
