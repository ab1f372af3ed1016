//! The end of the log: the segment that is written, frame by frame.
//!
//! Owns the order of write, sync and what is known after each failure. Must not know what records
//! mean, nor who waits for them.

use std::{io, sync::Arc};

use crate::{
    contract::AppendError,
    disk::{Disk, DiskFile},
    format::{
        frame::{self, FRAME_HEADER_BYTES},
        header::{HEADER_BYTES, SegmentHeader},
    },
    names,
};

/// Writes frames.
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    epoch: u64,
    term: u32,
    next_number: u64,
    next_seq: u64,
    active: Option<Active>,
    /// Why nothing is ever written again.
    broken: Option<Arc<str>>,
    pub(crate) totals: WriterTotals,
}

/// What was written since the log was opened.
#[derive(Clone, Copy, Default)]
pub(crate) struct WriterTotals {
    pub(crate) commits: u64,
    pub(crate) syncs: u64,
    pub(crate) bytes: u64,
}

/// The segment that is written.
#[derive(Clone)]
pub(crate) struct Active {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
    /// Where the next frame goes; everything before it is durable.
    pub(crate) end: u64,
    /// A failed write may have left something behind `end`.
    is_ragged: bool,
    /// A frame was written to it, and so whoever is told of frames knows of it.
    is_known: bool,
}

/// A frame that is durable.
pub(crate) struct Written {
    /// Where its records begin.
    pub(crate) body_pos: u32,
    pub(crate) frame_bytes: u64,
    pub(crate) seq: u64,
    /// It is the first of this segment.
    pub(crate) opened: Option<Active>,
}

/// A frame was not made durable.
#[derive(Clone, Debug)]
pub(crate) enum WriteError {
    /// Nothing was stored; it may go better later.
    Refused {
        error: AppendError,
        reason: Arc<str>,
    },
    /// Nothing is ever written again. Whether this frame was stored is known or not.
    Broken { is_known: bool, reason: Arc<str> },
}

impl Writer {
    /// Goes on behind the segments that exist.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        epoch: u64,
        term: u32,
        next_number: u64,
        next_seq: u64,
    ) -> Self {
        Self {
            disk,
            segment_bytes,
            epoch,
            term,
            next_number,
            next_seq,
            active: None,
            broken: None,
            totals: WriterTotals::default(),
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(crate) fn term(&self) -> u32 {
        self.term
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Makes a frame durable: its records stand behind room for its header. `salt` is random.
    pub(crate) fn write(
        &mut self,
        frame: &mut [u8],
        time_ms: u64,
        records: u32,
        salt: impl FnOnce() -> Option<u64>,
    ) -> Result<Written, WriteError> {
        if let Some(reason) = &self.broken {
            return Err(WriteError::Broken {
                is_known: true,
                reason: reason.clone(),
            });
        }
        // Before the segment is used again, or sealed: nothing may stand behind its last frame.
        if let Some(active) = self.active.as_mut().filter(|active| active.is_ragged) {
            active
                .file
                .truncate(active.end)
                .map_err(|error| refused(&error))?;
            active.is_ragged = false;
        }
        self.ensure_active(salt)?;
        let active = self.active.as_mut().expect("it was just ensured");
        let (seq, salt) = (self.next_seq, active.header.salt);
        frame::seal(frame, salt, seq, time_ms, self.term, records);
        self.totals.bytes += frame.len() as u64;
        if let Err(error) = active.file.write_at(frame, active.end) {
            // Cut away now, so that a crash finds no torn tail; if that fails, before the next write.
            active.is_ragged = active.file.truncate(active.end).is_err();
            return Err(refused(&error));
        }
        self.totals.syncs += 1;
        if let Err(error) = active.file.sync_data() {
            return Err(self.break_down("fdatasync of the log", &error, false));
        }
        self.totals.commits += 1;
        let body_pos = active.end + FRAME_HEADER_BYTES as u64;
        active.end += frame.len() as u64;
        self.next_seq += 1;
        let is_known = std::mem::replace(&mut active.is_known, true);
        Ok(Written {
            body_pos: u32::try_from(body_pos).expect("a segment is below 4 GiB"),
            frame_bytes: frame.len() as u64,
            seq,
            opened: (!is_known).then(|| active.clone()),
        })
    }

    /// Begins a segment if there is none, or none with room.
    fn ensure_active(&mut self, salt: impl FnOnce() -> Option<u64>) -> Result<(), WriteError> {
        let is_full = |active: &Active| active.end >= self.segment_bytes;
        if self.active.as_ref().is_some_and(|active| !is_full(active)) {
            return Ok(());
        }
        let salt = salt().ok_or_else(|| WriteError::Refused {
            error: AppendError::StorageUnavailable,
            reason: "the system gave no random bits".into(),
        })?;
        let header = SegmentHeader {
            number: self.next_number,
            last_number: self.next_number,
            epoch: self.epoch,
            first_seq: self.next_seq,
            last_seq: 0,
            rewritten_at_seq: 0,
            term: self.term,
            salt: salt as u32,
        };
        let name = names::segment(header.number);
        let file = match self.disk.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by an attempt that failed: no frame was ever written to it.
                self.disk.remove(&name).map_err(|error| refused(&error))?;
                self.disk.create(&name)
            }
            created => created,
        };
        let file = file.map_err(|error| refused(&error))?;
        if let Err(error) = file.write_at(&header.encode(), 0) {
            // Whether or not this succeeds, the next attempt removes what is left.
            let _ = self.disk.remove(&name);
            return Err(refused(&error));
        }
        self.totals.bytes += HEADER_BYTES as u64;
        self.totals.syncs += 2;
        if let Err(error) = file.sync_data().and_then(|()| self.disk.sync_dir()) {
            return Err(self.break_down("fsync of a new segment", &error, true));
        }
        self.active = Some(Active {
            file,
            header,
            end: HEADER_BYTES as u64,
            is_ragged: false,
            is_known: false,
        });
        self.next_number += 1;
        Ok(())
    }

    fn break_down(&mut self, what: &str, error: &io::Error, is_known: bool) -> WriteError {
        let reason = not_known(what, error);
        self.broken = Some(reason.clone());
        WriteError::Broken { is_known, reason }
    }
}

/// Why nothing is ever acknowledged again after a sync that failed.
pub(crate) fn not_known(what: &str, error: &io::Error) -> Arc<str> {
    format!(
        "{what} failed ({error}), so what the disk has is not known; \
         check the disk and restart the server"
    )
    .into()
}

fn refused(error: &io::Error) -> WriteError {
    let is_full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    );
    WriteError::Refused {
        error: if is_full {
            AppendError::StorageFull
        } else {
            AppendError::StorageUnavailable
        },
        reason: format!("the log can't be written: {error}").into(),
    }
}
