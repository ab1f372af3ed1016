//! The WebSocket entrance: from an HTTP request to a connection.
//!
//! Owns `/ws` and its plain variants. After the upgrade hyper's buffers are gone and the socket is
//! the connection's own. A refusal is told by a close frame while the budget for that lasts.

mod direct;
mod head;
mod verdict;

use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    handler::Handler,
    http::{HeaderName, HeaderValue, Response, StatusCode, Version, header},
    response::IntoResponse,
    routing::{MethodRouter, get},
};
use bowline_proto::{Code, SUBPROTOCOL};
use bowline_ws::{Accepted, Extensions, HandshakeError, UpgradeRequest, accept};
use futures_util::FutureExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};
use tokio_rustls::server::TlsStream;

use crate::{
    accept::{Deadline, Stream, Transport, client_of},
    access::{Credentials, Entrance},
    connection::{self, Connection, PlainRequest},
    frames::Mode,
    http::{ApiError, Question, segment},
    limits::{Pass, Refusal},
    link::Link,
    node::Node,
    socket::Socket,
};
pub(crate) use direct::{FirstRequest, enter_directly};
use head::Head;

/// The paths that end in a WebSocket.
#[cfg(test)]
pub(crate) const PATHS: [&str; 3] = ["/ws", "/ws/general", "/ws/session/{id}"];

/// Whether a request for `path` is judged here, so that a refused page is told why.
pub(crate) fn is_entrance(path: &str) -> bool {
    matches!(path, "/ws" | "/ws/general") || path.starts_with("/ws/session/")
}

/// The routes that end in a WebSocket.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/ws", entrance(ws))
        .route("/ws/general", entrance(general))
        .route("/ws/session/{id}", entrance(session))
        .with_state(node)
}

fn entrance<H, T>(handler: H) -> MethodRouter<Arc<Node>>
where
    H: Handler<T, Arc<Node>>,
    T: 'static,
{
    get(handler)
        .options(async || verdict::preflight())
        .fallback(async || ApiError::from(Code::MethodNotAllowed))
}

/// What the URL of a request says.
struct Asked {
    token: Option<String>,
    /// The channels of plain mode; none where `bowline.v1` may be meant, whose token is yet to come.
    channels: Option<Vec<Arc<str>>>,
}

/// A request for an upgrade that is a valid one, and what was decided about it.
struct Entry {
    mode: Mode,
    extensions: Extensions,
    origin: Option<Box<str>>,
    /// Whose connection it would be, where that is known.
    ip: Option<IpAddr>,
    plain: PlainRequest,
    outcome: Result<Pass, Refusal>,
    /// Of the budget for refusals, where it is one.
    permit: Option<OwnedSemaphorePermit>,
}

/// A connection right behind its upgrade.
pub(crate) struct Arrival {
    pub(crate) mode: Mode,
    pub(crate) extensions: Extensions,
    pub(crate) peer: SocketAddr,
    pub(crate) origin: Option<Box<str>>,
    pub(crate) plain: PlainRequest,
    pub(crate) socket: Socket,
    /// What came with the handshake.
    pub(crate) received: Vec<u8>,
}

/// The WebSocket entrance (PROTOCOL.md, 2 and 13); without an upgrade, what would become of one.
#[utoipa::path(
    get, path = "/ws", tag = "websocket",
    params(
        ("token" = Option<String>, Query, description = "Who asks, where no header can be set."),
        ("channels" = Option<String>, Query,
            description = "Plain mode: the channels to follow, separated by commas."),
    ),
    security((), ("bearer" = [])),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on."),
        (status = 200, description = "An upgrade would pass.", body = verdict::Passes),
    ),
)]
pub(crate) async fn ws(State(node): State<Arc<Node>>, request: Request) -> Response<Body> {
    let asked = Asked::of(&request, |question| {
        let names = question.text("channels")?.map(|names| names.split(','));
        Ok(names.map(|names| {
            let names = names.filter(|name| !name.is_empty());
            names.map(Arc::from).collect()
        }))
    });
    upgrade(node, asked, request).await
}

