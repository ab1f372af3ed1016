//! The forms in which a publish request may come, read into orders.
//!
//! Owns the text: JSON with `channel`, `channels` or `messages`, or bytes with `?channel=`. Payloads
//! pass through unparsed. Must not know the engine, nor who asks.

use std::{borrow::Cow, fmt::Display, sync::Arc};

use axum::http::{HeaderValue, header, request::Parts};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bowline_proto::{Code, Data, codec::json_data};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    Config,
    http::{Question, error::ApiError},
};

/// The longest idempotency key, in bytes: twice a UUID with a prefix and room to spare.
const KEY_BYTES_MAX: usize = 255;
/// The longest tag, in bytes: it stands in every copy of the message.
const TAG_BYTES_MAX: usize = 255;

/// One publication that is asked for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) channel: Arc<str>,
    pub(super) data: Data,
    pub(super) key: Option<Key>,
    pub(super) tag: Option<Arc<str>>,
}

/// Where an idempotency key comes from.
#[derive(Clone, Debug)]
pub(super) enum Key {
    /// Written for this publication (and the same one to other channels).
    Own(Arc<str>),
    /// The header's, over `messages`: each has its own, or the second would double the first.
    OfBatch { text: Arc<str>, index: usize },
}

/// A request in whole: whether one answer or a list is owed depends on its form, not its length.
#[derive(Debug)]
pub(super) enum Parsed {
    One(Order),
    Many(Vec<Order>),
}

/// What the head of a request says of its body.
#[derive(Debug)]
pub(super) enum Form {
    Json {
        key: Option<Arc<str>>,
    },
    Bytes {
        key: Option<Arc<str>>,
        query: BytesQuery,
    },
}

#[derive(Debug)]
pub(super) struct BytesQuery {
    channel: String,
    key: Option<String>,
    tag: Option<String>,
}

/// A whole body, or one of its `messages`.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    messages: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    channel: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    channels: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data_b64: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tag: Option<Cow<'a, str>>,
}

/// `"data": null` is a payload, not an absent one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads the head: the media type, the query and the `Idempotency-Key`.
pub(super) fn form(parts: &Parts) -> Result<Form, ApiError> {
    let mut keys = parts.headers.get_all("idempotency-key").iter();
    let key = match (keys.next().map(HeaderValue::to_str), keys.next()) {
        (None, _) => None,
        (Some(Ok(text)), None) => Some(key_text(text)?),
        (Some(Err(_)), None) => return Err(malformed("Idempotency-Key is not plain text.")),
        (Some(_), Some(_)) => return Err(malformed("Idempotency-Key may stand there once only.")),
    };
    let coding = parts.headers.get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let message = "The body must not be encoded: Content-Encoding is not taken.";
        return Err(ApiError::new(Code::UnsupportedMediaType, message));
    }
    let media = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.split(';').next().unwrap_or_default().trim());
    match media {
        Some(media) if media.eq_ignore_ascii_case("application/json") => Ok(Form::Json { key }),
        Some(media) if media.eq_ignore_ascii_case("application/octet-stream") => {
            let question = Question::of(&parts.uri)?;
            let text = |name| Ok::<_, ApiError>(question.text(name)?.map(ToOwned::to_owned));
            let channel = text("channel")?
                .ok_or_else(|| malformed("Bytes need their channel as ?channel=."))?;
            let query = BytesQuery {
                channel,
                key: text("key")?,
                tag: text("tag")?,
            };
            Ok(Form::Bytes { key, query })
        }
        _ => Err(Code::UnsupportedMediaType.into()),
    }
}

/// What one request publishes holds at most so many times the bytes that its body may have: one `data` can go to
/// many channels.
const EXPANSION_MAX: usize = 16;

/// What one request publishes so far.
struct Sum<'a> {
    config: &'a Config,
    publications: usize,
    bytes: usize,
}

impl<'a> Sum<'a> {
    const fn new(config: &'a Config) -> Self {
        Self {
            config,
            publications: 0,
            bytes: 0,
        }
    }

    /// So many more, each of so many bytes.
    fn add(&mut self, publications: usize, each_bytes: usize) -> Result<(), ApiError> {
        let within = |sum: usize, max: usize, what: &str| match sum > max {
            true => {
                let message = format!("A request holds at most {max} {what}.");
                Err(ApiError::new(Code::MessageTooBig, message))
            }
            false => Ok(()),
        };
        self.publications += publications;
        self.bytes = self
            .bytes
            .saturating_add(publications.saturating_mul(each_bytes));
        let bytes_max = self
            .config
            .http_body_bytes_max
            .saturating_mul(EXPANSION_MAX);
        within(
            self.publications,
            self.config.batch_messages_max,
            "publications",
        )?;
        within(
            self.bytes,
            bytes_max,
            "bytes, its data once for each channel",
        )
    }
}

