//! Upstream numbering: which numbered messages of a session are taken.
//!
//! Owns PROTOCOL.md, "Upstream": numbers are taken in order, a refusal never advances them, and
//! what follows a refused number is discarded until that number, or a `skip`, arrives. Must not
//! know what the messages hold, nor how they are stored.

use crate::{code::Code, message::ErrorInfo};

/// What to do with a numbered message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Store it.
    Accept,
    /// It is stored already: answer with what [`Upstream::poll`] owes.
    Duplicate,
    /// Drop it: it is on its way to the log, or a lower number was refused.
    Discard,
    /// It, or a lower number, was refused: answer with what [`Upstream::poll`] owes.
    Refused,
}

/// What the client is owed, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// `acked` with this seq.
    pub acked: Option<u64>,
    /// `error` with this seq.
    pub refused: Option<(u64, ErrorInfo)>,
}

/// The numbers of one session on one link.
#[derive(Debug)]
pub struct Upstream {
    /// Everything up to here is stored.
    stored: u64,
    /// Everything up to here is stored or on its way.
    accepted: u64,
    inflight_max: u64,
    owes_ack: bool,
    /// The refused number is `accepted + 1`; its error waits until all below is stored.
    blocked: bool,
    owes_error: Option<Box<ErrorInfo>>,
}

impl Upstream {
    /// Goes on behind `stored`, with at most `inflight_max` numbers on their way.
    pub fn new(stored: u64, inflight_max: u64) -> Self {
        Self {
            stored,
            accepted: stored,
            inflight_max,
            owes_ack: false,
            blocked: false,
            owes_error: None,
        }
    }

    /// Judges a message; `refusal` is the reason not to take it that was found in itself.
    pub fn receive(&mut self, seq: u64, refusal: Option<ErrorInfo>) -> Intake {
        if seq <= self.stored {
            self.owes_ack = true;
            return Intake::Duplicate;
        }
        let expected = self.accepted + 1;
        if seq < expected || (self.blocked && seq != expected) {
            return Intake::Discard;
        }
        let refusal = match refusal {
            _ if seq > expected => Some(ErrorInfo::new(Code::OutOfOrder)),
            _ if self.accepted - self.stored >= self.inflight_max => {
                Some(ErrorInfo::new(Code::TooManyInflight).with_retry_after_ms(0))
            }
            refusal => refusal,
        };
        match refusal {
            Some(error) => {
                self.refuse(expected, error);
                Intake::Refused
            }
            None => {
                self.blocked = false;
                self.owes_error = None;
                self.accepted = seq;
                Intake::Accept
            }
        }
    }

    /// Judges a `skip`: if it is accepted, the session's record must be advanced to `seq`.
    pub fn skip(&mut self, seq: u64) -> Intake {
        if seq <= self.stored {
            self.owes_ack = true;
            return Intake::Duplicate;
        }
        if seq <= self.accepted {
            return Intake::Discard;
        }
        self.blocked = false;
        self.owes_error = None;
        self.accepted = seq;
        Intake::Accept
    }

    /// Everything up to `seq` is stored.
    pub fn stored(&mut self, seq: u64) {
        // A number that failed before it was answered stored may be stored after all (its fate was
        // unknown): the record tells the truth.
        if seq > self.stored {
            self.stored = seq;
            self.owes_ack = true;
        }
        if seq > self.accepted {
            self.accepted = seq;
            self.blocked = false;
            self.owes_error = None;
        }
    }

    /// The log or the application refused `seq`; what followed it was not stored.
    pub fn failed(&mut self, seq: u64, error: ErrorInfo) {
        if seq > self.stored && seq <= self.accepted {
            // Everything lower has ended. A `skip` has taken several numbers at once: the lowest of
            // them is the one that must come again.
            self.refuse(self.stored + 1, error);
        }
    }

    /// What the client is owed now.
    pub fn poll(&mut self) -> Owed {
        let due = self.stored == self.accepted;
        let refused = if due { self.owes_error.take() } else { None };
        let acked = std::mem::take(&mut self.owes_ack) || refused.is_some();
        Owed {
            acked: acked.then_some(self.stored),
            refused: refused.map(|error| (self.accepted + 1, *error)),
        }
    }

    /// Everything up to here is stored.
    pub fn acked(&self) -> u64 {
        self.stored
    }

    fn refuse(&mut self, seq: u64, error: ErrorInfo) {
        self.accepted = seq - 1;
        self.blocked = true;
        self.owes_error = Some(Box::new(error));
    }
}

#[cfg(test)]
mod tests;
