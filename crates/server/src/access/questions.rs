//! What the server asks its access control.
//!
//! Owns the time that a question has, and what is told where there is no verdict. Must not know who asks
//! it, nor what the answer is for.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bowline_proto::{Code, message::ErrorInfo};
use futures_util::FutureExt;
use tokio::time::timeout;

use super::{AccessControl, Credentials, Identity, Operation};

/// The access control, whose failures are answers: nobody is let in by one, and whoever asked may
/// come again.
pub(crate) struct Access {
    control: Arc<dyn AccessControl>,
    patience: Duration,
}

impl Access {
    /// Each question has this time.
    pub(crate) fn new(control: Arc<dyn AccessControl>, patience: Duration) -> Self {
        Self { control, patience }
    }

    /// Who this is.
    pub(crate) async fn authenticate(
        &self,
        credentials: Credentials<'_>,
    ) -> Result<Identity, ErrorInfo> {
        let question = async { self.control.authenticate(credentials).await };
        Ok(self.ask(question).await??)
    }

    /// Whether they may do this to the channel: `forbidden`, unless it is granted.
    pub(crate) async fn authorize(
        &self,
        identity: &Identity,
        operation: Operation,
        channel: &str,
    ) -> Result<(), ErrorInfo> {
        let question = async { self.control.authorize(identity, operation, channel).await };
        match self.ask(question).await? {
            true => Ok(()),
            false => Err(Code::Forbidden.into()),
        }
    }

    /// The answer; a panic is `internal`, and silence `overloaded`.
    async fn ask<T>(&self, question: impl Future<Output = T>) -> Result<T, ErrorInfo> {
        let question = AssertUnwindSafe(question).catch_unwind();
        match timeout(self.patience, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => {
                tracing::error!("the access control panicked");
                Err(Code::Internal.into())
            }
            Err(_) => {
                tracing::warn!("the access control did not answer within access_timeout");
                let message = "The access control did not answer in time.";
                Err(ErrorInfo::new(Code::Overloaded).with_message(message))
            }
        }
    }
}