/// Reads the body.
pub(super) fn parse(form: Form, body: Bytes, config: &Config) -> Result<Parsed, ApiError> {
    match form {
        Form::Json { key } => parse_json(&body, key, Sum::new(config)),
        Form::Bytes { key, query } => Ok(Parsed::One(Order {
            channel: query.channel.into(),
            data: Data::Binary(body),
            key: one_key(key, query.key.as_deref())?,
            tag: query.tag.as_deref().map(tag_text).transpose()?,
        })),
    }
}

fn parse_json(body: &[u8], key: Option<Arc<str>>, mut sum: Sum<'_>) -> Result<Parsed, ApiError> {
    let mut whole = item(body, "The body")?;
    let mut orders = Vec::new();
    let Some(messages) = whole.messages.take() else {
        let one = whole.channel.is_some();
        let key = one_key(key, whole.key.as_deref())?;
        read_item(whole, key, &mut sum, &mut orders)?;
        return Ok(match orders.pop() {
            Some(order) if one => Parsed::One(order),
            last => Parsed::Many(orders.into_iter().chain(last).collect()),
        });
    };
    if !whole.is_empty() {
        return Err(malformed(
            "messages stands alone: channel, data, key and tag belong in it.",
        ));
    }
    for (index, raw) in messages.into_iter().enumerate() {
        let item = item(raw.get().as_bytes(), &format!("messages[{index}]"))?;
        let own = item.key.as_deref().map(key_text).transpose()?.map(Key::Own);
        let of_batch = || key.clone().map(|text| Key::OfBatch { text, index });
        let key = own.or_else(of_batch);
        read_item(item, key, &mut sum, &mut orders).map_err(|error| {
            let message = format!("messages[{index}]: {}", error.info.message);
            error.with_message(message)
        })?;
    }
    if orders.is_empty() {
        return Err(malformed("messages is empty."));
    }
    Ok(Parsed::Many(orders))
}

fn item<'a>(text: &'a [u8], place: &str) -> Result<Item<'a>, ApiError> {
    let refused = |problem: &dyn Display| malformed(format!("{place} is not valid: {problem}."));
    // serde would take an array for a struct, its elements for the fields in their order, and names the
    // struct where anything else stands.
    match text.trim_ascii_start().first() {
        Some(b'{') | None => serde_json::from_slice(text).map_err(|error| refused(&error)),
        Some(_) => Err(refused(&"it must be an object")),
    }
}

fn read_item(
    item: Item<'_>,
    key: Option<Key>,
    sum: &mut Sum<'_>,
    orders: &mut Vec<Order>,
) -> Result<(), ApiError> {
    if item.messages.is_some() {
        return Err(malformed("messages don't nest."));
    }
    let data = match (item.data, item.data_b64) {
        (Some(raw), None) => json_data(raw.get().as_bytes())?,
        (None, Some(text)) => Data::Binary(
            BASE64_STANDARD
                .decode(text.as_bytes())
                .map_err(|_| malformed("data_b64 is not base64."))?
                .into(),
        ),
        _ => return Err(malformed("Exactly one of data and data_b64 is needed.")),
    };
    let channels = match (item.channel, item.channels) {
        (Some(channel), None) => vec![channel],
        (None, Some(channels)) if !channels.is_empty() => channels,
        _ => {
            return Err(malformed(
                "Exactly one of channel and channels is needed, and not empty.",
            ));
        }
    };
    sum.add(channels.len(), data.len())?;
    let tag = item.tag.as_deref().map(tag_text).transpose()?;
    orders.extend(channels.iter().map(|channel| Order {
        channel: channel.as_ref().into(),
        data: data.clone(),
        key: key.clone(),
        tag: tag.clone(),
    }));
    Ok(())
}

impl Item<'_> {
    fn is_empty(&self) -> bool {
        self.channel.is_none()
            && self.channels.is_none()
            && self.data.is_none()
            && self.data_b64.is_none()
            && self.key.is_none()
            && self.tag.is_none()
    }
}

/// The key may stand in the header, in the request, or in both alike.
fn one_key(header: Option<Arc<str>>, own: Option<&str>) -> Result<Option<Key>, ApiError> {
    let own = own.map(key_text).transpose()?;
    match (header, own) {
        (Some(header), Some(own)) if header != own => {
            Err(malformed("Idempotency-Key and key differ."))
        }
        (header, own) => Ok(own.or(header).map(Key::Own)),
    }
}

fn key_text(text: &str) -> Result<Arc<str>, ApiError> {
    if text.is_empty() || text.len() > KEY_BYTES_MAX {
        return Err(malformed("An idempotency key has 1 to 255 bytes."));
    }
    Ok(text.into())
}

fn tag_text(text: &str) -> Result<Arc<str>, ApiError> {
    if text.len() > TAG_BYTES_MAX {
        return Err(malformed("A tag has at most 255 bytes."));
    }
    Ok(text.into())
}

fn malformed(message: impl Into<Cow<'static, str>>) -> ApiError {
    ApiError::new(Code::Malformed, message)
}
