//! The WebSocket entrance: from an HTTP request to a connection.
//!
//! Owns `/ws` and its plain variants. After the upgrade hyper's buffers are gone and the socket is
//! the connection's own.

use std::{collections::HashMap, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderValue, Response, StatusCode, Version, header},
    routing::get,
};
use bowline_proto::{Code, SUBPROTOCOL, message::ErrorInfo};
use bowline_ws::{Accepted, Extensions, UpgradeRequest, accept};
use futures_util::FutureExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    connection::{self, PlainRequest},
    frames::Mode,
    link::Link,
    node::{Node, count},
    socket::Socket,
};

type Params = Query<HashMap<String, String>>;

/// The routes that end in a WebSocket.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/ws", get(any))
        .route("/ws/general", get(any))
        .route("/ws/session/{id}", get(session))
        .with_state(node)
}

async fn any(
    State(node): State<Arc<Node>>,
    Query(params): Params,
    request: Request,
) -> Response<Body> {
    let channels = params
        .get("channels")
        .map(String::as_str)
        .unwrap_or_default();
    let channels = channels
        .split(',')
        .filter(|name| !name.is_empty())
        .map(Arc::from)
        .collect();
    upgrade(
        node,
        PlainRequest {
            token: params.get("token").cloned(),
            channels,
        },
        request,
    )
}

async fn session(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    Query(params): Params,
    request: Request,
) -> Response<Body> {
    let channels = vec![Arc::from(format!("session:{id}"))];
    upgrade(
        node,
        PlainRequest {
            token: params.get("token").cloned(),
            channels,
        },
        request,
    )
}

fn upgrade(node: Arc<Node>, plain: PlainRequest, mut request: Request) -> Response<Body> {
    let headers = request.headers();
    let fields: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let verdict = accept(
        UpgradeRequest {
            method: request.method().as_str(),
            is_http_1_1: request.version() == Version::HTTP_11,
            headers: fields.iter().copied(),
        },
        &[SUBPROTOCOL],
    );
    let mut accepted = match verdict {
        Ok(accepted) => accepted,
        Err(error) => return refuse(error.status(), error.header(), &error.to_string()),
    };
    let origin = headers
        .get(header::ORIGIN)
        .and_then(|origin| origin.to_str().ok());
    let origin: Option<Box<str>> = origin.map(Into::into);
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if !node.config.allows_origin(origin.as_deref(), host) {
        let row = Code::OriginNotAllowed.row();
        return refuse(row.http.unwrap_or(403), None, row.meaning);
    }
    let mode = if accepted.protocol.is_some() {
        Mode::Bowline
    } else {
        Mode::Plain
    };
    if !node.config.compression {
        accepted.extensions = Extensions::NONE;
    }
    let agreed = (mode, accepted.extensions);
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(run(node, agreed, origin, plain, upgraded));
    answer(&accepted)
}

fn answer(accepted: &Accepted<'_>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let key = HeaderValue::from_bytes(&accepted.accept).expect("base64 is visible ASCII");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    if accepted.protocol.is_some() {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
    }
    if let Some(extensions) = accepted.extensions_header() {
        let value = HeaderValue::from_str(&extensions).expect("names and numbers are ASCII");
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, value);
    }
    response
}

fn refuse(
    status: u16,
    extra: Option<(&'static str, &'static str)>,
    message: &str,
) -> Response<Body> {
    let code = Code::ALL
        .iter()
        .copied()
        .find(|code| code.row().http == Some(status))
        .unwrap_or(Code::Malformed);
    let error = ErrorInfo::new(code).with_message(message.to_owned());
    let body = serde_json::to_vec(&error).expect("an error serializes");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    if let Some((name, value)) = extra {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Takes the socket over and serves it.
async fn run(
    node: Arc<Node>,
    agreed: (Mode, Extensions),
    origin: Option<Box<str>>,
    plain: PlainRequest,
    upgraded: OnUpgrade,
) {
    let Ok(Ok(upgraded)) = timeout(node.config.connection_timeout, upgraded).await else {
        return;
    };
    let Some((socket, received)) = socket_of(upgraded) else {
        tracing::error!("the upgraded connection is not a TCP socket; Bowline serves those only");
        return;
    };
    let Ok(peer) = socket.peer_addr() else { return };
    let _ = socket.set_nodelay(true);
    let buffer = node.config.socket_send_buffer_bytes;
    let _ = socket2::SockRef::from(&socket).set_send_buffer_size(buffer);
    attend(
        node,
        agreed,
        peer,
        origin,
        plain,
        Socket::Tcp(socket),
        received,
    )
    .await;
}

/// Serves a connection from right behind its upgrade on, within the bound of connections; a panic
/// ends this one only.
pub(crate) async fn attend(
    node: Arc<Node>,
    agreed: (Mode, Extensions),
    peer: SocketAddr,
    origin: Option<Box<str>>,
    plain: PlainRequest,
    socket: Socket,
    received: Vec<u8>,
) {
    let (mode, extensions) = agreed;
    let link = Link::new(
        node.new_link_id(),
        mode,
        peer,
        origin,
        socket,
        node.config.send_queue_bytes_max,
        node.clock.now(),
    );
    let link = Arc::new(link.with_extensions(extensions, &node.config));
    if !node.register(&link) {
        let code = if node.is_draining() {
            Code::Draining
        } else {
            Code::Overloaded
        };
        tracing::warn!(%peer, %code, "a connection is refused");
        connection::refuse(&node, &link, code).await;
        return;
    }
    let id = link.id;
    tracing::debug!(connection = id, %peer, "connected");
    let serving = AssertUnwindSafe(connection::serve(node.clone(), link, received, plain));
    if serving.catch_unwind().await.is_err() {
        count(&node.counters.connections_panicked, 1);
        tracing::error!(connection = id, "the connection's task panicked");
    }
}

/// The socket below an upgraded connection, and what came with the handshake: of Bowline's own
/// accept loop, or of `axum::serve`, which wraps it once more.
fn socket_of(upgraded: Upgraded) -> Option<(TcpStream, Vec<u8>)> {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => Some((parts.io.into_inner(), parts.read_buf.to_vec())),
        Err(upgraded) => {
            let parts = auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded).ok()?;
            Some((parts.io.into_inner(), parts.read_buf.to_vec()))
        }
    }
}
