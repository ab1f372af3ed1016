//! The way of a line from whoever says it to whoever reads it.
//!
//! Owns the queue between them and its bound, and what becomes of lines that nobody takes: they are
//! counted, and the count is told at their place in the order. Nobody who says a line ever waits for
//! a reader. Must not know what a line looks like.
//!
//! `tracing-appender` does the like, but its bound is one of lines, not of bytes; it tells nobody
//! what was dropped, and what could not be written it does not count; and at the end, with the queue
//! full, its guard prints to standard output, which panics where that can't be written.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Some thousands of lines: minutes of a busy server for a reader that pauses, and memory that
/// nobody misses.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// How soon a sink is asked again that takes nothing without waiting (a pipe that somebody else set
/// to `O_NONBLOCK`).
const RETRY: Duration = Duration::from_millis(20);

/// Lines on their way. Clones are the same queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something was queued.
    queued: Condvar,
    /// All that was queued was written, or lost.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The writer has taken an entry that it is not done with.
    is_writing: bool,
}

#[derive(Debug)]
enum Entry {
    Line(Box<str>),
    /// So many lines found no room here.
    Lost(u64),
}

impl Queue {
    /// Takes a line with its end, or counts it as lost. Never waits for a reader.
    pub(crate) fn push(&self, line: &str) {
        let mut waiting = self.lock();
        if waiting.bytes + line.len() <= QUEUE_BYTES_MAX {
            waiting.bytes += line.len();
            waiting.entries.push_back(Entry::Line(line.into()));
            self.0.queued.notify_one();
        } else if let Some(Entry::Lost(count)) = waiting.entries.back_mut() {
            *count += 1;
        } else {
            waiting.entries.push_back(Entry::Lost(1));
            self.0.queued.notify_one();
        }
    }

    /// Waits until all is written that was queued, but no longer than this.
    pub(crate) fn flush(&self, wait_max: Duration) {
        let is_under_way =
            |waiting: &mut Waiting| waiting.is_writing || !waiting.entries.is_empty();
        let waiting = self.lock();
        // Whether it came to that or not, the caller goes on.
        let _ = self
            .0
            .written
            .wait_timeout_while(waiting, wait_max, is_under_way);
    }

    /// Writes what is queued from now on, in a thread of its own that ends with the process. `notice`
    /// makes the line that tells of so many lost ones.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn write_to(
        &self,
        out: impl Write + Send + 'static,
        notice: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<()> {
        let queue = self.clone();
        let mut writer = Writer {
            out,
            notice,
            lost: 0,
            is_torn: false,
        };
        let write = move || {
            loop {
                let entry = queue.next();
                writer.take(&entry);
                queue.done();
            }
        };
        let builder = thread::Builder::new().name("bowline-stderr".to_owned());
        builder.spawn(write).map(drop)
    }

    fn next(&self) -> Entry {
        let is_empty = |waiting: &mut Waiting| waiting.entries.is_empty();
        let waiting = self.0.queued.wait_while(self.lock(), is_empty);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let entry = waiting.entries.pop_front().expect("it waited for one");
        if let Entry::Line(line) = &entry {
            waiting.bytes -= line.len();
        }
        waiting.is_writing = true;
        entry
    }

