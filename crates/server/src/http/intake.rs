//! What every request passes before its route: who asks, whether they may, and its body.
//!
//! Owns the order of these steps: a request is known before it gets a place, and has a place before
//! its body is read. Must not know what the body means, nor what becomes of one that was not read.

use std::{sync::Arc, time::Duration};

use axum::{
    BoxError,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};
use bowline_proto::Code;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{HttpApi, error::ApiError};
use crate::{Credentials, Entrance, Identity, Operation, Role, accept::client_of};

/// When a place may be free again: bodies arrive in far less than a second.
const PLACE_RETRY_MS: u64 = 200;

impl HttpApi {
    /// Who asks: `Authorization: Bearer` or `X-API-Key`.
    pub(super) async fn identify(&self, parts: &Parts) -> Result<Identity, ApiError> {
        let text = |name: HeaderName| parts.headers.get(name)?.to_str().ok();
        let credentials = Credentials {
            token: token(&parts.headers)?,
            entrance: Entrance::Http,
            remote_addr: client_of(&self.config, parts),
            origin: text(header::ORIGIN),
        };
        Ok(self.node.access.authenticate(credentials).await?)
    }

    /// Whether the application's own backend asks, or whoever runs the server.
    pub(super) async fn backend(&self, parts: &Parts) -> Result<Role, ApiError> {
        let role = self.identify(parts).await?.role;
        if role.is_backend() {
            Ok(role)
        } else {
            Err(Code::Forbidden.into())
        }
    }

    /// Whether it is whoever runs the server that asks.
    pub(super) async fn admin(&self, parts: &Parts) -> Result<(), ApiError> {
        match self.identify(parts).await?.role {
            Role::Admin => Ok(()),
            Role::Backend | Role::Client => Err(Code::Forbidden.into()),
        }
    }

    pub(super) async fn may(
        &self,
        identity: &Identity,
        operation: Operation,
        channel: &str,
    ) -> Result<(), ApiError> {
        let access = &self.node.access;
        Ok(access.authorize(identity, operation, channel).await?)
    }

    pub(super) fn check_channel(&self, channel: &str) -> Result<(), ApiError> {
        if self.config.allows_channel(channel) {
            Ok(())
        } else {
            Err(Code::BadChannel.into())
        }
    }

    /// The whole body, and the place that it holds for as long as it is in memory.
    pub(super) async fn body(
        &self,
        role: Role,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, Place), ApiError> {
        let place = self.places.take(role)?;
        let bytes = read(
            headers,
            body,
            self.config.http_body_bytes_max,
            self.config.connection_timeout,
        )
        .await?;
        Ok((bytes, place))
    }
}

async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    wait: Duration,
) -> Result<Bytes, ApiError> {
    let announced: Option<usize> = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let too_big = || {
        let message = format!("The body is larger than {bytes_max} bytes.");
        ApiError::new(Code::MessageTooBig, message)
    };
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(too_big());
    }
    // Each piece is copied: kept as they come, pieces of one byte would hold fifty times their sum.
    let mut body = Limited::new(body, bytes_max);
    let mut bytes = Vec::new();
    let collected = timeout(wait, async {
        while let Some(frame) = body.frame().await.transpose()? {
            if let Ok(data) = frame.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok::<_, BoxError>(())
    });
    match collected.await {
        Ok(Ok(())) => Ok(bytes.into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_big()),
        Ok(Err(_)) => Err(ApiError::new(Code::Malformed, "The body was cut short.")),
        Err(_) => Err(ApiError::new(
            Code::HelloTimeout,
            "The body did not arrive within connection_timeout.",
        )),
    }
}

/// The places of requests that hold memory until their peer has sent or read all. Users have at most half of
/// them, or the only one, so that none of their tokens keeps the application's own backend out.
#[derive(Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    users: Arc<Semaphore>,
}

/// One of them, until it is dropped.
pub(super) struct Place {
    _one: OwnedSemaphorePermit,
    _users: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(count)),
            users: Arc::new(Semaphore::new((count / 2).max(1))),
        }
    }

    /// One for whoever has this role, if there is one.
    pub(super) fn take(&self, role: Role) -> Result<Place, ApiError> {
        let take = |places: &Arc<Semaphore>| {
            let place = places.clone().try_acquire_owned();
            place.map_err(|_| ApiError::from(Code::Overloaded).with_retry_after_ms(PLACE_RETRY_MS))
        };
        let users = (!role.is_backend())
            .then(|| take(&self.users))
            .transpose()?;
        Ok(Place {
            _one: take(&self.all)?,
            _users: users,
        })
    }
}

fn token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let text = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().map(HeaderValue::to_str).transpose();
        let value = value.ok().filter(|_| values.next().is_none());
        value.ok_or_else(|| ApiError::from(Code::Unauthorized))
    };
    let key = text(HeaderName::from_static("x-api-key"))?;
    let Some(authorization) = text(header::AUTHORIZATION)? else {
        return Ok(key);
    };
    let (scheme, token) = authorization.split_once(' ').unwrap_or((authorization, ""));
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") {
        let message = "The Authorization header must be `Bearer` and a token.";
        return Err(ApiError::new(Code::Unauthorized, message));
    }
    // Who brings two has nobody's rights: it is not for the server to choose.
    if key.is_some_and(|key| key != token) {
        let message = "Authorization and X-API-Key differ.";
        return Err(ApiError::new(Code::Unauthorized, message));
    }
    Ok(Some(token))
}
