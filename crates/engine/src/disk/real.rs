//! A folder of the operating system.
//!
//! Owns the system calls. Must not know what is in the files.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

#[cfg(target_os = "linux")]
use rustix::io::{Errno, ReadWriteFlags};

use super::{Disk, DiskFile, DiskLock};

/// The file that is locked; it is empty and stays.
const LOCK_NAME: &str = "LOCK";

/// A folder of the operating system.
pub struct RealDisk {
    folder: PathBuf,
    /// The folder itself, to sync its names: a process that has no descriptor left then can't mistake
    /// that for a sync that failed. None where folders are no files.
    names: Option<File>,
}

struct RealFile(File);

impl RealDisk {
    /// The folder at this path, made if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn open(folder: &Path) -> io::Result<Self> {
        make(folder, sync_folder)?;
        Self::existing(folder)
    }

    /// A folder that must exist.
    ///
    /// # Errors
    /// The system's.
    pub fn existing(folder: &Path) -> io::Result<Self> {
        fs::read_dir(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            names: open_folder(folder)?,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.path(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(name);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if is_withheld(&error) => File::open(&path),
            opened => opened,
        };
        Ok(Arc::new(RealFile(file?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.names.as_ref().map_or(Ok(()), File::sync_all)
    }

    fn lock(&self) -> io::Result<DiskLock> {
        let path = self.path(LOCK_NAME);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path)?,
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => Ok(DiskLock::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn describe(&self) -> String {
        self.folder.display().to_string()
    }
}

/// Makes a folder, and those above it that are missing. Each one's name is durable once the one above
/// it is synced, before anything is made inside; so of those that exist only the last may have a name
/// that is not, left by a process that was killed.
fn make(folder: &Path, mut sync: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let whole = std::path::absolute(folder)?;
    let missing = whole.ancestors().take_while(|one| !one.is_dir()).count();
    let mut chain: Vec<_> = whole.ancestors().take(missing + 1).collect();
    chain.reverse();
    for one in chain {
        let is_new = match fs::create_dir(one) {
            Ok(()) => true,
            Err(_) if one.is_dir() => false,
            Err(error) => return Err(error),
        };
        let Some(above) = one.parent() else {
            continue;
        };
        match sync(above) {
            // Who made the folder for this process need not let it look at the one above, nor be on a
            // file system that syncs names.
            Err(error) if !is_new && (is_withheld(&error) || is_unknown(&error)) => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Whether it is not ours to write there.
fn is_withheld(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

/// Whether the file system has no such call.
fn is_unknown(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

/// Only Unix opens folders as files; elsewhere the names are the file system's own care.
fn open_folder(folder: &Path) -> io::Result<Option<File>> {
    cfg!(unix).then(|| File::open(folder)).transpose()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    open_folder(folder)?.map_or(Ok(()), |names| names.sync_all())
}

#[cfg(unix)]
impl RealFile {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.0.read_exact_at(buffer, offset)
    }

    fn put(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.0.write_all_at(bytes, offset)
    }
}

#[cfg(windows)]
impl RealFile {
    fn fill(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !buffer.is_empty() {
            match self.0.seek_read(buffer, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => {
                    buffer = &mut buffer[count..];
                    offset += count as u64;
                }
            }
        }
        Ok(())
    }

    fn put(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !bytes.is_empty() {
            let count = self.0.seek_write(bytes, offset)?;
            bytes = &bytes[count..];
            offset += count as u64;
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.put(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.fill(buffer, offset)
    }

    #[cfg(target_os = "linux")]
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            let mut rest = [io::IoSliceMut::new(&mut buffer[filled..])];
            let at = offset + filled as u64;
            match rustix::io::preadv2(&self.0, &mut rest, at, ReadWriteFlags::NOWAIT) {
                Err(Errno::INTR) => {}
                // Not in the page cache, or a file system that can't say. Linux 5.9 and 5.10 may answer
                // 0 for what is not cached: whether it is there at all is for `read_at` to say.
                Ok(0) | Err(_) => return Ok(false),
                Ok(count) => filled += count,
            }
        }
        Ok(true)
    }

    #[cfg(not(target_os = "linux"))]
    fn try_read_at(&self, _: &mut [u8], _: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::tests::Folder;

    #[test]
    fn every_folder_that_is_made_has_a_lasting_name() {
        let base = Folder::new();
        let folder = base.0.join("a/b/data");
        let synced_by = |folder: &Path| {
            let mut synced = Vec::new();
            let mut sync = |above: &Path| {
                let inside = fs::read_dir(above)?.count();
                synced.push((above.to_owned(), inside));
                Ok(())
            };
            make(folder, &mut sync).expect("a folder");
            synced
        };
        let synced = synced_by(&folder);
        assert!(folder.is_dir());
        let above = base.0.parent().expect("a folder of its own");
        assert_eq!(synced[0].0, above, "it may have been made just before");
        let made = ["", "a", "a/b"].map(|name| (base.0.join(name), 1));
        assert_eq!(synced[1..], made);
        let again = synced_by(&folder);
        assert_eq!(again, [(base.0.join("a/b"), 1)]);
    }

    #[test]
    fn only_a_folder_that_was_there_may_stand_in_one_that_is_withheld() {
        let base = Folder::new();
        let mut refuse = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        make(&base.0, &mut refuse).expect("it was there");
        let refused = make(&base.0.join("a"), &mut refuse);
        assert!(refused.is_err());
        let mut fail = |_: &Path| Err(io::Error::other("the device failed"));
        assert!(make(&base.0, &mut fail).is_err());
    }

    /// The folder has lost the name by which it was opened, and so can't be opened again.
    #[cfg(unix)]
    #[test]
    fn names_are_synced_without_opening_the_folder() {
        let base = Folder::new();
        let disk = RealDisk::open(&base.0.join("a")).expect("a folder");
        fs::rename(base.0.join("a"), base.0.join("b")).expect("it is there");
        disk.sync_dir().expect("it is open");
    }

    /// A read that may not wait can be told of an end where there is none.
    #[test]
    fn only_a_read_that_may_wait_says_where_a_file_ends() {
        let base = Folder::new();
        let disk = RealDisk::open(&base.0).expect("a folder");
        let file = disk.create("a").expect("room");
        file.write_at(b"123", 0).expect("room");
        let mut buffer = [0; 4];
        let tried = file.try_read_at(&mut buffer, 0);
        assert!(matches!(tried, Ok(false)), "{tried:?}");
        let read = file.read_at(&mut buffer, 0);
        let ended = read.expect_err("it has three bytes").kind();
        assert_eq!(ended, io::ErrorKind::UnexpectedEof);
    }
}
