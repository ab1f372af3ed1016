//! The log and its model side by side, and the checks that they agree.

use super::*;

/// The engine beside its model, and everything that a client may still hold.
pub(super) struct Pair {
    disk: SimDisk,
    engine: Option<Arc<Inline>>,
    clock: ManualClock,
    model: Model,
    aside: Option<(SimDisk, Model)>,
    /// Every position ever answered, with its payload.
    given: BTreeMap<usize, Vec<(Position, Vec<u8>)>>,
    next_payload: u64,
    entropy: Arc<Mutex<u64>>,
    is_full: bool,
    is_rewriting: bool,
    crashes: u64,
    opens: u64,
    pub(super) seen: Seen,
}

/// What the runs have met: a test that has not seen it has not shown anything about it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) crashes: u64,
    pub(super) torn_files: u64,
    pub(super) lost_names: u64,
    pub(super) lost_commits: u64,
    pub(super) kept_commits: u64,
    pub(super) compactions: u64,
    pub(super) broken_compactions: u64,
    pub(super) torn_tails: u64,
    pub(super) put_back: u64,
    pub(super) hinted: u64,
    pub(super) amid: u64,
}

impl Pair {
    pub(super) fn new(plan: SimPlan) -> Self {
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
            is_rewriting: false,
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
        let engine = Inline::open(disk, config(), log(self.opens), clock, draw)?;
        self.engine = Some(Arc::new(engine));
        Ok(())
    }

    pub(super) fn engine(&self) -> &Inline {
        self.engine.as_ref().expect("it is open")
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(super) fn apply(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
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
            Operation::CompactAmid(steps, span_ms, batch) => {
                self.compact_amid(*steps, *span_ms, batch)?;
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

    pub(super) fn note(&mut self) {
        let counts = self.disk.counts();
        self.seen.crashes += counts.crashes;
        self.seen.torn_files += counts.torn_files;
        self.seen.lost_names += counts.lost_names;
    }

    pub(super) fn reopen(&mut self) -> Result<(), TestCaseError> {
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
        let answers = if self.is_rewriting {
            append_only(self.engine(), sent)
        } else {
            block_on(self.engine().append(sent))
        };
        (payloads, answers)
    }

    /// Appends in the middle of a rewriting, if it has so many steps.
    fn compact_amid(
        &mut self,
        steps: usize,
        span_ms: u64,
        batch: &[Step],
    ) -> Result<(), TestCaseError> {
        let engine = self.engine.clone().expect("it is open");
        let mut left = Some(steps);
        let mut outcome = Ok(());
        self.is_rewriting = true;
        engine.compactor.round(&engine.shared, &mut |_| {
            if left == Some(0) {
                self.clock.advance(Duration::from_millis(span_ms));
                self.model.purge(self.now_ms());
                outcome = self.append(batch);
                self.seen.amid += 1;
            }
            left = left.and_then(|left| left.checked_sub(1));
            true
        });
        self.is_rewriting = false;
        outcome
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

    pub(super) fn compare(&self) -> Result<(), TestCaseError> {
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
