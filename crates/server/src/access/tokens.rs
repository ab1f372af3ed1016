//! JSON Web Tokens (RFC 7519): who signed, for whom, until when, and what is granted.
//!
//! Owns the judgement of a token. The algorithm and the keys come from the configuration, never
//! from the token: its header only chooses among the keys of its issuer. Nothing of a token is
//! believed, logged or kept before its signature holds. Must not know where keys are stored.

mod keys;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bowline_proto::Code;
use jsonwebtoken::{Validation, errors::ErrorKind};
use serde::Deserialize;

use super::{Grant, Identity, Operation, personal_channel};
pub use keys::{FetchError, JwksSource, KeyError, KeySet, TokenAlgorithm};

/// The longest token that is looked at: they stand in headers and URLs, which have bounds as well.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// The longest name of a user's personal channel; longer names stand for no user.
const PERSONAL_BYTES_MAX: usize = 255;
/// The furthest expiry that is kept: beyond it timers would overflow, and nobody waits so long.
const EXPIRY_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// Somebody whose tokens are taken.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What tokens must name as `iss`; none: `iss` is not looked at.
    pub name: Option<String>,
    /// What tokens must name in `aud`; none: `aud` is not looked at.
    pub audience: Option<String>,
    /// With what its keys verify.
    pub keys: KeySet,
    /// For how long a token is taken after its `exp` and before its `nbf`, for clocks that differ.
    pub leeway: Duration,
}

/// What is read of a token whose signature holds.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: f64,
    #[serde(default)]
    channels: BTreeMap<String, Vec<Granted>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Granted {
    Subscribe,
    Publish,
    History,
    Presence,
}

/// What chooses the issuer; nothing else is read before the signature holds.
#[derive(Deserialize)]
struct Chooser {
    iss: Option<String>,
}

/// Who brings this token.
pub(super) async fn verify(issuers: &[Issuer], token: &str) -> Result<Identity, Code> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Code::Unauthorized);
    }
    let issuer = choose(issuers, token).ok_or(Code::Unauthorized)?;
    issuer.verify(token).await
}

/// Whose token this claims to be. With one issuer there is no choice.
fn choose<'a>(issuers: &'a [Issuer], token: &str) -> Option<&'a Issuer> {
    if let [only] = issuers {
        return Some(only);
    }
    let chooser = jsonwebtoken::dangerous::insecure_decode_claims::<Chooser>(token).ok()?;
    issuers.iter().find(|issuer| issuer.name == chooser.iss)
}

impl Issuer {
    async fn verify(&self, token: &str) -> Result<Identity, Code> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Code::Unauthorized)?;
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: an extension that is not understood makes the token invalid.
            return Err(Code::Unauthorized);
        }
        let (algorithm, key) = self.keys.find(header.kid.as_deref()).await?;
        let mut validation = Validation::new(algorithm.into());
        validation.leeway = self.leeway.as_secs();
        validation.validate_nbf = true;
        validation.validate_aud = self.audience.is_some();
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
        }
        let mut required = vec!["exp"];
        required.extend(self.audience.is_some().then_some("aud"));
        if let Some(name) = &self.name {
            validation.set_issuer(&[name]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let verified = jsonwebtoken::decode::<Claims>(token, &key, &validation);
        let claims = verified.map_err(|error| refusal(error.kind()))?.claims;
        self.identify(claims)
    }

    fn identify(&self, claims: Claims) -> Result<Identity, Code> {
        if let Some(user) = &claims.sub
            && (user.is_empty() || personal_channel(user).len() > PERSONAL_BYTES_MAX)
        {
            return Err(Code::Unauthorized);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_err(|_| Code::Internal)?;
        let left = claims.exp + self.leeway.as_secs_f64() - now.as_secs_f64();
        if left <= 0.0 {
            return Err(Code::TokenExpired);
        }
        let left = Duration::try_from_secs_f64(left).unwrap_or(EXPIRY_MAX);
        let grants = claims.channels.into_iter().map(|(pattern, granted)| Grant {
            pattern,
            operations: granted.into_iter().map(Operation::from).collect(),
        });
        Ok(Identity {
            user: claims.sub.map(Into::into),
            expires_in: Some(left.min(EXPIRY_MAX)),
            grants: grants.collect(),
            ..Identity::anonymous()
        })
    }
}

fn refusal(kind: &ErrorKind) -> Code {
    // The kind is a fixed word, without anything of the token.
    let code = match kind {
        ErrorKind::ExpiredSignature => Code::TokenExpired,
        _ => Code::Unauthorized,
    };
    tracing::debug!(%code, "a token is refused");
    code
}

impl From<Granted> for Operation {
    fn from(granted: Granted) -> Self {
        match granted {
            Granted::Subscribe => Self::Subscribe,
            Granted::Publish => Self::Publish,
            Granted::History => Self::History,
            Granted::Presence => Self::Presence,
        }
    }
}

#[cfg(test)]
mod tests;
