//! Reading a page's publications from their places.
//!
//! Owns which bytes are read together, and the check of every record before it is served. Takes no
//! lock: an open file keeps its bytes whatever becomes of its name.

use std::sync::Arc;

use bowline_proto::{Data, Publication};
use bytes::Bytes;

use crate::{
    contract::Page,
    disk::DiskFile,
    format::record::Publish,
    state::{Entry, PagePlan},
};

/// Publications with at most so many bytes of others between them are read together: about what the
/// kernel copies in the time of one call.
const GAP_BYTES_MAX: u32 = 8 * 1_024;
/// At most so many bytes are read together, unless a single record is longer.
const RUN_BYTES_MAX: u32 = 512 * 1_024;

/// A page, planned under the state's lock and read outside it.
pub(crate) struct PageReader {
    plan: PagePlan,
    /// In the order of the plan's entries.
    files: Vec<(u32, Arc<dyn DiskFile>)>,
    publications: Vec<Arc<Publication>>,
}

/// A page can't be read.
#[derive(Debug)]
pub(crate) enum PageError {
    /// The system refused it.
    Io,
    /// A record is not as it was written.
    Damaged { file: u32, pos: u32 },
}

impl PageReader {
    pub(crate) fn new(plan: PagePlan, files: Vec<(u32, Arc<dyn DiskFile>)>) -> Self {
        Self {
            publications: Vec::with_capacity(plan.entries.len()),
            plan,
            files,
        }
    }

    /// Reads on. False where `waits` is not allowed and the device would have to be waited for; the
    /// same call then goes on from there.
    pub(crate) fn read(&mut self, waits: bool) -> Result<bool, PageError> {
        let mut buffer = Vec::new();
        while self.publications.len() < self.plan.entries.len() {
            let run = self.next_run();
            let (first, last) = (run[0], run[run.len() - 1]);
            let start = first.pos;
            buffer.resize((last.pos + last.len - start) as usize, 0);
            let file = self.files.iter().find(|(number, _)| *number == first.file);
            let file = &file.expect("the plan was made with its files").1;
            let is_there = if waits {
                file.read_at(&mut buffer, start.into()).map(|()| true)
            } else {
                file.try_read_at(&mut buffer, start.into())
            };
            if !is_there.map_err(|_| PageError::Io)? {
                return Ok(false);
            }
            let count = run.len();
            for _ in 0..count {
                let index = self.publications.len();
                let entry = self.plan.entries[index];
                let at = (entry.pos - start) as usize;
                let record = &buffer[at..at + entry.len as usize];
                let publication = self.decode(record).ok_or(PageError::Damaged {
                    file: entry.file,
                    pos: entry.pos,
                })?;
                self.publications.push(Arc::new(publication));
            }
        }
        Ok(true)
    }

    /// What was read.
    pub(crate) fn finish(self) -> Page {
        Page {
            epoch: self.plan.epoch,
            floor: self.plan.floor,
            head: self.plan.head,
            publications: self.publications,
        }
    }

    /// The next entries that stand close together, in rising order.
    fn next_run(&self) -> &[Entry] {
        let rest = &self.plan.entries[self.publications.len()..];
        let first = rest[0];
        let mut count = 1;
        while let Some(next) = rest.get(count) {
            let before = rest[count - 1];
            let end = before.pos + before.len;
            let is_near = next.file == first.file
                && next.pos >= end
                && next.pos - end <= GAP_BYTES_MAX
                && next.pos + next.len - first.pos <= RUN_BYTES_MAX;
            if !is_near {
                break;
            }
            count += 1;
        }
        &rest[..count]
    }

    /// Copies the payload: one that is kept must not keep its neighbours' bytes with it.
    fn decode(&self, record: &[u8]) -> Option<Publication> {
        let offset = self.plan.first + self.publications.len() as u64;
        let publish = Publish::decode_alone(record)?;
        if publish.offset != offset || publish.id != self.plan.id {
            return None;
        }
        let data = Bytes::copy_from_slice(publish.data);
        let text = |text: Option<&[u8]>| match text {
            Some(text) => std::str::from_utf8(text).ok().map(|text| Some(text.into())),
            None => Some(None),
        };
        Some(Publication {
            offset,
            term: self.plan.record.position_at(offset).term,
            data: if publish.is_binary {
                Data::Binary(data)
            } else {
                Data::Json(data)
            },
            user: text(publish.user)?,
            tag: text(publish.tag)?,
        })
    }
}
