//! The server under test, as a process.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    process::{Child, Command},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::http::HttpClient;

const READY_DEADLINE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A server that answers. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

/// The server could not be brought up or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The binary can't be run, or its folder can't be written.
    #[error("{path}: {source}")]
    Start {
        /// The binary.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was told to.
    #[error("the server ended with {0}; see server.log")]
    Ended(ExitStatus),
    /// It never answered `/health/ready` with 200.
    #[error("the server was not ready within {READY_DEADLINE:?}; see server.log")]
    NotReady,
    /// `/ws/stats` did not answer with JSON.
    #[error("/ws/stats: {0}")]
    Stats(String),
}

impl Server {
    /// Starts `binary serve --dev` with a config file in the run's folder and waits until it is
    /// ready. Its output goes to `server.log` there.
    pub async fn start(
        binary: &Path,
        folder: &Path,
        config: &str,
        environment: &[(&str, &str)],
    ) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Start {
            path: binary.to_owned(),
            source,
        };
        let config_file = folder.join("server.toml");
        std::fs::write(&config_file, config).map_err(failed)?;
        let log = File::create(folder.join("server.log")).map_err(failed)?;
        let address = free_address().await.map_err(failed)?;
        let child = Command::new(binary)
            .args([
                "serve",
                "--dev",
                "--listen",
                &address.to_string(),
                "--config",
            ])
            .arg(&config_file)
            .arg("--data-dir")
            .arg(folder.join("data"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut server = Self { child, address };
        server.wait_ready().await?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client for its HTTP side, not through any proxy.
    pub fn http(&self) -> HttpClient {
        HttpClient::new(self.address, self.address, ANSWER_DEADLINE)
    }

    /// The body of `/ws/stats`.
    pub async fn stats(&self) -> Result<serde_json::Value, ServerError> {
        let failed = |problem: &dyn std::fmt::Display| ServerError::Stats(problem.to_string());
        let (status, body) = self
            .http()
            .get("/ws/stats")
            .await
            .map_err(|error| failed(&error))?;
        if !status.is_success() {
            return Err(failed(&status));
        }
        serde_json::from_slice(&body).map_err(|error| failed(&error))
    }

    /// An error if it ended by itself.
    pub fn check_alive(&mut self) -> Result<(), ServerError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(ServerError::Ended(status)),
            // A child that can't be asked is still there: it has not been waited for.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// SIGTERM, then waits; none if it had to be killed.
    pub async fn stop(mut self, grace: Duration) -> Option<ExitStatus> {
        terminate(&mut self.child, grace).await
    }

    async fn wait_ready(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + READY_DEADLINE;
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < deadline {
            ticks.tick().await;
            self.check_alive()?;
            let answer = self.http().get("/health/ready").await;
            if answer.is_ok_and(|(status, _)| status.is_success()) {
                return Ok(());
            }
        }
        Err(ServerError::NotReady)
    }
}

/// Sends SIGTERM and waits; kills after `grace`. None if it had to be killed.
pub async fn terminate(child: &mut Child, grace: Duration) -> Option<ExitStatus> {
    if let Some(id) = child.id() {
        // The shell's own `kill`: sending a signal from here would take unsafe code.
        let sent = Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &id.to_string()])
            .status()
            .await;
        if sent.is_ok_and(|status| status.success())
            && let Ok(Ok(status)) = timeout(grace, child.wait()).await
        {
            return Some(status);
        }
    }
    // It is either gone already, which is fine, or is killed now.
    let _ = child.kill().await;
    None
}

/// A port that was free a moment ago.
async fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await?
        .local_addr()
}
