//! A server whose parts fail when they are told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bowline::{
    AccessControl, Code, Config, Credentials, Data, Identity, Incoming, Operation, Payload,
    Rejection, Reply, Server, ServerBuilder,
};
use bowline_engine::{
    Append, AppendError, Appended, BoxFuture, Effect, Engine, EngineConfig, Memory, ReadError,
    SessionKey,
};
use bowline_proto::recovery::ChannelState;
use serde_json::{Value, json};

use crate::client::{Answer, Client, HERE, Reach, hello};

#[path = "../../../server/tests/support/delegate.rs"]
mod delegate;
use delegate::delegate;

/// The token names who comes, or with which code they are refused: `admin`, `forbidden`, any user. Nobody may do anything on the channel `forbidden`.
pub(crate) struct Doors;

impl AccessControl for Doors {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>> {
        let outcome = match credentials.token {
            None | Some("nobody") => Ok(Identity::anonymous()),
            Some("admin") => Ok(Identity::admin()),
            Some(name) => Code::from_name(name).map_or_else(|| Ok(Identity::user(name)), Err),
        };
        Box::pin(std::future::ready(outcome))
    }

    fn authorize<'a>(
        &'a self,
        _: &'a Identity,
        _: Operation,
        channel: &'a str,
    ) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(channel != "forbidden"))
    }
}

/// The application: answers, unless it is told not to.
pub(crate) async fn application(incoming: Incoming) -> Result<Reply, Rejection> {
    let Payload::Data(Data::Json(text)) = incoming.payload else {
        return Ok(Reply::Empty);
    };
    match &text[..] {
        b"\"panic\"" => panic!("planted"),
        b"\"wait\"" => std::future::pending().await,
        b"\"reject\"" => Err(Rejection::new("No.")),
        _ => Ok(Reply::Empty),
    }
}

/// An engine that fails where a channel's name says so.
pub(crate) struct Fragile {
    pub(crate) inner: Memory,
    /// Whether sessions can't be asked for.
    pub(crate) loses_sessions: AtomicBool,
}

impl Fragile {
    pub(crate) fn new(config: EngineConfig) -> Arc<Self> {
        Arc::new(Self {
            inner: Memory::open(config).expect("it is sound"),
            loses_sessions: AtomicBool::new(false),
        })
    }
}

impl Engine for Fragile {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        let fails = |name: &str| {
            batch.iter().any(|entry| {
                matches!(&entry.effect, Effect::Publish { channel, .. } if &**channel == name)
            })
        };
        if fails("away") {
            let refused = vec![Err(AppendError::StorageUnavailable); batch.len()];
            return Box::pin(std::future::ready(refused));
        }
        if fails("mute") {
            return Box::pin(std::future::pending());
        }
        self.inner.append(batch)
    }

    fn session(&self, session: SessionKey) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        if self.loses_sessions.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err(ReadError::StorageUnavailable)));
        }
        self.inner.session(session)
    }

    fn channel(&self, name: &str) -> BoxFuture<'_, Result<ChannelState, ReadError>> {
        assert!(name != "panic", "planted");
        self.inner.channel(name)
    }

    delegate!(inner: read end_session listen clock stats health);
}

/// With the limits on loopback, and all of the above.
pub(crate) fn builder(config: Config) -> ServerBuilder {
    Server::builder()
        .config(config)
        .access(Doors)
        .on_message(application)
        .engine(Fragile::new(EngineConfig::default()))
}

impl Reach {
    pub(crate) async fn post(&self, path: &str, media: &str, body: &[u8]) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer admin\r\n\
             Content-Type: {media}\r\nContent-Length: {}",
            self.address,
            body.len()
        );
        self.raw(HERE, &head, body).await
    }

    pub(crate) async fn publish(&self, channel: &str, data: Value) -> Answer {
        let body = json!({"channel": channel, "data": data}).to_string();
        self.post("/api/publish", "application/json", body.as_bytes())
            .await
    }

    /// The samples of `/metrics`, families without their labels added up.
    pub(crate) async fn metrics(&self) -> std::collections::BTreeMap<String, f64> {
        let mut families = std::collections::BTreeMap::new();
        let answer = self.get("/metrics", &[]).await;
        for line in answer.text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            let name = name.split('{').next().expect("a name");
            let value: f64 = value.parse().expect("a number");
            *families.entry(name.to_owned()).or_default() += value;
        }
        families
    }

    /// A client that said hello, with these fields too.
    pub(crate) async fn client(&self, session: &str, more: Value) -> Client {
        let mut hello = hello(session, 1);
        for (name, value) in more.as_object().expect("fields") {
            hello[name] = value.clone();
        }
        self.welcomed(HERE, hello).await.expect("there is room")
    }
}

/// Far below the deadline of a test, and above what a busy machine takes for one message.
pub(crate) const SHORT: Duration = Duration::from_millis(150);
