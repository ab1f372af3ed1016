//! What the index costs: at most 64 bytes for each stored message, 256 for each idle channel.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicIsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bowline_engine::{Append, Clock, Effect, Engine, EngineConfig, Inline, LogConfig, RealDisk};
use bowline_proto::Data;

/// Counts what the process holds.
struct Counting;

static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is handed to the system's allocator as it came; the counter is an atomic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise for `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: `block` came from `alloc` above with this `layout`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One that the test moves.
struct Hand(std::sync::atomic::AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A folder of its own, removed at the end.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("this engine answers at once"),
    }
}

fn publish(engine: &Inline, names: &[Arc<str>]) {
    for names in names.chunks(1_024) {
        let batch = names.iter().map(|name| Append {
            producer: None,
            effect: Effect::Publish {
                channel: name.clone(),
                data: Data::Binary(vec![b'x'; 64].into()),
                user: None,
                tag: None,
                key: None,
            },
        });
        let outcomes = now(engine.append(batch.collect()));
        assert!(outcomes.iter().all(Result::is_ok));
    }
}

/// The numbers are printed with `--nocapture`. One test, for the counter is the process's.
#[test]
fn the_index_is_within_its_bounds() {
    let path = std::env::temp_dir().join(format!("bowline-index-{}", std::process::id()));
    let folder = Folder(path);
    let clock = Arc::new(Hand(1_000.into()));
    let open = || {
        let disk = Arc::new(RealDisk::open(&folder.0).expect("a folder"));
        let mut bits = 1_u64;
        let draw = Box::new(move || {
            bits = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
            Some(bits)
        });
        let log = LogConfig {
            trim_grace: std::time::Duration::ZERO,
            ..LogConfig::default()
        };
        Inline::open(disk, EngineConfig::default(), log, clock.clone(), draw).expect("it opens")
    };
    let engine = open();
    // So many that a commit's tables, about 200 KB once it has trimmed as many as it may, are small.
    let channels = 8_000;
    // Names of 40 bytes, dropped by the caller before anything is counted.
    let names = || -> Vec<Arc<str>> {
        let name = |number| format!("room:{number:08}:{:026}", 0).into();
        (0..channels).map(name).collect()
    };
    publish(&engine, &names());
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    let rounds = 15;
    for _ in 0..rounds {
        publish(&engine, &names());
    }
    let messages = channels * rounds;
    let per_message = (LIVE_BYTES.load(Ordering::Relaxed) - before) / messages as isize;
    println!("bytes per message: {per_message}");
    assert!(per_message <= 64, "{per_message}");
    drop(engine);

    // A day and more later nothing is left of the messages, and the channels are idle.
    let empty = LIVE_BYTES.load(Ordering::Relaxed);
    let engine = open();
    clock.0.fetch_add(25 * 3_600_000, Ordering::Relaxed);
    while engine.stats().messages > 0 {
        engine.tick();
    }
    assert_eq!(engine.stats().channels, channels as u64);
    let per_channel = (LIVE_BYTES.load(Ordering::Relaxed) - empty) / channels as isize;
    println!("bytes per idle channel: {per_channel}");
    assert!(per_channel <= 256, "{per_channel}");
}
