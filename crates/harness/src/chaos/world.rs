//! What a run consists of: the server, the links, the drivers, the ledger.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::{
    ChaosOptions, STOP_DEADLINE, ground::Ground, ledger::Ledger, publish::Publisher,
    upstream::Upstream,
};
use crate::{
    clock::Clock,
    driver::Driver,
    log::Record,
    network::Network,
    process::{Server, ServerSpec},
    progress::Progress,
    proxy::{FaultKind, Proxy},
    rng::Rng,
    scenario::RunError,
};

/// The server's config. Small retention makes explicit gaps, small queues make slow clients fall
/// back to the log. Clients share one address, so the limits per address must not be met.
const SERVER_CONFIG: &str = r#"
[websocket]
max_message_size = 32768
send_queue_bytes = 40960
socket_send_buffer_bytes = 16384
"#;
const CHANNELS_CONFIG: &str = r#"
[[channels]]
pattern = "tiny:*"
history_count = 8
"#;

/// For clients on another host, who share one address, too. The key is the harness's own.
const PUBLIC_CONFIG: &str = r#"
max_connections_per_ip = 10000
max_verified_connections_per_ip = 10000
rate_limit_attempts = 10000

[access]
api_keys = ["the-key-of-the-harness-0123456789"]

[[access.anonymous]]
channels = "*"
allow = ["subscribe", "publish"]

"#;
const PUBLIC_KEY: &str = "the-key-of-the-harness-0123456789";

/// A black hole is noticed within 2 s.
const SERVER_ENVIRONMENT: [(&str, &str); 2] = [
    ("WEBSOCKET_PING_INTERVAL", "1"),
    ("WEBSOCKET_PONG_TIMEOUT", "1"),
];

/// Links that the HTTP publishers share.
const HTTP_LINKS: usize = 4;
/// One channel in so many is `tiny:*`, another one is `fat:*`.
const KIND_SHARE: usize = 10;

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(1_000);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_000);
/// A client must not give up because its link was down for seconds.
const ATTEMPTS_MAX: u32 = 1_000_000;

#[derive(Debug)]
pub(super) struct World {
    pub(super) server: Mutex<Server>,
    /// The server's.
    address: SocketAddr,
    /// Of the harness, where the server does not let everybody in.
    key: Option<&'static str>,
    pub(super) links: Proxy,
    pub(super) http_links: Proxy,
    pub(super) drivers: Vec<Driver>,
    pub(super) progress: Arc<Progress>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) channels: Vec<String>,
    /// The channels of each client, by index.
    pub(super) watching: Vec<Vec<usize>>,
    /// Every subscription, as (client, channel).
    pub(super) expected: Vec<(usize, String)>,
    pub(super) folder: PathBuf,
    /// Last, so that the processes that use it end first.
    pub(super) ground: Ground,
}

impl World {
    pub(super) async fn start(options: &ChaosOptions, rng: &Rng) -> Result<Self, RunError> {
        let load = options.load;
        let ledger = Arc::new(Ledger::create(&options.folder)?);
        ledger.write(&Record::Run {
            seed: options.seed,
            load,
        })?;
        let ground = match options.theme.is_open_ended() {
            true => Ground::start(options, HTTP_LINKS).await,
            false => Ground::default(),
        };
        let is_public = ground.hosts.is_some();
        let server = Server::start(server_spec(options, &ground, is_public)).await?;
        let address = server.address();
        let routes = ground.routes(0, load.clients);
        let framed = options.theme.is_open_ended();
        let links = Proxy::start(address, &routes, &rng.fork(10), framed).await?;
        let routes = ground.routes(load.clients, HTTP_LINKS);
        let http_links = Proxy::start(address, &routes, &rng.fork(11), false).await?;
        let progress = Arc::new(Progress::new(load.clients));
        let hosts = ground.hosts.as_ref().map(|hosts| &hosts.clients);
        let drivers = start_drivers(options, hosts, &progress).await?;
        let channels: Vec<String> = (0..load.channels).map(channel_name).collect();
        let mut world = Self {
            server: Mutex::new(server),
            address,
            key: is_public.then_some(PUBLIC_KEY),
            links,
            http_links,
            drivers,
            progress,
            ledger,
            watching: watching(load.clients, load.channels, load.per_client, rng.fork(12)),
            expected: Vec::new(),
            channels,
            folder: options.folder.clone(),
            ground,
        };
        world.start_clients().await?;
        Ok(world)
    }

