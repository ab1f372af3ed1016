//! The log against a model that is slow and simple, on a disk that loses and tears what is not
//! synced: plain lists, changed only by what was acknowledged.
//!
//! Checks, after every opening: what was acknowledged is there once and in order, with its session's
//! number and its key; what was refused is not; floors and epochs stand; a position of a lost tail
//! is never recovered.

use std::{collections::BTreeMap, time::Duration};

use bowline_proto::{
    Position,
    recovery::{From, recover},
};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    ChannelPolicy, Retention, SimDisk, SimPlan,
    contract::{IdempotencyKey, Producer},
};

use super::*;

const CHANNELS: [&str; 5] = ["a", "b", "short:a", "short:b", "live:a"];
const FORGET_MS: u64 = 200_000;
const TTL_MS: u64 = 50_000;
const WINDOW_MS: u64 = 20_000;

fn config() -> EngineConfig {
    let retention = |messages, bytes, age_ms| {
        Some(Retention {
            messages,
            bytes,
            age: Duration::from_millis(age_ms),
        })
    };
    let policy = |pattern: &str, history| ChannelPolicy {
        pattern: pattern.to_owned(),
        history,
    };
    EngineConfig {
        channels_max: 4,
        policies: vec![
            policy("live:*", None),
            policy("short:*", retention(3, 1_000, 10_000)),
            policy("*", retention(8, 400, 100_000)),
        ],
        messages_max: 18,
        bytes_max: 900,
        sessions_max: 2,
        sessions_per_user_max: 2,
        session_ttl: Duration::from_millis(TTL_MS),
        key_window: Duration::from_millis(WINDOW_MS),
        keys_max: 100,
        channel_forget_after: Duration::from_millis(FORGET_MS),
    }
}

/// Every other opening trusts hints as far as it may.
fn log(opens: u64) -> LogConfig {
    LogConfig {
        open_check_bytes: if opens.is_multiple_of(2) { 0 } else { u64::MAX },
        segment_bytes: 4_096,
        log_bytes_max: 1 << 20,
        trim_grace: Duration::ZERO,
        ..LogConfig::default()
    }
}

fn keep(channel: usize) -> (usize, usize, u64) {
    if CHANNELS[channel].starts_with("short:") {
        (3, 1_000, 10_000)
    } else {
        (8, 400, 100_000)
    }
}

#[derive(Clone, Debug)]
struct Step {
    channel: usize,
    size: usize,
    producer: Option<(u8, u64)>,
    key: Option<u8>,
    advance: bool,
}

#[derive(Clone, Debug)]
enum Operation {
    Append(Vec<Step>),
    EndSession(u8),
    Wait(u64),
    Tick,
    Compact,
    /// The engine is closed in order and opened again.
    Reopen,
    /// The power goes while these are being appended, and comes back.
    Crash(Vec<Step>),
    /// The power goes in the middle of the sync of these: they are there wholly or not at all.
    Tear(Vec<Step>),
    /// The power goes after so many changes of the disk by a rewriting.
    CompactCrash(u64),
    Full(bool),
    /// What is on the disk now is put back later.
    PutAside,
    PutBack,
}

fn steps() -> impl Strategy<Value = Step> {
    (
        0..CHANNELS.len(),
        prop_oneof![4 => Just(1_usize), 2 => Just(60), 2 => Just(130), 1 => Just(399), 1 => Just(901)],
        proptest::option::of((0..3_u8, 1..12_u64)),
        proptest::option::weighted(0.3, 0..4_u8),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(channel, size, producer, key, advance)| Step {
            channel,
            size,
            producer,
            key,
            advance,
        })
}

fn operations() -> impl Strategy<Value = Operation> {
    let spans = [
        1, 4_000, 9_999, 10_000, 19_999, 30_000, 60_000, 100_000, 200_000, 400_000,
    ];
    let batch = || proptest::collection::vec(steps(), 0..6);
    prop_oneof![
        16 => batch().prop_map(Operation::Append),
        1 => (0..3_u8).prop_map(Operation::EndSession),
        2 => proptest::sample::select(spans.to_vec()).prop_map(Operation::Wait),
        1 => Just(Operation::Tick),
        3 => Just(Operation::Compact),
        1 => Just(Operation::Reopen),
        2 => batch().prop_map(Operation::Crash),
        4 => batch().prop_map(Operation::Tear),
        2 => (0..12_u64).prop_map(Operation::CompactCrash),
        1 => proptest::bool::weighted(0.3).prop_map(Operation::Full),
        1 => Just(Operation::PutAside),
        1 => Just(Operation::PutBack),
    ]
}

