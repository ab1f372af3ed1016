//! No session is held by two connections: once a newer link is welcomed, the older one hears
//! nothing new.

use std::collections::BTreeMap;

use bowline_proto::message::ServerMessage;

use super::Violation;
use crate::truth::Truth;

/// Who holds which session.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    links: BTreeMap<Box<str>, u64>,
    /// Links whose session a newer one has, with what had been committed by then.
    fenced: BTreeMap<u64, u64>,
    pub(crate) violations: Vec<Violation>,
}

impl Holders {
    /// The server has written this to a link.
    pub(crate) fn heard(&mut self, now: u64, link: u64, message: &ServerMessage, truth: &Truth) {
        match message {
            ServerMessage::Welcome(welcome) => {
                let before = self.links.insert(welcome.session.clone(), link);
                if let Some(before) = before.filter(|before| *before != link) {
                    self.fenced.entry(before).or_insert(truth.commits);
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
        self.links.retain(|_, holder| *holder != link);
        self.fenced.remove(&link);
    }

    /// The server's process has ended.
    pub(crate) fn all_ended(&mut self) {
        self.links.clear();
        self.fenced.clear();
    }
}
