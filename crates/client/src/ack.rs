//! What a caller waits for: the ack of a message, the reply to a `send`, the answer to a request.
//!
//! Owns the typed ends. Must not know the machine.

use bowline_proto::{Data, client::Fate, message::ErrorInfo};
use tokio::sync::oneshot;

/// A message that is on its way.
#[derive(Debug)]
pub struct Ack {
    stored: Answer<Result<(), PublishError>>,
    /// None for a publication.
    reply: Option<Answer<Data>>,
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

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The message is stored, but its reply was lost with a link, or could not be sent.
    #[error("the message is stored; its reply was lost")]
    Lost,
    /// The message itself was given up, after a refusal for example.
    #[error(transparent)]
    Dropped(#[from] PublishError),
    /// It was published: only what was handed over by `send` is replied to.
    #[error("a publication has no reply")]
    NoReply,
}

/// A request was refused, or the connection was lost before its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RequestError(pub ErrorInfo);

/// What comes once, and stays.
#[derive(Debug)]
enum Answer<T> {
    Awaited(oneshot::Receiver<T>),
    /// None: nobody is left to give it.
    Known(Option<T>),
}

impl Ack {
    /// Of a message that waits for its ack, and for a reply if it was handed over by `send`.
    pub(crate) fn new(
        stored: oneshot::Receiver<Result<(), PublishError>>,
        reply: Option<oneshot::Receiver<Data>>,
    ) -> Self {
        Self {
            stored: Answer::Awaited(stored),
            reply: reply.map(Answer::Awaited),
        }
    }

    /// Of a message that is refused before it is queued.
    pub(crate) fn refused(reason: &str, is_send: bool) -> Self {
        let error = PublishError {
            fate: Fate::Refused,
            reason: reason.to_owned(),
        };
        Self {
            stored: Answer::Known(Some(Err(error))),
            reply: is_send.then_some(Answer::Known(None)),
        }
    }

    /// Waits until the server has stored the message, over as many connections as it takes. Asked
    /// again, it answers the same.
    ///
    /// # Errors
    /// The message is dropped.
    pub async fn stored(&mut self) -> Result<(), PublishError> {
        self.stored.get().await.unwrap_or_else(|| {
            Err(PublishError {
                fate: Fate::Unknown,
                reason: "closed".to_owned(),
            })
        })
    }

    /// Waits for the application's answer to a `send`, before or after [`stored`](Self::stored).
    /// Asked again, it answers the same.
    ///
    /// # Errors
    /// It can't come any more, or never could.
    pub async fn reply(&mut self) -> Result<Data, ReplyError> {
        let Some(reply) = &mut self.reply else {
            return Err(ReplyError::NoReply);
        };
        if let Some(data) = reply.get().await {
            return Ok(data);
        }
        // What became of the message says why.
        self.stored().await?;
        Err(ReplyError::Lost)
    }
}

impl<T: Clone> Answer<T> {
    async fn get(&mut self) -> Option<T> {
        let answer = match self {
            Self::Known(answer) => return answer.clone(),
            Self::Awaited(awaited) => awaited.await.ok(),
        };
        *self = Self::Known(answer.clone());
        answer
    }
}
