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
use bowline_proto::{Code, message::ErrorInfo};

use super::{Asked, credentials, head::bearer};
use crate::{
    accept::only,
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
    asked: Result<Asked, ApiError>,
) -> Response<Body> {
    let verdict = match asked {
        Ok(asked) => judge(node, parts, ip, asked).await.map_err(ApiError::from),
        Err(refused) => Err(refused),
    };
    let mut response = match verdict {
        Ok(()) => json_response(StatusCode::OK, r#"{"code":"ok"}"#),
        Err(refused) => refused.into_response(),
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
    asked: Asked,
) -> Result<(), ErrorInfo> {
    let told = |refusal: Refusal| refusal.info();
    node.limits.ask_verdict(ip).map_err(told)?;
    if node.is_draining() {
        return Err(Code::Draining.into());
    }
    let origin = only(&parts.headers, &header::ORIGIN);
    let host = only(&parts.headers, &header::HOST);
    if !node.config.allows_origin(origin, host) {
        return Err(Code::OriginNotAllowed.into());
    }
    let mut verified = false;
    let authorization = parts.headers.get_all(header::AUTHORIZATION);
    let bearer = bearer(authorization.iter().map(HeaderValue::as_bytes))?;
    let token = bearer.or(asked.token.as_deref());
    // Without a token only plain mode is judged: in bowline.v1 it comes with hello.
    if token.is_some() || asked.channels.is_some() {
        let shown = credentials(token, ip, origin);
        verified = node.access.authenticate(shown).await?.user.is_some();
    }
    // Names alone: what may be done with them is nobody's business here.
    let mut channels = asked.channels.iter().flatten();
    if !channels.all(|channel| node.config.allows_channel(channel)) {
        return Err(Code::BadChannel.into());
    }
    node.limits.verdict(ip, verified).map_err(told)
}
