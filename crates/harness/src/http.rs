//! A small HTTP/1.1 client: one keep-alive connection, each request with a deadline.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

/// Answers of a server under test are small; a larger one is an error.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A client for one address. After an error the next request dials again.
#[derive(Debug)]
pub struct HttpClient {
    address: SocketAddr,
    host: String,
    key: Option<String>,
    deadline: Duration,
    sender: Option<SendRequest<Full<Bytes>>>,
    connection: JoinSet<()>,
}

/// There is no answer: it is unknown whether the request took effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The link could not be made.
    #[error("can't connect: {0}")]
    Connect(#[from] io::Error),
    /// The link broke, or what came is not HTTP.
    #[error("the link broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The answer's body is not whole or too long.
    #[error("bad answer: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

impl HttpClient {
    /// `address` is what is dialled (a proxy, perhaps), `host` is whom it is told it reached.
    pub fn new(address: SocketAddr, host: SocketAddr, deadline: Duration) -> Self {
        Self {
            address,
            host: host.to_string(),
            key: None,
            deadline,
            sender: None,
            connection: JoinSet::new(),
        }
    }

    /// Shows this API key with every request.
    #[must_use]
    pub fn with_key(mut self, key: Option<&str>) -> Self {
        self.key = key.map(str::to_owned);
        self
    }

    /// Gets a path.
    pub async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes), HttpError> {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// Posts JSON to a path.
    pub async fn post(
        &mut self,
        path: &str,
        json: String,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        self.request(Method::POST, path, json.into()).await
    }

    async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .expect("paths and hosts of the harness are valid");
        if let Some(key) = &self.key {
            let value = format!("Bearer {key}").try_into();
            let value = value.expect("keys of the harness are valid");
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let answer = match timeout(self.deadline, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Timeout),
        };
        if answer.is_err() {
            self.sender = None;
            self.connection.abort_all();
        }
        answer
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.dial().await?,
        };
        sender.ready().await?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX);
        let bytes = body.collect().await.map_err(HttpError::Body)?.to_bytes();
        self.sender = Some(sender);
        Ok((head.status, bytes))
    }

    async fn dial(&mut self) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        self.connection.abort_all();
        while self.connection.try_join_next().is_some() {}
        self.connection.spawn(async move {
            // Its error reaches the sender, which reports it.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
