//! The trace of a seed: what happened when, for people to read, and its digest for comparisons.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Where the trace goes.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    prints: bool,
    digest: Option<DefaultHasher>,
}

impl Trace {
    /// Printed as it happens.
    pub(crate) fn printed() -> Self {
        Self {
            prints: true,
            digest: None,
        }
    }

    /// Not printed, only compared.
    pub(crate) fn digested() -> Self {
        Self {
            prints: false,
            digest: Some(DefaultHasher::new()),
        }
    }

    pub(crate) fn say(&mut self, now_ms: u64, text: impl FnOnce() -> String) {
        if !self.prints && self.digest.is_none() {
            return;
        }
        let text = text();
        if let Some(digest) = &mut self.digest {
            (now_ms, &text).hash(digest);
        }
        if self.prints {
            println!("{:>8.3} s  {text}", now_ms as f64 / 1_000.0);
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.as_ref().map_or(0, Hasher::finish)
    }
}
