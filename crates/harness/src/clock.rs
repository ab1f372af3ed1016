//! A wall clock that jumps, for processes that are started under it (libfaketime).
//!
//! The monotonic clock stays as it is: nobody sets that.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Debian's place; the folder in between is the architecture's.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The wall clock of some processes.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that is right, told by a file in this folder.
    ///
    /// # Errors
    /// The library is not there; the message is for people.
    pub fn start(folder: &Path, name: &str) -> Result<Self, String> {
        let entries = fs::read_dir(LIBRARIES).map_err(|error| error.to_string())?;
        let candidates = entries.flatten().map(|entry| entry.path().join(LIBRARY));
        let library = candidates
            .filter(|path| path.exists())
            .min()
            .ok_or("no clock of its own: libfaketime is not installed")?;
        let clock = Self {
            library,
            file: folder.join(name),
        };
        clock.set(0).map_err(|error| error.to_string())?;
        Ok(clock)
    }

    /// Sets it to so many seconds from the right time.
    pub fn set(&self, seconds: i64) -> io::Result<()> {
        // By a rename: whoever reads it meets the whole of one or the other.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{seconds:+}\n"))?;
        fs::rename(next, &self.file)
    }

    /// What a process is started with.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", &*self.library.to_string_lossy()),
            ("FAKETIME_TIMESTAMP_FILE", &*self.file.to_string_lossy()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}
