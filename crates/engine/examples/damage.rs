//! Damages a log at random used places, one at a time, and sees what an engine makes of it:
//! `cargo run --release --example damage -- FOLDER SEED DAMAGES`.
//!
//! Owns the log (100,000 messages in more than ten segments with hint files), the damages (bit flips
//! and truncations of segments and hint files) and the judgement. Each damage is looked at twice: by an
//! opening that checks every frame, and by one that trusts every hint file it may. The last line is an
//! object of totals:
//!
//! - `detected_*`: opening was refused, a read was, or the check that follows found it;
//! - `tail_told_rewound`: the end of the last segment was cut off as a torn one, and what was lost is
//!   never told `recovered: true`;
//! - `harmless_*`: everything is there as it was, and the field says why;
//! - `trusting_*`: the same of the opening that trusts hints;
//! - `wrong`: something else was served, or damage was taken for nothing; `panics`.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bowline_engine::{
    Append, Clock, Effect, Engine, EngineConfig, EngineHealth, IdempotencyKey, Inline, LogConfig,
    OpenError, PageLimit, Producer, RealDisk, SessionKey,
};
use bowline_proto::{
    Data, Position,
    recovery::{ChannelState, From, recover},
};

const MESSAGES: usize = 100_000;
const CHANNELS: usize = 50;
const SESSIONS: usize = 20;
/// Of each batch.
const BATCH: usize = 50;
const SEGMENT_BYTES: u64 = 256 * 1_024;
/// One damage in so many is a truncation, one in so many is of a hint file.
const TRUNCATION_SHARE: u64 = 5;
const HINT_SHARE: u64 = 5;
/// So many damages take a minute or two.
const TOLD_EVERY: u64 = 500;

/// One that stands still.
struct Still;

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        1_000_000
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

/// Everything that a log says, to be compared.
#[derive(PartialEq)]
struct Content {
    channels: Vec<Channel>,
    sessions: Vec<Option<u64>>,
}

#[derive(PartialEq)]
struct Channel {
    epoch: u64,
    floor: u64,
    publications: Vec<(Position, Vec<u8>, Option<Arc<str>>)>,
}

/// What a damaged file was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Segment,
    LastSegment,
    Hint,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, seed, damages] = &arguments[..] else {
        panic!("FOLDER SEED DAMAGES");
    };
    let folder = PathBuf::from(folder);
    let (seed, damages): (u64, u64) = (
        seed.parse().expect("a seed"),
        damages.parse().expect("a count"),
    );
    if folder.exists() {
        eprintln!("{} exists, and may be somebody's log", folder.display());
        std::process::exit(2);
    }
    fs::create_dir_all(&folder).expect("a folder");
    write(&folder);
    let files = files(&folder);
    let expected = content(&open(&folder, u64::MAX).expect("it is sound")).expect("it is read");
    restore(&folder, &files);
    let mut totals = BTreeMap::new();
    let hints = files.iter().filter(|file| file.2 == Kind::Hint).count();
    totals.insert("messages".to_owned(), MESSAGES as u64);
    totals.insert("segments_with_hints".to_owned(), hints as u64);
    for name in ["damages", "wrong", "panics"] {
        totals.insert(name.to_owned(), 0);
    }
    let mut rng = Rng(seed);
    for number in 0..damages {
        let [checking, trusting] = one(&folder, &files, &expected, &mut rng);
        *totals.entry(checking.to_owned()).or_default() += 1;
        let name = match trusting {
            "wrong" | "panics" => trusting.to_owned(),
            _ => format!("trusting_{trusting}"),
        };
        if [checking, trusting]
            .iter()
            .any(|what| ["wrong", "panics"].contains(what))
        {
            eprintln!("damage {number}: {checking}, by hints {trusting}");
        }
        *totals.entry(name).or_default() += 1;
        *totals.entry("damages".to_owned()).or_default() += 1;
        if (number + 1) % TOLD_EVERY == 0 {
            eprintln!("{} of {damages} damages", number + 1);
        }
    }
    let fields: Vec<String> = totals
        .iter()
        .map(|(name, count)| format!("\"{name}\":{count}"))
        .collect();
    println!("{{{}}}", fields.join(","));
    let _ = fs::remove_dir_all(&folder);
}

