//! What happens on the client's links: handshake, messages, probes, loss.
//!
//! Owns the answers to link events. When to dial is `dialing`'s decision.

use std::{sync::Arc, time::Duration};

use crate::{
    backoff::ADVICE_MS_MAX,
    channel::{CHANNEL_BYTES_LIMIT, is_channel},
    classify::{Evidence, classify},
    client::{
        contract::{Event, Output, State},
        machine::{Active, Client, Probe, report},
        subscriptions::Judgement,
    },
    close,
    code::Code,
    message::{
        ClientMessage, Echo, ErrorInfo, Hello, Message, ReconnectReason, ServerMessage,
        SessionReason, Subject, Subscribe, Welcome,
    },
    publication::Data,
    recovery::Recovery,
    time::Time,
};

/// Probes in a row whose loss is death.
const MISSED_PROBES_MAX: u32 = 2;
/// A link that replaced another is not left sooner on advice: servers that send a client to each other must
/// not keep it dialling.
const ADVISED_AFTER: Duration = Duration::from_secs(1);
/// The ceiling of the wait after a refused subscription that may succeed later.
const SUBSCRIBE_RETRY_MS: u64 = 5_000;

impl Client {
    pub(super) fn opened(&mut self, now: Time, link: u64, out: &mut Vec<Output>) {
        let Some(dialing) = self.dialing.as_mut().filter(|dialing| dialing.link == link) else {
            return;
        };
        dialing.hello_at = Some(now);
        match &mut self.active {
            Some(active) => active.fenced = true,
            None => self.move_to(State::Handshaking, out),
        }
        let hello = Hello {
            id: None,
            token: self.token.clone(),
            session: self.session.clone(),
            link: Some(link),
            first: Some(self.outbox.first()),
            next: Some(self.outbox.next()),
            subscribe: self.subscriptions.hello(),
            client: self.options.client.clone(),
        };
        let message = ClientMessage::Hello(Box::new(hello));
        out.push(Output::Write { link, message });
    }

    pub(super) fn received(&mut self, now: Time, link: u64) {
        if let Some(active) = self.active.as_mut().filter(|active| active.link == link) {
            active.received_at = now;
            active.probe = None;
            self.health.alive();
            // There is a network, or the server needs none.
            self.offline = false;
        }
    }

    pub(super) fn message(
        &mut self,
        now: Time,
        link: u64,
        message: ServerMessage,
        out: &mut Vec<Output>,
    ) {
        if let Some(dialing) = self.dialing.as_ref().filter(|dialing| dialing.link == link) {
            let hello_at = dialing.hello_at.unwrap_or(now);
            match message {
                ServerMessage::Welcome(welcome) => self.welcomed(now, hello_at, *welcome, out),
                // A refusal before `welcome` is followed by the close that says what to do.
                ServerMessage::Error { error, .. } => out.push(Output::Event(Event::Error(error))),
                _ => {}
            }
            return;
        }
        let Some(active) = self.active.as_ref().filter(|active| active.link == link) else {
            return;
        };
        let probe = active.probe;
        self.received(now, link);
        match message {
            ServerMessage::Message(message) => self.publication(now, message, out),
            ServerMessage::Acked { seq } => self.acked(now, seq, out),
            ServerMessage::Ping { ts } => {
                let message = ClientMessage::Pong {
                    ts,
                    positions: Vec::new(),
                };
                out.push(Output::Write { link, message });
            }
            ServerMessage::Pong { ts } => {
                if let Some(probe) = probe.filter(|p| ts.as_ref().and_then(number) == Some(p.ts)) {
                    self.health.measured(now - probe.sent_at);
                }
            }
            ServerMessage::Reply { to, data } => self.replied(to, data, out),
            ServerMessage::Error { to, error } => self.refused(now, to, error, out),
            ServerMessage::Subscribed {
                id,
                channel,
                recovery,
            } => {
                // An id of another form is not ours; 0 is never asked with.
                let id = id.map(|id| number(&id).unwrap_or(0));
                self.begin(channel, id, recovery, out);
            }
            ServerMessage::Unsubscribed { id, channel, code } => {
                if id.is_none() && code.is_some() && self.subscriptions.remove(&channel) {
                    out.push(Output::Event(Event::Unsubscribed { channel, code }));
                }
            }
            ServerMessage::Gap {
                channel,
                position,
                reason,
                missed,
            } => {
                if self.subscriptions.gap(&channel, position, reason) {
                    let gap = Event::Gap {
                        channel,
                        position,
                        reason,
                        missed,
                    };
                    out.push(Output::Event(gap));
                }
            }
            ServerMessage::Reconnect {
                after_ms,
                reason,
                url,
            } => self.advised(now, after_ms, reason, url),
            ServerMessage::Expiring { .. } if self.options.authorize => self.authorize(now, out),
            ServerMessage::Expiring { .. } | ServerMessage::Welcome(_) => {}
        }
    }

