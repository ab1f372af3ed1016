//! A folder in this process's memory, for the engine without a disk.
//!
//! Owns the files' bytes, as long as a name or an open file leads to them. Never fails but for what
//! a folder refuses by its rules.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use super::{Disk, DiskFile, DiskLock};

/// A folder in memory.
#[derive(Default)]
pub(crate) struct RamDisk {
    files: Mutex<BTreeMap<String, Arc<RamFile>>>,
}

#[derive(Default)]
struct RamFile(RwLock<Vec<u8>>);

impl RamDisk {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<RamFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for RamDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files();
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(RamFile::default());
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.files().get(name).cloned();
        Ok(file.ok_or(io::ErrorKind::NotFound)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.files().remove(name);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self) -> io::Result<DiskLock> {
        Ok(DiskLock::new(()))
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

impl DiskFile for RamFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut data = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let offset = to_place(offset)?;
        let end = offset + bytes.len();
        if data.len() < end {
            data.resize(end, 0);
        }
        data[offset..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let data = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let offset = to_place(offset)?;
        let bytes = data.get(offset..offset + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_at(buffer, offset).map(|()| true)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let mut data = self.0.write().unwrap_or_else(PoisonError::into_inner);
        data.resize(to_place(size)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

fn to_place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