/// Damages one place, looks twice, and puts everything back.
fn one(
    folder: &Path,
    files: &[(String, Vec<u8>, Kind)],
    expected: &Content,
    rng: &mut Rng,
) -> [&'static str; 2] {
    let wants_hint = rng.below(HINT_SHARE) == 0;
    let eligible: Vec<_> = files
        .iter()
        .filter(|file| (file.2 == Kind::Hint) == wants_hint)
        .collect();
    let all: u64 = eligible.iter().map(|file| file.1.len() as u64).sum();
    let mut at = rng.below(all);
    let (name, bytes, kind) = eligible
        .into_iter()
        .find(|file| {
            let is_here = at < file.1.len() as u64;
            if !is_here {
                at -= file.1.len() as u64;
            }
            is_here
        })
        .expect("a place below the sum of all lengths");
    let mut damaged = bytes.clone();
    match rng.below(TRUNCATION_SHARE) {
        0 => damaged.truncate(at as usize),
        _ => damaged[at as usize] ^= 1 << rng.below(8),
    }
    let mut judgements = [""; 2];
    for (judgement, check_bytes) in judgements.iter_mut().zip([u64::MAX, 0]) {
        fs::write(folder.join(name), &damaged).expect("a file");
        let looked = catch_unwind(AssertUnwindSafe(|| {
            look(folder, check_bytes, expected, *kind)
        }));
        *judgement = looked.unwrap_or("panics");
        restore(folder, files);
    }
    judgements
}

fn look(folder: &Path, check_bytes: u64, expected: &Content, kind: Kind) -> &'static str {
    let engine = match open(folder, check_bytes) {
        Ok(engine) => engine,
        Err(OpenError::Damaged { .. }) => return "detected_at_opening",
        Err(OpenError::Newer { .. }) => return "detected_as_newer_format",
        Err(error) => panic!("{error}"),
    };
    let found = content(&engine);
    let tail = found
        .as_ref()
        .is_some_and(|found| is_tail(&engine, found, expected));
    // Opened by hints: what was not looked at yet is checked now.
    while engine.compact(1) {}
    let is_told =
        matches!(engine.health(), EngineHealth::Refusing(reason) if reason.contains("damaged"));
    match found {
        None if is_told => "detected_when_read",
        None => "wrong",
        Some(found) if found == *expected && is_told => "detected_by_the_check_that_follows",
        Some(found) if found == *expected && kind == Kind::Hint => "harmless_hint_file_not_used",
        // The end of the log says that it was closed in order, which nothing rests on.
        Some(found) if found == *expected && kind == Kind::LastSegment => "harmless_close_record",
        Some(_) if kind == Kind::LastSegment && tail => "tail_told_rewound",
        Some(_) => "wrong",
    }
}

/// Only newest publications are gone, and whoever had seen them is told.
fn is_tail(engine: &Inline, found: &Content, expected: &Content) -> bool {
    let pairs = found.channels.iter().zip(&expected.channels);
    pairs.enumerate().all(|(number, (found, expected))| {
        let (left, all) = (&found.publications, &expected.publications);
        let state = now(engine.channel(&name(number))).expect("it answers");
        // A channel whose very record is gone has another epoch or none.
        let is_prefix = all.starts_with(left);
        is_prefix
            && all[left.len()..].iter().all(|(position, _, _)| {
                !recover(From::After(*position), &state, engine.clock()).recovered
            })
    })
}

