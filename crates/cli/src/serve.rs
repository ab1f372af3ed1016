//! `bowline serve`: one process that listens until it is told to stop.
//!
//! Owns the start, what is said about it, and the way out. Must not know what connections do.

mod descriptors;
mod health;
mod reload;
mod shutdown;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
    thread,
};

use bowline::{KeySet, OpenAccess, Server, StaticAccess};
use bowline_engine::{Embedded, Engine, Memory, OpenError};
use tokio::net::TcpListener;

use crate::{
    logging::{Log, Queue},
    settings::{EngineKind, Settings},
};

/// The server could not start, or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ServeError {
    /// The address can't be listened on.
    #[error("can't listen on {address}: {}", explain(.source, *.address))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The engine can't be opened.
    #[error(transparent)]
    Engine(#[from] OpenError),
    /// The server can't be put together.
    #[error(transparent)]
    Build(#[from] bowline::BuildError),
    /// The system failed under it.
    #[error("the server failed: {0}")]
    Io(#[from] io::Error),
}

/// Runs until a signal; then the clients are let go and it returns.
pub(crate) fn serve(settings: Settings, log: &Log) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // In a task: what is accepted then begins on the thread that has accepted it.
    let serving = runtime.spawn(run(settings, log.queue()));
    match runtime.block_on(serving) {
        Ok(outcome) => outcome,
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}

async fn run(settings: Settings, log: Queue) -> Result<(), ServeError> {
    let address = settings.listen;
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    descriptors::warn_if_few(settings.server.connections_max);
    let dev = settings.server.dev;
    let engine = Opened::open(&settings)?;
    let secure = settings.certificate.is_some();
    reload::at_hangup(&settings)?;
    if let Some(issuer) = &settings.issuer {
        fetch_keys(issuer.keys.clone());
    }
    let server = build(settings, engine.shared())?;
    let signal = shutdown::first_signal(log)?;
    announce(address, dev, secure);
    tracing::info!(%address, "listening");
    let watching = tokio::spawn(health::watch(engine.shared()));
    server.serve(listener, signal).await?;
    watching.abort();
    engine.close();
    tracing::info!("shut down");
    Ok(())
}

/// The engine, kept so that its log is closed in order at the end.
enum Opened {
    Embedded(Arc<Embedded>),
    Memory(Arc<Memory>),
}

impl Opened {
    fn open(settings: &Settings) -> Result<Self, OpenError> {
        let (bounds, log) = (settings.bounds.clone(), settings.log.clone());
        Ok(match settings.engine {
            EngineKind::Embedded => {
                Self::Embedded(Arc::new(Embedded::open(&settings.data_dir, bounds, log)?))
            }
            EngineKind::Memory => Self::Memory(Arc::new(Memory::open(bounds)?)),
        })
    }

    fn shared(&self) -> Arc<dyn Engine> {
        match self {
            Self::Embedded(engine) => engine.clone(),
            Self::Memory(engine) => engine.clone(),
        }
    }

    /// What was queued is committed; the next opening finds an end that was meant.
    fn close(&self) {
        match self {
            Self::Embedded(engine) => engine.close(),
            Self::Memory(_) => {}
        }
    }
}

fn build(settings: Settings, engine: Arc<dyn Engine>) -> Result<Server, ServeError> {
    let mut builder = Server::builder().engine(engine);
    if let Some(tls) = settings.certificate {
        builder = builder.tls(tls);
    }
    let builder = if settings.server.dev {
        builder.access(OpenAccess)
    } else {
        let access = StaticAccess::new(settings.api_keys, settings.anonymous)
            .with_admin(settings.admin_token)
            .with_issuers(settings.issuer.into_iter().collect());
        builder.access(access)
    };
    Ok(builder.config(settings.server).build()?)
}

/// Fetches the keys of tokens where they come from a URL, so that the log says at once whether they
/// do. Until they have come, tokens are answered `overloaded`.
fn fetch_keys(keys: KeySet) {
    tokio::spawn(async move {
        if let Err(error) = keys.fetch_now().await {
            tracing::error!(%error, "the keys of tokens can't be fetched from access.jwks_url");
        }
    });
}

fn announce(address: SocketAddr, dev: bool, secure: bool) {
    let s = if secure { "s" } else { "" };
    let mut text = format!("bowline is listening on http{s}://{address}\n");
    if dev {
        text += &format!(
            "
Development mode: no tokens, this machine only. Try:
  WebSocket  ws{s}://{address}/ws
             ws{s}://{address}/ws?channels=news   (any WebSocket client, without the protocol)
  publish    curl http{s}://{address}/api/publish -H 'Content-Type: application/json' \\
               -d '{{\"channel\":\"news\",\"data\":\"hello\"}}'
  history    http{s}://{address}/api/channels/news/history
  statistics http{s}://{address}/ws/stats
"
        );
    }
    // Whoever started it may have closed its output, or not read it: no reason not to serve.
    let _ = thread::Builder::new().spawn(move || io::stdout().write_all(text.as_bytes()));
}

fn explain(error: &io::Error, address: SocketAddr) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program uses this port (`ss -ltnp sport = :{port}` shows which); \
             stop it, or choose another port with --listen"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "port {port} needs privileges; choose one above 1023 with --listen, \
             or give the program CAP_NET_BIND_SERVICE"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; 0.0.0.0 or [::] stand for all of its own"
                .to_owned()
        }
        _ => error.to_string(),
    }
}
