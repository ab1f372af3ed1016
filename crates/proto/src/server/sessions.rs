//! Who holds a session, and whether its numbers go on.
//!
//! Owns takeover by `link` and the validity of a session record (PROTOCOL.md, "Session" and
//! "Takeover"). Must not know where records are stored.

use std::{collections::BTreeMap, fmt::Debug};

use crate::message::SessionReason;

/// What became of a link's claim to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim<C> {
    /// Nobody held the session.
    Free,
    /// This older link must be fenced before `acked` is computed, and closed with 4409.
    TakesOver(C),
    /// A newer link holds it: the claimant is closed with 4409.
    Refused,
}

/// The sessions that have a live link; `K` names a session, `C` a connection.
///
/// It holds one entry per live connection, so its bound is that of connections.
#[derive(Debug)]
pub struct Sessions<K, C> {
    holders: BTreeMap<K, (Option<u64>, C)>,
}

impl<K: Ord, C: Copy + PartialEq> Sessions<K, C> {
    /// No sessions.
    pub const fn new() -> Self {
        Self {
            holders: BTreeMap::new(),
        }
    }

    /// Claims a session for a connection. An absent `link` counts as the highest, and the later of
    /// two such hellos wins: their sender cannot number its dials.
    pub fn claim(&mut self, session: K, link: Option<u64>, connection: C) -> Claim<C> {
        let Some((held, holder)) = self.holders.get_mut(&session) else {
            self.holders.insert(session, (link, connection));
            return Claim::Free;
        };
        if !is_newer(link, *held) {
            return Claim::Refused;
        }
        *held = link;
        Claim::TakesOver(std::mem::replace(holder, connection))
    }

    /// The connection that such a claim would take the session over from.
    pub fn holder_below(&self, session: &K, link: Option<u64>) -> Option<C> {
        let (held, holder) = self.holders.get(session)?;
        is_newer(link, *held).then_some(*holder)
    }

    /// Gives a session up, if this connection still holds it.
    pub fn release(&mut self, session: &K, connection: C) {
        if self
            .holders
            .get(session)
            .is_some_and(|(_, holder)| *holder == connection)
        {
            self.holders.remove(session);
        }
    }

    /// How many sessions have a live link.
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether no session has a live link.
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }
}

const fn is_newer(link: Option<u64>, held: Option<u64>) -> bool {
    match (link, held) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(link), Some(held)) => link > held,
    }
}

impl<K: Ord, C: Copy + PartialEq> Default for Sessions<K, C> {
    fn default() -> Self {
        Self::new()
    }
}

/// Judges the record R of a session: valid only if first − 1 ≤ R < next; answers R.
///
/// # Errors
/// [`SessionReason`]: the session must begin anew under a fresh id.
pub fn judge_session(
    record: u64,
    first: Option<u64>,
    next: Option<u64>,
) -> Result<u64, SessionReason> {
    if first.is_some_and(|first| record + 1 < first) {
        Err(SessionReason::SessionLost)
    } else if next.is_some_and(|next| record >= next) {
        Err(SessionReason::ClientRewound)
    } else {
        Ok(record)
    }
}

/// How a session that was asked for goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// R: every number up to here is stored.
    pub acked: u64,
    /// The client is told that the session goes on: there is a record of it, or a live link.
    pub resumed: bool,
}

/// Judges a claimed session by its record, if it has one, after an older link was fenced.
///
/// # Errors
/// [`SessionReason`], as [`judge_session`] has it.
pub fn resume_session(
    record: Option<u64>,
    taken_over: bool,
    first: Option<u64>,
    next: Option<u64>,
) -> Result<Resumption, SessionReason> {
    judge_session(record.unwrap_or(0), first, next).map(|acked| Resumption {
        acked,
        resumed: taken_over || record.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_higher_link_takes_over() {
        let mut sessions = Sessions::new();
        assert_eq!(sessions.claim("s", Some(2), 'a'), Claim::Free);
        assert_eq!(sessions.claim("s", Some(2), 'b'), Claim::Refused);
        assert_eq!(sessions.claim("s", Some(1), 'b'), Claim::Refused);
        assert_eq!(sessions.claim("s", Some(3), 'b'), Claim::TakesOver('a'));
        sessions.release(&"s", 'a');
        assert_eq!(
            sessions.claim("s", Some(3), 'c'),
            Claim::Refused,
            "b still holds it"
        );
        assert_eq!(sessions.claim("s", None, 'c'), Claim::TakesOver('b'));
        assert_eq!(sessions.claim("s", Some(9), 'd'), Claim::Refused);
        assert_eq!(sessions.claim("s", None, 'd'), Claim::TakesOver('c'));
        sessions.release(&"s", 'd');
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_record_is_valid_between_first_and_next() {
        let judge = |record, first, next| judge_session(record, Some(first), Some(next));
        assert_eq!(judge(0, 1, 1), Ok(0));
        assert_eq!(judge(4, 5, 9), Ok(4));
        assert_eq!(judge(8, 5, 9), Ok(8));
        assert_eq!(judge(3, 5, 9), Err(SessionReason::SessionLost));
        assert_eq!(judge(9, 5, 9), Err(SessionReason::ClientRewound));
        assert_eq!(judge_session(9, None, None), Ok(9));
    }

    #[test]
    fn a_session_goes_on_with_its_record_or_its_live_link() {
        let resumed = |record, taken_over| {
            resume_session(record, taken_over, Some(1), Some(5)).map(|session| session.resumed)
        };
        assert_eq!(resumed(None, false), Ok(false));
        assert_eq!(resumed(None, true), Ok(true));
        assert_eq!(resumed(Some(4), false), Ok(true));
        assert_eq!(resumed(Some(5), true), Err(SessionReason::ClientRewound));
    }
}
