//! System calls of a running process that fail or take their time (strace).

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::process::terminate;

const ATTACH_DEADLINE: Duration = Duration::from_secs(10);
const DETACH_GRACE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// What makes a log durable.
const CALLS: &str = "fdatasync,fsync";

/// A tracer at work. Dropping it kills it, which lets the process go.
#[derive(Debug)]
pub struct Tracer {
    child: Child,
    log: PathBuf,
}

/// What happens to calls that make a log durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    /// They fail with EIO.
    Fail,
    /// They are late by so much.
    Delay(Duration),
}

impl Tracer {
    /// Whether there is a tracer on this machine that may trace.
    pub async fn is_there() -> bool {
        let traced = Command::new("strace")
            .args(["-o", "/dev/null", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
        traced.is_ok_and(|status| status.success())
    }

    /// Attaches to a process; from then on all of its calls are struck.
    pub async fn start(id: u32, fault: SyncFault, folder: &Path) -> io::Result<Self> {
        let log = folder.join("strace.log");
        File::create(&log)?;
        let how = match fault {
            SyncFault::Fail => "error=EIO".to_owned(),
            SyncFault::Delay(by) => format!("delay_enter={}", by.as_micros()),
        };
        let child = Command::new("strace")
            .args(["-f", "-q", "-p", &id.to_string(), "-o"])
            .arg(&log)
            .args(["-e", &format!("trace={CALLS}")])
            .args(["-e", &format!("inject={CALLS}:{how}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let until = Instant::now() + ATTACH_DEADLINE;
        while !is_traced(id) {
            if Instant::now() > until {
                return Err(io::Error::other("strace did not attach"));
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(Self { child, log })
    }

    /// Whether any call was struck so far.
    pub fn has_struck(&self) -> bool {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.contains("INJECTED") || log.contains("DELAYED")
    }

    /// Detaches; whether any call was struck.
    pub async fn stop(mut self) -> bool {
        terminate(&mut self.child, DETACH_GRACE).await;
        self.has_struck()
    }
}

fn is_traced(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let mut words = status.split_whitespace();
    let tracer = words
        .find(|word| *word == "TracerPid:")
        .and_then(|_| words.next());
    tracer.is_some_and(|tracer| tracer != "0")
}
