//! The server: built from its parts, served on a listener or merged into an axum program.
//!
//! Owns construction, the accept loop and the shutdown. Must not know what connections do.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use bowline_engine::{Append, AppendError, Appended, Effect, Engine, Memory};
use bowline_proto::{Code, Data};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::sleep,
};

use crate::{
    accept::Acceptor,
    access::{AccessControl, OpenAccess},
    clock::Clock,
    config::{Config, ConfigProblem},
    drain,
    entropy::Entropy,
    handler::MessageHandler,
    http::HttpApi,
    hub::Hub,
    node::Node,
    tails::TailBudget,
    tls::Tls,
    upgrade,
};

/// The most publications of [`Server::publish`] and [`Server::try_publish`] on their way at once:
/// each holds its payload.
pub const PUBLISHES_INFLIGHT_MAX: usize = 1_024;

/// The most publications in a channel's tail; its bytes are a setting.
const TAIL_COUNT_MAX: usize = 1_024;

/// How long the accept loop rests after an error such as too many open files: retrying at once
/// would only burn the CPU that could close some.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// A Bowline server; clones are the same server.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use std::future::IntoFuture;
///
/// use bowline::{Config, Server};
///
/// let server = Server::builder().config(Config::default()).build()?;
/// let app = axum::Router::new().merge(server.router());
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
/// tokio::select! {
///     served = axum::serve(listener, app).into_future() => served?,
///     () = told_to_stop() => server.drain().await,
/// }
/// # Ok(())
/// # }
/// # async fn told_to_stop() {}
/// ```
#[derive(Clone)]
pub struct Server {
    node: Arc<Node>,
    http: HttpApi,
    tls: Option<Tls>,
    publishes: Arc<Semaphore>,
    /// Where publications run, whichever thread they are asked for on.
    runtime: Handle,
}

/// Builds a [`Server`].
#[derive(Default)]
pub struct ServerBuilder {
    config: Config,
    engine: Option<Arc<dyn Engine>>,
    access: Option<Arc<dyn AccessControl>>,
    handler: Option<Arc<dyn MessageHandler>>,
    entropy: Entropy,
    tls: Option<Tls>,
}

/// Why a server can't be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Settings that can't be used, all of them.
    #[error("{} setting(s) can't be used: {}", .0.len(), problems(.0))]
    Config(Vec<ConfigProblem>),
    /// The engine `memory` can't be opened.
    #[error(transparent)]
    Engine(#[from] bowline_engine::OpenError),
    /// The system gave no random bits.
    #[error("the system's source of random numbers is not available")]
    Entropy,
    /// There is no tokio runtime to run on.
    #[error("a server is built inside a tokio runtime")]
    NoRuntime,
}

/// [`Server::try_publish`] found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{PUBLISHES_INFLIGHT_MAX} publications are on their way already")]
pub struct Full;

/// Why a publication of the program itself has no effect, or none that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The channel's name is empty, longer than `channel_bytes_max`, or has control characters.
    #[error("the channel name is empty, too long, or has control characters")]
    BadChannel,
    /// The data is larger than `message_bytes_max`: clients would refuse it, again at every resume.
    #[error("the data is larger than message_bytes_max")]
    MessageTooBig,
    /// The data is JSON that nests deeper than a message may.
    #[error("the JSON is nested too deeply")]
    TooDeep,
    /// The data should be JSON and is not one valid value.
    #[error("the data is no valid JSON")]
    Malformed,
    /// The engine refused it, or did not answer in time.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// The outcome of a publication: where it stands, or why it has no effect that is known.
pub type Published = Result<Appended, PublishError>;

impl ServerBuilder {
    /// The settings; the defaults where this is not called.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Where logs live; a fresh [`Memory`] where this is not called.
    pub fn engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Who may connect and do what; everybody may do everything where this is not called.
    pub fn access(mut self, access: impl AccessControl) -> Self {
        self.access = Some(Arc::new(access));
        self
    }

    /// Takes what clients `send`; without it they are answered `no_handler`.
    pub fn on_message(mut self, handler: impl MessageHandler) -> Self {
        self.handler = Some(Arc::new(handler));
        self
    }

    /// Draws its random bits from a seed, which a simulation repeats.
    #[cfg(feature = "simulation")]
    pub fn seed(mut self, seed: u64) -> Self {
        self.entropy = Entropy::Seeded(crate::sync::Mutex::new(seed));
        self
    }

