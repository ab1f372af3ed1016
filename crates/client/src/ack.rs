//! What a caller waits for: the ack of a message, the reply to a `send`, the answer to a request.
//!
//! Owns the typed ends. Must not know the machine.

use bowline_proto::{Data, client::Fate, message::ErrorInfo};
use tokio::sync::oneshot;

/// A message that is on its way.
#[derive(Debug)]
pub struct Ack {
    pub(crate) stored: oneshot::Receiver<Result<(), PublishError>>,
    pub(crate) reply: oneshot::Receiver<Data>,
}

/// A message that won't be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message was dropped ({reason}); whether it was stored: {fate:?}")]
pub struct PublishError {
    /// Whether it may have been stored.
    pub fate: Fate,
    /// A code of the table or of the client's own.
    pub reason: String,
}

/// The message is stored, but its answer was lost with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is stored; its reply was lost")]
pub struct ReplyLost;

/// A request was refused, or the connection was lost before its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RequestError(pub ErrorInfo);

impl Ack {
    /// Waits until the server has stored the message, over as many connections as it takes.
    ///
    /// # Errors
    /// The message is dropped.
    pub async fn stored(&mut self) -> Result<(), PublishError> {
        (&mut self.stored).await.unwrap_or_else(|_| {
            Err(PublishError {
                fate: Fate::Unknown,
                reason: "closed".to_owned(),
            })
        })
    }

    /// Waits for the application's answer to a `send`.
    ///
    /// # Errors
    /// It can't come any more.
    pub async fn reply(&mut self) -> Result<Data, ReplyLost> {
        (&mut self.reply).await.map_err(|_| ReplyLost)
    }
}
