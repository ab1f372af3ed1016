//! Scenarios about the durable log: what was acknowledged survives whatever happens to the disk or to
//! the process.
//!
//! Owns the list. Each scenario judges while it runs, by asking the server that came back; there are no
//! logs to be judged again.

mod check;
mod copy;
mod crew;
mod damage;
mod image;
mod injected;
mod kill;
mod power;
mod refusals;
mod socket;

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::Instant};

use crate::{
    process::{Server, ServerSpec},
    scenario::{RunError, RunOptions, Scenario},
    verdict::Verdict,
};

/// The scenarios of this module.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "power-cut",
        what: "the file system under a busy server is shut down without a flush (root, loop mounts)",
        run: |options| Box::pin(power::run(options)),
        judge: not_again,
    },
    Scenario {
        name: "power-cut-lies",
        what: "the same under eatmydata, where it must be found out within 20 rounds",
        run: |options| Box::pin(power::run_lying(options)),
        judge: not_again,
    },
    Scenario {
        name: "kill-at-sync",
        what: "SIGKILL at every fdatasync of a fixed workload, and at every answer sent (strace)",
        run: |options| Box::pin(kill::run(options)),
        judge: not_again,
    },
    Scenario {
        name: "older-copy",
        what: "the data folder is replaced by an older copy while clients are away",
        run: |options| Box::pin(copy::run(options)),
        judge: not_again,
    },
    Scenario {
        name: "disk-full",
        what: "a file system of 16 MB fills up, and has room again (root, loop mounts)",
        run: |options| Box::pin(refusals::full(options)),
        judge: not_again,
    },
    Scenario {
        name: "read-only",
        what: "the file system becomes read-only; writes fail with EROFS, EDQUOT, EMFILE, ENOSPC (root, strace)",
        run: |options| Box::pin(refusals::read_only(options)),
        judge: not_again,
    },
    Scenario {
        name: "eio",
        what: "fdatasync fails once: no more acks, no further sync of that file (strace)",
        run: |options| Box::pin(injected::eio(options)),
        judge: not_again,
    },
    Scenario {
        name: "slow-disk",
        what: "every fdatasync takes 200 ms longer: acks wait, reads and links do not (strace)",
        run: |options| Box::pin(injected::slow(options)),
        judge: not_again,
    },
    Scenario {
        name: "damage",
        what: "bit flips and truncations all over a log: refused, or harmless, never served",
        run: |options| Box::pin(damage::run(options)),
        judge: not_again,
    },
];

/// Small segments and quick rounds of compaction, so that everything happens within seconds.
const CONFIG: &str = r#"
[websocket]
ping_interval = 600

[engine]
kind = "embedded"
segment_bytes = 131072
maintenance_interval = "10ms"
compact_bytes_per_second = 268435456
trim_grace = "0s"

[[channels]]
pattern = "short:*"
history_count = 20
"#;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

fn not_again(_: &Path) -> Result<Verdict, RunError> {
    Err(RunError::NotRun(
        "this scenario is judged while it runs".into(),
    ))
}

/// A server of these scenarios.
async fn serve(
    binary: &Path,
    folder: &Path,
    environment: &[(&str, &str)],
) -> Result<Server, RunError> {
    let spec = ServerSpec {
        binary: binary.to_owned(),
        folder: folder.to_owned(),
        config: CONFIG.to_owned(),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        public_key: None,
        prefix: Vec::new(),
        ip: None,
        data: folder.join("data"),
    };
    Ok(Server::start(spec).await?)
}

/// A script that runs the server under another program, which must end by itself with the server.
fn wrapped(options: &RunOptions, name: &str, prefix: &str) -> Result<std::path::PathBuf, RunError> {
    use std::os::unix::fs::PermissionsExt;

    let path = options.folder.join(name);
    let server = std::path::absolute(&options.server)?;
    let script = format!("#!/bin/sh\nexec {prefix} '{}' \"$@\"\n", server.display());
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// NOT RUN unless this program can be started.
async fn demand(program: &str) -> Result<(), RunError> {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null())
        .status()
        .await?;
    match found.success() {
        true => Ok(()),
        false => Err(RunError::NotRun(format!("there is no {program}"))),
    }
}

/// Runs a command to its end; its words if it fails.
async fn command(line: &[&str]) -> Result<(), String> {
    let output = Command::new(line[0]).args(&line[1..]).output().await;
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "{}: {}",
            line.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(format!("{}: {error}", line[0])),
    }
}

/// Waits for something by looking again and again, not for longer than a deadline.
struct Polling {
    what: &'static str,
    deadline: Duration,
    begun: Instant,
}

impl Polling {
    fn new(what: &'static str, deadline: Duration) -> Self {
        Self {
            what,
            deadline,
            begun: Instant::now(),
        }
    }

    /// It was not so: a pause before the next look.
    async fn again(&self) -> Result<(), RunError> {
        if self.begun.elapsed() > self.deadline {
            return Err(RunError::Late {
                what: self.what.to_owned(),
                deadline: self.deadline,
            });
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        Ok(())
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The first number with this name, at whatever depth `/ws/stats` has it.
fn find(value: &serde_json::Value, name: &str) -> u64 {
    fn look(value: &serde_json::Value, name: &str) -> Option<u64> {
        let object = value.as_object()?;
        object
            .get(name)
            .and_then(serde_json::Value::as_u64)
            .or_else(|| object.values().find_map(|inner| look(inner, name)))
    }
    look(value, name).unwrap_or(0)
}
