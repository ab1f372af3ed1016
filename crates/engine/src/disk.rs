//! The narrow way to storage: one folder of files, written at places and synced by hand.
//!
//! Owns the traits [`Disk`] and [`DiskFile`] and the choice between implementations. Must not know
//! what is in the files. Every call is synchronous; whoever must not wait calls from a thread of its
//! own, except [`DiskFile::try_read_at`], which never waits for a device.

mod ram;
mod real;
#[cfg(any(test, feature = "simulation"))]
mod sim;

use std::{any::Any, io, sync::Arc};

pub(crate) use ram::RamDisk;
pub use real::RealDisk;
#[cfg(any(test, feature = "simulation"))]
pub use sim::{SimCounts, SimDisk, SimPlan};

/// Whether a rename that answered an error was not done; false, too, where that can't be told.
pub(crate) fn is_not_renamed(disk: &dyn Disk, from: &str) -> bool {
    disk.open(from).is_ok()
}

/// One folder of files, without folders inside it.
///
/// A file's data is durable after [`DiskFile::sync_data`], its name after [`sync_dir`](Self::sync_dir);
/// before, a crash may keep any part of either.
pub trait Disk: Send + Sync + 'static {
    /// A new, empty file.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::AlreadyExists`] where the name is taken.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// A file that exists, to read it and, where the folder allows that, to write it.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, in place of whatever had that name.
    ///
    /// # Errors
    /// The system's. It may have been done all the same.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Files that are open can still be read.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, in no order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes the names durable.
    ///
    /// # Errors
    /// The system's; after one, which names are durable is not known.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the folder for this process alone, until the answer is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another process has it, else the system's.
    fn lock(&self) -> io::Result<DiskLock>;

    /// The folder as a person would name it.
    fn describe(&self) -> String;
}

/// An open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Writes all the bytes.
    ///
    /// # Errors
    /// The system's; any part of the bytes may then have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills the buffer, waiting for the device if it must.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::UnexpectedEof`] where the file is too short.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Fills the buffer if that is possible without waiting for the device, and says whether.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// The system's.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    /// The system's.
    fn truncate(&self, size: u64) -> io::Result<()>;

    /// Makes the data durable, and the length with it.
    ///
    /// # Errors
    /// The system's; after one, what is durable is not known, and another call says nothing.
    fn sync_data(&self) -> io::Result<()>;
}

/// Holds a folder for one process.
pub struct DiskLock(
    #[expect(dead_code, reason = "it is held, not looked at")] Box<dyn Any + Send + Sync>,
);

impl DiskLock {
    /// Holds until it is dropped.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Box::new(held))
    }
}
