//! The applications: who follows what, who publishes when.

use std::sync::Arc;

use bowline::{PublishError, personal_channel};
use bowline_engine::{AppendError, IdempotencyKey};
use bowline_proto::Data;

use super::{Event, World};
use crate::{
    access::{self, SECRET_PREFIX},
    observed::{Ended, Published, Target},
    wire::lock,
};

/// A backend that was not told the fate of a publication with a key repeats it after so long.
const REPEAT_MS: u64 = 150;
/// In the end each channel speaks so often: within the shortest time for which one is remembered.
const LAST_WORDS_MS: u64 = 900;

impl World {
    /// Draws users, channels and grants, and starts everything.
    pub(super) fn found(&mut self) {
        for number in 0..self.plan.channels {
            let prefix = match number % 4 {
                0 => "small-",
                1 => "large-",
                2 => SECRET_PREFIX,
                _ => "live-",
            };
            let channel: Arc<str> = format!("{prefix}{number}").into();
            if prefix == SECRET_PREFIX {
                let readers = (0..self.plan.users)
                    .filter(|_| self.rng.percent(60))
                    .collect();
                lock(&self.grants).readers.insert(channel.clone(), readers);
            }
            self.channels.push(channel);
        }
        for user in 0..self.plan.users {
            self.channels.push(personal_channel(&access::name(user)));
        }
        self.boot();
        for client in 0..self.plan.clients {
            let user = client % self.plan.users;
            let mut channels = Vec::new();
            for channel in &self.channels[..self.plan.channels] {
                if self.rng.percent(55) {
                    channels.push((channel.clone(), None));
                }
            }
            self.begin(user, None, &channels);
        }
        let safety_ms = self.plan.safety_ms;
        self.plan_in(1, Event::Publish);
        if self.plan.faults > 0 {
            self.plan_in(100, Event::Fault);
        }
        self.plan_at(safety_ms, Event::Heal);
    }

    pub(super) fn on_publish(&mut self) {
        if self.healed {
            return;
        }
        self.publish_one();
        let every_ms = self.plan.safety_ms / self.plan.publications.max(1) as u64;
        let wait_ms = self.rng.below(every_ms * 2 + 1);
        self.plan_in(wait_ms, Event::Publish);
    }

    pub(super) fn publish_one(&mut self) {
        let channel = if self.rng.percent(15) {
            self.channels[self.rng.index(self.channels.len())].clone()
        } else {
            self.channels[self.rng.index(self.plan.channels)].clone()
        };
        if self.is_silent(&channel) {
            return;
        }
        match self.rng.below(10) {
            0..5 => self.publish(channel),
            5..9 => self.send_from_any(Target::Channel(channel)),
            _ => self.send_from_any(Target::Application),
        }
    }

    fn send_from_any(&mut self, target: Target) {
        let client = self.rng.index(self.actors.len());
        if self.actors[client].frozen_until.is_none() {
            self.send(client, target);
        }
    }

    /// A backend publishes, mostly with a key by which it can repeat what was not answered.
    pub(super) fn publish(&mut self, channel: Arc<str>) {
        let number = self.published.len();
        let padding = "y".repeat(self.rng.index(120));
        let data = Data::Json(format!("\"b{number}-{padding}\"").into());
        self.published.push(Published {
            channel,
            data: data.bytes().clone(),
            keyed: self.rng.percent(self.plan.keyed_percent),
            end: None,
        });
        self.publish_again(number);
    }

    pub(super) fn publish_again(&mut self, number: usize) {
        let published = &self.published[number];
        let key = published.keyed.then(|| {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&(number as u64).to_be_bytes());
            IdempotencyKey(key)
        });
        let data = Data::Json(published.data.clone());
        match (&self.node, self.frozen_until) {
            (Some(node), None) => node.publish(number, &published.channel, data, key),
            _ if published.keyed => self.plan_in(REPEAT_MS, Event::Repeat(number)),
            _ => self.published[number].end = Some(Ended::Refused),
        }
    }

    /// Whether nobody publishes there for now.
    pub(super) fn is_silent(&self, channel: &str) -> bool {
        let until = self.silent_until.get(channel);
        until.is_some_and(|until| *until > self.now)
    }

    /// Takes what the server has answered to backends.
    pub(super) fn settle_answers(&mut self) {
        let answers = self.node.as_ref().map(|node| node.answers());
        for (number, outcome) in answers.unwrap_or_default() {
            let published = &mut self.published[number];
            match outcome {
                // A repetition that had its effect before a crash: without history nothing tells
                // whether the effect was still seen by anybody.
                Ok(stored) if stored.duplicate && stored.position.is_none() => {
                    published.end = Some(Ended::Unknown);
                }
                Ok(_) => published.end = Some(Ended::Acked),
                Err(_) if published.keyed => self.plan_in(REPEAT_MS, Event::Repeat(number)),
                Err(PublishError::Append(AppendError::FateUnknown)) => {
                    published.end = Some(Ended::Unknown)
                }
                Err(_) => published.end = Some(Ended::Refused),
            }
        }
    }

    /// What was on its way when the server's process ended is repeated, or its fate is unknown.
    pub(super) fn lose_answers(&mut self) {
        self.settle_answers();
        for number in 0..self.published.len() {
            if self.published[number].end.is_some() {
                continue;
            }
            if self.published[number].keyed {
                let waits = |event: &Event| matches!(event, Event::Repeat(it) if *it == number);
                if !self.agenda.values().any(waits) {
                    self.plan_in(REPEAT_MS, Event::Repeat(number));
                }
            } else {
                self.published[number].end = Some(Ended::Unknown);
            }
        }
    }

    /// Nothing breaks any more, and each channel speaks once more: that tells of every hint that was
    /// lost. And again, so that none is forgotten before all have come to its end.
    pub(super) fn last_words(&mut self) {
        self.plan_in(LAST_WORDS_MS, Event::LastWords);
        for index in 0..self.channels.len() {
            let channel = self.channels[index].clone();
            self.publish(channel);
        }
    }
}
