//! A driver process: commands in, events out, everything it says kept in a file.
//!
//! The contract is `DRIVERS.md`.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::codec::{FramedRead, LinesCodec};

use crate::{
    log::{DRIVER_FILE_PREFIX, Event, LINE_BYTES_MAX},
    process::{signal, terminate},
    progress::Progress,
};

/// Commands that wait for a driver's stdin.
const COMMANDS_MAX: usize = 1024;
const READY_DEADLINE: Duration = Duration::from_secs(15);
/// The contract gives it 5 s to quit; a loaded machine gets some more.
const QUIT_DEADLINE: Duration = Duration::from_secs(15);

/// How to run a driver: a program and its arguments.
#[derive(Clone, Debug)]
pub struct DriverSpec(Vec<String>);

/// A driver that said that it is ready. Dropping it kills it.
#[derive(Debug)]
pub struct Driver {
    index: usize,
    child: Child,
    commands: mpsc::Sender<String>,
    writer: JoinHandle<io::Result<()>>,
    reader: JoinHandle<io::Result<()>>,
}

/// A driver can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// It can't be run, or its log can't be written.
    #[error("driver {index}: {source}")]
    Io {
        /// Which.
        index: usize,
        /// Why.
        source: io::Error,
    },
    /// It did not say `ready`.
    #[error(
        "driver {0} ended or was silent for {READY_DEADLINE:?} before `ready`; see its .stderr"
    )]
    NotReady(usize),
    /// It takes no commands any more.
    #[error("driver {0} has gone; see its .stderr")]
    Gone(usize),
    /// It did not end by itself, or not with exit code 0.
    #[error("driver {0} did not quit cleanly; see its .stderr")]
    NotQuit(usize),
}

impl DriverSpec {
    /// From a command line, split at white space; none if there is nothing in it.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        (!words.is_empty()).then_some(Self(words))
    }

    /// The same behind these words.
    #[must_use]
    pub fn behind(&self, prefix: &[&str]) -> Self {
        let prefix = prefix.iter().map(|word| (*word).to_owned());
        Self(prefix.chain(self.0.iter().cloned()).collect())
    }
}

impl Driver {
    /// Starts it and waits until it is ready.
    pub async fn start(
        index: usize,
        spec: &DriverSpec,
        folder: &Path,
        progress: Arc<Progress>,
    ) -> Result<Self, DriverError> {
        let failed = |source| DriverError::Io { index, source };
        let file = |suffix: &str| {
            File::create(folder.join(format!("{DRIVER_FILE_PREFIX}{index}{suffix}")))
        };
        let mut child = Command::new(&spec.0[0])
            .args(&spec.0[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file(".stderr").map_err(failed)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take().expect("stdin was asked to be piped");
        let stdout = child.stdout.take().expect("stdout was asked to be piped");
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        let (ready, is_ready) = oneshot::channel();
        let log = BufWriter::new(file(".jsonl").map_err(failed)?);
        let driver = Self {
            index,
            child,
            commands,
            writer: tokio::spawn(write_commands(stdin, waiting)),
            reader: tokio::spawn(read_events(index, stdout, log, progress, ready)),
        };
        match timeout(READY_DEADLINE, is_ready).await {
            Ok(Ok(())) => Ok(driver),
            _ => Err(DriverError::NotReady(index)),
        }
    }

    /// Hands it a command.
    pub async fn command(&self, command: Value) -> Result<(), DriverError> {
        let sent = self.commands.send(command.to_string()).await;
        sent.map_err(|_| DriverError::Gone(self.index))
    }

    /// Sends it a signal by its name, such as `STOP`; whether it was there to get it.
    pub async fn signal(&self, name: &str) -> bool {
        signal(&self.child, name).await
    }

    /// Tells it to quit, and waits until it did and all that it said is in its file.
    pub async fn quit(mut self) -> Result<(), DriverError> {
        let failed = |source| DriverError::Io {
            index: self.index,
            source,
        };
        self.command(json!({"cmd": "quit"})).await?;
        drop(self.commands);
        let ended = timeout(QUIT_DEADLINE, self.child.wait()).await;
        if !matches!(ended, Ok(Ok(status)) if status.success()) {
            terminate(&mut self.child, Duration::ZERO).await;
            return Err(DriverError::NotQuit(self.index));
        }
        // A driver may leave before it has read the last command: that is not an error.
        let _ = self.writer.await;
        match self.reader.await {
            Ok(read) => read.map_err(failed),
            Err(_) => Err(DriverError::Gone(self.index)),
        }
    }
}

async fn write_commands(
    mut stdin: ChildStdin,
    mut commands: mpsc::Receiver<String>,
) -> io::Result<()> {
    while let Some(mut command) = commands.recv().await {
        command.push('\n');
        stdin.write_all(command.as_bytes()).await?;
    }
    stdin.shutdown().await
}

/// Keeps every line and shows it to the live view. Writing goes to the page cache through a buffer:
/// short enough for a task of its own on a runtime with several threads.
async fn read_events(
    index: usize,
    stdout: ChildStdout,
    mut log: BufWriter<File>,
    progress: Arc<Progress>,
    ready: oneshot::Sender<()>,
) -> io::Result<()> {
    let mut ready = Some(ready);
    let mut lines = FramedRead::new(stdout, LinesCodec::new_with_max_length(LINE_BYTES_MAX));
    while let Some(line) = lines.next().await {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                progress.fail(format!("driver {index}: {error}"));
                return Err(io::Error::other(error));
            }
        };
        log.write_all(line.as_bytes())?;
        log.write_all(b"\n")?;
        match serde_json::from_str::<Event>(&line) {
            Ok(event) if event.event == "ready" => {
                if let Some(ready) = ready.take() {
                    // Nobody waits any more if the deadline has passed.
                    let _ = ready.send(());
                }
            }
            Ok(event) => progress.take(&event),
            Err(error) => progress.fail(format!("driver {index} wrote {line:?}: {error}")),
        }
    }
    progress.fail(format!("driver {index} has ended"));
    log.flush()
}
