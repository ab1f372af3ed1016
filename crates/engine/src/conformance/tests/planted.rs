//! Engines with one bug each. Every one must fail the suite, in the case that is about it, and every
//! case must fail for some bug.

mod bugs;

use bowline_proto::{
    Publication,
    recovery::{ChannelState, EngineClock},
};

use super::*;
use crate::contract::{
    Append, AppendError, Appended, BoxFuture, EngineHealth, EngineStats, Listener, Page, PageLimit,
    ReadError, SessionKey,
};

type Again = fn(&[Append]) -> Vec<Append>;
type Hinting = fn(Arc<dyn Listener>) -> Option<Arc<dyn Listener>>;
type Held = (Arc<str>, u64, Arc<Publication>);
type Outcomes = Vec<Result<Appended, AppendError>>;

/// What can be broken on the way to a sound engine and back.
#[derive(Clone, Copy, Default)]
struct Bug {
    batch: Option<fn(Vec<Append>) -> Vec<Append>>,
    /// Entries that go to the engine again, after those of the batch.
    again: Option<Again>,
    one_by_one: bool,
    outcomes: Option<fn(&mut Outcomes)>,
    limit: Option<fn(PageLimit) -> PageLimit>,
    page: Option<fn(&mut Page)>,
    state: Option<fn(&mut ChannelState)>,
    session: Option<fn(Option<u64>) -> Option<u64>>,
    keeps_ended_sessions: bool,
    creates_on_ask: bool,
    hints: Option<Hinting>,
    clock: Option<fn(&mut EngineClock)>,
    stats: Option<fn(&mut EngineStats)>,
    config: Option<fn(&mut EngineConfig)>,
}

struct Planted {
    inner: Arc<dyn Engine>,
    bug: Bug,
}

impl Planted {
    async fn append_broken(&self, mut batch: Vec<Append>) -> Outcomes {
        let again = self.bug.again.map_or(Vec::new(), |again| again(&batch));
        if let Some(broken) = self.bug.batch {
            batch = broken(batch);
        }
        let mut outcomes = Vec::new();
        if self.bug.one_by_one {
            for append in batch {
                outcomes.extend(self.inner.append(vec![append]).await);
            }
        } else {
            outcomes = self.inner.append(batch).await;
        }
        self.inner.append(again).await;
        if let Some(broken) = self.bug.outcomes {
            broken(&mut outcomes);
        }
        outcomes
    }
}

impl Engine for Planted {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Outcomes> {
        Box::pin(self.append_broken(batch))
    }

    fn channel(&self, channel: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>> {
        let channel = channel.to_owned();
        Box::pin(async move {
            if self.bug.creates_on_ask {
                self.inner.append(vec![driver::publish(&channel, 0)]).await;
            }
            let mut state = self.inner.channel(&channel).await?;
            if let Some(broken) = self.bug.state {
                broken(&mut state);
            }
            Ok(state)
        })
    }

    fn read(
        &self,
        channel: &str,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Option<Page>, ReadError>> {
        let channel = channel.to_owned();
        let limit = self.bug.limit.map_or(limit, |broken| broken(limit));
        Box::pin(async move {
            let mut page = self.inner.read(&channel, after, limit).await?;
            if let (Some(page), Some(broken)) = (&mut page, self.bug.page) {
                broken(page);
            }
            Ok(page)
        })
    }

    fn session(&self, session: SessionKey) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(async move {
            let highest = self.inner.session(session).await?;
            Ok(self.bug.session.map_or(highest, |broken| broken(highest)))
        })
    }

    fn end_session(&self, session: SessionKey) -> BoxFuture<'_, Result<(), AppendError>> {
        if self.bug.keeps_ended_sessions {
            Box::pin(std::future::ready(Ok(())))
        } else {
            self.inner.end_session(session)
        }
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        let listener = match self.bug.hints {
            Some(broken) => broken(listener),
            None => Some(listener),
        };
        if let Some(listener) = listener {
            self.inner.listen(listener);
        }
    }

    fn clock(&self) -> EngineClock {
        let mut clock = self.inner.clock();
        if let Some(broken) = self.bug.clock {
            broken(&mut clock);
        }
        clock
    }

    fn stats(&self) -> EngineStats {
        let mut stats = self.inner.stats();
        if let Some(broken) = self.bug.stats {
            broken(&mut stats);
        }
        stats
    }

    fn health(&self) -> EngineHealth {
        self.inner.health()
    }
}

/// Tells each hint only when the next one has come, and then after it.
struct Swapping {
    inner: Arc<dyn Listener>,
    held: Mutex<Option<Held>>,
}

impl Listener for Swapping {
    fn published(&self, channel: &Arc<str>, epoch: u64, publication: &Arc<Publication>) {
        let mut held = self.held.lock().expect("not poisoned");
        if let Some((earlier, at, late)) = held.take() {
            self.inner.published(channel, epoch, publication);
            self.inner.published(&earlier, at, &late);
        } else {
            *held = Some((channel.clone(), epoch, publication.clone()));
        }
    }
}

/// Tells everything twice.
struct Doubling(Arc<dyn Listener>);

impl Listener for Doubling {
    fn published(&self, channel: &Arc<str>, epoch: u64, publication: &Arc<Publication>) {
        self.0.published(channel, epoch, publication);
        self.0.published(channel, epoch, publication);
    }
}

#[test]
fn each_planted_bug_is_found() {
    let mut found = BTreeMap::new();
    for (name, case, bug) in bugs::all() {
        let broken = subject(move |open, mut config| {
            if let Some(change) = bug.config {
                change(&mut config);
            }
            let inner = open(config);
            Arc::new(Planted { inner, bug })
        });
        let report = run(&broken);
        let failed = report.failed();
        assert!(failed.contains(&case), "{name} passed {case}\n{report}");
        println!("{name}: {} cases fail", failed.len());
        for case in failed {
            *found.entry(case).or_insert(0) += 1;
        }
    }
    let blind: Vec<&str> = cases()
        .iter()
        .map(Case::name)
        .filter(|name| !found.contains_key(name))
        .collect();
    assert!(blind.is_empty(), "no planted bug fails {blind:?}");
}
