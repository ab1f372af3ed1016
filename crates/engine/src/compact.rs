//! Giving space back: sealed segments are written anew with only what still counts.
//!
//! Owns which records a rewritten segment keeps, so that replaying it comes to the same state, and
//! which segments are worth it. Clock-free: time and pace are the caller's. Must not know threads.
//!
//! The new file takes the place of the first of its originals by a rename, and stands for all of
//! them. A crash before leaves the originals, one after leaves files that the next opening knows to
//! be covered. Entries move over in small steps; until then they lead to the originals, which stay
//! open though their names are gone.

mod choice;
mod rewrite;

use std::{io, sync::Arc};

use crate::{
    disk::{Disk, DiskFile, is_not_renamed},
    format::{
        frame::{self, FRAME_HEADER_BYTES},
        header::{HEADER_BYTES, SegmentHeader},
        record::{ChannelId, Record},
    },
    hint, names,
    scan::{self, BeginError, Damage},
    state::{SegmentFile, State},
};
pub(crate) use choice::{choose, is_nearly_full};
use rewrite::Rewrite;

/// A frame of a rewritten segment is written when it has this size: large enough to be cheap, small
/// enough to keep a pace.
const FRAME_BYTES: usize = 256 * 1_024;
/// What was written is synced this often, so that no sync is long.
const SYNC_BYTES: u64 = 1 << 20;
/// Records that are judged, and entries that are moved, under one hold of the state's lock.
pub(crate) const STEP: usize = 256;

/// The state behind whatever lock the caller has.
pub(crate) trait StateLock {
    /// Runs with the state. False if it can't be trusted any more.
    fn with(&self, work: &mut dyn FnMut(&State)) -> bool;
    /// Runs with the state, to change it.
    fn with_mut(&self, work: &mut dyn FnMut(&mut State)) -> bool;
}

/// Why nothing was rewritten.
#[derive(Debug)]
pub(crate) enum CompactError {
    /// The pace said so, or the state can't be trusted.
    Stopped,
    /// The disk refused it; it is tried again.
    Io,
    /// Which names are durable is not known, and asking again says nothing: why.
    Nameless(io::Error),
    /// A segment is not as it was written.
    Damaged(Damage),
}

/// Called with the bytes read or written last; false ends the work.
pub(crate) type Pace<'a> = &'a mut dyn FnMut(u64) -> bool;

/// A copied publication: its channel, its offset, and where its record was and is.
pub(super) struct Move {
    pub(super) id: ChannelId,
    pub(super) offset: u64,
    pub(super) from: (u32, u32),
    pub(super) to: u32,
}

/// The file that is being written.
struct Output {
    file: Arc<dyn DiskFile>,
    salt: u32,
    end: u64,
    unsynced: u64,
    frames: u64,
    written: u64,
}

/// Writes sealed neighbours anew, as one segment. Answers the bytes written.
pub(crate) fn compact(
    disk: &dyn Disk,
    lock: &dyn StateLock,
    originals: &[(u32, SegmentFile)],
    now_ms: u64,
    salt: u32,
    pace: Pace<'_>,
) -> Result<u64, CompactError> {
    let first = originals[0].1.header;
    let unfinished = names::unfinished(first.number);
    match disk.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(refused(error));
        }
        _ => {}
    }
    let written = write(disk, lock, originals, now_ms, salt, pace);
    let (output, header, moves) = match written {
        Ok(written) => written,
        Err(error) => {
            // Nothing leads to it; if it stays, the next opening removes it.
            let _ = disk.remove(&unfinished);
            return Err(error);
        }
    };
    let name = names::segment(first.number);
    if let Err(error) = disk.rename(&unfinished, &name) {
        return Err(match is_not_renamed(disk, &unfinished) {
            true => CompactError::Io,
            false => CompactError::Nameless(error),
        });
    }
    disk.sync_dir().map_err(CompactError::Nameless)?;
    for (_, original) in originals {
        // One that stays is known to be of another segment.
        let _ = hint::remove(disk, original.header.number);
    }
    for (_, original) in &originals[1..] {
        // A name that stays is known to be covered when the log is opened.
        let _ = disk.remove(&names::segment(original.header.number));
    }
    let bytes = output.written;
    switch(lock, originals, output, header, &moves, now_ms)?;
    Ok(bytes)
}