#[derive(Clone, Debug)]
struct ModelChannel {
    epoch: u64,
    head: u64,
    /// Offset, payload, time and term.
    entries: Vec<(u64, Vec<u8>, u64, u32)>,
    last_ms: u64,
    /// The term of every offset that was ever given.
    terms: BTreeMap<u64, u32>,
}

#[derive(Clone, Debug)]
struct ModelKey {
    body: Vec<u8>,
    position: Option<Position>,
    stored_ms: u64,
}

#[derive(Clone, Debug, Default)]
struct Model {
    channels: BTreeMap<usize, ModelChannel>,
    sessions: BTreeMap<u8, (u64, u64)>,
    keys: BTreeMap<(usize, u8), ModelKey>,
}

fn session(number: u8) -> SessionKey {
    SessionKey([number; 16])
}

fn to_append(step: &Step, payload: &[u8]) -> Append {
    let producer = step.producer.map(|(number, seq)| Producer {
        session: session(number),
        seq,
    });
    let effect = if step.advance {
        Effect::Advance
    } else {
        Effect::Publish {
            channel: CHANNELS[step.channel].into(),
            data: Data::Binary(payload.to_vec().into()),
            user: None,
            tag: None,
            key: step.key.map(|number| IdempotencyKey([number; 16])),
        }
    };
    Append { producer, effect }
}

impl Model {
    fn purge(&mut self, now_ms: u64) {
        for (&number, channel) in &mut self.channels {
            let age_ms = keep(number).2;
            channel.entries.retain(|entry| entry.2 + age_ms > now_ms);
        }
        self.channels
            .retain(|&number, channel| channel.last_ms + keep(number).2 + FORGET_MS > now_ms);
        self.sessions
            .retain(|_, (_, used_ms)| *used_ms + TTL_MS > now_ms);
        self.keys
            .retain(|_, key| key.stored_ms + WINDOW_MS > now_ms);
    }

    /// What was answered without an error has happened.
    fn accept(&mut self, step: &Step, payload: &[u8], answer: &Appended, now_ms: u64) {
        let repeats = step.producer.is_some_and(|(number, seq)| {
            self.sessions
                .get(&number)
                .is_some_and(|(highest, _)| seq <= *highest)
        });
        if repeats {
            return;
        }
        if !step.advance && !answer.duplicate {
            if let Some(position) = answer.position {
                self.store(step.channel, payload, position, now_ms);
            }
            if let Some(key) = step.key {
                let key_of = (step.channel, key);
                let stored = ModelKey {
                    body: payload.to_vec(),
                    position: answer.position,
                    stored_ms: now_ms,
                };
                self.keys.insert(key_of, stored);
            }
        }
        if let Some((number, seq)) = step.producer {
            self.sessions.insert(number, (seq, now_ms));
        }
    }

    fn store(&mut self, number: usize, payload: &[u8], position: Position, now_ms: u64) {
        let fresh = || ModelChannel {
            epoch: position.epoch,
            head: 0,
            entries: Vec::new(),
            last_ms: now_ms,
            terms: BTreeMap::new(),
        };
        let channel = self.channels.entry(number).or_insert_with(fresh);
        let (messages, bytes, _) = keep(number);
        let size = |entries: &[(u64, Vec<u8>, u64, u32)]| -> usize {
            entries.iter().map(|entry| entry.1.len()).sum()
        };
        while !channel.entries.is_empty()
            && (channel.entries.len() >= messages || size(&channel.entries) + payload.len() > bytes)
        {
            channel.entries.remove(0);
        }
        channel.head = position.offset;
        channel.last_ms = now_ms;
        channel.terms.insert(position.offset, position.term);
        channel
            .entries
            .push((position.offset, payload.to_vec(), now_ms, position.term));
    }
}

