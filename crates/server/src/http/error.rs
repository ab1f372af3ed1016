//! The one shape of every failure over HTTP: `{code, message, retry, retry_after_ms?}`.
//!
//! Owns the step from a code to an HTTP answer, and from the engine's errors to codes. Must not
//! know which route failed.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bowline_engine::{AppendError, ReadError};
use bowline_proto::{Code, message::ErrorInfo};

/// What is full or away rarely comes back sooner, and the engine must not be hammered.
const STORAGE_RETRY_MS: u64 = 1_000;

/// A request that failed as a whole, or one publication of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    pub(super) info: ErrorInfo,
}

impl ApiError {
    /// With a more precise sentence than the code's own.
    pub(crate) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::from(code).with_message(message)
    }

    pub(super) fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.info = self.info.with_message(message);
        self
    }

    pub(crate) fn with_retry_after_ms(mut self, retry_after_ms: u64) -> Self {
        self.info = self.info.with_retry_after_ms(retry_after_ms);
        self
    }
}

impl From<Code> for ApiError {
    fn from(code: Code) -> Self {
        let status = code
            .row()
            .http
            .and_then(|http| StatusCode::from_u16(http).ok());
        Self {
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            info: code.into(),
        }
    }
}

impl From<ErrorInfo> for ApiError {
    fn from(info: ErrorInfo) -> Self {
        let code = Code::from_name(&info.code).unwrap_or(Code::Internal);
        Self {
            info,
            ..Self::from(code)
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        let code = match error {
            AppendError::StorageFull => Code::StorageFull,
            AppendError::StorageUnavailable => Code::StorageUnavailable,
            AppendError::TooManyChannels => Code::TooManyChannels,
            AppendError::KeyReused => Code::KeyReused,
            AppendError::FateUnknown => Code::FateUnknown,
            // The rest concerns sessions, which nothing over HTTP has.
            _ => Code::Internal,
        };
        let error = Self::from(code);
        match code {
            Code::StorageFull | Code::StorageUnavailable | Code::TooManyChannels => {
                error.with_retry_after_ms(STORAGE_RETRY_MS)
            }
            _ => error,
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(_: ReadError) -> Self {
        Self::from(Code::StorageUnavailable).with_retry_after_ms(STORAGE_RETRY_MS)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.info).expect("an error is plain JSON");
        let mut response = json_response(self.status, body);
        if let Some(code) = Code::from_name(&self.info.code) {
            // For whoever counts.
            response.extensions_mut().insert(code);
        }
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after_ms) = self.info.retry_after_ms {
            headers.insert(header::RETRY_AFTER, after_ms.div_ceil(1_000).into());
        }
        response
    }
}

/// An answer with this JSON text, which no cache keeps.
pub(crate) fn json_response(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body.into()).into_response()
}
