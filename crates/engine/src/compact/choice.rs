//! Which segments are worth rewriting.

use crate::{
    format::header::HEADER_BYTES,
    state::{Files, SegmentFile},
};

/// So many neighbours that fit into one segment are merged though nothing in them is dead: each
/// opening of a log leaves a segment, however short.
const MERGED_MIN: usize = 4;
/// A run reads at most so many segments' bytes: none of its space is back before all of it was read.
const RUN_SEGMENTS: u64 = 8;
/// The share of dead bytes that is enough when the log is nearly full.
const DEAD_PERCENT_WHEN_FULL: u64 = 5;

/// Sealed neighbours to be rewritten as one, those with the most dead bytes; none if it is not worth
/// it.
pub(crate) fn choose(
    files: &Files,
    now_ms: u64,
    segment_bytes: u64,
    log_bytes_max: u64,
    dead_percent: u32,
) -> Option<Vec<(u32, SegmentFile)>> {
    let is_full = is_nearly_full(files, log_bytes_max);
    let percent = if is_full {
        DEAD_PERCENT_WHEN_FULL
    } else {
        u64::from(dead_percent)
    };
    let least_ms = files.waits().least_ms;
    let dead_bytes = |file: &SegmentFile| {
        let wait_ms = if is_full { least_ms } else { file.wait_ms };
        file.lapsed_bytes(now_ms, wait_ms)
    };
    let sealed: Vec<_> = files
        .in_order()
        .into_iter()
        .take_while(|(_, file)| file.is_sealed)
        .collect();
    let is_dead = |file: &SegmentFile| dead_bytes(file) * 100 >= percent * file.bytes;
    let mut best: Option<(u64, &[(u32, SegmentFile)])> = None;
    let mut start = 0;
    while start < sealed.len() {
        let count = fitting(&sealed[start..], segment_bytes);
        let run = &sealed[start..start + count];
        let dead: u64 = run.iter().map(|(_, file)| dead_bytes(file)).sum();
        let is_worth_it = run.iter().any(|(_, file)| is_dead(file)) || count >= MERGED_MIN;
        if is_worth_it && has_frames(&run[count - 1].1) && best.is_none_or(|(most, _)| dead > most)
        {
            best = Some((dead, run));
        }
        start += count;
    }
    best.map(|(_, run)| run.to_vec())
}

/// Whether so little room is left that giving space back comes before everything else.
pub(crate) fn is_nearly_full(files: &Files, log_bytes_max: u64) -> bool {
    files.bytes() > log_bytes_max - log_bytes_max / 8
}

/// Whether a frame was committed in this segment or before: what stands for none can't be told from
/// what was never rewritten. A first start that was interrupted leaves a segment without any.
fn has_frames(file: &SegmentFile) -> bool {
    file.header.first_seq > 1 || file.bytes > HEADER_BYTES as u64
}

/// How many from the first on make one segment that is half full, and are read soon; at least one.
/// What was kept before may be kept again.
fn fitting(files: &[(u32, SegmentFile)], segment_bytes: u64) -> usize {
    let (mut bytes, mut kept) = (0, 0);
    let fit = files.iter().take_while(|(_, file)| {
        bytes += file.bytes;
        kept += file.bytes - file.dead_bytes();
        kept <= segment_bytes / 2 && bytes <= RUN_SEGMENTS * segment_bytes
    });
    fit.count().max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        disk::{Disk, RamDisk},
        format::header::SegmentHeader,
    };

    fn files(segments: &[(u64, u64)]) -> Files {
        let disk = RamDisk::default();
        let mut files = Files::default();
        for (index, &(bytes, live_bytes)) in segments.iter().enumerate() {
            let number = index as u64 + 1;
            let header = SegmentHeader {
                number,
                last_number: number,
                epoch: 1,
                first_seq: number,
                last_seq: 0,
                rewritten_at_seq: 0,
                term: 1,
                salt: 1,
            };
            files.add(SegmentFile {
                file: Arc::clone(&disk.create(&number.to_string()).expect("memory")),
                header,
                bytes,
                live_bytes,
                kept_bytes: 0,
                judged_ms: 0,
                wait_ms: 0,
                is_sealed: number < segments.len() as u64,
                is_checked: true,
                wants_hint: true,
            });
        }
        files
    }

    fn chosen(segments: &[(u64, u64)], log_bytes_max: u64) -> Vec<u64> {
        let chosen = choose(&files(segments), 0, 1_000, log_bytes_max, 50);
        let numbers = chosen.into_iter().flatten();
        numbers.map(|(_, file)| file.header.number).collect()
    }

    #[test]
    fn the_deadest_go_first_with_neighbours_that_fit() {
        let full = 1_000;
        assert_eq!(
            chosen(&[(full, 900), (full, 800), (full, 0)], 1 << 20),
            [0; 0]
        );
        assert_eq!(chosen(&[(full, 400), (full, 900), (full, 0)], 1 << 20), [1]);
        assert_eq!(
            chosen(&[(full, 900), (full, 100), (full, 200), (full, 0)], 1 << 20),
            [2, 3]
        );
        assert_eq!(chosen(&[(full, 900), (full, 0)], 2_100), [1], "nearly full");
        let dead = [(full, 0); 20];
        assert_eq!(
            chosen(&dead, 1 << 20),
            [1, 2, 3, 4, 5, 6, 7, 8],
            "soon read"
        );
    }

    #[test]
    fn short_ones_are_merged_when_they_are_several() {
        assert_eq!(
            chosen(&[(50, 50), (50, 50), (50, 50), (50, 0)], 1 << 20),
            [0; 0]
        );
        let short = [(50, 50), (50, 50), (50, 50), (50, 50), (50, 0)];
        assert_eq!(chosen(&short, 1 << 20), [1, 2, 3, 4]);
    }
}
