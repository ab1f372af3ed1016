//! `on_message`: where the application takes what clients `send`.
//!
//! Owns the trait [`MessageHandler`] and what passes through it. Must not know sequence numbers
//! beyond showing them, nor connections.

use std::{borrow::Cow, future::Future, sync::Arc, time::Duration};

use bowline_engine::{BoxFuture, SessionKey};
use bowline_proto::Data;
use bytes::Bytes;

/// Takes the messages that clients send to the application.
///
/// Any `Fn(Incoming) -> impl Future<Output = Result<Reply, Rejection>>` is one. The server gives
/// each call `handler_timeout`. A failed or late call refuses the message, and the client sends it
/// again. A message that was handled may come once more where the log has not noted it: after a crash of
/// the server, and where the log takes nothing and the link is lost meanwhile.
/// [`Incoming::idempotency_key`] shows that.
pub trait MessageHandler: Send + Sync + 'static {
    /// Handles one message. Messages of one session come one after the other, in order.
    fn on_message(&self, incoming: Incoming) -> BoxFuture<'_, Result<Reply, Rejection>>;
}

impl<F, Fut> MessageHandler for F
where
    F: Fn(Incoming) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, Rejection>> + Send + 'static,
{
    fn on_message(&self, incoming: Incoming) -> BoxFuture<'_, Result<Reply, Rejection>> {
        Box::pin(self(incoming))
    }
}

/// A message for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The client's session, as a digest; none in plain mode.
    pub session: Option<SessionKey>,
    /// Its number; none where the client did not number it, and in plain mode.
    pub seq: Option<u64>,
    /// The verified user.
    pub user: Option<Arc<str>>,
    /// What the client wants done, if it says so.
    pub method: Option<Arc<str>>,
    /// What it sent.
    pub payload: Payload,
}

/// What a client sent to the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The `data` of a `send`.
    Data(Data),
    /// A text frame of plain mode, as it came.
    Text(String),
    /// A binary frame of plain mode, as it came.
    Bytes(Bytes),
}

/// The application's answer, within the bounds of every other message: at most `message_bytes_max`
/// as it is sent, and JSON that is one valid value and nests no deeper than 127 levels.
///
/// Another one is not sent. The message counts as handled all the same: its number is acknowledged, it
/// is not handed over again, and the client's reply is lost, which it is told by an `error` with the
/// code `internal` and `retry: false` in the reply's place (in plain mode by nothing).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to say: `reply` carries `null`; in plain mode no frame is sent.
    Empty,
    /// A payload. In plain mode its bytes are the frame, of the kind of the message: they must be
    /// UTF-8 where that was a text.
    Data(Data),
    /// A text: a JSON string in `reply`, as it stands in plain mode.
    Text(String),
}

/// The application does not take a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A sentence for the developer, which the client sees: its first [`Rejection::MESSAGE_BYTES_MAX`]
    /// bytes.
    pub message: Cow<'static, str>,
    /// When the same message may be taken; without it the client must not repeat it.
    pub retry_after: Option<Duration>,
}

impl Incoming {
    /// The same for every repetition of this message and for no other; none where it has no number.
    pub fn idempotency_key(&self) -> Option<String> {
        Some(format!("{}-{}", self.session?, self.seq?))
    }
}

impl Reply {
    /// As the `data` of a `reply`.
    pub fn into_data(self) -> Data {
        match self {
            Self::Empty => Data::Json(Bytes::from_static(b"null")),
            Self::Data(data) => data,
            Self::Text(text) => {
                Data::Json(serde_json::to_vec(&text).expect("strings serialize").into())
            }
        }
    }

    /// As the content of one raw frame, none where there is nothing to say.
    pub fn into_raw(self) -> Option<Bytes> {
        match self {
            Self::Empty => None,
            Self::Data(data) => Some(data.bytes().clone()),
            Self::Text(text) => Some(text.into()),
        }
    }
}

impl Rejection {
    /// So much of the sentence is sent, in bytes of UTF-8.
    pub const MESSAGE_BYTES_MAX: usize = 1_024;

    /// A final refusal.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            message: message.into(),
            retry_after: None,
        }
    }

    /// A refusal for now.
    pub fn retry_after(message: impl Into<Cow<'static, str>>, after: Duration) -> Self {
        Self {
            message: message.into(),
            retry_after: Some(after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closure_is_a_handler() {
        let handler: Arc<dyn MessageHandler> = Arc::new(|incoming: Incoming| async move {
            match incoming.payload {
                Payload::Text(text) => Ok(Reply::Text(text)),
                _ => Err(Rejection::new("text only")),
            }
        });
        let mut incoming = Incoming {
            session: Some(SessionKey([0xab; 16])),
            seq: Some(7),
            user: None,
            method: None,
            payload: Payload::Text("a \"quote\"".into()),
        };
        let key = incoming.idempotency_key();
        assert_eq!(key.as_deref(), Some("abababababababababababababababab-7"));
        let reply = handler.on_message(incoming.clone()).await.unwrap();
        assert_eq!(reply.clone().into_raw().unwrap(), "a \"quote\"");
        assert_eq!(reply.into_data().bytes(), r#""a \"quote\"""#);
        incoming.seq = None;
        incoming.payload = Payload::Bytes(Bytes::new());
        assert_eq!(incoming.idempotency_key(), None);
        assert_eq!(
            handler.on_message(incoming).await,
            Err(Rejection::new("text only"))
        );
    }

    #[test]
    fn an_empty_reply_is_null_and_no_frame() {
        assert_eq!(Reply::Empty.into_data().bytes(), "null");
        assert_eq!(Reply::Empty.into_raw(), None);
    }
}