fn content(engine: &Inline) -> Option<Content> {
    let mut channels = Vec::new();
    for number in 0..CHANNELS {
        let state = now(engine.channel(&name(number))).ok()?;
        let ChannelState::Present(record) = state else {
            channels.push(Channel {
                epoch: 0,
                floor: 0,
                publications: Vec::new(),
            });
            continue;
        };
        let limit = PageLimit {
            count: MESSAGES,
            bytes: usize::MAX,
        };
        let page = now(engine.read(&name(number), 0, limit)).ok()??;
        channels.push(Channel {
            epoch: record.epoch,
            floor: record.floor,
            publications: page
                .publications
                .iter()
                .filter_map(|one| {
                    let position = one.position(page.epoch)?;
                    Some((position, one.data.bytes().to_vec(), one.user.clone()))
                })
                .collect(),
        });
    }
    let sessions = (0..SESSIONS).map(|number| now(engine.session(session(number))));
    Some(Content {
        channels,
        sessions: sessions.collect::<Result<_, _>>().ok()?,
    })
}

fn write(folder: &Path) {
    let engine = open(folder, u64::MAX).expect("it opens");
    for first in (0..MESSAGES).step_by(BATCH) {
        let batch = (first..first + BATCH).map(message);
        let outcomes = now(engine.append(batch.collect()));
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    engine.close();
    drop(engine);
    // The last segment is sealed by another opening, which writes its hint as well.
    let engine = open(folder, u64::MAX).expect("it opens");
    let outcomes = now(engine.append((0..BATCH).map(message).collect()));
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    while engine.compact(1) {}
    engine.close();
}

fn message(number: usize) -> Append {
    let is_numbered = number.is_multiple_of(10);
    let is_keyed = number.is_multiple_of(17);
    Append {
        producer: is_numbered.then(|| Producer {
            session: session(number / 10 % SESSIONS),
            seq: number as u64 + 1,
        }),
        effect: Effect::Publish {
            channel: name(number % CHANNELS).into(),
            data: Data::Json(format!("\"message {number}\"").into()),
            user: number.is_multiple_of(3).then(|| "ann".into()),
            tag: None,
            key: is_keyed.then(|| IdempotencyKey((number as u128).to_le_bytes())),
        },
    }
}

fn open(folder: &Path, open_check_bytes: u64) -> Result<Inline, OpenError> {
    let disk = Arc::new(RealDisk::open(folder).expect("a folder"));
    let log = LogConfig {
        segment_bytes: SEGMENT_BYTES,
        open_check_bytes,
        ..LogConfig::default()
    };
    let entropy = Box::new(|| getrandom::u64().ok());
    Inline::open(disk, EngineConfig::default(), log, Arc::new(Still), entropy)
}

fn name(number: usize) -> String {
    format!("channel:{number}")
}

fn session(number: usize) -> SessionKey {
    SessionKey([number as u8 + 1; 16])
}

/// Segments and hint files.
fn files(folder: &Path) -> Vec<(String, Vec<u8>, Kind)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let kind = match path.extension().and_then(|end| end.to_str()) {
            Some("log") => Kind::Segment,
            Some("hint") => Kind::Hint,
            _ => continue,
        };
        files.push((name, fs::read(&path).expect("a file"), kind));
    }
    files.sort();
    let last = files.iter_mut().rfind(|file| file.2 == Kind::Segment);
    last.expect("a segment").2 = Kind::LastSegment;
    files
}

/// Whatever was changed is as it was, and nothing else is there.
fn restore(folder: &Path, files: &[(String, Vec<u8>, Kind)]) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let was = files.iter().find(|file| file.0 == name);
        if was.is_none_or(|was| {
            fs::metadata(&path).map_or(0, |data| data.len()) != was.1.len() as u64
        }) {
            fs::remove_file(&path).expect("a file that is not of the log");
        }
    }
    for (name, bytes, _) in files {
        let path = folder.join(name);
        if fs::read(&path).ok().as_ref() != Some(bytes) {
            fs::write(path, bytes).expect("a file");
        }
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("this engine answers at once"),
    }
}