    fn done(&self) {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        if waiting.entries.is_empty() {
            self.0.written.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer<W, N> {
    out: W,
    notice: N,
    /// Lines that were lost since that was told last.
    lost: u64,
    /// Only the beginning of the last line was taken.
    is_torn: bool,
}

impl<W: Write, N: Fn(u64) -> String> Writer<W, N> {
    fn take(&mut self, entry: &Entry) {
        if let Entry::Lost(count) = entry {
            self.lost += count;
        }
        if self.lost > 0 && self.write(&(self.notice)(self.lost)) {
            self.lost = 0;
        }
        if let Entry::Line(line) = entry
            && (self.lost > 0 || !self.write(line))
        {
            self.lost += 1;
        }
    }

    /// Whether all of it was taken.
    fn write(&mut self, line: &str) -> bool {
        // What follows a part of a line begins a line of its own.
        let begin = if self.is_torn { "\n" } else { "" };
        let text = [begin, line].concat();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return false,
                Ok(count) => {
                    rest = &rest[count..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Receiver, SyncSender, sync_channel},
        time::Instant,
    };

    use super::*;

    /// Nothing here takes so long.
    const DEADLINE: Duration = Duration::from_secs(20);

    /// Takes each write once it is told what to answer to it.
    struct Sink {
        answers: Receiver<io::Result<usize>>,
        taken: SyncSender<String>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let told = self.answers.recv().unwrap_or(Ok(usize::MAX));
            let count = told?.min(bytes.len());
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            self.taken.send(text).unwrap();
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue, what its sink is told to answer, and what it has taken.
    fn queue() -> (Queue, SyncSender<io::Result<usize>>, Receiver<String>) {
        let (tell, answers) = sync_channel(64);
        let (taken, written) = sync_channel(64);
        let queue = Queue::default();
        let notice = |lost| format!("{lost} lost\n");
        queue.write_to(Sink { answers, taken }, notice).unwrap();
        (queue, tell, written)
    }

    fn next(written: &Receiver<String>) -> String {
        written.recv_timeout(DEADLINE).expect("it is written")
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_in_its_place() {
        let (queue, tell, written) = queue();
        let half = format!("{}\n", "x".repeat(QUEUE_BYTES_MAX / 2 - 1));
        // The sink is stuck on the first; two more fit.
        queue.push("first\n");
        while !queue.lock().is_writing {
            thread::yield_now();
        }
        for line in [&half, &half, "lost\n", "lost\n"] {
            queue.push(line);
        }
        tell.send(Ok(usize::MAX)).unwrap();
        assert_eq!(next(&written), "first\n");
        tell.send(Ok(usize::MAX)).unwrap();
        assert_eq!(next(&written), half);
        queue.push("fits again\n");
        drop(tell);
        assert_eq!(next(&written), half);
        assert_eq!(next(&written), "2 lost\n");
        assert_eq!(next(&written), "fits again\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_once_it_can() {
        let (queue, tell, written) = queue();
        for line in ["one\n", "two\n", "three\n"] {
            queue.push(line);
        }
        // The first is refused, and so is the news of it before the second.
        for _ in 0..2 {
            tell.send(Err(ErrorKind::StorageFull.into())).unwrap();
        }
        drop(tell);
        assert_eq!(next(&written), "2 lost\n");
        assert_eq!(next(&written), "three\n");
    }

    #[test]
    fn a_part_of_a_line_is_followed_by_a_line_of_its_own() {
        let (queue, tell, written) = queue();
        tell.send(Ok(2)).unwrap();
        tell.send(Err(ErrorKind::StorageFull.into())).unwrap();
        drop(tell);
        queue.push("one\n");
        queue.push("two\n");
        for expected in ["on", "\n1 lost\n", "two\n"] {
            assert_eq!(next(&written), expected);
        }
    }

    #[test]
    fn a_sink_that_would_block_or_takes_little_is_asked_again() {
        let (queue, tell, written) = queue();
        tell.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        tell.send(Err(ErrorKind::Interrupted.into())).unwrap();
        tell.send(Ok(1)).unwrap();
        drop(tell);
        queue.push("one\n");
        assert_eq!(next(&written), "o");
        assert_eq!(next(&written), "ne\n");
    }

    #[test]
    fn a_flush_waits_for_all_and_for_nobody_beyond_its_bound() {
        let (queue, tell, written) = queue();
        queue.push("one\n");
        let begun = Instant::now();
        let wait = Duration::from_millis(20);
        queue.flush(wait);
        assert!(begun.elapsed() >= wait);
        drop(tell);
        queue.push("two\n");
        queue.flush(DEADLINE);
        assert_eq!(written.try_iter().collect::<String>(), "one\ntwo\n");
        assert!(begun.elapsed() < DEADLINE);
    }
}
