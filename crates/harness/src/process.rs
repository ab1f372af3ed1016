//! The server under test, as a process.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    process::{Child, Command},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::http::HttpClient;

const READY_DEADLINE: Duration = Duration::from_secs(30);
const RESTART_DEADLINE: Duration = Duration::from_secs(60);
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// Below the range that the system hands to outgoing connections: one of them could hold the port
/// while the server is down.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
const PORT_STRIDE: u16 = 37;
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// How a server is started.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// The `bowline` binary.
    pub binary: PathBuf,
    /// The run's folder: `server.toml` is written there, and `server.log` appended to.
    pub folder: PathBuf,
    /// The text of its config file.
    pub config: String,
    /// Its environment, beside ours.
    pub environment: Vec<(String, String)>,
    /// None: `--dev`, on loopback only. Else an API key of its config, for the harness itself.
    pub public_key: Option<String>,
    /// Words before the command, such as those that make it run on another host.
    pub prefix: Vec<String>,
    /// Its address on that host; none means loopback of ours, or all of ours if it is public.
    pub ip: Option<Ipv4Addr>,
    /// Where it keeps its logs.
    pub data: PathBuf,
}

/// A server that answers. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    spec: ServerSpec,
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
    /// Starts it and waits until it is ready.
    pub async fn start(spec: ServerSpec) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Start {
            path: spec.binary.clone(),
            source,
        };
        std::fs::write(spec.folder.join("server.toml"), &spec.config).map_err(failed)?;
        let address = match spec.ip {
            // Nobody else is on that host.
            Some(ip) => SocketAddr::from((ip, PORTS.start)),
            None => free_address().await.map_err(failed)?,
        };
        let child = spawn(&spec, address).map_err(failed)?;
        let mut server = Self {
            child,
            address,
            spec,
        };
        server.wait_ready().await?;
        Ok(server)
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) -> Result<(), ServerError> {
        self.child
            .kill()
            .await
            .map_err(|source| ServerError::Start {
                path: self.spec.binary.clone(),
                source,
            })
    }

    /// SIGTERM, then waits, as [`stop`](Self::stop) does; to be followed by [`restart`](Self::restart).
    pub async fn drain(&mut self, grace: Duration) -> Option<ExitStatus> {
        terminate(&mut self.child, grace).await
    }

    /// Starts it again at the same address, after [`kill`](Self::kill), and waits until it is ready. One
    /// that gives up at once, for want of a disk perhaps, is started again, as a supervisor would.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        let until = Instant::now() + RESTART_DEADLINE;
        loop {
            let child = spawn(&self.spec, self.address);
            self.child = child.map_err(|source| ServerError::Start {
                path: self.spec.binary.clone(),
                source,
            })?;
            match self.wait_ready().await {
                Err(ServerError::Ended(_)) if Instant::now() < until => sleep(RESTART_PAUSE).await,
                ended => return ended,
            }
        }
    }

    /// Its process, while it is there.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends it a signal by its name, such as `STOP`; whether it was there to get it.
    pub async fn signal(&self, name: &str) -> bool {
        signal(&self.child, name).await
    }

    /// Where it listens; a public one on this port of every address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client for its HTTP side, not through any proxy.
    pub fn http(&self) -> HttpClient {
        HttpClient::new(self.address, self.address, ANSWER_DEADLINE)
            .with_key(self.spec.public_key.as_deref())
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
    if signal(child, "TERM").await
        && let Ok(Ok(status)) = timeout(grace, child.wait()).await
    {
        return Some(status);
    }
    // It is either gone already, which is fine, or is killed now.
    let _ = child.kill().await;
    None
}

/// Sends a signal by its name; whether the process was there to get it.
pub async fn signal(child: &Child, name: &str) -> bool {
    let Some(id) = child.id() else { return false };
    // The shell's own `kill`: sending a signal from here would take unsafe code.
    let sent = Command::new("sh")
        .args(["-c", "kill -\"$0\" \"$1\"", name, &id.to_string()])
        .status()
        .await;
    sent.is_ok_and(|status| status.success())
}

fn spawn(spec: &ServerSpec, address: SocketAddr) -> io::Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(spec.folder.join("server.log"))?;
    let is_public = spec.public_key.is_some();
    let listen = match is_public {
        true => SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())),
        false => address,
    };
    let binary = spec.binary.as_os_str();
    let mut words = spec.prefix.iter().map(OsStr::new).chain([binary]);
    Command::new(words.next().unwrap_or(binary))
        .args(words)
        .args(["serve", "--listen", &listen.to_string()])
        .args((!is_public).then_some("--dev"))
        .arg("--config")
        .arg(spec.folder.join("server.toml"))
        .arg("--data-dir")
        .arg(&spec.data)
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
}

/// A port that was free a moment ago. Processes begin their search at different places.
async fn free_address() -> io::Result<SocketAddr> {
    let width = PORTS.end - PORTS.start;
    let first = u16::try_from(std::process::id() % u32::from(width)).unwrap_or(0);
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for step in 0..width / PORT_STRIDE {
        let offset =
            (u32::from(first) + u32::from(step) * u32::from(PORT_STRIDE)) % u32::from(width);
        let port = PORTS.start + u16::try_from(offset).unwrap_or(0);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return listener.local_addr(),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