    fn acked(&mut self, now: Time, seq: u64, out: &mut Vec<Output>) {
        // On a link that is to be replaced it says nothing of the next one.
        if self.redial_at.is_none() && self.dialing.is_none() {
            self.backoff.proved();
        }
        let resolved = self.outbox.acked(now, seq, false);
        report(resolved, out);
    }

    fn advised(
        &mut self,
        now: Time,
        after_ms: u64,
        reason: ReconnectReason,
        url: Option<Box<str>>,
    ) {
        let after_ms = after_ms.min(ADVICE_MS_MAX);
        match reason {
            ReconnectReason::Restart => self.restart_over_ms = Some(after_ms),
            ReconnectReason::Drain | ReconnectReason::Rebalance => {
                let soonest = self
                    .active
                    .as_ref()
                    .map_or(now, |active| active.stays_until);
                self.redial_at = Some(soonest.max(now + Duration::from_millis(after_ms)));
                self.redial_url = url;
            }
        }
    }

    /// A link is gone. Only the newest and the welcomed one matter.
    pub(super) fn failed(
        &mut self,
        now: Time,
        link: u64,
        evidence: Evidence,
        out: &mut Vec<Output>,
    ) {
        let mut brief = false;
        if self
            .dialing
            .as_ref()
            .is_some_and(|dialing| dialing.link == link)
        {
            self.dialing = None;
            // The older link goes on. Where the server fenced it for the newer one, it is about to end.
            if let Some(active) = &mut self.active {
                active.fenced = false;
            }
        } else if self
            .active
            .as_ref()
            .is_some_and(|active| active.link == link)
        {
            self.active = None;
            brief = !self.backoff.lasted(now);
            self.subscriptions.unlink();
            self.fail_requests(out);
            let resolved = self.outbox.relink();
            report(resolved, out);
        } else {
            return;
        }
        let verdict = classify(&evidence);
        let replaced = verdict.code.as_deref() == Some(Code::Replaced.as_str())
            || matches!(evidence, Evidence::Close { code: 4409, .. });
        out.push(Output::Event(Event::LinkClosed {
            link,
            evidence,
            verdict: verdict.clone(),
        }));
        if replaced && link == self.link {
            self.replaced(out);
        } else if replaced {
            // A newer link of ours took over and died before its welcome.
            let network = classify(&Evidence::Opaque);
            self.recover(now, &network, brief, out);
        } else {
            self.recover(now, &verdict, brief, out);
        }
    }

    /// Another client took over: this one must never take it back, or both would do so for ever.
    fn replaced(&mut self, out: &mut Vec<Output>) {
        // An older link may still be open.
        self.drop_links(out);
        self.session = None;
        let resolved = self
            .outbox
            .fresh(self.options.resend_unknown, Code::Replaced.as_str());
        report(resolved, out);
        self.block(out);
    }

