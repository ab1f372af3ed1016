//! `GET /ws` without an upgrade: what would become of one (PROTOCOL.md, 14.2).
//!
//! Owns the verdict for clients that can't see why an upgrade failed. Must not tell anything of
//! sessions, channels or users.

use std::net::IpAddr;

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use bowline_proto::Code;
use tokio::time::timeout;

use super::head::bearer;
use crate::{
    accept::only,
    access::{Credentials, Entrance},
    http::{ApiError, json_response},
    limits::Refusal,
    node::Node,
};

/// A day: browsers keep it for less.
const PREFLIGHT_AGE: &str = "86400";

/// An upgrade would pass.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(super) struct Passes {
    /// `ok`.
    code: &'static str,
}

/// The verdict, readable by every page: it says nothing that a page's own dial would not show.
pub(super) async fn answer(
    node: &Node,
    parts: &Parts,
    ip: Option<IpAddr>,
    token: Option<&str>,
) -> Response<Body> {
    let mut response = match judge(node, parts, ip, token).await {
        Ok(()) => json_response(StatusCode::OK, r#"{"code":"ok"}"#),
        Err(refusal) => ApiError::from(refusal.info()).into_response(),
    };
    open_to_pages(&mut response);
    response
}

/// The answer to a preflight, which a token in a header causes.
pub(super) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    open_to_pages(&mut response);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn open_to_pages(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("retry-after"),
    );
}

async fn judge(
    node: &Node,
    parts: &Parts,
    ip: Option<IpAddr>,
    token: Option<&str>,
) -> Result<(), Refusal> {
    node.limits.ask_verdict(ip)?;
    if node.is_draining() {
        return Err(Refusal::now(Code::Draining));
    }
    let origin = only(&parts.headers, &header::ORIGIN);
    let host = only(&parts.headers, &header::HOST);
    if !node.config.allows_origin(origin, host) {
        return Err(Refusal::now(Code::OriginNotAllowed));
    }
    // Without a token nothing is judged: in bowline.v1 it comes with hello only.
    let mut verified = false;
    let authorization = parts.headers.get_all(header::AUTHORIZATION);
    let bearer = bearer(authorization.iter().map(HeaderValue::as_bytes)).map_err(Refusal::now)?;
    if let Some(token) = bearer.or(token) {
        let credentials = Credentials {
            token: Some(token),
            entrance: Entrance::WebSocket,
            remote_addr: ip,
            origin,
        };
        let question = node.access.authenticate(credentials);
        let identity = timeout(node.config.access_timeout, question).await;
        let identity = identity.unwrap_or(Err(Code::Overloaded));
        verified = identity.map_err(Refusal::now)?.user.is_some();
    }
    node.limits.verdict(ip, verified)
}
