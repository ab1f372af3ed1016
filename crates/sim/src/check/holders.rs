//! No session is held by two connections: once a newer link is welcomed, the older one hears
//! nothing new. Which one is newer is said by the client's numbers: over a slow connection the end
//! of an older link's `welcome` may be written after the newer link's.

use std::collections::BTreeMap;

use bowline_proto::message::ServerMessage;

use super::Violation;
use crate::truth::Truth;

/// Who holds which session.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    holders: BTreeMap<Box<str>, Holder>,
    /// Links whose session a newer one has, with what had been committed by then.
    fenced: BTreeMap<u64, u64>,
    pub(crate) violations: Vec<Violation>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    link: u64,
    /// The client's number for the link.
    number: u64,
    /// What had been committed when it was welcomed.
    commits: u64,
}

impl Holders {
    /// The server has written this to a link, which has this number with its client.
    pub(crate) fn heard(
        &mut self,
        now: u64,
        (link, number): (u64, u64),
        message: &ServerMessage,
        truth: &Truth,
    ) {
        match message {
            ServerMessage::Welcome(welcome) => {
                let commits = truth.commits;
                let welcomed = Holder {
                    link,
                    number,
                    commits,
                };
                let holder = self
                    .holders
                    .entry(welcome.session.clone())
                    .or_insert(welcomed);
                let (older, newer) = if number > holder.number {
                    (std::mem::replace(holder, welcomed), welcomed)
                } else {
                    (welcomed, *holder)
                };
                if older.link != newer.link {
                    self.fenced.entry(older.link).or_insert(newer.commits);
                }
            }
            ServerMessage::Message(message) => {
                let fenced = self.fenced.get(&link).copied();
                let commit = message
                    .position
                    .and_then(|at| truth.commit_of(&message.channel, at));
                if let (Some(fenced), Some(commit)) = (fenced, commit)
                    && commit > fenced
                {
                    let text = format!("at {now} ms link {link} hears what came after its end");
                    self.violations.push(Violation::new("session", text));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn ended(&mut self, link: u64) {
        self.holders.retain(|_, holder| holder.link != link);
        self.fenced.remove(&link);
    }

    /// The server's process has ended.
    pub(crate) fn all_ended(&mut self) {
        self.holders.clear();
        self.fenced.clear();
    }
}
