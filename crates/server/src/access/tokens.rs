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

/// Why a token is refused.
#[derive(Debug)]
struct Refusal {
    code: Code,
    /// For the log alone: who brings the token learns only that it is none. Nothing of the token is in it.
    why: &'static str,
}

/// Who brings this token.
pub(super) async fn verify(issuers: &[Issuer], token: &str) -> Result<Identity, Code> {
    judge(issuers, token)
        .await
        .map_err(|Refusal { code, why }| {
            tracing::debug!(%code, why, "a token is refused");
            code
        })
}

async fn judge(issuers: &[Issuer], token: &str) -> Result<Identity, Refusal> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(refusal("it is too long"));
    }
    let issuer = choose(issuers, token).ok_or(refusal("no issuer here is its iss"))?;
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
    async fn verify(&self, token: &str) -> Result<Identity, Refusal> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| {
            refusal("its header can't be read, or names no algorithm that is known")
        })?;
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: an extension that is not understood makes the token invalid.
            return Err(refusal("it asks for an extension (crit)"));
        }
        let found = self.keys.find(header.kid.as_deref()).await;
        let (algorithm, key) = found.map_err(|code| Refusal {
            code,
            why: "there is no key for it",
        })?;
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
        let claims = verified.map_err(|error| unverified(error.kind()))?.claims;
        self.identify(claims)
    }

    fn identify(&self, claims: Claims) -> Result<Identity, Refusal> {
        if let Some(user) = &claims.sub
            && (user.is_empty() || personal_channel(user).len() > PERSONAL_BYTES_MAX)
        {
            return Err(refusal("sub is empty or too long"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_err(|_| Refusal {
            code: Code::Internal,
            why: "the clock is before 1970",
        })?;
        let left = claims.exp + self.leeway.as_secs_f64() - now.as_secs_f64();
        if left <= 0.0 {
            return Err(unverified(&ErrorKind::ExpiredSignature));
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

const fn refusal(why: &'static str) -> Refusal {
    Refusal {
        code: Code::Unauthorized,
        why,
    }
}

fn unverified(kind: &ErrorKind) -> Refusal {
    refusal(match kind {
        ErrorKind::ExpiredSignature => {
            return Refusal {
                code: Code::TokenExpired,
                why: "exp is over",
            };
        }
        ErrorKind::ImmatureSignature => "nbf is not reached",
        ErrorKind::InvalidSignature => "its signature is not by this key",
        ErrorKind::InvalidAlgorithm => "its algorithm is not the one that is configured",
        ErrorKind::InvalidIssuer => "iss is another",
        ErrorKind::InvalidAudience => "aud is another",
        ErrorKind::MissingRequiredClaim(_) => "iss or aud is missing",
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => {
            "exp is missing, or a claim has another form"
        }
        _ => "it can't be decoded",
    })
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