/// Plain mode on the user's personal channel alone.
#[utoipa::path(
    get, path = "/ws/general", tag = "websocket",
    params(
        ("token" = Option<String>, Query, description = "Who asks, where no header can be set."),
    ),
    security((), ("bearer" = [])),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on."),
        (status = 200, description = "An upgrade would pass.", body = verdict::Passes),
    ),
)]
pub(crate) async fn general(State(node): State<Arc<Node>>, request: Request) -> Response<Body> {
    let asked = Asked::of(&request, |_| Ok(Some(Vec::new())));
    upgrade(node, asked, request).await
}

/// Plain mode on the application's channel `session:{id}`.
#[utoipa::path(
    get, path = "/ws/session/{id}", tag = "websocket",
    params(
        ("id" = String, Path, description = "The application's own name of a session."),
        ("token" = Option<String>, Query, description = "Who asks, where no header can be set."),
    ),
    security((), ("bearer" = [])),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on."),
        (status = 200, description = "An upgrade would pass.", body = verdict::Passes),
    ),
)]
pub(crate) async fn session(
    State(node): State<Arc<Node>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response<Body> {
    let asked = Asked::of(&request, |_| {
        let id = segment(id, request.uri())?;
        Ok(Some(vec![Arc::from(format!("session:{id}"))]))
    });
    upgrade(node, asked, request).await
}

impl Asked {
    fn of(
        request: &Request,
        channels: impl FnOnce(&Question) -> Result<Option<Vec<Arc<str>>>, ApiError>,
    ) -> Result<Self, ApiError> {
        let question = Question::of(request.uri())?;
        Ok(Self {
            token: question.text("token")?.map(ToOwned::to_owned),
            channels: channels(&question)?,
        })
    }
}

async fn upgrade(
    node: Arc<Node>,
    asked: Result<Asked, ApiError>,
    mut request: Request,
) -> Response<Body> {
    let upgraded = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let ip = client_of(&node.config, &parts);
    if !parts.headers.contains_key(header::UPGRADE) {
        return verdict::answer(&node, &parts, ip, asked).await;
    }
    let Asked { token, channels } = match asked {
        Ok(asked) => asked,
        Err(refused) => return refused.into_response(),
    };
    let deadline = parts.extensions.get().copied();
    let Deadline(deadline) =
        deadline.unwrap_or_else(|| Deadline(Instant::now() + node.config.connection_timeout));
    let headers: Vec<(&str, &[u8])> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let head = Head {
        method: parts.method.as_str(),
        is_http_1_1: parts.version == Version::HTTP_11,
        headers: &headers,
    };
    let bearer = match head.bearer() {
        Ok(bearer) => bearer,
        Err(code) => return ApiError::from(code).into_response(),
    };
    let plain = PlainRequest {
        token: bearer.map(ToOwned::to_owned).or(token),
        channels: channels.unwrap_or_default(),
        deadline,
    };
    let (accepted, entry) = match enter(&node, &head, ip, plain) {
        Ok(entered) => entered,
        Err(refused) => return *refused,
    };
    if entry.mode == Mode::Plain && entry.permit.is_none() && is_budget_spent(&node) {
        let token = entry.plain.token.as_deref();
        let shown = credentials(token, ip, entry.origin.as_deref());
        if let Err(error) = node.access.authenticate(shown).await {
            return ApiError::from(error).into_response();
        }
    }
    begin(node, entry, None, take_over(upgraded, deadline));
    answer(&accepted)
}

/// Whether a refusal is told in plain HTTP for now. Then a token that comes with the upgrade is looked at
/// before it.
fn is_budget_spent(node: &Node) -> bool {
    node.refusals.available_permits() == 0
}

/// What is shown at this entrance.
fn credentials<'a>(
    token: Option<&'a str>,
    ip: Option<IpAddr>,
    origin: Option<&'a str>,
) -> Credentials<'a> {
    Credentials {
        token,
        entrance: Entrance::WebSocket,
        remote_addr: ip,
        origin,
    }
}

