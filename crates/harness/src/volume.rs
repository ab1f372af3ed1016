//! A small disk of the server's own, which can be filled.
//!
//! A file system in memory, so that it is small and quick; what it does when it is full is what any
//! other does. Needs root. Taken down when it is dropped. Must not know what is kept on it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::command::run;

/// Steps in which it is filled, so that next to nothing is left.
const STEPS: [usize; 3] = [1 << 20, 1 << 14, 1 << 9];
const BALLAST: &str = "ballast";

/// A mounted file system.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
}

impl Volume {
    /// Mounts one of so many megabytes in a new folder.
    ///
    /// # Errors
    /// This machine does not allow it; the message is for people.
    pub fn start(path: &Path, megabytes: u32) -> Result<Self, String> {
        let failed = |error: io::Error| format!("no disk of its own: {error}");
        fs::create_dir_all(path).map_err(failed)?;
        let size = format!("size={megabytes}m");
        let text = path.to_string_lossy();
        run(&["mount", "-t", "tmpfs", "-o", &size, "bowline", &text]).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves no room on it.
    pub fn fill(&self) -> io::Result<()> {
        let mut ballast = File::create(self.path.join(BALLAST))?;
        for step in STEPS {
            let zeros = vec![0; step];
            loop {
                match ballast.write_all(&zeros) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub fn empty(&self) -> io::Result<()> {
        fs::remove_file(self.path.join(BALLAST))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still hold files on it.
        let _ = run(&["umount", "-l", &self.path.to_string_lossy()]);
    }
}
