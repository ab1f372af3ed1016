//! The engine `memory`: clocks, listeners, panics, and its core against a model.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bowline_proto::{Data, Publication};

mod model;
mod rewriting;

use super::*;
use crate::{
    config::{ChannelPolicy, Retention},
    conformance::{ManualClock, block_on},
    contract::Effect,
};

fn publish(channel: &str, text: &'static str) -> Append {
    Append {
        producer: None,
        effect: Effect::Publish {
            channel: channel.into(),
            data: Data::Binary(text.into()),
            user: None,
            tag: None,
            key: None,
        },
    }
}

/// Commits as the thread of `embedded` does: what is worth rewriting is left to another.
fn commit_only(engine: &Inline, work: Work) {
    let mut committer = engine.committer.lock().expect("not poisoned");
    committer.commit(&engine.shared, &mut VecDeque::from([work]));
}

fn append_only(engine: &Inline, batch: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
    let (reply, answer) = oneshot();
    commit_only(engine, Work::append(batch, reply));
    now(answer).expect("it is answered")
}

#[test]
fn wrong_settings_are_refused_with_their_names() {
    let config = EngineConfig {
        channels_max: 0,
        messages_max: 0,
        ..EngineConfig::default()
    };
    let refused = Memory::open(config).err().expect("two settings are 0");
    assert_eq!(
        refused.to_string(),
        "the engine's settings can't be used: channels_max: must be at least 1; \
         messages_max: must be at least 1"
    );
}

#[test]
fn the_system_clock_never_goes_back_and_counts_from_1970() {
    let clock = SystemClock::start();
    let first_ms = clock.now_ms();
    // The year in which this was written began 1,767 million seconds after 1970.
    assert!(first_ms > 1_767_000_000_000);
    assert!(clock.now_ms() >= first_ms);
}

#[test]
fn two_engines_share_neither_epoch_nor_term() {
    let open = || Memory::open(EngineConfig::default()).expect("the defaults are sound");
    let (one, other) = (open(), open());
    assert_ne!(one.clock().epoch, other.clock().epoch);
    let term = |engine: &Memory| {
        block_on(engine.append(vec![publish("a", "x")]))[0]
            .expect("there is room")
            .position
            .expect("it keeps history")
            .term
    };
    assert_ne!(term(&one), term(&other));
}

#[test]
fn a_clock_that_goes_back_keeps_the_order_of_expiry() {
    let clock = ManualClock::default();
    let engine =
        Memory::open_with_clock(EngineConfig::default(), Arc::new(clock.clone())).expect("sound");
    let day = Duration::from_secs(24 * 3_600);
    clock.advance(day);
    block_on(engine.append(vec![publish("a", "late")]))[0].expect("there is room");
    clock.set_back(day);
    block_on(engine.append(vec![publish("a", "early")]))[0].expect("there is room");
    clock.advance(day);
    let limit = PageLimit {
        count: 10,
        bytes: 1_000,
    };
    let page = block_on(engine.read("a", 0, limit)).expect("memory answers");
    assert_eq!(page.expect("a record").publications.len(), 2);
}

#[test]
fn sessions_that_are_over_are_forgotten_when_asked() {
    let clock = ManualClock::default();
    let config = EngineConfig::default();
    let ttl = config.session_ttl;
    let engine = Memory::open_with_clock(config, Arc::new(clock.clone())).expect("sound");
    let advance = |byte: u8| Append {
        producer: Some(crate::contract::Producer {
            session: SessionKey([byte; 16]),
            seq: 1,
        }),
        effect: Effect::Advance,
    };
    block_on(engine.append((0..100).map(advance).collect()));
    clock.advance(ttl / 2);
    block_on(engine.append(vec![advance(200)]));
    assert_eq!(block_on(engine.expire_sessions()), Ok(0));
    clock.advance(ttl / 2);
    assert_eq!(block_on(engine.expire_sessions()), Ok(100));
    assert_eq!(engine.stats().sessions, 1);
    assert_eq!(block_on(engine.session(SessionKey([200; 16]))), Ok(Some(1)));
}

#[test]
fn a_listener_may_read_while_it_is_told() {
    struct Reader(Arc<Memory>, Mutex<Vec<u64>>);
    impl Listener for Reader {
        fn published(&self, channel: &Arc<str>, _: u64, _: &Arc<Publication>) {
            let state = block_on(self.0.channel(channel)).expect("memory answers");
            if let ChannelState::Present(record) = state {
                self.1.lock().expect("not poisoned").push(record.head);
            }
        }
    }
    let engine = Arc::new(Memory::open(EngineConfig::default()).expect("the defaults are sound"));
    let reader = Arc::new(Reader(engine.clone(), Mutex::default()));
    engine.listen(reader.clone());
    block_on(engine.append(vec![publish("a", "x"), publish("a", "y")]));
    assert_eq!(*reader.1.lock().expect("not poisoned"), [2, 2]);
}

/// The committer is not trusted after it panicked; what was committed before is still read.
#[test]
fn a_panic_under_the_lock_is_answered_not_passed_on() {
    #[derive(Clone, Default)]
    struct Fragile(Arc<AtomicBool>);
    impl Clock for Fragile {
        fn now_ms(&self) -> u64 {
            assert!(!self.0.swap(false, Ordering::SeqCst), "planted");
            0
        }
    }
    let clock = Fragile::default();
    let engine = Memory::open_with_clock(EngineConfig::default(), Arc::new(clock.clone()));
    let engine = engine.expect("the defaults are sound");
    block_on(engine.append(vec![publish("a", "x")]))[0].expect("there is room");
    clock.0.store(true, Ordering::SeqCst);
    let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        block_on(engine.append(vec![publish("a", "x")]))
    }));
    assert!(first.is_err());
    assert_eq!(
        block_on(engine.append(vec![publish("a", "x")])),
        [Err(AppendError::StorageUnavailable)]
    );
    let state = block_on(engine.channel("a")).expect("memory answers");
    assert!(matches!(state, ChannelState::Present(record) if record.head == 1));
    assert!(matches!(engine.health(), EngineHealth::Refusing(_)));
}

/// Channels `few:*` keep 3 messages.
fn few() -> EngineConfig {
    EngineConfig {
        policies: vec![ChannelPolicy {
            pattern: "few:*".to_owned(),
            history: Some(Retention {
                messages: 3,
                ..Retention::default()
            }),
        }],
        ..EngineConfig::default()
    }
}

/// A segment behind one that keeps everything is rewritten, and what came of it is rewritten again.
#[test]
fn a_rewritten_segment_can_be_rewritten_again_wherever_it_stands() {
    let config = few();
    let engine = Memory::open(config).expect("the settings are sound");
    let text: &str = "x".repeat(16 * 1_024).leak();
    let per_segment = SEGMENT_BYTES as usize / text.len();
    for _ in 0..2 * per_segment {
        block_on(engine.append(vec![publish("kept", text)]))[0].expect("there is room");
    }
    for _ in 0..20 * per_segment {
        block_on(engine.append(vec![publish("few:a", text)]))[0].expect("the log is whole");
    }
    assert!(matches!(engine.health(), EngineHealth::Ready));
}
