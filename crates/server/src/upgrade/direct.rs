//! The way past HTTP's machinery for what nearly every client asks first: `GET /ws` with an upgrade.
//!
//! Owns which requests go that way. Each could go the other one as well, where the same judgement
//! waits for it; this one costs a fraction of the allocations.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    http::{Response, header},
};
use httparse::{EMPTY_HEADER, Status};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout_at},
};

use super::{Head, begin, enter, is_budget_spent};
use crate::{
    accept::{Stream, fits},
    connection::PlainRequest,
    limits::is_trusted,
    node::Node,
};

/// Clients send a dozen; a request with more goes the other way.
const HEADERS_MAX: usize = 32;

/// What became of the first request of a socket.
pub(crate) enum FirstRequest {
    /// The connection has begun, in a task of its own.
    Entered,
    /// HTTP serves it, with the answer where the request is judged already.
    ForHttp(Stream, Option<Box<Response<Body>>>),
}

/// Begins the connection that the head of the first request asks for, if it is whole, valid and asks
/// for nothing else.
pub(crate) fn enter_directly(
    node: &Arc<Node>,
    stream: Stream,
    peer: SocketAddr,
    deadline: Instant,
) -> FirstRequest {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(Status::Complete(head_bytes)) = request.parse(stream.head()) else {
        return FirstRequest::ForHttp(stream, None);
    };
    let headers: Vec<(&str, &[u8])> = request
        .headers
        .iter()
        .map(|header| (header.name, header.value))
        .collect();
    let head = Head {
        method: request.method.unwrap_or_default(),
        is_http_1_1: request.version == Some(1),
        headers: &headers,
    };
    let config = &node.config;
    let is_direct = (head.method, request.path) == ("GET", Some("/ws"))
        && head.has(&header::UPGRADE)
        && head_bytes <= config.header_bytes_max
        && fits(config, 0, headers.iter().copied())
        // What a proxy says of its client is read over there.
        && !is_trusted(&config.trusted_proxies, peer.ip())
        // Which answers fewer peers than this.
        && !config.dev;
    let bearer = head.bearer();
    let Some(bearer) = bearer.ok().filter(|_| is_direct && !is_budget_spent(node)) else {
        return FirstRequest::ForHttp(stream, None);
    };
    let plain = PlainRequest {
        token: bearer.map(ToOwned::to_owned),
        channels: Vec::new(),
        deadline,
    };
    let (accepted, entry) = match enter(node, &head, Some(peer.ip().to_canonical()), plain) {
        Ok(entered) => entered,
        Err(refused) => return FirstRequest::ForHttp(stream, Some(refused)),
    };
    let answer = accepted.encode();
    let (mut transport, mut received) = stream.into_parts();
    received.drain(..head_bytes);
    let socket = async move {
        let told = async {
            transport.write_all(&answer).await?;
            transport.flush().await
        };
        timeout_at(deadline, told).await.ok()?.ok()?;
        Some((transport, received))
    };
    begin(node.clone(), entry, Some(peer), socket);
    FirstRequest::Entered
}