    pub(super) fn publisher(&self) -> Publisher<'_> {
        Publisher {
            server: self.address,
            links: self.http_links.links(),
            channels: &self.channels,
            ledger: &self.ledger,
            progress: &self.progress,
            key: self.key,
        }
    }

    pub(super) fn upstream(&self) -> Upstream<'_> {
        Upstream {
            drivers: &self.drivers,
            progress: &self.progress,
            ledger: &self.ledger,
            links: &self.links,
            channels: &self.channels,
            watching: &self.watching,
        }
    }

    /// What the links have counted, for the ledger.
    pub(super) fn write_counts(&self) -> Result<(), RunError> {
        for kind in FaultKind::ALL {
            self.ledger.write(&Record::Fault {
                kind: kind.name().into(),
                felt: self.links.felt(kind),
            })?;
        }
        for (index, link) in self.links.links().iter().enumerate() {
            self.ledger.write(&Record::Link {
                client: Progress::client_name(index),
                cuts: link.counts().cuts,
            })?;
        }
        Ok(())
    }

    /// Stops drivers, then the server; answers where the logs are.
    pub(super) async fn stop(self) -> Result<PathBuf, RunError> {
        for driver in self.drivers {
            driver.quit().await?;
        }
        match self.server.into_inner().stop(STOP_DEADLINE).await {
            Some(status) if status.success() => {}
            Some(status) => {
                return Err(RunError::Failed(format!("the server ended with {status}")));
            }
            None => {
                return Err(RunError::Failed(
                    "the server did not stop on SIGTERM".into(),
                ));
            }
        }
        self.ledger.flush()?;
        Ok(self.folder)
    }

    async fn start_clients(&mut self) -> Result<(), RunError> {
        for (client, watched) in self.watching.iter().enumerate() {
            let mut from = Map::new();
            for channel in watched.iter().map(|index| &self.channels[*index]) {
                // Both ways to begin: nothing has been published yet, so both see everything.
                let start = if client % 2 == 0 {
                    Value::Null
                } else {
                    "first".into()
                };
                from.insert(channel.clone(), start);
                self.ledger.write(&Record::Expect {
                    client: Progress::client_name(client),
                    channel: channel.clone(),
                })?;
                self.expected.push((client, channel.clone()));
            }
            let command = json!({
                "cmd": "start",
                "client": Progress::client_name(client),
                "url": format!("ws://{}/ws", self.links.links()[client].address()),
                "channels": from,
                "options": {
                    "backoff_min_ms": BACKOFF_MIN.as_millis(),
                    "backoff_max_ms": BACKOFF_MAX.as_millis(),
                    "connect_timeout_ms": CONNECT_TIMEOUT.as_millis(),
                    "attempts_max": ATTEMPTS_MAX,
                    // Half of the clients make duplicates on purpose: see DRIVERS.md.
                    "resend_stored": client % 2 == 0,
                },
            });
            self.drivers[client % self.drivers.len()]
                .command(command)
                .await?;
        }
        Ok(())
    }
}

fn server_spec(options: &ChaosOptions, ground: &Ground, is_public: bool) -> ServerSpec {
    let engine = if options.embedded {
        "embedded"
    } else {
        "memory"
    };
    let engine = format!("[engine]\nkind = \"{engine}\"\n");
    let access = if is_public { PUBLIC_CONFIG } else { "" };
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut environment: Vec<_> = SERVER_ENVIRONMENT.map(own).to_vec();
    environment.extend(ground.clock.iter().flat_map(Clock::environment));
    let data = match &ground.volume {
        Some(volume) => volume.path().join("data"),
        None => options.folder.join("data"),
    };
    ServerSpec {
        binary: options.server.clone(),
        folder: options.folder.clone(),
        config: [&*engine, SERVER_CONFIG, access, CHANNELS_CONFIG].concat(),
        environment,
        public_key: is_public.then(|| PUBLIC_KEY.to_owned()),
        prefix: ground.server_prefix(),
        ip: ground.server_ip(),
        data,
    }
}

async fn start_drivers(
    options: &ChaosOptions,
    host: Option<&Network>,
    progress: &Arc<Progress>,
) -> Result<Vec<Driver>, RunError> {
    let mut drivers = Vec::with_capacity(options.driver_processes);
    for index in 0..options.driver_processes {
        let mut spec = options.drivers[index % options.drivers.len()].clone();
        if let Some(host) = host {
            spec = spec.behind(&host.prefix());
        }
        drivers.push(Driver::start(index, &spec, &options.folder, progress.clone()).await?);
    }
    Ok(drivers)
}

fn channel_name(index: usize) -> String {
    match index % KIND_SHARE {
        0 => format!("tiny:{index}"),
        1 => format!("fat:{index}"),
        _ => format!("room:{index}"),
    }
}

fn watching(clients: usize, channels: usize, per_client: usize, mut rng: Rng) -> Vec<Vec<usize>> {
    (0..clients)
        .map(|_| {
            let mut indexes: Vec<usize> = (0..channels).collect();
            rng.shuffle(&mut indexes);
            indexes.truncate(per_client);
            indexes
        })
        .collect()
}
