//! Which payloads go out: JSON text that is one value, and any bytes.
//!
//! Owns the judgement of data that an application brings. Must not know what becomes of it.

use bowline_proto::{Code, Data, codec::json_data, message::ErrorInfo};

/// The text is no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one JSON value within the nesting limit ({0})")]
pub struct JsonError(pub Code);

/// JSON text as a payload.
///
/// # Errors
/// It is not one JSON value, or is nested too deep.
pub fn json(text: &str) -> Result<Data, JsonError> {
    json_data(text.as_bytes()).map_err(JsonError)
}

/// Data as it may stand in a message: nothing in it ends the message, or a frame.
///
/// # Errors
/// It is called JSON and is none (`unsupported_data`), or is nested too deep.
pub(crate) fn sendable(data: Data) -> Result<Data, ErrorInfo> {
    match data {
        Data::Json(text) => json_data(&text).map_err(|code| match code {
            Code::TooDeep => ErrorInfo::new(code),
            _ => ErrorInfo {
                code: "unsupported_data".into(),
                message: "The data is neither bytes nor one JSON value.".into(),
                retry: false,
                retry_after_ms: None,
            },
        }),
        Data::Binary(_) => Ok(data),
    }
}
