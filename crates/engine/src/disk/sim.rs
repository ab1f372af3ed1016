//! A folder that loses, tears, refuses and breaks by a seed.
//!
//! Owns what a crash leaves: of what was not synced any part, by sectors. Single-threaded use is
//! repeated exactly by its seed; with threads, as far as their order repeats.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Disk, DiskFile, DiskLock};

/// What a disk keeps or loses as one.
const SECTOR: usize = 512;

/// How often each fault happens, in thousandths of the calls that can meet it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimPlan {
    /// Decides everything that is random; print it.
    pub seed: u64,
    /// Writes behind a file's end, creations and renames refused for lack of space; a refused write
    /// may leave a part.
    pub full_permille: u32,
    /// Syncs of data that fail; what they were to make durable is then lost by a crash, though it
    /// is read until then, unless the whole file is written again and synced.
    pub broken_sync_permille: u32,
    /// Syncs of names that fail, and change nothing.
    pub broken_name_sync_permille: u32,
    /// Renames that are done, and answer an error.
    pub late_rename_permille: u32,
    /// Reads that answer "not without waiting".
    pub cold_read_permille: u32,
    /// Never acts on a sync, though it says so: a planted bug that a test must find.
    pub lies_about_syncs: bool,
}

/// How often each fault has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimCounts {
    /// Writes in all.
    pub writes: u64,
    /// Syncs of data in all.
    pub syncs: u64,
    /// Refused for lack of space.
    pub full: u64,
    /// Syncs that failed.
    pub broken_syncs: u64,
    /// Crashes.
    pub crashes: u64,
    /// Files of which a crash took something.
    pub torn_files: u64,
    /// Names of which a crash took the change.
    pub lost_names: u64,
}

/// The folder.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

struct Inner {
    plan: SimPlan,
    random: u64,
    counts: SimCounts,
    /// Files by number; names lead to them.
    files: BTreeMap<u64, FileData>,
    next_file: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names since the last sync, in order: a crash keeps the first few.
    renames: Vec<BTreeMap<String, u64>>,
    is_full: bool,
    /// After so many changes more, the power is gone.
    dies_after: Option<u64>,
    /// Handles of before a crash lead nowhere.
    era: u64,
    /// The file that was synced last, and what of it was durable before.
    last_sync: Option<(u64, Vec<u8>)>,
}

#[derive(Clone, Default)]
struct FileData {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// A sync failed: the system thinks that its data is clean, and the device does not have it.
    is_broken: bool,
}

struct SimFile {
    disk: SimDisk,
    file: u64,
    era: u64,
}

