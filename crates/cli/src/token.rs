//! `bowline token`: a token for trying, signed as the server's settings ask for.
//!
//! Owns what stands in it. In production the application's own backend signs tokens.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bowline::{Operation, TokenAlgorithm, personal_channel};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use crate::{
    args::TokenArgs,
    output,
    settings::{Settings, TokenSettings, is_pattern, parse_span},
};

/// The longest personal channel of a user whose token the server takes.
const PERSONAL_BYTES_MAX: usize = 255;

/// A shorter one has ended before it can be used.
const TTL_MIN: Duration = Duration::from_secs(1);
/// A hundred years, or the unit is a mistake.
const TTL_MAX: Duration = Duration::from_secs(36_500 * 24 * 3_600);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TokenError {
    /// Nothing to sign with.
    #[error(
        "there is no key to sign with: set access.jwt_secret (BOWLINE_ACCESS_JWT_SECRET) for HS256, \
         or give --private-key with access.jwt_algorithm"
    )]
    NoKey,
    /// The private key's file.
    #[error("{path}: {problem}", path = .0.display(), problem = .1)]
    Key(PathBuf, String),
    /// No server takes a token of this user.
    #[error(
        "--user: must be a name, whose channel (user:NAME, percent-encoded) has at most \
         {PERSONAL_BYTES_MAX} bytes; the server refuses others"
    )]
    User,
    /// A grant is not one.
    #[error(
        "--grant {0}: must be PATTERN=OPERATION,… of subscribe, publish, history and presence; the pattern \
         is a channel name, or its beginning followed by one *"
    )]
    Grant(String),
    /// The time to live is not one.
    #[error("--ttl {0}: {1}")]
    Ttl(String, String),
    /// Signing failed.
    #[error("the token can't be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
    /// The clock stands before 1970.
    #[error("the system's clock is wrong")]
    Clock,
    /// Standard output is gone.
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl TokenError {
    /// Whether the command line is at fault.
    pub(crate) const fn is_usage(&self) -> bool {
        matches!(self, Self::User | Self::Grant(_) | Self::Ttl(..))
    }
}

/// Prints a token.
pub(crate) fn token(arguments: &TokenArgs, settings: &Settings) -> Result<(), TokenError> {
    let token = sign(arguments, &settings.tokens)?;
    Ok(output::print(&format!("{token}\n"))?)
}

fn sign(arguments: &TokenArgs, settings: &TokenSettings) -> Result<String, TokenError> {
    let mut claims = claims(arguments, ttl(&arguments.ttl)?)?;
    let mut add = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value.as_str().into());
        }
    };
    add("iss", &settings.issuer);
    add("aud", &settings.audience);
    let (algorithm, key) = key(arguments, settings)?;
    Ok(jsonwebtoken::encode(
        &Header::new(algorithm),
        &claims,
        &key,
    )?)
}

fn claims(arguments: &TokenArgs, ttl: Duration) -> Result<Map<String, Value>, TokenError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|_| TokenError::Clock)?;
    let mut claims = Map::new();
    claims.insert("exp".to_owned(), (now + ttl).as_secs().into());
    claims.insert("iat".to_owned(), now.as_secs().into());
    if let Some(user) = &arguments.user {
        if user.is_empty() || personal_channel(user).len() > PERSONAL_BYTES_MAX {
            return Err(TokenError::User);
        }
        claims.insert("sub".to_owned(), user.as_str().into());
    }
    let channels = grants(&arguments.grant)?;
    if !channels.is_empty() {
        claims.insert("channels".to_owned(), json!(channels));
    }
    Ok(claims)
}

/// For how long: `exp` has whole seconds.
fn ttl(text: &str) -> Result<Duration, TokenError> {
    let bad = |problem| TokenError::Ttl(text.to_owned(), problem);
    let ttl = parse_span(text).map_err(bad)?;
    if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
        return Err(bad("must be between 1 s and 36500 days".to_owned()));
    }
    Ok(ttl)
}

/// What is granted on each pattern, by one flag or by several.
fn grants(flags: &[String]) -> Result<BTreeMap<&str, BTreeSet<&str>>, TokenError> {
    let mut channels = BTreeMap::<_, BTreeSet<_>>::new();
    for flag in flags {
        let bad = || TokenError::Grant(flag.clone());
        let (pattern, operations) = flag.rsplit_once('=').ok_or_else(bad)?;
        let known = |name: &str| Operation::ALL.iter().any(|known| known.as_str() == name);
        if !is_pattern(pattern) || !operations.split(',').all(known) {
            return Err(bad());
        }
        let granted = channels.entry(pattern).or_default();
        granted.extend(operations.split(','));
    }
    Ok(channels)
}

fn key(
    arguments: &TokenArgs,
    settings: &TokenSettings,
) -> Result<(Algorithm, EncodingKey), TokenError> {
    let algorithm = settings.algorithm.into();
    let Some(path) = &arguments.private_key else {
        let secret = settings.secret.as_ref().ok_or(TokenError::NoKey)?;
        return Ok((algorithm, EncodingKey::from_secret(secret.0.as_bytes())));
    };
    let told = |problem: String| TokenError::Key(path.clone(), problem);
    let pem = fs::read(path).map_err(|error| told(error.to_string()))?;
    let key = match settings.algorithm {
        TokenAlgorithm::Hs256 => return Err(told("HS256 signs with access.jwt_secret".to_owned())),
        TokenAlgorithm::Rs256 => EncodingKey::from_rsa_pem(&pem),
        TokenAlgorithm::Es256 => EncodingKey::from_ec_pem(&pem),
        TokenAlgorithm::EdDsa => EncodingKey::from_ed_pem(&pem),
    };
    let key = key.map_err(|_| told(format!("is no private key for {}", settings.algorithm)))?;
    Ok((algorithm, key))
}
