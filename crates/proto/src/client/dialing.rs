//! When the client dials: tokens, hints, and what follows on a failure.
//!
//! Owns the waits between attempts, and the token that the next one takes. Must not know what comes
//! on a link: of a welcomed one it knows only that it is there, to be probed or told a new token.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    classify::{Strategy, Verdict},
    client::{
        contract::{Hint, Output, State},
        machine::{Client, Dialing},
    },
    close,
    message::ClientMessage,
    time::Time,
};

/// A dormant client dials once per 60–120 s: often enough to come back by itself, too seldom to
/// burden a server that is down.
const DORMANT_MS: u64 = 60_000;
/// On an open link a token that could not be had is asked for again after so long: some attempts fit
/// between `expiring` and the end.
const ASK_AGAIN_MS: u64 = 5_000;
/// Auth failures in a row, each after a new token, until the application must act.
const AUTH_FAILURES_MAX: u32 = 2;

impl Client {
    pub(super) fn token(&mut self, now: Time, token: Option<Box<str>>, out: &mut Vec<Output>) {
        if self.authorize_until.take().is_none() {
            return;
        }
        self.token = token;
        match (&self.active, &self.token) {
            (Some(active), Some(token)) => {
                let message = ClientMessage::Refresh {
                    id: None,
                    token: token.clone(),
                };
                out.push(Output::Write {
                    link: active.link,
                    message,
                });
            }
            (None, _) if self.state() == State::Authorizing => self.dial(now, out),
            // It was asked for on a link that is gone: the next `hello` has it.
            _ => {}
        }
    }

    pub(super) fn token_failed(&mut self, now: Time, retry: bool, out: &mut Vec<Output>) {
        if self.authorize_until.take().is_none() {
            return;
        }
        if self.state() != State::Authorizing {
            let again = now + Duration::from_millis(ASK_AGAIN_MS);
            self.ask_again_at = (retry && self.active.is_some()).then_some(again);
        } else if retry {
            self.wait(now, None, out);
        } else {
            self.block(out);
        }
    }

    pub(super) fn hint(&mut self, now: Time, hint: Hint, out: &mut Vec<Output>) {
        match hint {
            Hint::Hidden => self.hidden = true,
            Hint::Visible => self.hidden = false,
            Hint::Offline => self.offline = true,
            // Only these two say that there is a network; the others say that it is worth a look.
            Hint::Online | Hint::NetworkChange => self.offline = false,
            Hint::Wake => {}
        }
        if let Some(active) = &self.active {
            if hint != Hint::Hidden && active.probe.is_none() {
                self.probe(now, out);
            }
            return;
        }
        match (hint, self.state()) {
            (Hint::Offline, State::Waiting | State::Dormant) => {
                self.redial_at = None;
                self.move_to(State::Offline, out);
            }
            (Hint::Hidden, State::Waiting) => self.sleep(now, out),
            (Hint::Hidden | Hint::Offline, _) => {}
            (_, State::Waiting | State::Dormant | State::Offline) if !self.offline => {
                let soon = now + self.backoff.hinted(&mut self.rng);
                self.redial_at = Some(self.redial_at.map_or(soon, |at| at.min(soon)));
                self.move_to(State::Waiting, out);
            }
            _ => {}
        }
    }

    /// Dials, or asks for the token that this needs; instead of a dial that is on its way.
    pub(super) fn start(&mut self, now: Time, out: &mut Vec<Output>) {
        self.redial_at = None;
        if let Some(dialing) = self.dialing.take() {
            out.push(Output::CloseLink {
                link: dialing.link,
                code: close::GOING_AWAY,
            });
        }
        if self.options.authorize && self.token.is_none() && self.active.is_none() {
            self.authorize(now, out);
            self.move_to(State::Authorizing, out);
        } else {
            self.dial(now, out);
        }
    }

    /// Asks the application for a token, once at a time.
    pub(super) fn authorize(&mut self, now: Time, out: &mut Vec<Output>) {
        self.ask_again_at = None;
        if self.authorize_until.is_none() {
            let patience = Duration::from_millis(self.options.authorize_timeout_ms);
            self.authorize_until = Some(now + patience);
            out.push(Output::Authorize);
        }
    }

    fn dial(&mut self, now: Time, out: &mut Vec<Output>) {
        self.link += 1;
        self.dialing = Some(Dialing {
            link: self.link,
            hello_at: None,
            deadline: now + Duration::from_millis(self.options.connect_timeout_ms),
            changed: BTreeSet::new(),
        });
        let url = self.redial_url.take();
        if self.active.is_none() {
            self.move_to(State::Connecting, out);
        }
        out.push(Output::Dial {
            link: self.link,
            url,
        });
    }

    /// Decides what follows on a failure, once no link is left or a replacement failed. `brief`: the link
    /// was welcomed, and proved nothing by its age.
    pub(super) fn recover(
        &mut self,
        now: Time,
        verdict: &Verdict,
        brief: bool,
        out: &mut Vec<Output>,
    ) {
        if self.dialing.is_some() {
            return;
        }
        let authorize = self.options.authorize;
        match verdict.strategy() {
            strategy if self.active.is_some() => {
                if strategy == Strategy::NewToken && authorize {
                    self.authorize(now, out);
                }
                self.wait(now, verdict.retry_after_ms, out);
            }
            Strategy::Backoff => self.wait(now, verdict.retry_after_ms, out),
            // Taken, and ended at once: so may the next one be.
            Strategy::NewToken if authorize && brief => {
                self.token = None;
                self.wait(now, verdict.retry_after_ms, out);
            }
            Strategy::NewToken => {
                self.token = None;
                self.auth_failures += 1;
                if authorize && self.auth_failures < AUTH_FAILURES_MAX {
                    self.start(now, out);
                } else {
                    self.block(out);
                }
            }
            Strategy::Block => self.block(out),
        }
    }

    /// Waits for the next attempt: a backoff, the spread of a restart, the network, or for long.
    fn wait(&mut self, now: Time, advice_ms: Option<u64>, out: &mut Vec<Output>) {
        let delay = match self.restart_over_ms.take() {
            // An announced restart is no failure.
            Some(over_ms) => Duration::from_millis(self.rng.below(over_ms.saturating_add(1))),
            None => self.backoff.failed(now, advice_ms, &mut self.rng),
        };
        self.redial_at = Some(now + delay);
        if self.active.is_some() {
            return;
        }
        if self.offline {
            self.redial_at = None;
            self.move_to(State::Offline, out);
        } else if self.hidden || u64::from(self.backoff.failures()) > self.attempts_max {
            self.sleep(now, out);
        } else {
            self.move_to(State::Waiting, out);
        }
    }

    fn sleep(&mut self, now: Time, out: &mut Vec<Output>) {
        let delay_ms = DORMANT_MS + self.rng.below(DORMANT_MS + 1);
        let at = now + Duration::from_millis(delay_ms);
        // The server may have asked for more.
        self.redial_at = Some(self.redial_at.map_or(at, |advised| advised.max(at)));
        self.move_to(State::Dormant, out);
    }

    pub(super) fn block(&mut self, out: &mut Vec<Output>) {
        self.redial_at = None;
        self.move_to(State::Blocked, out);
    }
}
