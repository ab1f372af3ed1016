//! Threads that wait for the device in place of those who ask.

use std::sync::Arc;

use super::{oneshot::Reply, queue::Queue, shared::Shared};
use crate::{
    contract::{Page, ReadError},
    read::PageReader,
};

/// A page that the system does not have in memory, and who waits for it.
pub(crate) struct ReadJob {
    pub(crate) reader: PageReader,
    pub(crate) reply: Reply<Result<Option<Page>, ReadError>>,
}

/// Reads until the queue is closed.
pub(crate) fn run_reader(shared: &Arc<Shared>, queue: &Queue<ReadJob>) {
    while let Some(ReadJob { mut reader, reply }) = queue.take() {
        let page = match reader.read(true) {
            Ok(_) => Ok(Some(reader.finish())),
            Err(error) => Err(shared.read_failed(&error)),
        };
        reply.send(page);
    }
}