impl SimDisk {
    /// An empty folder.
    pub fn new(plan: SimPlan) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            plan,
            random: plan.seed,
            counts: SimCounts::default(),
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renames: Vec::new(),
            is_full: false,
            dies_after: None,
            era: 0,
            last_sync: None,
        })))
    }

    /// Takes away the power: of what was not synced any part is lost, and open files are gone.
    pub fn crash(&self) {
        self.inner().crash();
    }

    /// Takes away the power in the middle of the last sync: whoever called it has been answered, but
    /// in a world that did not come to be.
    pub fn crash_in_last_sync(&self) {
        let mut inner = self.inner();
        if let Some((number, durable)) = inner.last_sync.take()
            && let Some(file) = inner.files.get_mut(&number)
        {
            file.durable = durable;
        }
        inner.crash();
    }

    /// Whether everything that needs space is refused from now on.
    pub fn set_full(&self, is_full: bool) {
        self.inner().is_full = is_full;
    }

    /// The power goes after so many changes more: every later one fails, until the crash.
    pub fn die_after(&self, changes: u64) {
        self.inner().dies_after = Some(changes);
    }

    /// Other faults from now on; the seed goes on.
    pub fn set_plan(&self, plan: SimPlan) {
        self.inner().plan = plan;
    }

    /// What has happened so far.
    pub fn counts(&self) -> SimCounts {
        self.inner().counts
    }

    /// Everything as it would be read now, as another disk: a copy put aside.
    pub fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(SimPlan {
            seed,
            ..SimPlan::default()
        });
        {
            let from = self.inner();
            let mut to = copy.inner();
            to.names = from.names.clone();
            to.durable_names = from.names.clone();
            to.next_file = from.next_file;
            for (&number, file) in &from.files {
                let data = FileData {
                    durable: file.bytes.clone(),
                    bytes: file.bytes.clone(),
                    is_broken: false,
                };
                to.files.insert(number, data);
            }
        }
        copy
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn happens(&mut self, permille: u32) -> bool {
        permille > 0 && self.draw() % 1_000 < u64::from(permille)
    }

    fn demand_power(&mut self) -> io::Result<()> {
        match &mut self.dies_after {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn demand_space(&mut self) -> io::Result<()> {
        self.demand_power()?;
        if self.is_full || self.happens(self.plan.full_permille) {
            self.counts.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn change_names(&mut self) {
        self.renames.push(self.names.clone());
    }

    fn crash(&mut self) {
        self.counts.crashes += 1;
        self.dies_after = None;
        self.era += 1;
        let kept = (self.draw() % (self.renames.len() as u64 + 1)) as usize;
        if kept < self.renames.len() {
            self.counts.lost_names += 1;
        }
        if let Some(index) = kept.checked_sub(1) {
            self.durable_names = self.renames.swap_remove(index);
        }
        self.renames.clear();
        self.names = self.durable_names.clone();
        let numbers: Vec<u64> = self.files.keys().copied().collect();
        for number in numbers {
            let mut file = self.files.remove(&number).unwrap_or_default();
            if !self.names.values().any(|named| *named == number) {
                continue;
            }
            let survivor = self.survivor(&file);
            if survivor != file.bytes {
                self.counts.torn_files += 1;
            }
            file = FileData {
                bytes: survivor.clone(),
                durable: survivor,
                is_broken: false,
            };
            self.files.insert(number, file);
        }
    }

    /// The durable bytes, with any of the sectors and any of the length written since.
    fn survivor(&mut self, file: &FileData) -> Vec<u8> {
        if file.is_broken {
            return file.durable.clone();
        }
        let (old, new) = (file.durable.len(), file.bytes.len());
        let (least, most) = (old.min(new), old.max(new));
        let length = match self.draw() % 4 {
            0 => old,
            1 => new,
            _ => least + (self.draw() % (most as u64 - least as u64 + 1)) as usize,
        };
        let keeps_all = self.draw().is_multiple_of(4);
        let mut survivor = vec![0; length];
        for start in (0..length).step_by(SECTOR) {
            let end = length.min(start + SECTOR);
            let is_new = keeps_all || self.draw().is_multiple_of(2);
            let source = if is_new { &file.bytes } else { &file.durable };
            for (at, byte) in (start..).zip(&mut survivor[start..end]) {
                *byte = source.get(at).copied().unwrap_or(0);
            }
        }
        survivor
    }
}

impl SimFile {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Inner, &mut FileData) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.disk.inner();
        if self.era != inner.era {
            return Err(io::Error::other(
                "the power was gone since this file was opened",
            ));
        }
        let mut data = inner.files.remove(&self.file).unwrap_or_default();
        let result = work(&mut inner, &mut data);
        inner.files.insert(self.file, data);
        result
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner();
        if inner.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.demand_space()?;
        let file = inner.next_file;
        inner.next_file += 1;
        inner.files.insert(file, FileData::default());
        inner.names.insert(name.to_owned(), file);
        inner.change_names();
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            file,
            era: inner.era,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner();
        let file = *inner.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            file,
            era: inner.era,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.demand_space()?;
        let file = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.to_owned(), file);
        inner.change_names();
        let permille = inner.plan.late_rename_permille;
        if inner.happens(permille) {
            return Err(io::Error::other("the device failed"));
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.demand_power()?;
        inner.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        inner.change_names();
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.demand_power()?;
        let permille = inner.plan.broken_name_sync_permille;
        if inner.happens(permille) {
            inner.counts.broken_syncs += 1;
            return Err(io::Error::other("the device failed"));
        }
        if !inner.plan.lies_about_syncs {
            inner.durable_names = inner.names.clone();
            inner.renames.clear();
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<DiskLock> {
        Ok(DiskLock::new(()))
    }

    fn describe(&self) -> String {
        "simulation".to_owned()
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|inner, data| {
            inner.counts.writes += 1;
            // What is written over needs no space.
            let refused = if offset + bytes.len() as u64 <= data.bytes.len() as u64 {
                inner.demand_power()
            } else {
                inner.demand_space()
            };
            let count = match &refused {
                Ok(()) => bytes.len(),
                Err(_) if bytes.is_empty() => 0,
                // Never all of it: the call that fails has not written its part.
                Err(_) => (inner.draw() % bytes.len() as u64) as usize,
            };
            let offset = offset as usize;
            if count == 0 {
                return refused;
            }
            if data.bytes.len() < offset + count {
                data.bytes.resize(offset + count, 0);
            }
            data.bytes[offset..offset + count].copy_from_slice(&bytes[..count]);
            if offset == 0 && count == data.bytes.len() {
                // All of it is to be written again.
                data.is_broken = false;
            }
            refused
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|_, data| {
            let bytes = data
                .bytes
                .get(offset as usize..offset as usize + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let is_cold = {
            let mut inner = self.disk.inner();
            let permille = inner.plan.cold_read_permille;
            inner.happens(permille)
        };
        if is_cold {
            return Ok(false);
        }
        self.read_at(buffer, offset).map(|()| true)
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|_, data| Ok(data.bytes.len() as u64))
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.with(|inner, data| {
            inner.demand_power()?;
            data.bytes.resize(size as usize, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|inner, data| {
            inner.demand_power()?;
            inner.counts.syncs += 1;
            let permille = inner.plan.broken_sync_permille;
            if inner.happens(permille) {
                inner.counts.broken_syncs += 1;
                data.is_broken = true;
                return Err(io::Error::other("the device failed"));
            }
            if !inner.plan.lies_about_syncs && !data.is_broken {
                let before = std::mem::replace(&mut data.durable, data.bytes.clone());
                inner.last_sync = Some((self.file, before));
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
        let file = disk.open(name).ok()?;
        let mut bytes = vec![0; file.size().expect("a size") as usize];
        file.read_at(&mut bytes, 0).expect("it is there");
        Some(bytes)
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_be_torn() {
        let (mut lost, mut kept, mut torn, mut unnamed) = (0, 0, 0, 0);
        for seed in 0..200 {
            let disk = SimDisk::new(SimPlan {
                seed,
                ..SimPlan::default()
            });
            let file = disk.create("a").expect("room");
            file.write_at(&[1; 1_024], 0).expect("room");
            file.sync_data().expect("sound");
            disk.sync_dir().expect("sound");
            file.write_at(&[2; 2_048], 1_024).expect("room");
            disk.create("b").expect("room");
            disk.crash();
            let bytes = bytes_of(&disk, "a").expect("its name was synced");
            assert!(bytes[..1_024].iter().all(|byte| *byte == 1), "seed {seed}");
            match bytes[1_024..].iter().filter(|byte| **byte == 2).count() {
                0 => lost += 1,
                2_048 => kept += 1,
                _ => torn += 1,
            }
            unnamed += u32::from(bytes_of(&disk, "b").is_none());
            assert!(file.size().is_err(), "a handle of before the crash");
        }
        assert!(lost > 10 && kept > 10 && torn > 10 && unnamed > 10);
    }
}
