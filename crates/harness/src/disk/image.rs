//! A file system in a file, whose power can be cut.
//!
//! Owns mounting, and the ioctl that shuts ext4 down without a flush of its log. Must not know who
//! writes to it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{Polling, command, demand};
use crate::scenario::RunError;

const UNMOUNT_DEADLINE: Duration = Duration::from_secs(20);
const RELEASE_DEADLINE: Duration = Duration::from_secs(1);
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: an ioctl from here would take unsafe code.
const CUTTER: &str = "
import fcntl, glob, os, struct, sys, time
folder = os.open(sys.argv[1], os.O_RDONLY)
def newest():
    name = max(glob.glob(sys.argv[1] + '/*.log'), default=sys.argv[1])
    return name, os.stat(name).st_size
print('ready', flush=True)
if sys.stdin.readline().strip() == 'written':
    before, until = newest(), time.monotonic() + 1
    while newest() == before and time.monotonic() < until:
        pass
fcntl.ioctl(folder, 0x8004587D, struct.pack('I', 2))
print('cut', flush=True)
";

/// A mounted image. Dropping it unmounts it.
pub(super) struct Image {
    file: PathBuf,
    mount: PathBuf,
    options: String,
    copies: usize,
}

/// A process that stands ready to cut the power.
pub(super) struct Cutter {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Image {
    /// An empty ext4 of this size, mounted at `folder/data`.
    pub(super) async fn create(folder: &Path, bytes: u64, options: &str) -> Result<Self, RunError> {
        demand("mkfs.ext4").await?;
        demand("python3").await?;
        let image = Self {
            file: folder.join("disk.img"),
            mount: folder.join("data"),
            options: options.to_owned(),
            copies: 0,
        };
        std::fs::create_dir_all(&image.mount)?;
        File::create(&image.file)?.set_len(bytes)?;
        let file = image.file.to_string_lossy().into_owned();
        command(&["mkfs.ext4", "-q", "-F", "-m", "0", &file])
            .await
            .map_err(RunError::NotRun)?;
        image.mount().await.map_err(RunError::NotRun)?;
        Ok(image)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.mount
    }

    /// Unmounts and mounts, as a machine that comes up again.
    ///
    /// A mount namespace of somebody else may still hold the file system that was shut down; mounting
    /// would find that one again, so then what is on the disk is mounted as a copy.
    pub(super) async fn remount(&mut self) -> Result<(), RunError> {
        let mount = self.mount.to_string_lossy().into_owned();
        let polling = Polling::new("the image is unmounted", UNMOUNT_DEADLINE);
        while command(&["umount", &mount]).await.is_err() {
            polling.again().await?;
        }
        let polling = Polling::new("the loop device is free", RELEASE_DEADLINE);
        while is_attached(&self.file).await? {
            if polling.again().await.is_err() {
                let copy = self.file.with_extension(format!("{}.img", self.copies));
                self.copies += 1;
                let (from, to) = (self.file.to_string_lossy(), copy.to_string_lossy());
                command(&["cp", "--sparse=always", &from, &to])
                    .await
                    .map_err(RunError::Failed)?;
                std::fs::remove_file(&self.file)?;
                self.file = copy;
            }
        }
        self.mount().await.map_err(RunError::Failed)
    }

    /// A process that is about to cut the power.
    pub(super) async fn cutter(&self) -> Result<Cutter, RunError> {
        let mut child = Command::new("python3")
            .args(["-c", CUTTER])
            .arg(&self.mount)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().expect("it was piped");
        let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut cutter = Cutter {
            child,
            stdin,
            stdout,
        };
        cutter.hear("ready").await?;
        Ok(cutter)
    }

    /// Bytes of all segments, as the system has them at this moment.
    pub(super) fn log_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(&self.mount)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|end| end == "log") {
                bytes += entry.metadata()?.len();
            }
        }
        Ok(bytes)
    }

    async fn mount(&self) -> Result<(), String> {
        let (file, mount) = (self.file.to_string_lossy(), self.mount.to_string_lossy());
        command(&["mount", "-o", &self.options, &file, &mount]).await
    }
}

/// Whether a loop device stands on this file.
async fn is_attached(file: &Path) -> io::Result<bool> {
    let output = Command::new("losetup").arg("-j").arg(file).output().await?;
    Ok(!output.stdout.is_empty())
}

impl Drop for Image {
    fn drop(&mut self) {
        // Lazily: a process that still has files open must not keep it in the tree.
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.mount)
            .stderr(Stdio::null())
            .status();
    }
}

impl Cutter {
    /// Cuts the power; it is off when this returns. At once, or right after something was written: it
    /// may not have been synced by then.
    pub(super) async fn cut(mut self, when_written: bool) -> Result<(), RunError> {
        let when: &[u8] = if when_written { b"written\n" } else { b"now\n" };
        self.stdin.write_all(when).await?;
        self.hear("cut").await?;
        self.child.wait().await?;
        Ok(())
    }

    async fn hear(&mut self, word: &str) -> Result<(), RunError> {
        let mut line = String::new();
        // What it says is one word; this bounds a program that is not what it seems.
        (&mut self.stdout).take(64).read_line(&mut line).await?;
        match line.trim() == word {
            true => Ok(()),
            false => Err(RunError::NotRun(
                "the file system can't be shut down (EXT4_IOC_SHUTDOWN)".into(),
            )),
        }
    }
}
