//! What a request says in its URL: the parameters behind the `?`, a name in the path.
//!
//! Owns their strictness: what can't be read is refused by its name, never taken for absent.

use std::str::FromStr;

use axum::{
    extract::{Path, rejection::PathRejection},
    http::Uri,
};
use bowline_proto::Code;

use super::error::ApiError;

/// JSON numbers are exact up to here.
const NUMBER_MAX: u64 = (1 << 53) - 1;
/// Entries of a page where the question does not say.
const LIMIT_DEFAULT: usize = 100;
/// A greater `limit` is taken for this one.
const LIMIT_MAX: usize = 1_000;

/// All parameters of one request.
pub(crate) struct Question(Vec<(String, String)>);

impl Question {
    pub(crate) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let query = uri.query().unwrap_or_default();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs: Option<Vec<_>> = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decoded(name)?, decoded(value)?))
            })
            .collect();
        let message = "The query is not percent-encoded UTF-8.";
        let pairs = pairs.ok_or_else(|| ApiError::new(Code::Malformed, message))?;
        Ok(Self(pairs))
    }

    /// A parameter as it stands.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.as_str());
        match values.next() {
            None => Ok(value),
            Some(_) => Err(refusal(name, "may stand there once only")),
        }
    }

    /// A parameter of a form of its own.
    pub(super) fn parsed<T: FromStr>(&self, name: &str, form: &str) -> Result<Option<T>, ApiError> {
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(|_| refusal(name, form)))
            .transpose()
    }

    /// A whole number from `min` to 2^53 − 1.
    pub(super) fn number(&self, name: &str, min: u64) -> Result<Option<u64>, ApiError> {
        let form = "must be a whole number";
        let number: Option<u64> = self.parsed(name, form)?;
        if number.is_some_and(|number| !(min..=NUMBER_MAX).contains(&number)) {
            return Err(refusal(name, &format!("must be from {min} to 2^53 - 1")));
        }
        Ok(number)
    }

    /// How many entries a page may have.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let limit = self.number("limit", 1)?;
        Ok(limit.map_or(LIMIT_DEFAULT, |limit| {
            usize::try_from(limit).unwrap_or(LIMIT_MAX).min(LIMIT_MAX)
        }))
    }
}

/// A name that stands in the path; `Path` would take `%zz` for a name of three characters.
pub(crate) fn segment(
    found: Result<Path<String>, PathRejection>,
    uri: &Uri,
) -> Result<String, ApiError> {
    match found {
        Ok(Path(name)) if decoded(uri.path()).is_some() => Ok(name),
        _ => Err(Code::BadChannel.into()),
    }
}

/// What percent-encoding stands for, and none for what it can't: lenient readers put another
/// character in its place, which may be another channel. A `+` is a space, as forms write it.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?).ok()?,
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

fn refusal(name: &str, problem: &str) -> ApiError {
    ApiError::new(Code::Malformed, format!("{name} {problem}."))
}
