//! Sequences of operations on the log, with crashes, full disks and broken syncs between them,
//! against a list: what was acknowledged is there once, in order.
#![no_main]

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bowline_engine::{
    Append, AppendError, Clock, Effect, Engine, EngineConfig, IdempotencyKey, Inline, LogConfig,
    PageLimit, Producer, SessionKey, SimDisk, SimPlan,
};
use bowline_proto::Data;
use libfuzzer_sys::fuzz_target;

const CHANNELS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone)]
struct Time(Arc<AtomicU64>);

impl Clock for Time {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What must be, or may be, in a channel: payloads and whether they were acknowledged.
type Model = BTreeMap<&'static str, Vec<(String, bool)>>;

struct World {
    disk: SimDisk,
    time: Time,
    openings: u64,
    engine: Option<Inline>,
    model: Model,
    numbers: [u64; 3],
    written: u64,
}

impl World {
    fn open(&mut self) {
        self.openings += 1;
        let mut draws = self.openings;
        let entropy = Box::new(move || {
            draws = draws
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405);
            Some(draws ^ draws >> 29)
        });
        let log = LogConfig {
            segment_bytes: 4_096,
            ..LogConfig::default()
        };
        let opened = Inline::open(
            Arc::new(self.disk.clone()),
            EngineConfig::default(),
            log,
            Arc::new(self.time.clone()),
            entropy,
        );
        self.engine = Some(opened.expect("a crash leaves a log that can be opened"));
        self.compare();
    }

    fn crash(&mut self) {
        self.disk.set_full(false);
        self.engine = None;
        self.disk.crash();
        self.disk.set_plan(SimPlan::default());
        self.open();
    }

    fn append(&mut self, byte: u8) {
        let Some(engine) = &self.engine else { return };
        let channel = CHANNELS[usize::from(byte) % 3];
        let session = usize::from(byte >> 2) % 4;
        let text = format!("\"{}-{}\"", self.written, "x".repeat(usize::from(byte)));
        self.written += 1;
        let producer = (session < 3).then(|| {
            self.numbers[session] += 1;
            Producer {
                session: SessionKey([session as u8; 16]),
                seq: self.numbers[session],
            }
        });
        let key = (byte & 0x40 != 0).then(|| {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&self.written.to_be_bytes());
            IdempotencyKey(key)
        });
        let append = Append {
            producer,
            effect: Effect::Publish {
                channel: channel.into(),
                data: Data::Json(text.clone().into()),
                user: None,
                tag: None,
                key,
            },
        };
        let outcome = now(engine.append(vec![append.clone()]))
            .pop()
            .expect("one entry");
        let list = self.model.entry(channel).or_default();
        match outcome {
            Ok(appended) => {
                assert!(!appended.duplicate);
                list.push((text, true));
                // The same number, or the same key, has no second effect.
                if producer.is_some() || key.is_some() {
                    let again = now(engine.append(vec![append])).pop().expect("one entry");
                    assert!(again.is_ok_and(|again| again.duplicate));
                }
            }
            Err(AppendError::FateUnknown) => list.push((text, false)),
            Err(_) => {}
        }
    }

    /// What is in the log is what was acknowledged, with some of what had an unknown fate.
    fn compare(&mut self) {
        let engine = self.engine.as_ref().expect("it was just opened");
        let limit = PageLimit {
            count: 100_000,
            bytes: 1 << 30,
        };
        for channel in CHANNELS {
            let page = now(engine.read(channel, 0, limit)).expect("it can be read");
            let found: Vec<String> = page
                .map(|page| page.publications)
                .unwrap_or_default()
                .iter()
                .map(|publication| String::from_utf8_lossy(publication.data.bytes()).into_owned())
                .collect();
            let list = self.model.entry(channel).or_default();
            let mut rest = found.iter().peekable();
            list.retain_mut(|(text, acknowledged)| {
                let is_there = rest.next_if(|found| *found == text).is_some();
                assert!(is_there || !*acknowledged, "{text} is lost from {channel}");
                *acknowledged = true;
                is_there
            });
            assert_eq!(rest.next(), None, "something else is in {channel}");
        }
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("Inline does its work in the call"),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&seed, input)) = input.split_first() else {
        return;
    };
    let mut world = World {
        disk: SimDisk::new(SimPlan {
            seed: seed.into(),
            ..SimPlan::default()
        }),
        time: Time(Arc::new(AtomicU64::new(1_780_000_000_000))),
        openings: 0,
        engine: None,
        model: Model::new(),
        numbers: [0; 3],
        written: 0,
    };
    world.open();
    for step in input.chunks_exact(2).take(300) {
        match step[0] % 16 {
            0 => world.crash(),
            1 => world.disk.set_full(step[1] & 1 == 1),
            2 => world.disk.die_after(u64::from(step[1] % 8)),
            3 => world.disk.set_plan(SimPlan {
                broken_sync_permille: 200,
                ..SimPlan::default()
            }),
            4 => {
                if let Some(engine) = &world.engine {
                    engine.compact(2);
                }
            }
            5 => {
                let engine = world.engine.as_ref().expect("it is open");
                engine.tick();
                world
                    .time
                    .0
                    .fetch_add(u64::from(step[1]), Ordering::Relaxed);
            }
            _ => world.append(step[1]),
        }
    }
    world.crash();
});
