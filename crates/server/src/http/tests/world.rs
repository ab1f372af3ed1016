//! A server on a loopback port and the requests that tests send to it.

use std::{net::SocketAddr, sync::Arc};

use bowline_engine::{
    Append, AppendError, Appended, BoxFuture, ChannelPolicy, Engine, EngineConfig, EngineHealth,
    Memory, Retention,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{AccessControl, ApiKey, Config, Server, StaticAccess, delegate::delegate};

pub(super) const KEY: &str = "a-key-for-tests-only";

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn code(&self) -> (u16, &str) {
        let shape = self.body.as_object().expect("an error is an object");
        assert!(shape["message"].is_string() && shape["retry"].is_boolean());
        (self.status, shape["code"].as_str().unwrap())
    }
}

pub(super) struct World {
    address: SocketAddr,
}

pub(super) fn engine() -> Arc<dyn Engine> {
    let tiny = Retention {
        messages: 3,
        ..Retention::default()
    };
    let policy = |pattern: &str, history| ChannelPolicy {
        pattern: pattern.to_owned(),
        history,
    };
    let config = EngineConfig {
        policies: vec![policy("volatile:*", None), policy("tiny:*", Some(tiny))],
        channels_max: 20,
        ..EngineConfig::default()
    };
    Arc::new(Memory::open(config).unwrap())
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(Config::default(), engine()).await
    }

    pub(super) async fn with(config: Config, engine: Arc<dyn Engine>) -> Self {
        let access = StaticAccess::new(vec![ApiKey::new(KEY).unwrap()], Vec::new());
        Self::with_access(config, engine, access).await
    }

    pub(super) async fn with_access(
        config: Config,
        engine: Arc<dyn Engine>,
        access: impl AccessControl,
    ) -> Self {
        let server = Server::builder()
            .config(config)
            .engine(engine)
            .access(access)
            .build()
            .expect("a usable configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
        Self { address }
    }

    /// Sends a request whose head is written as it stands, and reads the answer to its end.
    pub(super) async fn raw(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("{head}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
        Answer {
            status: head[9..12].parse().unwrap(),
            body: serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {text}")),
            head: head.to_ascii_lowercase(),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}");
        self.raw(&head, b"").await
    }

    /// Posts a body of this media type, with further header lines.
    pub(super) async fn post(&self, path: &str, media: &str, more: &str, body: &[u8]) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\
             Content-Type: {media}\r\nContent-Length: {}{more}",
            body.len()
        );
        self.raw(&head, body).await
    }

    pub(super) async fn publish(&self, body: &str) -> Answer {
        self.post("/api/publish", "application/json", "", body.as_bytes())
            .await
    }
}

/// An engine whose appends do as told, over one that works.
pub(super) struct Faulty {
    pub(super) inner: Arc<dyn Engine>,
    /// None: they never answer.
    pub(super) error: Option<AppendError>,
}

impl Engine for Faulty {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, AppendError>>> {
        match self.error {
            Some(error) => Box::pin(std::future::ready(vec![Err(error); batch.len()])),
            None => Box::pin(std::future::pending()),
        }
    }

    fn health(&self) -> EngineHealth {
        EngineHealth::Refusing("it is broken".into())
    }

    delegate!(inner: channel read session end_session listen clock stats);
}