    /// What [`Server::serve`] shakes hands with; it speaks plain HTTP where this is not called.
    /// Certificates can be [replaced](Tls::replace) while it runs.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Checks the settings and puts the parts together.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Server, BuildError> {
        self.config.check().map_err(BuildError::Config)?;
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let engine = match self.engine {
            Some(engine) => engine,
            None => Arc::new(Memory::open(bowline_engine::EngineConfig::default())?),
        };
        let clock = Clock::start();
        let tails = TailBudget::new(
            TAIL_COUNT_MAX,
            self.config.tail_channel_bytes_max,
            self.config.tail_bytes_max,
        );
        let hub = Arc::new(Hub::new(tails, clock, runtime.clone()));
        engine.listen(hub.clone());
        let access = self.access.unwrap_or_else(|| Arc::new(OpenAccess));
        let name = self.entropy.draw().ok_or(BuildError::Entropy)?;
        let name = format!("{:08x}", name >> 96).into();
        let config = Arc::new(self.config);
        let node = Arc::new(Node::new(
            name,
            config,
            engine,
            access,
            self.handler,
            hub,
            (clock, self.entropy),
        ));
        let http = HttpApi::new(node.clone());
        let publishes = Arc::new(Semaphore::new(PUBLISHES_INFLIGHT_MAX));
        Ok(Server {
            node,
            http,
            tls: self.tls,
            publishes,
            runtime,
        })
    }
}

impl Server {
    /// Begins to build one.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// All routes, WebSocket and HTTP, to be merged into an axum program. It should be served with
    /// `into_make_service_with_connect_info::<SocketAddr>()`: else addresses behind a trusted proxy
    /// stay unknown, and HTTP requests have none.
    pub fn router(&self) -> Router {
        let upgrades = self.http.counted(upgrade::router(self.node.clone()));
        upgrades.merge(self.http.routes())
    }

    /// Accepts connections until `shutdown` is done, then lets the clients go within
    /// `shutdown_timeout`.
    ///
    /// # Errors
    /// Those of the listener's socket that do not pass.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let routes = upgrade::router(self.node.clone()).merge(self.http.plain_routes());
        let routes = self.http.complete(routes);
        let acceptor = Acceptor::new(self.node.clone(), routes, self.tls.clone());
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                // Once the server goes, nobody new is let in.
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => acceptor.accept(socket, peer),
                    Err(error) => {
                        tracing::warn!(%error, "a connection can't be accepted");
                        sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
        drop(listener);
        drain::run(&self.node, Some(&acceptor)).await;
        Ok(())
    }

    /// Lets the clients go: new connections are refused (`draining`), those that are open are told
    /// to reconnect and then closed, spread over a window; it ends once they are gone, or after
    /// `shutdown_timeout`. For programs that serve the [`router`](Self::router) themselves, once
    /// they stop; [`serve`](Self::serve) does it by itself.
    pub async fn drain(&self) {
        drain::run(&self.node, None).await;
    }

    /// How many WebSocket connections are open.
    pub fn connections(&self) -> usize {
        self.node.link_count()
    }

    /// Publishes, waiting for room if too many are on their way. Name and data are held to the
    /// bounds of every other publication.
    ///
    /// # Errors
    /// [`PublishError`]: a name or data that no publication may have, the engine's refusal, or
    /// [`AppendError::FateUnknown`] after `publish_timeout`.
    pub async fn publish(&self, channel: &str, data: Data) -> Published {
        let Ok(permit) = self.publishes.clone().acquire_owned().await else {
            return Err(AppendError::FateUnknown.into());
        };
        self.start(channel, data, permit)
            .await
            .unwrap_or(Err(AppendError::FateUnknown.into()))
    }

    /// Publishes without waiting; the handle tells the outcome to whoever wants it, which is that of
    /// [`publish`](Self::publish). Calls that follow each other may be stored in another order: where
    /// that matters, await one before the next.
    ///
    /// # Errors
    /// [`Full`]: nothing was published.
    pub fn try_publish(&self, channel: &str, data: Data) -> Result<JoinHandle<Published>, Full> {
        let permit = self
            .publishes
            .clone()
            .try_acquire_owned()
            .map_err(|_| Full)?;
        Ok(self.start(channel, data, permit))
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    fn start(
        &self,
        channel: &str,
        data: Data,
        permit: OwnedSemaphorePermit,
    ) -> JoinHandle<Published> {
        let node = self.node.clone();
        let checked = self.check(channel, data);
        let channel = Arc::from(channel);
        self.runtime.spawn(async move {
            let effect = Effect::Publish {
                channel,
                data: checked?,
                user: None,
                tag: None,
                key: None,
            };
            let append = Append {
                producer: None,
                effect,
            };
            let first = node.append(vec![append]).await.pop();
            drop(permit);
            Ok(first.unwrap_or(Err(AppendError::FateUnknown))?)
        })
    }

    /// The data as it is published.
    fn check(&self, channel: &str, data: Data) -> Result<Data, PublishError> {
        let config = &self.node.config;
        if !config.allows_channel(channel) {
            return Err(PublishError::BadChannel);
        }
        config.sendable(data).map_err(|code| match code {
            Code::MessageTooBig => PublishError::MessageTooBig,
            Code::TooDeep => PublishError::TooDeep,
            _ => PublishError::Malformed,
        })
    }
}

fn problems(problems: &[ConfigProblem]) -> String {
    let lines: Vec<_> = problems
        .iter()
        .map(|found| format!("{}: {}", found.key, found.problem))
        .collect();
    lines.join("; ")
}