/// The engine beside its model, and everything that a client may still hold.
struct Pair {
    disk: SimDisk,
    engine: Option<Inline>,
    clock: ManualClock,
    model: Model,
    aside: Option<(SimDisk, Model)>,
    /// Every position ever answered, with its payload.
    given: BTreeMap<usize, Vec<(Position, Vec<u8>)>>,
    next_payload: u64,
    entropy: Arc<Mutex<u64>>,
    is_full: bool,
    crashes: u64,
    opens: u64,
    seen: Seen,
}

/// What the runs have met: a test that has not seen it has not shown anything about it.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    crashes: u64,
    torn_files: u64,
    lost_names: u64,
    lost_commits: u64,
    kept_commits: u64,
    compactions: u64,
    broken_compactions: u64,
    torn_tails: u64,
    put_back: u64,
    hinted: u64,
}

impl Pair {
    fn new(plan: SimPlan) -> Self {
        let mut pair = Self {
            disk: SimDisk::new(plan),
            engine: None,
            clock: ManualClock::default(),
            model: Model::default(),
            aside: None,
            given: BTreeMap::new(),
            next_payload: 0,
            entropy: Arc::new(Mutex::new(plan.seed)),
            is_full: false,
            crashes: 0,
            opens: 0,
            seen: Seen::default(),
        };
        pair.open().expect("an empty disk");
        pair
    }

    fn open(&mut self) -> Result<(), OpenError> {
        self.engine = None;
        self.opens += 1;
        let entropy = self.entropy.clone();
        let draw: Entropy = Box::new(move || {
            let mut state = entropy.lock().expect("not poisoned");
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            Some(mixed ^ (mixed >> 29))
        });
        let clock = Arc::new(self.clock.clone());
        let disk = Arc::new(self.disk.clone());
        self.engine = Some(Inline::open(disk, config(), log(self.opens), clock, draw)?);
        Ok(())
    }

