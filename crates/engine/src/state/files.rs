//! The segments' open files, and how much of each still counts.
//!
//! Owns the totals of bytes on disk. Must not know frames or channels.

use std::{collections::BTreeMap, sync::Arc};

use super::Entry;
use crate::{config::EngineConfig, disk::DiskFile, format::header::SegmentHeader};

/// An open segment.
#[derive(Clone)]
pub(crate) struct SegmentFile {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
    /// Its length.
    pub(crate) bytes: u64,
    /// Bytes of records of publications that are still history.
    pub(crate) live_bytes: u64,
    /// Bytes that counted beside publications when it was rewritten: another time gives none of
    /// them back before `judged_ms` is long enough ago. 0 where it is as it was committed.
    pub(crate) kept_bytes: u64,
    /// When it was rewritten, or the log was opened.
    pub(crate) judged_ms: u64,
    /// How long `kept_bytes` are left alone from then on.
    pub(crate) wait_ms: u64,
    /// Nothing more is written to it.
    pub(crate) is_sealed: bool,
    /// Its frames were written or checked by this process.
    pub(crate) is_checked: bool,
    /// It has no hint yet, and none was tried in vain.
    pub(crate) wants_hint: bool,
}

impl SegmentFile {
    /// Bytes that rewriting gives back, at most; what was kept by the last one may be more.
    pub(crate) fn dead_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.live_bytes + self.kept_bytes)
    }

    /// As [`dead_bytes`](Self::dead_bytes), with what was kept where that is `wait_ms` ago.
    pub(crate) fn lapsed_bytes(&self, now_ms: u64, wait_ms: u64) -> u64 {
        if now_ms >= self.judged_ms.saturating_add(wait_ms) {
            self.bytes.saturating_sub(self.live_bytes)
        } else {
            self.dead_bytes()
        }
    }
}

/// How long what was kept in a rewritten file is left alone: keys, sessions and channels end, and a
/// later number takes a session's earlier one out, of all of which no file is told.
#[derive(Clone, Copy, Default)]
pub(crate) struct Waits {
    /// At first, and always where the log is nearly full.
    pub(crate) least_ms: u64,
    /// However little it has given back each time.
    pub(crate) most_ms: u64,
}

impl Waits {
    fn of(config: &EngineConfig) -> Self {
        let (key_ms, session_ms) = (
            config.key_window.as_millis() as u64,
            config.session_ttl.as_millis() as u64,
        );
        Self {
            least_ms: key_ms.min(session_ms),
            most_ms: key_ms.max(session_ms),
        }
    }
}

/// All open segments, by a number that is not given twice in a process: a rewritten segment has
/// another one than its original, so entries lead to the bytes that they were made for.
#[derive(Default)]
pub(crate) struct Files {
    files: BTreeMap<u32, SegmentFile>,
    next: u32,
    bytes: u64,
    waits: Waits,
}

impl Files {
    pub(super) fn new(config: &EngineConfig) -> Self {
        Self {
            waits: Waits::of(config),
            ..Self::default()
        }
    }

    /// Adds a file and answers its number.
    pub(crate) fn add(&mut self, file: SegmentFile) -> u32 {
        let number = self.next;
        self.next += 1;
        self.bytes += file.bytes;
        self.files.insert(number, file);
        number
    }

    pub(crate) fn remove(&mut self, number: u32) {
        if let Some(file) = self.files.remove(&number) {
            self.bytes -= file.bytes;
        }
    }

    pub(crate) fn grow(&mut self, number: u32, bytes: u64) {
        if let Some(file) = self.files.get_mut(&number) {
            file.bytes += bytes;
            self.bytes += bytes;
        }
    }

    /// What counts in a rewritten file beside its publications counts for `wait_ms`, or for as long
    /// as is waited at least or at most.
    pub(crate) fn keep_rest(&mut self, number: u32, now_ms: u64, wait_ms: u64) {
        if let Some(file) = self.files.get_mut(&number) {
            file.kept_bytes = file.bytes.saturating_sub(file.live_bytes);
            file.judged_ms = now_ms;
            file.wait_ms = wait_ms.clamp(self.waits.least_ms, self.waits.most_ms);
        }
    }

    /// The log was opened: when its rewritten files were judged is not known.
    pub(crate) fn keep_rests(&mut self, now_ms: u64) {
        let rewritten =
            |(&number, file): (&u32, &SegmentFile)| file.header.is_rewritten().then_some(number);
        let numbers: Vec<u32> = self.files.iter().filter_map(rewritten).collect();
        for number in numbers {
            self.keep_rest(number, now_ms, 0);
        }
    }

    /// The file that was added last has lost its tail.
    pub(crate) fn shrink_last(&mut self, bytes: u64) {
        if let Some(mut last) = self.files.last_entry() {
            last.get_mut().bytes -= bytes;
            self.bytes -= bytes;
        }
    }

    pub(crate) fn seal(&mut self, number: u32) {
        if let Some(file) = self.files.get_mut(&number) {
            file.is_sealed = true;
        }
    }

    /// It was looked at: its frames are good, and it has a hint, or can't have one now.
    pub(crate) fn tended(&mut self, number: u32) {
        if let Some(file) = self.files.get_mut(&number) {
            file.is_checked = true;
            file.wants_hint = false;
        }
    }

    /// The oldest sealed file that is not checked or has no hint.
    pub(crate) fn untended(&self) -> Option<(u32, SegmentFile)> {
        let is_untended =
            |file: &SegmentFile| file.is_sealed && (file.wants_hint || !file.is_checked);
        let mut found = self.files.iter().filter(|(_, file)| is_untended(file));
        found.next().map(|(number, file)| (*number, file.clone()))
    }

    /// Bytes in sealed files that are still to be checked.
    pub(crate) fn unchecked_bytes(&self) -> u64 {
        let unchecked = self.files.values().filter(|file| !file.is_checked);
        unchecked.map(|file| file.bytes).sum()
    }

    pub(super) fn take(&mut self, entry: &Entry) {
        if let Some(file) = self.files.get_mut(&entry.file) {
            file.live_bytes += u64::from(entry.len);
        }
    }

    pub(super) fn release(&mut self, entry: &Entry) {
        if let Some(file) = self.files.get_mut(&entry.file) {
            file.live_bytes -= u64::from(entry.len);
        }
    }

    pub(crate) fn waits(&self) -> Waits {
        self.waits
    }

    pub(crate) fn get(&self, number: u32) -> Option<&SegmentFile> {
        self.files.get(&number)
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes in sealed files that no longer count.
    pub(crate) fn dead_bytes(&self) -> u64 {
        let sealed = self.files.values().filter(|file| file.is_sealed);
        sealed.map(SegmentFile::dead_bytes).sum()
    }

    /// In the order of the log.
    pub(crate) fn in_order(&self) -> Vec<(u32, SegmentFile)> {
        let mut files: Vec<_> = self
            .files
            .iter()
            .map(|(id, file)| (*id, file.clone()))
            .collect();
        files.sort_by_key(|(_, file)| file.header.number);
        files
    }
}
