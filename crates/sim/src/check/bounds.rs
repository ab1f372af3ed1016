//! Bounds: queues and tails stay within what is configured.

use super::{Account, Violation};

/// What a frame has beside its data, at most, and how short data is, at least.
const FRAME_OVERHEAD_BYTES: usize = 200;
const DATA_BYTES_MIN: usize = 6;
/// Answers of the connection itself are not bounded by the queue but by its requests.
const ANSWERS_BYTES: usize = 4_096;

pub(super) fn check(account: &Account, found: &mut Vec<Violation>) {
    let fullest = account.fullest;
    let page_bytes = account.page_bytes_max
        + (account.page_bytes_max / DATA_BYTES_MIN + 1) * FRAME_OVERHEAD_BYTES;
    let queue_bytes_max = fullest.queue_bytes_max + page_bytes + ANSWERS_BYTES;
    for (what, bytes, most) in [
        ("a queue", fullest.queue_bytes, queue_bytes_max),
        ("a tail", fullest.tail_bytes, fullest.tail_bytes_max),
    ] {
        if bytes > most {
            let text = format!("{what} had {bytes} bytes, {most} are allowed");
            found.push(Violation::new("bounds", text));
        }
    }
}
