//! The log's reader: a folder of any bytes, or a good log with any damage, is opened or refused;
//! what is served then was written.
#![no_main]

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bowline_engine::{
    Append, Clock, Disk, Effect, Engine, EngineConfig, Inline, LogConfig, PageLimit, SimDisk,
    SimPlan, offline::OfflineLog,
};
use bowline_proto::Data;
use libfuzzer_sys::fuzz_target;

struct Still;

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        1_780_000_000_000
    }
}

fn open(disk: &SimDisk) -> Option<Inline> {
    let log = LogConfig {
        segment_bytes: 4_096,
        ..LogConfig::default()
    };
    let mut draws = 7_u64;
    let entropy = Box::new(move || {
        draws = draws.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        Some(draws)
    });
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Inline::open(disk, EngineConfig::default(), log, Arc::new(Still), entropy).ok()
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("Inline does its work in the call"),
    }
}

fn publish(number: usize) -> Append {
    Append {
        producer: None,
        effect: Effect::Publish {
            channel: ["a", "b"][number % 2].into(),
            data: Data::Json(format!("\"{number:0200}\"").into()),
            user: Some("ana".into()),
            tag: None,
            key: None,
        },
    }
}

/// Damages a good log: each three bytes of the input change one byte of it.
fn damage(disk: &SimDisk, input: &[u8]) {
    let engine = open(disk).expect("an empty folder");
    for number in 0..40 {
        let outcomes = now(engine.append(vec![publish(number)]));
        assert!(outcomes[0].is_ok());
    }
    drop(engine);
    let mut names = disk.list().expect("a folder");
    names.sort();
    for change in input.chunks_exact(4) {
        let name = &names[usize::from(change[0]) % names.len()];
        let file = disk.open(name).expect("it was listed");
        let size = file.size().expect("a size");
        let at = u64::from(u16::from_be_bytes([change[1], change[2]])) % size.max(1);
        if change[3] == 0 {
            file.truncate(at).expect("no faults here");
        } else if size > 0 {
            let mut byte = [0];
            file.read_at(&mut byte, at).expect("within the file");
            file.write_at(&[byte[0] ^ change[3]], at)
                .expect("no faults here");
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&kind, input)) = input.split_first() else {
        return;
    };
    let disk = SimDisk::new(SimPlan::default());
    if kind == 0 {
        let file = disk
            .create("0000000000000001.log")
            .expect("an empty folder");
        file.write_at(input, 0).expect("no faults here");
    } else {
        damage(&disk, input);
    }
    let _ = OfflineLog::on(Arc::new(disk.clone())).verify();
    let Some(engine) = open(&disk) else {
        return;
    };
    for channel in ["a", "b"] {
        let limit = PageLimit {
            count: 100,
            bytes: 1 << 20,
        };
        let Ok(Some(page)) = now(engine.read(channel, 0, limit)) else {
            continue;
        };
        for (index, publication) in page.publications.iter().enumerate() {
            let number = index * 2 + usize::from(channel == "b");
            let expected = format!("\"{number:0200}\"");
            assert_eq!(publication.data.bytes(), expected.as_bytes());
        }
    }
});