    fn engine(&self) -> &Inline {
        self.engine.as_ref().expect("it is open")
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        self.model.purge(self.now_ms());
        match operation {
            Operation::Append(batch) => self.append(batch)?,
            Operation::EndSession(number) => {
                let ended = block_on(self.engine().end_session(session(*number)));
                if ended.is_ok() {
                    self.model.sessions.remove(number);
                } else {
                    prop_assert!(self.is_full);
                }
            }
            Operation::Wait(span_ms) => self.clock.advance(Duration::from_millis(*span_ms)),
            Operation::Tick => self.engine().tick(),
            Operation::Compact => {
                self.engine().compact(2);
            }
            Operation::Reopen => {
                self.engine().close();
                self.reopen()?;
            }
            Operation::Crash(batch) => self.crash(batch)?,
            Operation::CompactCrash(changes) => {
                self.disk.die_after(*changes);
                self.engine().compact(3);
                self.seen.broken_compactions += self.detail("compaction_failures");
                self.count_compactions();
                self.engine = None;
                self.disk.crash();
                self.reopen()?;
            }
            Operation::Tear(batch) => self.tear(batch)?,
            Operation::Full(is_full) => {
                self.is_full = *is_full;
                self.disk.set_full(*is_full);
            }
            Operation::PutAside => {
                let copy = self.disk.copy(self.crashes);
                self.aside = Some((copy, self.model.clone()));
            }
            Operation::PutBack => {
                if let Some((disk, model)) = self.aside.take() {
                    self.engine().close();
                    disk.set_full(self.is_full);
                    self.note();
                    self.seen.put_back += 1;
                    self.disk = disk;
                    self.model = model;
                    self.reopen()?;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self) {
        let counts = self.disk.counts();
        self.seen.crashes += counts.crashes;
        self.seen.torn_files += counts.torn_files;
        self.seen.lost_names += counts.lost_names;
    }

    fn reopen(&mut self) -> Result<(), TestCaseError> {
        self.count_compactions();
        // Opening may have to cut off a tail; whether there is room decides nothing here.
        self.disk.set_full(false);
        if let Err(error) = self.open() {
            return Err(TestCaseError::fail(format!("it does not open: {error}")));
        }
        self.disk.set_full(self.is_full);
        self.seen.hinted += self.detail("segments_hinted_at_opening");
        self.seen.torn_tails += u64::from(self.detail("torn_bytes_at_opening") > 0);
        Ok(())
    }

    fn detail(&self, name: &str) -> u64 {
        let stats = self.engine.as_ref().map(|engine| engine.stats());
        let details = stats.map(|stats| stats.details).unwrap_or_default();
        details
            .iter()
            .find(|(found, _)| *found == name)
            .map_or(0, |(_, count)| *count)
    }

    fn count_compactions(&mut self) {
        self.seen.compactions += self.detail("compactions");
    }

    fn send(&mut self, batch: &[Step]) -> (Vec<Vec<u8>>, Vec<Result<Appended, AppendError>>) {
        let mut payloads = Vec::new();
        let mut sent = Vec::new();
        for step in batch {
            // Keyed ones repeat their body most of the time, the others are all different.
            self.next_payload += 1;
            let number = match step.key {
                Some(key) => u64::from(key),
                None => self.next_payload,
            };
            let mut payload = number.to_le_bytes().to_vec();
            payload.resize(step.size.max(8), step.size as u8);
            sent.push(to_append(step, &payload));
            payloads.push(payload);
        }
        (payloads, block_on(self.engine().append(sent)))
    }

    fn append(&mut self, batch: &[Step]) -> Result<(), TestCaseError> {
        let now_ms = self.now_ms();
        let (payloads, answers) = self.send(batch);
        prop_assert_eq!(answers.len(), batch.len());
        let mut failed = Vec::new();
        for ((step, payload), answer) in batch.iter().zip(&payloads).zip(&answers) {
            let by = step.producer.map(|(number, _)| number);
            match answer {
                Ok(appended) => {
                    prop_assert!(!by.is_some_and(|by| failed.contains(&by)));
                    self.check_answer(step, payload, appended)?;
                    self.model.accept(step, payload, appended, now_ms);
                }
                Err(error) => {
                    self.check_error(step, payload, *error, &failed)?;
                    failed.extend(by);
                }
            }
        }
        Ok(())
    }

    /// An answer follows from the model.
    fn check_answer(
        &mut self,
        step: &Step,
        payload: &[u8],
        answer: &Appended,
    ) -> Result<(), TestCaseError> {
        if let Some((number, seq)) = step.producer
            && let Some((highest, _)) = self.model.sessions.get(&number)
            && seq <= *highest
        {
            prop_assert_eq!((answer.position, answer.duplicate), (None, true));
            return Ok(());
        }
        if step.advance {
            prop_assert_eq!((answer.position, answer.duplicate), (None, false));
            return Ok(());
        }
        if let Some(key) = step.key
            && let Some(first) = self.model.keys.get(&(step.channel, key))
        {
            prop_assert_eq!(&first.body, payload);
            prop_assert_eq!((answer.position, answer.duplicate), (first.position, true));
            return Ok(());
        }
        prop_assert!(!answer.duplicate);
        if CHANNELS[step.channel].starts_with("live:") {
            prop_assert_eq!(answer.position, None);
            return Ok(());
        }
        let position = answer.position.expect("it keeps history");
        match self.model.channels.get(&step.channel) {
            Some(channel) => {
                prop_assert_eq!(position.epoch, channel.epoch, "the epoch");
                prop_assert_eq!(position.offset, channel.head + 1, "the offset");
            }
            None => {
                prop_assert_eq!(position.offset, 1);
                let given = self.given.get(&step.channel).into_iter().flatten();
                for (before, _) in given {
                    prop_assert_ne!(before.epoch, position.epoch, "an epoch comes twice");
                }
            }
        }
        let given = self.given.entry(step.channel).or_default();
        for (before, _) in given.iter() {
            prop_assert_ne!(*before, position, "a position is given twice");
        }
        given.push((position, payload.to_vec()));
        Ok(())
    }

    fn check_error(
        &self,
        step: &Step,
        payload: &[u8],
        error: AppendError,
        failed: &[u8],
    ) -> Result<(), TestCaseError> {
        match error {
            AppendError::StorageFull if self.is_full => {}
            AppendError::Aborted => {
                let by = step.producer.map(|(number, _)| number);
                prop_assert!(by.is_some_and(|by| failed.contains(&by)));
            }
            AppendError::KeyReused => {
                let key = step.key.expect("a key");
                let first = self.model.keys.get(&(step.channel, key));
                prop_assert!(first.is_some_and(|first| first.body != payload));
            }
            AppendError::TooManySessions => prop_assert!(self.model.sessions.len() >= 2),
            AppendError::TooManyChannels => prop_assert!(self.model.channels.len() >= 4),
            AppendError::StorageFull => {
                let held: usize = self
                    .model
                    .channels
                    .values()
                    .map(|channel| channel.entries.len())
                    .sum();
                let bytes: usize = self
                    .model
                    .channels
                    .values()
                    .flat_map(|channel| &channel.entries)
                    .map(|entry| entry.1.len())
                    .sum();
                prop_assert!(
                    held + 1 > 18 || bytes + payload.len() > 900 || payload.len() > 900,
                    "there was room: {held} messages, {bytes} bytes"
                );
            }
            other => prop_assert!(false, "{other:?}"),
        }
        Ok(())
    }

    /// The batch was on its way: it may be there or not, but only as a whole commit.
    fn crash(&mut self, batch: &[Step]) -> Result<(), TestCaseError> {
        self.crashes += 1;
        let quiet = SimPlan::default();
        let breaking = SimPlan {
            broken_sync_permille: 1_000,
            ..quiet
        };
        let now_ms = self.now_ms();
        let before = self.model.clone();
        let whole = self.given.clone();
        self.disk.set_plan(breaking);
        let (payloads, answers) = self.send(batch);
        self.disk.set_plan(quiet);
        // Nothing was made durable, so nothing that changes anything may be acknowledged.
        for ((step, payload), answer) in batch.iter().zip(&payloads).zip(&answers) {
            if let Ok(answer) = answer {
                self.check_answer(step, payload, answer)?;
                self.model.accept(step, payload, answer, now_ms);
            }
        }
        let unchanged = format!("{:?}", self.model) == format!("{before:?}");
        prop_assert!(unchanged, "an acknowledgement without a sync: {answers:?}");
        self.model = before;
        self.given = whole;
        self.count_compactions();
        self.engine = None;
        self.disk.crash();
        self.reopen()
    }

    fn tear(&mut self, batch: &[Step]) -> Result<(), TestCaseError> {
        let before = self.model.clone();
        let marks = |pair: &Self| {
            let stats = pair.engine().stats();
            let rewrites = stats
                .details
                .iter()
                .find(|(name, _)| *name == "compactions");
            (pair.disk.counts().syncs, rewrites.map(|(_, count)| *count))
        };
        let (syncs, rewrites) = marks(self);
        self.append(batch)?;
        let (syncs_after, rewrites_after) = marks(self);
        self.count_compactions();
        self.engine = None;
        if syncs_after > syncs && rewrites_after == rewrites {
            self.disk.crash_in_last_sync();
        } else {
            self.disk.crash();
        }
        self.reopen()?;
        // Keys are seen by their count only, which is exact after an opening.
        self.model.purge(self.now_ms());
        let keys = self.engine().stats().keys;
        if self.compare().is_err() || keys != self.model.keys.len() as u64 {
            self.seen.lost_commits += 1;
            self.model = before;
            self.model.purge(self.now_ms());
            prop_assert_eq!(keys, self.model.keys.len() as u64);
            self.compare()?;
        } else {
            self.seen.kept_commits += 1;
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let mut model = self.model.clone();
        model.purge(self.now_ms());
        let engine = self.engine();
        let limit = PageLimit {
            count: 100,
            bytes: 10_000,
        };
        for (number, name) in CHANNELS.into_iter().enumerate() {
            let state = block_on(engine.channel(name)).expect("it answers");
            let page = block_on(engine.read(name, 0, limit)).expect("it answers");
            let expected = model.channels.get(&number);
            self.check_positions(number, &state, expected)?;
            let record = match state {
                ChannelState::Present(record) => Some(record),
                ChannelState::Absent => None,
                ChannelState::NoHistory => {
                    prop_assert!(name.starts_with("live:"));
                    None
                }
            };
            prop_assert_eq!(record.is_some(), expected.is_some(), "{}", name);
            let (Some(record), Some(expected), Some(page)) = (record, expected, page) else {
                continue;
            };
            let floor = expected
                .entries
                .first()
                .map_or(expected.head + 1, |entry| entry.0);
            prop_assert_eq!(
                (record.epoch, record.floor, record.head),
                (expected.epoch, floor, expected.head),
                "{}",
                name
            );
            let found: Vec<_> = page
                .publications
                .iter()
                .map(|one| (one.offset, one.data.bytes().to_vec(), one.term))
                .collect();
            let wanted: Vec<_> = expected
                .entries
                .iter()
                .map(|(offset, payload, _, term)| (*offset, payload.clone(), *term))
                .collect();
            prop_assert_eq!(found, wanted, "{}", name);
        }
        for number in 0..3 {
            let expected = model.sessions.get(&number).map(|(highest, _)| *highest);
            let found = block_on(engine.session(session(number))).expect("it answers");
            prop_assert_eq!(found, expected);
        }
        let stats = engine.stats();
        prop_assert!(stats.messages <= 18 && stats.bytes <= 900 && stats.channels <= 4);
        Ok(())
    }

    /// Every position that was ever given is recovered only if what it saw is what is there.
    fn check_positions(
        &self,
        number: usize,
        state: &ChannelState,
        expected: Option<&ModelChannel>,
    ) -> Result<(), TestCaseError> {
        for (position, payload) in self.given.get(&number).into_iter().flatten() {
            let outcome = recover(From::After(*position), state, self.engine().clock());
            // The very publication was here, and nothing after it has been trimmed.
            let stands = expected.is_some_and(|channel| {
                let floor = channel
                    .entries
                    .first()
                    .map_or(channel.head + 1, |entry| entry.0);
                channel.epoch == position.epoch
                    && channel.terms.get(&position.offset) == Some(&position.term)
                    && position.offset + 1 >= floor
            });
            prop_assert_eq!(outcome.recovered, stands, "{} of {:?}", position, expected);
            prop_assert!(stands || outcome.reason.is_some(), "{:?}", payload);
        }
        Ok(())
    }
}

fn run(seed: u64, lies: bool, steps: &[Operation]) -> Result<Seen, TestCaseError> {
    let plan = SimPlan {
        seed,
        lies_about_syncs: lies,
        ..SimPlan::default()
    };
    let mut pair = Pair::new(plan);
    for step in steps {
        pair.apply(step)?;
        pair.compare()?;
    }
    pair.engine().close();
    pair.reopen()?;
    pair.compare()?;
    pair.note();
    Ok(pair.seen)
}

/// Runs many cases; a failing one prints its seed and shrinks.
fn run_many(cases: u32, lies: bool) -> (Seen, Result<(), String>) {
    let seen = Mutex::new(Seen::default());
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: if lies { 0 } else { 4_096 },
        ..ProptestConfig::default()
    });
    let strategy = (
        any::<u64>(),
        proptest::collection::vec(operations(), 1..100),
    );
    let result = runner.run(&strategy, |(seed, steps)| {
        let one = run(seed, lies, &steps)?;
        let mut all = seen.lock().expect("not poisoned");
        all.crashes += one.crashes;
        all.torn_files += one.torn_files;
        all.lost_names += one.lost_names;
        all.lost_commits += one.lost_commits;
        all.kept_commits += one.kept_commits;
        all.compactions += one.compactions;
        all.broken_compactions += one.broken_compactions;
        all.torn_tails += one.torn_tails;
        all.put_back += one.put_back;
        all.hinted += one.hinted;
        Ok(())
    });
    let seen = *seen.lock().expect("not poisoned");
    (seen, result.map_err(|error| error.to_string()))
}

#[test]
fn the_log_does_as_the_model_through_crashes() {
    let (seen, result) = run_many(400, false);
    if let Err(problem) = result {
        panic!("{problem}");
    }
    println!("{seen:?}");
    for (what, count) in [
        ("crashes", seen.crashes),
        ("torn files", seen.torn_files),
        ("lost names", seen.lost_names),
        ("lost commits", seen.lost_commits),
        ("kept commits", seen.kept_commits),
        ("compactions", seen.compactions),
        ("broken compactions", seen.broken_compactions),
        ("torn tails", seen.torn_tails),
        ("copies put back", seen.put_back),
        ("segments opened by hints", seen.hinted),
    ] {
        assert!(count >= 50, "{what}: {seen:?}");
    }
}

/// A planted bug: with a disk that only says that it syncs, acknowledged messages are lost, and the
/// model must notice.
#[test]
fn the_model_finds_out_a_disk_that_lies() {
    let (_, result) = run_many(50, true);
    assert!(result.is_err());
}
