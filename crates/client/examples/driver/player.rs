//! One client of the driver: its handle, its readers and what they report.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_client::{
    Ack, BackoffConfig, Client, Delivery, Event, From, Message, Subscription, json as payload,
};
use bowline_proto::Evidence;
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::error::RecvError,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::voice::Voice;

/// One running client.
pub(crate) struct Player {
    client: Client,
    voice: Voice,
    readers: HashMap<String, JoinHandle<()>>,
    frozen: Frozen,
}

/// Until when readers take nothing: by channel, and under the empty name for all.
type Frozen = Arc<Mutex<HashMap<String, Instant>>>;

impl Player {
    pub(crate) async fn start(command: &Value, voice: Voice) -> Option<Self> {
        let options = &command["options"];
        let defaults = BackoffConfig::default();
        let number = |name: &str, default| options[name].as_u64().unwrap_or(default);
        let mut builder = Client::builder(command["url"].as_str()?)
            .backoff(BackoffConfig {
                min_ms: number("backoff_min_ms", defaults.min_ms),
                max_ms: number("backoff_max_ms", defaults.max_ms),
                ..defaults
            })
            .connect_timeout(Duration::from_millis(number("connect_timeout_ms", 10_000)))
            .resend_stored(options["resend_stored"].as_bool().unwrap_or(false));
        if let Some(attempts) = options["attempts_max"].as_u64() {
            builder = builder.attempts_max(attempts);
        }
        if let Some(token) = command["token"].as_str() {
            builder = builder.token(token);
        }
        voice.say("started", json!({}));
        let client = builder.connect().ok()?;
        tokio::spawn(report(client.clone(), voice.clone()));
        let mut player = Self {
            client,
            voice,
            readers: HashMap::new(),
            frozen: Frozen::default(),
        };
        for (channel, from) in command["channels"].as_object().into_iter().flatten() {
            player.subscribe(channel, from).await?;
        }
        Some(player)
    }

    pub(crate) async fn subscribe(&mut self, channel: &str, from: &Value) -> Option<()> {
        let from = match from {
            Value::Null => From::Now,
            Value::String(text) if text == "first" => From::First,
            Value::String(text) => From::After(text.parse().ok()?),
            value => From::Last(value["last"].as_u64()?),
        };
        let subscription = self.client.subscribe(channel, from).await.ok()?;
        let reader = read(subscription, self.voice.clone(), self.frozen.clone());
        self.readers
            .insert(channel.to_owned(), tokio::spawn(reader));
        Some(())
    }

    pub(crate) async fn unsubscribe(&mut self, channel: &str) -> Option<()> {
        let reader = self.readers.remove(channel)?;
        reader.abort();
        // Cancelled is what it shall be; after this it says nothing more.
        let _ = reader.await;
        self.voice.say("unsubscribed", json!({"channel": channel}));
        Some(())
    }

    pub(crate) async fn publish(&self, command: &Value) -> Option<()> {
        let data = payload(&command["data"].to_string()).ok()?;
        let ack = self
            .client
            .publish(command["channel"].as_str()?, data)
            .await
            .ok()?;
        self.follow(command["m"].as_str()?, ack, false);
        Some(())
    }

    pub(crate) async fn send(&self, command: &Value) -> Option<()> {
        let data = payload(&command["data"].to_string()).ok()?;
        let ack = self
            .client
            .send(command["method"].as_str(), data)
            .await
            .ok()?;
        self.follow(command["m"].as_str()?, ack, true);
        Some(())
    }

    pub(crate) fn freeze(&self, channel: Option<&str>, span: Duration) {
        let mut frozen = self.frozen.lock().expect("nobody panics with it");
        frozen.insert(
            channel.unwrap_or_default().to_owned(),
            Instant::now() + span,
        );
    }

    pub(crate) async fn stop(self) {
        let stopped = self.voice.hush();
        for reader in self.readers.values() {
            reader.abort();
        }
        self.client.close(true).await;
        stopped();
    }

    fn follow(&self, m: &str, mut ack: Ack, with_reply: bool) {
        let (m, voice) = (m.to_owned(), self.voice.clone());
        tokio::spawn(async move {
            match ack.stored().await {
                Ok(()) => voice.say("acked", json!({"m": m})),
                Err(error) => voice.say(
                    "dropped",
                    json!({"m": m, "fate": error.fate, "reason": error.reason}),
                ),
            }
            if with_reply && let Ok(data) = ack.reply().await {
                let data: Value = serde_json::from_slice(data.bytes()).unwrap_or_default();
                voice.say("reply", json!({"m": m, "data": data}));
            }
        });
    }
}

/// Plays the application's handler of one channel.
async fn read(mut subscription: Subscription, voice: Voice, frozen: Frozen) {
    let channel = subscription.channel().to_owned();
    loop {
        let until = {
            let frozen = frozen.lock().expect("nobody panics with it");
            [frozen.get(""), frozen.get(&channel)]
                .into_iter()
                .flatten()
                .max()
                .copied()
        };
        if let Some(until) = until.filter(|until| *until > Instant::now()) {
            sleep_until(until).await;
            continue;
        }
        match subscription.next().await {
            Some(Delivery::Subscribed(recovery)) => voice.say(
                "subscribed",
                json!({"channel": channel, "position": recovery.position,
                       "recovered": recovery.recovered, "reason": recovery.reason}),
            ),
            Some(Delivery::Message(message)) => voice.say("delivered", delivered(&message)),
            Some(Delivery::Gap {
                position,
                reason,
                missed,
            }) => voice.say(
                "gap",
                json!({"channel": channel, "position": position, "reason": reason,
                       "missed": missed}),
            ),
            Some(Delivery::Refused(error)) => {
                voice.say(
                    "subscribe_error",
                    json!({"channel": channel, "code": error.code}),
                );
            }
            Some(Delivery::Ended { code }) => {
                voice.say("unsubscribed", json!({"channel": channel, "code": code}));
            }
            None => return,
        }
    }
}

fn delivered(message: &Message) -> Value {
    let data: Value = serde_json::from_slice(message.data.bytes()).unwrap_or_default();
    json!({
        "channel": &*message.channel,
        "position": message.position,
        "m": data["m"].as_str().unwrap_or_default(),
        "pad_len": data["pad"].as_str().map(|pad| pad.chars().count()),
    })
}

/// Reports what concerns the connection. What concerns channels comes from their streams.
async fn report(client: Client, voice: Voice) {
    let mut events = client.events();
    // This task must not keep the client alive.
    drop(client);
    loop {
        match events.recv().await {
            Ok(Event::State(state)) => voice.say("state", json!({"state": state})),
            Ok(Event::Welcome {
                resumed,
                reason,
                acked,
                connection,
                ..
            }) => voice.say(
                "welcome",
                json!({"resumed": resumed, "reason": reason, "acked": acked,
                       "connection": connection}),
            ),
            Ok(Event::LinkClosed { evidence, .. }) => {
                let (code, reason) = match &evidence {
                    Evidence::Close { code, reason } => (Some(*code), reason.to_string()),
                    other => (None, format!("{other:?}")),
                };
                voice.say("closed", json!({"code": code, "reason": reason}));
            }
            Ok(Event::Error(error)) => {
                voice.say(
                    "error",
                    json!({"code": error.code, "message": error.message}),
                );
            }
            Ok(_) => {}
            Err(RecvError::Lagged(count)) => {
                voice.say(
                    "error",
                    json!({"code": "events_lost", "message": count.to_string()}),
                );
            }
            Err(RecvError::Closed) => return,
        }
    }
}
