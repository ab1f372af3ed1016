//! Nothing to an unauthorised reader: judged on the wire, whatever the client makes of it.

use std::{collections::BTreeMap, sync::Arc};

use bowline::Operation;
use bowline_proto::message::ServerMessage;

use super::Violation;
use crate::access::Grants;

/// A subscription that was allowed just before its grant was withdrawn is answered within so long:
/// the handshake's own bound, with a server that stands still meanwhile.
const ANSWER_MS: u64 = 4_000;

/// Who was let in where, and when.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// When each link's subscriptions began.
    begun: BTreeMap<(u64, Arc<str>), u64>,
    revoked: BTreeMap<(usize, Arc<str>), u64>,
    pub(crate) violations: Vec<Violation>,
}

impl Readers {
    pub(crate) fn revoked(&mut self, now: u64, user: usize, channel: &Arc<str>) {
        self.revoked.insert((user, channel.clone()), now);
    }

    /// The server has written this to a link of this user.
    pub(crate) fn heard(
        &mut self,
        now: u64,
        link: u64,
        user: usize,
        message: &ServerMessage,
        grants: &Grants,
    ) {
        match message {
            ServerMessage::Welcome(welcome) => {
                for (channel, outcome) in &welcome.subscriptions {
                    if outcome.is_ok() {
                        self.begin(now, link, user, channel, grants);
                    }
                }
            }
            ServerMessage::Subscribed { channel, .. } => {
                self.begin(now, link, user, channel, grants);
            }
            ServerMessage::Message(message) => {
                let begun = self.begun.contains_key(&(link, message.channel.clone()));
                if !begun {
                    let channel = &message.channel;
                    let text = format!("link {link} of user {user} hears {channel} unasked");
                    self.violations.push(Violation::new("access", text));
                }
            }
            ServerMessage::Unsubscribed { channel, .. } => {
                self.begun.remove(&(link, channel.clone()));
            }
            _ => {}
        }
    }

    fn begin(&mut self, now: u64, link: u64, user: usize, channel: &Arc<str>, grants: &Grants) {
        self.begun.insert((link, channel.clone()), now);
        if grants.allows(user, Operation::Subscribe, channel) {
            return;
        }
        let revoked = self.revoked.get(&(user, channel.clone()));
        if revoked.is_none_or(|at| at + ANSWER_MS < now) {
            let text = format!("link {link} of user {user} follows {channel} without a grant");
            self.violations.push(Violation::new("access", text));
        }
    }
}