/// Judges a request for an upgrade.
///
/// # Errors
/// It is to be told in plain HTTP why there is none.
fn enter(
    node: &Node,
    head: &Head<'_>,
    ip: Option<IpAddr>,
    plain: PlainRequest,
) -> Result<(Accepted<'static>, Entry), Box<Response<Body>>> {
    if head.has_body() {
        let refused = ApiError::new(Code::Malformed, "A WebSocket upgrade has no body.");
        return Err(Box::new(refused.into_response()));
    }
    let judged = accept(
        UpgradeRequest {
            method: head.method,
            is_http_1_1: head.is_http_1_1,
            headers: head.headers.iter().copied(),
        },
        &[SUBPROTOCOL],
    );
    let mut accepted = judged.map_err(|error| Box::new(refuse(&error)))?;
    if !node.config.compression {
        accepted.extensions = Extensions::NONE;
    }
    let mode = if accepted.protocol.is_some() {
        Mode::Bowline
    } else {
        Mode::Plain
    };
    let origin = head.only(&header::ORIGIN);
    let from = (origin, head.only(&header::HOST));
    let outcome = judge(node, from, ip, is_provable(mode, &plain));
    let permit = match &outcome {
        Ok(_) => None,
        // The budget for refusals in a form that browsers can see may be spent.
        Err(refusal) => {
            let permit = node.refusals.clone().try_acquire_owned();
            Some(permit.map_err(|_| Box::new(ApiError::from(refusal.info()).into_response()))?)
        }
    };
    let entry = Entry {
        mode,
        extensions: accepted.extensions,
        origin: origin.map(Into::into),
        ip,
        plain,
        outcome,
        permit,
    };
    Ok((accepted, entry))
}

/// Whether the connection may come in, by all that is known before it speaks.
fn judge(
    node: &Node,
    (origin, host): (Option<&str>, Option<&str>),
    ip: Option<IpAddr>,
    provable: bool,
) -> Result<Pass, Refusal> {
    if !node.config.allows_origin(origin, host) {
        return Err(Refusal::now(Code::OriginNotAllowed));
    }
    if node.is_draining() {
        return Err(Refusal::now(Code::Draining));
    }
    node.limits.enter(ip, provable)
}

/// Whether it may yet show who it is: in `bowline.v1` it speaks next.
fn is_provable(mode: Mode, plain: &PlainRequest) -> bool {
    mode == Mode::Bowline || plain.token.is_some()
}

/// Begins to serve, or to say why not in a form that browsers can see, once the socket is free; of
/// `peer`, where that is known.
fn begin(
    node: Arc<Node>,
    entry: Entry,
    peer: Option<SocketAddr>,
    socket: impl Future<Output = Option<(Transport, Vec<u8>)>> + Send + 'static,
) {
    let opening = run(node, entry, peer, socket);
    tokio::spawn(connection::serve(Box::pin(opening)));
}

fn answer(accepted: &Accepted<'_>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in accepted.headers() {
        let value = HeaderValue::from_bytes(&value).expect("they are visible ASCII");
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    response
}