fn write(
    disk: &dyn Disk,
    lock: &dyn StateLock,
    originals: &[(u32, SegmentFile)],
    now_ms: u64,
    salt: u32,
    pace: Pace<'_>,
) -> Result<(Output, SegmentHeader, Vec<Move>), CompactError> {
    let first = originals[0].1.header;
    let name = names::unfinished(first.number);
    let mut output = Output {
        file: disk.create(&name).map_err(refused)?,
        salt,
        end: HEADER_BYTES as u64,
        unsynced: 0,
        frames: 0,
        written: 0,
    };
    let mut rewritten_at_seq = 0;
    let mut previous = Vec::new();
    let trusted = lock.with(&mut |state| {
        rewritten_at_seq = state.last_seq;
        previous = state.files.in_order();
    });
    if !trusted {
        return Err(CompactError::Stopped);
    }
    previous.retain(|(_, file)| file.header.number < first.number);
    let mut rewrite = Rewrite::new(now_ms, !previous.is_empty());
    let mut last_seq = 0;
    let mut ended_ms = 0;
    for (number, original) in originals {
        let header = original.header;
        let name = names::segment(header.number);
        let segment = scan::begin(&*original.file, &name, header.number).map_err(cant_begin)?;
        if !pace(segment.bytes.len() as u64) {
            return Err(CompactError::Stopped);
        }
        rewrite.begin_original(*number);
        let mut failure = None;
        let end = scan::walk(&segment, &name, false, |frame, body_pos| {
            if failure.is_none() {
                let seq = if header.is_rewritten() {
                    header.last_seq
                } else {
                    frame.header.seq
                };
                failure = rewrite
                    .frame(lock, frame, body_pos, seq, &previous)
                    .and_then(|()| output.take(&mut rewrite, FRAME_BYTES, pace))
                    .err();
            }
            Ok(())
        })
        .map_err(CompactError::Damaged)?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        last_seq = end.next_seq - 1;
        ended_ms = ended_ms.max(end.time_ms);
    }
    rewrite.finish();
    output.take(&mut rewrite, 0, pace)?;
    // That of what is dropped, too: the log's time never goes back behind it.
    output.put_end(rewrite.latest_ms().max(ended_ms))?;
    let header = SegmentHeader {
        last_number: originals[originals.len() - 1].1.header.last_number,
        last_seq,
        rewritten_at_seq,
        salt,
        ..first
    };
    let bytes = header.encode();
    output.file.write_at(&bytes, 0).map_err(refused)?;
    output.file.sync_data().map_err(refused)?;
    output.written += bytes.len() as u64;
    Ok((output, header, rewrite.into_moves()))
}

/// Moves the entries over, in steps, and lets the originals go.
fn switch(
    lock: &dyn StateLock,
    originals: &[(u32, SegmentFile)],
    output: Output,
    header: SegmentHeader,
    moves: &[Move],
    now_ms: u64,
) -> Result<(), CompactError> {
    let wait_ms = wait_ms(originals, output.end);
    let mut number = None;
    let mut trusted = lock.with_mut(&mut |state| {
        number = Some(state.files.add(SegmentFile {
            file: output.file.clone(),
            header,
            bytes: output.end,
            live_bytes: 0,
            kept_bytes: 0,
            judged_ms: 0,
            wait_ms: 0,
            is_sealed: true,
            is_checked: true,
            wants_hint: true,
        }));
    });
    let Some(number) = number else {
        return Err(CompactError::Stopped);
    };
    for step in moves.chunks(STEP) {
        trusted &= lock.with_mut(&mut |state| {
            for one in step {
                let State {
                    channels, files, ..
                } = &mut *state;
                channels.relocate(files, one.id, one.offset, one.from, (number, one.to));
            }
        });
    }
    trusted &= lock.with_mut(&mut |state| {
        state.files.keep_rest(number, now_ms, wait_ms);
        for (original, _) in originals {
            state.files.remove(*original);
        }
    });
    if trusted {
        Ok(())
    } else {
        Err(CompactError::Stopped)
    }
}

/// For how long the rewritten file's marks are left alone: twice as long as before where less than
/// half was given back, so that those that last are not written again and again.
fn wait_ms(originals: &[(u32, SegmentFile)], bytes: u64) -> u64 {
    let before: u64 = originals.iter().map(|(_, file)| file.bytes).sum();
    if bytes <= before / 2 {
        return 0;
    }
    let waited = originals.iter().map(|(_, file)| file.wait_ms).max();
    waited.unwrap_or(0).saturating_mul(2)
}

impl Output {
    /// Writes what was collected if it is at least so much.
    fn take(
        &mut self,
        rewrite: &mut Rewrite,
        bytes_min: usize,
        pace: Pace<'_>,
    ) -> Result<(), CompactError> {
        if rewrite.is_empty() || rewrite.bytes() < bytes_min {
            return Ok(());
        }
        let body_pos = self.end + FRAME_HEADER_BYTES as u64;
        let body_pos = u32::try_from(body_pos).map_err(|_| CompactError::Io)?;
        let (mut frame, records, time_ms, term) = rewrite.take_frame(body_pos);
        self.put(&mut frame, time_ms, term, records)?;
        if pace(frame.len() as u64) {
            Ok(())
        } else {
            Err(CompactError::Stopped)
        }
    }

    fn put_end(&mut self, time_ms: u64) -> Result<(), CompactError> {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        Record::End.encode(&mut frame);
        self.put(&mut frame, time_ms, 0, 1)
    }

    fn put(
        &mut self,
        frame: &mut [u8],
        time_ms: u64,
        term: u32,
        records: u32,
    ) -> Result<(), CompactError> {
        self.frames += 1;
        frame::seal(frame, self.salt, self.frames, time_ms, term, records);
        self.file.write_at(frame, self.end).map_err(refused)?;
        self.end += frame.len() as u64;
        self.written += frame.len() as u64;
        self.unsynced += frame.len() as u64;
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data().map_err(refused)?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

fn refused(_: io::Error) -> CompactError {
    CompactError::Io
}

fn cant_begin(error: BeginError) -> CompactError {
    match error {
        BeginError::Io(_) | BeginError::Unborn | BeginError::Newer(_) => CompactError::Io,
        BeginError::Damaged(damage) => CompactError::Damaged(damage),
    }
}
