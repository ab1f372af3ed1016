//! The segments' open files, and how much of each still counts.
//!
//! Owns the totals of bytes on disk. Must not know frames or channels.

use std::{collections::BTreeMap, sync::Arc};

use super::Entry;
use crate::{disk::DiskFile, format::header::SegmentHeader};

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
    /// them back. 0 where it is as it was committed.
    pub(crate) kept_bytes: u64,
    /// Nothing more is written to it.
    pub(crate) is_sealed: bool,
    /// Its frames were written or checked by this process.
    pub(crate) is_checked: bool,
    /// It has no hint yet, and none was tried in vain.
    pub(crate) wants_hint: bool,
}

impl SegmentFile {
    /// Bytes that rewriting gives back, at most.
    pub(crate) fn dead_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.live_bytes + self.kept_bytes)
    }
}

/// All open segments, by a number that is not given twice in a process: a rewritten segment has
/// another one than its original, so entries lead to the bytes that they were made for.
#[derive(Default)]
pub(crate) struct Files {
    files: BTreeMap<u32, SegmentFile>,
    next: u32,
    bytes: u64,
}

impl Files {
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

    /// What counts in a rewritten file beside its publications counts until it is rewritten again.
    pub(crate) fn keep_rest(&mut self, number: u32) {
        if let Some(file) = self.files.get_mut(&number) {
            file.kept_bytes = file.bytes.saturating_sub(file.live_bytes);
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