/// What is told where the request for an upgrade is no valid one.
fn refuse(error: &HandshakeError) -> Response<Body> {
    let status = error.status();
    let mut codes = Code::ALL.iter().copied();
    let code = codes.find(|code| code.row().http == Some(status));
    let code = code.unwrap_or(Code::Malformed);
    let mut response = ApiError::new(code, error.to_string()).into_response();
    if let Some((name, value)) = error.header() {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// Takes the socket over and serves it, or says why it is refused.
async fn run(
    node: Arc<Node>,
    entry: Entry,
    peer: Option<SocketAddr>,
    socket: impl Future<Output = Option<(Transport, Vec<u8>)>>,
) -> Option<Connection> {
    let (transport, received) = socket.await?;
    let ip = entry.ip;
    let tcp = match &transport {
        Transport::Tcp(tcp) => tcp,
        Transport::Tls(stream) => stream.get_ref().0,
    };
    let _ = tcp.set_nodelay(true);
    let buffer = node.config.socket_send_buffer_bytes;
    let _ = socket2::SockRef::from(tcp).set_send_buffer_size(buffer);
    let peer = match peer {
        Some(peer) => peer,
        // An embedding program may not tell addresses; the socket knows its own.
        None => tcp.peer_addr().ok()?,
    };
    let mut permit = entry.permit;
    let outcome = match (entry.outcome, ip) {
        (Ok(pass), None) => pass
            .locate(peer.ip(), is_provable(entry.mode, &entry.plain))
            .map(|()| pass),
        (outcome, _) => outcome,
    };
    if outcome.is_err() && permit.is_none() {
        // Refused as late as that: beyond the budget the socket just ends.
        permit = Some(node.refusals.clone().try_acquire_owned().ok()?);
    }
    let arrival = Arrival {
        mode: entry.mode,
        extensions: entry.extensions,
        peer: SocketAddr::new(ip.unwrap_or(peer.ip()), peer.port()),
        origin: entry.origin,
        plain: entry.plain,
        socket: match transport {
            Transport::Tcp(tcp) => Socket::Tcp(tcp),
            Transport::Tls(stream) => {
                let (tcp, session) = stream.into_inner();
                Socket::secured(tcp, session)
            }
        },
        received,
    };
    let opened = attend(node, arrival, outcome).await;
    drop(permit);
    opened
}

/// Opens a connection from right behind its upgrade on, or says why it is refused; a panic ends
/// this one only.
pub(crate) async fn attend(
    node: Arc<Node>,
    arrival: Arrival,
    outcome: Result<Pass, Refusal>,
) -> Option<Connection> {
    let Arrival { peer, mode, .. } = arrival;
    let (pass, refusal) = match outcome {
        Ok(pass) => (pass, None),
        Err(refusal) => (node.limits.no_pass(), Some(refusal)),
    };
    let link = Link::new(&node, mode, peer, arrival.origin, arrival.socket, pass);
    let link = Arc::new(link.with_extensions(arrival.extensions, &node.config));
    let refusal = refusal.or_else(|| {
        let registered = node.register(&link);
        (!registered).then_some(Refusal::now(Code::Draining))
    });
    if let Some(refusal) = refusal {
        tracing::info!(peer = %peer.ip(), code = %refusal.code, "a connection is refused");
        connection::refuse(&node, &link, &refusal.info()).await;
        return None;
    }
    let id = link.id;
    tracing::debug!(connection = id, %peer, "connected");
    let opening = connection::open(node.clone(), link, arrival.received, arrival.plain);
    let opened = AssertUnwindSafe(opening).catch_unwind().await;
    opened.unwrap_or_else(|_| {
        connection::panicked(&node, id);
        None
    })
}

/// The socket, and what came with the handshake, once HTTP has left it.
async fn take_over(upgraded: OnUpgrade, deadline: Instant) -> Option<(Transport, Vec<u8>)> {
    let upgraded = timeout_at(deadline, upgraded).await;
    let upgraded = upgraded.ok()?.ok()?;
    let transport = transport_of(upgraded);
    if transport.is_none() {
        tracing::error!(
            "the upgraded connection is neither TCP nor tokio-rustls over it; Bowline serves those only"
        );
    }
    transport
}

/// What an upgraded connection runs over: of Bowline's own accept loop, of `axum::serve`, which
/// wraps it once more, or of a program that ends TLS itself.
fn transport_of(upgraded: Upgraded) -> Option<(Transport, Vec<u8>)> {
    let upgraded = match upgraded.downcast::<TokioIo<Stream>>() {
        Ok(parts) => {
            let (transport, ahead) = parts.io.into_inner().into_parts();
            return Some((transport, [parts.read_buf.to_vec(), ahead].concat()));
        }
        Err(upgraded) => upgraded,
    };
    let upgraded = match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => {
            let tcp = Transport::Tcp(parts.io.into_inner());
            return Some((tcp, parts.read_buf.to_vec()));
        }
        Err(upgraded) => upgraded,
    };
    let upgraded = match upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() {
        Ok(parts) => {
            let tls = Transport::Tls(Box::new(parts.io.into_inner()));
            return Some((tls, parts.read_buf.to_vec()));
        }
        Err(upgraded) => upgraded,
    };
    let parts = auto::upgrade::downcast::<TokioIo<TlsStream<TcpStream>>>(upgraded).ok()?;
    let tls = Transport::Tls(Box::new(parts.io.into_inner()));
    Some((tls, parts.read_buf.to_vec()))
}