    fn welcomed(&mut self, now: Time, hello_at: Time, welcome: Welcome, out: &mut Vec<Output>) {
        let dialing = self.dialing.take().expect("the caller found it");
        let mut stays_until = now;
        if let Some(old) = self.active.take() {
            stays_until = now + ADVISED_AFTER;
            let link = old.link;
            out.push(Output::CloseLink {
                link,
                code: close::NORMAL,
            });
            self.subscriptions.unlink();
            self.fail_requests(out);
        }
        self.redial_at = None;
        self.restart_over_ms = None;
        self.auth_failures = 0;
        self.backoff.opened(now);
        self.health.measured(now - hello_at);
        if self.options.attempts_max.is_none() {
            self.attempts_max = welcome.max_reconnect_attempts;
        }
        let pong_timeout = Duration::from_millis(welcome.pong_timeout_ms);
        self.active = Some(Active {
            link: dialing.link,
            stays_until,
            received_at: now,
            silence_max: Duration::from_millis(welcome.ping_interval_ms) + pong_timeout,
            pong_timeout,
            inflight_max: welcome.inflight_max,
            probe: None,
            fenced: false,
        });
        out.push(Output::Event(Event::Welcome {
            resumed: welcome.resumed,
            reason: welcome.reason,
            acked: welcome.acked,
            connection: welcome.connection.clone(),
            session: welcome.session.clone(),
        }));
        self.ask_again_at = None;
        self.resume_outbox(now, &welcome, out);
        self.message_bytes_max = Some(welcome.message_bytes_max);
        let mut resolved = self.outbox.outlive(now, welcome.session_ttl_ms);
        resolved.extend(self.outbox.limit(welcome.message_bytes_max));
        report(resolved, out);
        self.session = Some(welcome.session);
        for (channel, outcome) in welcome.subscriptions {
            match outcome {
                Ok(_) if dialing.changed.contains(&channel) => {
                    self.write_unsubscribe(&channel, out)
                }
                Err(_) if dialing.changed.contains(&channel) => {}
                Ok(recovery) => self.begin(channel, None, recovery, out),
                Err(error) => self.subscribe_failed(now, channel, error, out),
            }
        }
    }

    fn resume_outbox(&mut self, now: Time, welcome: &Welcome, out: &mut Vec<Output>) {
        let same = self
            .session
            .as_ref()
            .is_none_or(|session| *session == welcome.session);
        let resolved = match welcome.reason {
            Some(SessionReason::ClientRewound) => self
                .outbox
                .fresh(self.options.resend_unknown, "client_rewound"),
            Some(SessionReason::SessionLost) => self
                .outbox
                .fresh(self.options.resend_unknown, "session_lost"),
            None if !same => self
                .outbox
                .fresh(self.options.resend_unknown, "session_lost"),
            None => {
                let mut resolved = self.outbox.relink();
                if welcome.acked > 0 && !self.options.resend_stored {
                    resolved.extend(self.outbox.acked(now, welcome.acked, true));
                }
                resolved
            }
        };
        report(resolved, out);
    }

    fn begin(
        &mut self,
        channel: Arc<str>,
        id: Option<u64>,
        recovery: Recovery,
        out: &mut Vec<Output>,
    ) {
        if !is_channel(&channel, CHANNEL_BYTES_LIMIT) {
            return;
        }
        match self.subscriptions.begin(&channel, id, recovery) {
            Some(recovery) => out.push(Output::Event(Event::Subscribed { channel, recovery })),
            // Paused since `hello` asked for it, or there is no room for it: the server must stop.
            None if id.is_none() => self.write_unsubscribe(&channel, out),
            None => {}
        }
    }

    fn subscribe_failed(
        &mut self,
        now: Time,
        channel: Arc<str>,
        error: ErrorInfo,
        out: &mut Vec<Output>,
    ) {
        let until = error
            .retry
            .then(|| self.subscribe_again_at(now, error.retry_after_ms));
        self.subscriptions.refuse(&channel, until);
        self.changed(channel.clone());
        out.push(Output::Event(Event::SubscribeFailed { channel, error }));
    }

    fn subscribe_again_at(&mut self, now: Time, advice_ms: Option<u64>) -> Time {
        let jitter_ms = self.rng.below(SUBSCRIBE_RETRY_MS + 1);
        now + Duration::from_millis(advice_ms.unwrap_or(0).saturating_add(jitter_ms))
    }

    fn publication(&mut self, now: Time, message: Message, out: &mut Vec<Output>) {
        match self.subscriptions.judge(&message) {
            Judgement::Deliver => out.push(Output::Event(Event::Message(message))),
            Judgement::Ignore => {}
            Judgement::Fault { again } => {
                // Asked for anew by the flush that ends every input, but not over and over.
                self.write_unsubscribe(&message.channel, out);
                if again {
                    let until = self.subscribe_again_at(now, None);
                    self.subscriptions.refuse(&message.channel, Some(until));
                }
                out.push(Output::Event(Event::Error(ErrorInfo {
                    code: "offset_jump".into(),
                    message: format!("Offsets of {} were left out.", message.channel).into(),
                    retry: true,
                    retry_after_ms: None,
                })));
            }
        }
    }

