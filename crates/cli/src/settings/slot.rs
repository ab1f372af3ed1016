//! The forms of values: how each is read from text, and written as TOML.
//!
//! Owns units and spellings. Must not know which setting has which form.

use std::{
    net::SocketAddr,
    num::{IntErrorKind, ParseIntError},
    path::PathBuf,
    time::Duration,
};

use bowline::{AllowedOrigins, ApiKey, Network, NetworkError, TokenAlgorithm};
use toml::Value;

use super::tokens::Secret;

/// What is shown of a value: all of those that can be right.
const SHOWN_CHARACTERS_MAX: usize = 64;

/// A value as it was written.
#[derive(Debug)]
pub(super) enum Raw {
    One(String),
    List(Vec<String>),
}

/// The place of a setting's value.
pub(super) enum Slot<'a> {
    Span(&'a mut Duration),
    /// Bytes that are held in memory.
    Size(&'a mut usize),
    /// Bytes that may be more than that.
    Total(&'a mut u64),
    Count(&'a mut u32),
    /// A count of what is held in memory.
    Places(&'a mut usize),
    /// A count of what may be more than that.
    Amount(&'a mut u64),
    Flag(&'a mut bool),
    Address(&'a mut SocketAddr),
    Path(&'a mut PathBuf),
    Origins(&'a mut AllowedOrigins),
    Networks(&'a mut Vec<Network>),
    Level(&'a mut tracing::Level),
    Format(&'a mut LogFormat),
    Kind(&'a mut EngineKind),
    Keys(&'a mut Vec<ApiKey>),
    Key(&'a mut Option<ApiKey>),
    Secret(&'a mut Option<Secret>),
    Text(&'a mut Option<String>),
    File(&'a mut Option<PathBuf>),
    Algorithm(&'a mut TokenAlgorithm),
}

/// A value, as far as it may be shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// As TOML.
    Value(String),
    /// So many secrets.
    Secrets(usize),
    Unset,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Where the logs of the channels live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineKind {
    /// In a log on this machine's disk.
    Embedded,
    /// In this process's memory, until it ends.
    Memory,
}

impl Raw {
    /// Scalars as text; none for what no setting takes (tables, dates, lists of lists).
    pub(super) fn from_toml(value: Value) -> Option<Self> {
        fn scalar(value: Value) -> Option<String> {
            match value {
                Value::String(text) => Some(text),
                Value::Integer(number) => Some(number.to_string()),
                Value::Float(number) => Some(number.to_string()),
                Value::Boolean(flag) => Some(flag.to_string()),
                _ => None,
            }
        }
        match value {
            Value::Array(values) => Some(Self::List(
                values.into_iter().map(scalar).collect::<Option<_>>()?,
            )),
            value => scalar(value).map(Self::One),
        }
    }

    fn one(self) -> Result<String, String> {
        match self {
            Self::One(text) => Ok(text.trim().to_owned()),
            Self::List(_) => Err("takes one value, not a list".to_owned()),
        }
    }

    /// As a mistake in it is told: escaped, and no longer than a line.
    pub(super) fn show(&self) -> String {
        let text = match self {
            Self::One(text) => text.trim().to_owned(),
            Self::List(values) => values.join(", "),
        };
        match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
            None if text.is_empty() => "it is empty".to_owned(),
            None => format!("it is {text:?}"),
            Some((end, _)) => format!("it begins with {:?}", &text[..end]),
        }
    }

    /// In the environment and in flags, commas separate the values of a list.
    fn list(self) -> Vec<String> {
        match self {
            Self::List(values) => values,
            Self::One(text) => text
                .split(',')
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

impl Slot<'_> {
    /// Whether what was written for it may be shown to nobody.
    pub(super) fn is_secret(&self, raw: &Raw) -> bool {
        match (self, raw) {
            (Self::Keys(_) | Self::Key(_) | Self::Secret(_), _) => true,
            // A URL may hold a password.
            (Self::Text(_), Raw::One(text)) => text.contains(['@', '?']),
            _ => false,
        }
    }

    /// Takes a value, or tells what would be one. The text itself is not repeated: it may be secret.
    pub(super) fn set(self, raw: Raw) -> Result<(), String> {
        match self {
            Self::Span(span) => *span = parse_span(&raw.one()?)?,
            Self::Size(size) => *size = to_fit(parse_size(&raw.one()?)?)?,
            Self::Total(total) => *total = parse_size(&raw.one()?)?,
            Self::Count(count) => *count = to_fit(parse_count(&raw.one()?)?)?,
            Self::Places(places) => *places = to_fit(parse_count(&raw.one()?)?)?,
            Self::Amount(amount) => *amount = parse_count(&raw.one()?)?,
            Self::Flag(flag) => *flag = parse_flag(&raw.one()?)?,
            Self::Address(address) => {
                let text = raw.one()?;
                *address = text.parse().map_err(|_| {
                    "must be an address and port, such as 127.0.0.1:8000 or [::]:8000".to_owned()
                })?;
            }
            Self::Path(path) => {
                let text = raw.one()?;
                if text.is_empty() {
                    return Err("must be a path".to_owned());
                }
                *path = text.into();
            }
            Self::Origins(origins) => *origins = parse_origins(raw),
            Self::Networks(networks) => {
                let list = raw.list();
                let parsed = list
                    .iter()
                    .map(|text| text.parse())
                    .collect::<Result<_, _>>();
                *networks = parsed.map_err(|error: NetworkError| format!("each {error}"))?;
            }
            Self::Level(level) => {
                let problem = |_| "must be error, warn, info, debug or trace".to_owned();
                *level = raw.one()?.parse().map_err(problem)?;
            }
            Self::Format(format) => {
                *format = match raw.one()?.as_str() {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => return Err("must be text or json".to_owned()),
                }
            }
            Self::Kind(kind) => {
                *kind = match raw.one()?.as_str() {
                    "embedded" => EngineKind::Embedded,
                    "memory" => EngineKind::Memory,
                    _ => return Err("must be embedded or memory".to_owned()),
                }
            }
            Self::Keys(keys) => {
                *keys = raw
                    .list()
                    .iter()
                    .map(|text| ApiKey::new(text).map_err(|error| error.to_string()))
                    .collect::<Result<_, _>>()?;
            }
            Self::Key(key) => {
                let parsed = ApiKey::new(&raw.one()?).map_err(|error| error.to_string())?;
                *key = Some(parsed);
            }
            Self::Secret(secret) => *secret = Some(Secret(some(raw)?)),
            Self::Text(text) => *text = Some(some(raw)?),
            Self::File(path) => *path = Some(some(raw)?.into()),
            Self::Algorithm(algorithm) => {
                let problem = |()| "must be HS256, RS256, ES256 or EdDSA".to_owned();
                *algorithm = raw.one()?.parse().map_err(problem)?;
            }
        }
        Ok(())
    }

    /// The value.
    pub(super) fn show(self) -> Shown {
        let quoted = |text: &str| Value::from(text).to_string();
        Shown::Value(match self {
            Self::Span(span) => show_span(*span),
            Self::Size(number) | Self::Places(number) => number.to_string(),
            Self::Total(number) | Self::Amount(number) => number.to_string(),
            Self::Count(count) => count.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Address(address) => quoted(&address.to_string()),
            Self::Origins(AllowedOrigins::Any) => quoted("*"),
            Self::Origins(AllowedOrigins::SameHost) => quoted("same-host"),
            Self::Origins(AllowedOrigins::List(list)) => Value::from(list.clone()).to_string(),
            Self::Networks(networks) => {
                let texts = networks.iter().map(ToString::to_string);
                Value::from(texts.collect::<Vec<_>>()).to_string()
            }
            Self::Level(level) => quoted(&level.as_str().to_ascii_lowercase()),
            Self::Format(LogFormat::Text) => quoted("text"),
            Self::Format(LogFormat::Json) => quoted("json"),
            Self::Path(path) => quoted(&path.to_string_lossy()),
            Self::Kind(EngineKind::Embedded) => quoted("embedded"),
            Self::Kind(EngineKind::Memory) => quoted("memory"),
            Self::Algorithm(algorithm) => quoted(algorithm.as_str()),
            Self::Text(Some(text)) => quoted(text),
            Self::File(Some(path)) => quoted(&path.to_string_lossy()),
            Self::Text(None) | Self::File(None) | Self::Key(None) | Self::Secret(None) => {
                return Shown::Unset;
            }
            Self::Keys(keys) => return Shown::Secrets(keys.len()),
            Self::Key(Some(_)) | Self::Secret(Some(_)) => return Shown::Secrets(1),
        })
    }
}

fn some(raw: Raw) -> Result<String, String> {
    let text = raw.one()?;
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    Ok(text)
}

/// A number of seconds, or a number with its unit. What no `Duration` holds is the longest: whoever asked
/// says what the bounds are.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let problem = || "must be seconds, or a number with ms, s, m, h or d".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(problem()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| problem())?;
    if number < 0.0 {
        return Err("must not be negative".to_owned());
    }
    Ok(Duration::try_from_secs_f64(number * unit).unwrap_or(Duration::MAX))
}

pub(super) fn show_span(span: Duration) -> String {
    if span.subsec_nanos() == 0 {
        span.as_secs().to_string()
    } else {
        format!("\"{}ms\"", span.as_secs_f64() * 1_000.0)
    }
}

/// A whole number of bytes, or one with KiB, MiB or GiB.
fn parse_size(text: &str) -> Result<u64, String> {
    let problem = "must be a whole number of bytes, or one with KiB, MiB or GiB";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(problem.to_owned()),
    };
    let number = parse_whole(digits.trim(), problem)?;
    number.checked_mul(unit).ok_or_else(too_large)
}

fn parse_count(text: &str) -> Result<u64, String> {
    parse_whole(text, "must be a whole number")
}

/// With `_` between digits, as TOML has it.
fn parse_whole(digits: &str, problem: &str) -> Result<u64, String> {
    let parsed = digits.replace('_', "").parse();
    parsed.map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => too_large(),
        _ => problem.to_owned(),
    })
}

fn too_large() -> String {
    "is too large".to_owned()
}

fn to_fit<T: TryFrom<u64>>(number: u64) -> Result<T, String> {
    T::try_from(number).map_err(|_| too_large())
}

fn parse_flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

fn parse_origins(raw: Raw) -> AllowedOrigins {
    let list = raw.list();
    match list.as_slice() {
        [one] if one == "*" => AllowedOrigins::Any,
        [one] if one == "same-host" => AllowedOrigins::SameHost,
        _ => AllowedOrigins::List(list),
    }
}
