//! `bowline publish`: one HTTP request.
//!
//! Owns the request and what is said of its answer. Must not know channels or positions: the answer
//! is printed as it came.

use std::{fs, io, path::PathBuf, time::Duration};

use bowline_client::{Endpoint, Trust, TrustError};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json, value::RawValue};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use crate::{args::PublishArgs, output, url};

/// Longer than the server's own publish_timeout, so that its answer comes first.
const DEADLINE: Duration = Duration::from_secs(20);
/// An answer is a position or an error.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const URL_DEFAULT: &str = "http://127.0.0.1:8000";

/// The message was not published, or it is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PublishError {
    /// The URL is not one of a server.
    #[error("{url}: {problem}")]
    Url {
        /// Which.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// The file of authorities.
    #[error("--ca {}: {source}", path.display())]
    Authorities {
        /// Which.
        path: PathBuf,
        /// Why it can't be read.
        source: io::Error,
    },
    /// There is nothing by which a server could be believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The server is not believed, or does not speak TLS.
    #[error("{host}: the TLS handshake failed: {}", explain_tls(.source))]
    Tls {
        /// Who.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// A header can't carry the text.
    #[error("the API key or the idempotency key has characters that a header can't carry")]
    Header,
    /// There is no server.
    #[error("can't connect to {authority}: {source}; is the server running?")]
    Connect {
        /// Where.
        authority: String,
        /// Why.
        source: io::Error,
    },
    /// It may have been published.
    #[error("no whole answer came ({0}): repeat it with the same --key to be sure")]
    Unknown(String),
    /// The server refused it.
    #[error("refused with {status}: {code}: {message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The code.
        code: String,
        /// The sentence for the developer.
        message: String,
    },
    /// Standard output is gone.
    #[error(
        "the server took the message, which may be stored, but its answer can't be printed ({0}); \
         repeat it only with the same --key"
    )]
    Output(io::Error),
}

impl PublishError {
    /// Whether the command was wrong, not the world.
    pub(crate) const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Url { .. } | Self::Authorities { .. } | Self::Header
        )
    }
}

/// Publishes and prints the server's answer.
pub(crate) fn publish(arguments: &PublishArgs) -> Result<(), PublishError> {
    let unknown = |error: io::Error| PublishError::Unknown(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(unknown)?;
    let variable = |name| std::env::var(name).ok();
    let url = arguments.url.clone().or_else(|| variable("BOWLINE_URL"));
    let url = url.as_deref().unwrap_or(URL_DEFAULT);
    let address = address(url)?;
    let trust = if address.is_secure() {
        Some(trust(arguments)?)
    } else {
        None
    };
    let key = arguments
        .api_key
        .clone()
        .or_else(|| variable("BOWLINE_API_KEY"));
    let request = request(arguments, address.authority(), key.as_deref())?;
    // Inside, because the timer needs the runtime.
    let sending = async { timeout(DEADLINE, send(&address, trust, request)).await };
    let answer = runtime
        .block_on(sending)
        .unwrap_or_else(|_| Err(PublishError::Unknown("timeout".to_owned())))?;
    output::print(&format!("{answer}\n")).map_err(PublishError::Output)
}

/// Where to send it: a URL without a path.
fn address(url: &str) -> Result<Endpoint, PublishError> {
    let wrong = |problem: String| PublishError::Url {
        url: url.to_owned(),
        problem,
    };
    let address = url::parse(url).map_err(|error| wrong(error.to_string()))?;
    if address.target() != "/" {
        return Err(wrong(
            "must be scheme://host or scheme://host:port alone".to_owned(),
        ));
    }
    Ok(address)
}

fn trust(arguments: &PublishArgs) -> Result<Trust, PublishError> {
    let mut pem = Vec::new();
    if let Some(path) = &arguments.ca {
        pem = fs::read(path).map_err(|source| PublishError::Authorities {
            path: path.clone(),
            source,
        })?;
    }
    Ok(Trust::new(&pem)?)
}

fn request(
    arguments: &PublishArgs,
    authority: &str,
    api_key: Option<&str>,
) -> Result<Request<Full<Bytes>>, PublishError> {
    // RawValue keeps the digits of numbers and the order of fields as they were typed.
    let data = match serde_json::from_str::<Box<RawValue>>(&arguments.data) {
        Ok(json) => json,
        Err(_) => serde_json::value::to_raw_value(&arguments.data).expect("strings serialize"),
    };
    let channel = json!(arguments.channel);
    let body = format!(r#"{{"channel":{channel},"data":{data}}}"#);
    let mut request = Request::post("/api/publish")
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = &arguments.key {
        request = request.header("idempotency-key", key);
    }
    if let Some(key) = api_key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    request.body(body.into()).map_err(|_| PublishError::Header)
}

async fn send(
    address: &Endpoint,
    trust: Option<Trust>,
    request: Request<Full<Bytes>>,
) -> Result<String, PublishError> {
    let connecting = TcpStream::connect((address.host(), address.port()));
    let stream = connecting.await.map_err(|source| PublishError::Connect {
        authority: address.authority().to_owned(),
        source,
    })?;
    let Some(trust) = trust else {
        return exchange(stream, request).await;
    };
    let secured = trust.secure(address.host(), stream).await;
    let stream = secured.map_err(|source| PublishError::Tls {
        host: address.host().to_owned(),
        source,
    })?;
    exchange(stream, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<String, PublishError> {
    let unknown = |error: hyper::Error| PublishError::Unknown(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(unknown)?;
    // It ends with the runtime; its error reaches the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let (head, body) = sender
        .send_request(request)
        .await
        .map_err(unknown)?
        .into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| PublishError::Unknown(error.to_string()))?
        .to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    if head.status.is_success() {
        return Ok(text);
    }
    let error: Value = serde_json::from_str(&text).unwrap_or_default();
    let field = |name: &str| error[name].as_str().unwrap_or("?").to_owned();
    Err(PublishError::Refused {
        status: head.status,
        code: field("code"),
        message: field("message"),
    })
}

/// What failed in a TLS handshake, and what to do about it.
pub(crate) fn explain_tls(source: &io::Error) -> String {
    let told = source.to_string();
    // What `openssl req -x509` makes, unless it is told otherwise.
    let what = if told.contains("CaUsedAsEndEntity") {
        "the server's certificate is one of an authority (CA:TRUE), which can't serve, be it named in \
         --ca or not: make one with CA:FALSE (openssl req -x509 … -addext \
         basicConstraints=critical,CA:FALSE), or have the authority sign one, for the server"
    } else if told.contains("InvalidContentType") {
        "does the server speak TLS on this port?"
    } else {
        "--ca names an authority of your own"
    };
    format!("{told}; {what}")
}
