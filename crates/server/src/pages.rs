//! Pages of a channel's log, read once for all who stand at the same place.
//!
//! Owns the readings of one channel that are on their way, so that a herd that comes back from one
//! position costs one read and one encoding. Must not know who reads, nor how a log is kept.

use std::{collections::BTreeMap, sync::Arc};

use bowline_proto::{Position, server::PageView};
use tokio::sync::OnceCell;

use crate::{
    frames::Shared,
    sync::{Mutex, lock},
};

/// A page as it is written to subscribers.
#[derive(Debug)]
pub(crate) struct EncodedPage {
    /// What it says of itself.
    pub(crate) view: PageView,
    /// Its publications.
    pub(crate) shared: Vec<Arc<Shared>>,
    /// Where it leaves a reader, for a page that has no publication to tell it.
    pub(crate) end: Option<Position>,
}

/// What came of a reading; none where the log could not be read.
type Outcome = Option<Arc<EncodedPage>>;

/// The readings of one channel that are on their way, by the offset that they begin behind: at most
/// one for each link that catches up there.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    readings: Mutex<BTreeMap<u64, Arc<OnceCell<Outcome>>>>,
}

impl Pages {
    pub(crate) fn new() -> Self {
        Self {
            readings: Mutex::new(BTreeMap::new()),
        }
    }

    /// The page behind `after`: of the reading that is on its way, or of one that begins now. If
    /// whoever reads goes away, the next one who waits reads instead.
    pub(crate) async fn read(&self, after: u64, read: impl Future<Output = Outcome>) -> Outcome {
        let place = Place {
            pages: self,
            after,
            reading: lock(&self.readings).entry(after).or_default().clone(),
        };
        place.reading.get_or_init(|| read).await.clone()
    }
}

/// One who waits for a reading.
struct Place<'a> {
    pages: &'a Pages,
    after: u64,
    reading: Arc<OnceCell<Outcome>>,
}

impl Drop for Place<'_> {
    /// A finished reading serves those who have waited for it and nobody later: the log goes on.
    /// One that nobody waits for any more is forgotten too.
    fn drop(&mut self) {
        let mut readings = lock(&self.pages.readings);
        let is_this = readings
            .get(&self.after)
            .is_some_and(|reading| Arc::ptr_eq(reading, &self.reading));
        // The map's own and this one.
        let is_last = Arc::strong_count(&self.reading) <= 2;
        if is_this && (is_last || self.reading.initialized()) {
            readings.remove(&self.after);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    fn page(head: u64) -> Outcome {
        let view = PageView {
            epoch: 1,
            floor: 1,
            head,
            first: None,
            count: 0,
        };
        Some(Arc::new(EncodedPage {
            view,
            shared: Vec::new(),
            end: None,
        }))
    }

    #[tokio::test]
    async fn readers_of_one_place_share_one_reading() {
        let (pages, reads) = (Arc::new(Pages::new()), Arc::new(AtomicUsize::new(0)));
        let (open, gate) = tokio::sync::watch::channel(false);
        let readers: Vec<_> = (0..100)
            .map(|reader: u64| {
                let (pages, reads, mut gate) = (pages.clone(), reads.clone(), gate.clone());
                tokio::spawn(async move {
                    let read = async {
                        reads.fetch_add(1, Ordering::Relaxed);
                        gate.wait_for(|open| *open).await.expect("it opens");
                        page(9)
                    };
                    let page = pages.read(7 + reader % 2, read).await;
                    page.expect("it is read").view.head
                })
            })
            .collect();
        while lock(&pages.readings)
            .values()
            .map(Arc::strong_count)
            .sum::<usize>()
            < 102
        {
            tokio::task::yield_now().await;
        }
        open.send(true).expect("they wait");
        for reader in readers {
            assert_eq!(reader.await.expect("no panic"), 9);
        }
        assert_eq!(reads.load(Ordering::Relaxed), 2, "one for each place");
        assert!(lock(&pages.readings).is_empty());
    }

    #[tokio::test]
    async fn a_later_reader_reads_anew_and_an_abandoned_reading_is_forgotten() {
        let pages = Pages::new();
        assert_eq!(
            pages
                .read(7, async { page(9) })
                .await
                .expect("read")
                .view
                .head,
            9
        );
        assert_eq!(
            pages
                .read(7, async { page(12) })
                .await
                .expect("read")
                .view
                .head,
            12
        );
        {
            let mut abandoned = Box::pin(pages.read(7, std::future::pending()));
            assert!(abandoned.as_mut().now_or_never().is_none());
            assert_eq!(lock(&pages.readings).len(), 1);
        }
        assert!(lock(&pages.readings).is_empty());
    }
}