    fn replied(&mut self, to: Subject, data: Data, out: &mut Vec<Output>) {
        match to {
            Subject::Seq(seq) => {
                if let Some(key) = self.outbox.replied(seq) {
                    out.push(Output::Event(Event::Reply { key, data }));
                }
            }
            Subject::Id(id) => {
                if let Some(key) = number(&id).and_then(|id| self.requests.remove(&id)) {
                    let result = Ok(data);
                    out.push(Output::Event(Event::Answer { key, result }));
                }
            }
        }
    }

    fn refused(&mut self, now: Time, to: Option<Subject>, error: ErrorInfo, out: &mut Vec<Output>) {
        match to {
            Some(Subject::Seq(seq)) => {
                let rng = &mut self.rng;
                let resolved = self
                    .outbox
                    .refused(now, seq, &error, |bound| rng.below(bound));
                report(resolved, out);
            }
            Some(Subject::Id(id)) => {
                let Some(id) = number(&id) else { return };
                if let Some(key) = self.requests.remove(&id) {
                    let result = Err(error);
                    out.push(Output::Event(Event::Answer { key, result }));
                } else if let Some(channel) = self.subscriptions.asked(id) {
                    if error.code == Code::AlreadySubscribed.as_str() {
                        // An `unsubscribe` was not taken, for its rate for example.
                        self.write_unsubscribe(&channel, out);
                        let until = self.subscribe_again_at(now, None);
                        self.subscriptions.refuse(&channel, Some(until));
                    } else {
                        self.subscribe_failed(now, channel, error, out);
                    }
                }
            }
            None => out.push(Output::Event(Event::Error(error))),
        }
    }

    /// Sends a ping whose answer, or any other byte, must come soon.
    pub(super) fn probe(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(active) = &mut self.active else {
            return;
        };
        let ts = now.as_millis();
        active.probe = Some(Probe {
            ts,
            sent_at: now,
            deadline: now + self.health.probe_timeout(active.pong_timeout),
        });
        let message = ClientMessage::Ping {
            ts: Some(ts.into()),
        };
        out.push(Output::Write {
            link: active.link,
            message,
        });
    }

    pub(super) fn probe_after_silence(&mut self, now: Time, out: &mut Vec<Output>) {
        let silence = Duration::from_millis(self.options.silence_ms);
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.probe.is_none() && now - active.received_at >= silence)
        {
            self.probe(now, out);
        }
    }

    pub(super) fn check_silence(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(active) = &self.active else { return };
        let link = active.link;
        let probe_missed = active.probe.is_some_and(|probe| probe.deadline <= now);
        if probe_missed {
            self.health.missed();
        }
        if active.received_at + active.silence_max <= now
            || self.health.missed_probes() >= MISSED_PROBES_MAX
        {
            out.push(Output::CloseLink {
                link,
                code: close::GOING_AWAY,
            });
            self.failed(now, link, Evidence::Silence, out);
        } else if probe_missed {
            self.probe(now, out);
        }
    }

    /// Writes what may be written: subscriptions first, since others may wait for their effect.
    pub(super) fn flush(&mut self, now: Time, out: &mut Vec<Output>) {
        let Some(active) = &self.active else { return };
        // The next `welcome` would not know of what is asked here.
        if active.fenced {
            return;
        }
        let (link, inflight_max) = (active.link, active.inflight_max);
        // Bounded by `subscriptions_max`: each is asked once.
        while let Some((channel, from)) = self.subscriptions.ask(now, self.next_id) {
            let id = Some(Echo::from(self.next_id));
            self.next_id += 1;
            let message = ClientMessage::Subscribe(Subscribe { id, channel, from });
            out.push(Output::Write { link, message });
        }
        // Bounded by the outbox: each is written once.
        while let Some(message) = self.outbox.write(now, inflight_max) {
            out.push(Output::Write { link, message });
        }
    }
}

fn number(echo: &Echo) -> Option<u64> {
    echo.as_json().parse().ok()
}
