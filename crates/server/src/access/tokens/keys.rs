//! The keys of an issuer: one, or a set (RFC 7517) from which a token's `kid` chooses.
//!
//! Owns their forms and their exchange while the server runs. Each key verifies with the one
//! algorithm of its set, so no token can make a public key a secret, or ask for none at all.

mod fetch;
mod remote;

use std::{collections::HashMap, fmt, str::FromStr, sync::Arc};

use bowline_proto::Code;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};

use crate::sync::{Mutex, lock};
pub use fetch::FetchError;
pub use remote::JwksSource;
use remote::Remote;

/// The most keys of an issuer: it rotates between two or three.
const KEYS_MAX: usize = 64;

/// How tokens are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256: who verifies can sign as well.
    #[default]
    Hs256,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// The keys of an issuer; clones share them, and see when they are replaced.
#[derive(Clone)]
pub struct KeySet {
    algorithm: TokenAlgorithm,
    keys: Arc<Mutex<Arc<Keys>>>,
    /// Where they are fetched from; none: they are here.
    remote: Option<Arc<Remote>>,
}

#[derive(Default)]
struct Keys {
    /// The key for tokens without `kid`, and where it has no name itself, for all others.
    only: Option<Arc<DecodingKey>>,
    named: HashMap<String, Arc<DecodingKey>>,
}

/// Why a text is no key. It never shows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A secret can be guessed: RFC 7518, 3.2 demands as many bytes as the digest has.
    #[error("a secret must have at least 32 bytes")]
    SecretTooShort,
    /// It is for another algorithm, or unreadable.
    #[error("is no public key in PEM for the algorithm")]
    Pem,
    /// It is no JSON Web Key Set.
    #[error("is no JSON Web Key Set")]
    Set,
    /// Nothing in the set can verify.
    #[error("has no key that signs with the algorithm")]
    NoKey,
    /// More than anybody rotates between.
    #[error("has more than {KEYS_MAX} keys")]
    TooMany,
    /// A secret is for HS256, a public key for the others.
    #[error("the key does not go with the algorithm")]
    Mismatch,
}

impl TokenAlgorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in RFC 7518 and RFC 8037.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl KeySet {
    /// The fewest bytes of a secret.
    pub const SECRET_BYTES_MIN: usize = 32;

    /// A shared secret, for HS256.
    ///
    /// # Errors
    /// It is too short.
    pub fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < Self::SECRET_BYTES_MIN {
            return Err(KeyError::SecretTooShort);
        }
        let key = DecodingKey::from_secret(secret);
        Ok(Self::new(TokenAlgorithm::Hs256, Keys::single(key)))
    }

    /// A public key in PEM.
    ///
    /// # Errors
    /// It is no key for the algorithm.
    pub fn public_key(algorithm: TokenAlgorithm, pem: &[u8]) -> Result<Self, KeyError> {
        let key = match algorithm {
            TokenAlgorithm::Hs256 => return Err(KeyError::Mismatch),
            TokenAlgorithm::Rs256 => DecodingKey::from_rsa_pem(pem),
            TokenAlgorithm::Es256 => DecodingKey::from_ec_pem(pem),
            TokenAlgorithm::EdDsa => DecodingKey::from_ed_pem(pem),
        };
        let key = key.map_err(|_| KeyError::Pem)?;
        Ok(Self::new(algorithm, Keys::single(key)))
    }

    /// A JSON Web Key Set; keys for other algorithms and purposes are left out.
    ///
    /// # Errors
    /// It is none, or has no key for the algorithm.
    pub fn jwks(algorithm: TokenAlgorithm, json: &[u8]) -> Result<Self, KeyError> {
        let keys = Keys::of_set(algorithm, json)?;
        keys.check()?;
        Ok(Self::new(algorithm, keys))
    }

    /// A JSON Web Key Set that is fetched from a URL, once it is needed, and again when it is old or a
    /// token names a key that is not in it. Nothing is fetched yet.
    ///
    /// # Errors
    /// Secrets are not published, and the URL must be one of `https://`.
    pub fn jwks_url(algorithm: TokenAlgorithm, source: &JwksSource) -> Result<Self, FetchError> {
        if algorithm == TokenAlgorithm::Hs256 {
            return Err(KeyError::Mismatch.into());
        }
        let mut keys = Self::new(algorithm, Keys::default());
        keys.remote = Some(Arc::new(Remote::new(source)?));
        Ok(keys)
    }

    fn new(algorithm: TokenAlgorithm, keys: Keys) -> Self {
        Self {
            algorithm,
            keys: Arc::new(Mutex::new(Arc::new(keys))),
            remote: None,
        }
    }

    /// Takes the keys of another set from now on; what was verified before stays so.
    ///
    /// # Errors
    /// The other is for another algorithm.
    pub fn replace(&self, other: &Self) -> Result<(), KeyError> {
        if self.algorithm != other.algorithm {
            return Err(KeyError::Mismatch);
        }
        let keys = lock(&other.keys).clone();
        *lock(&self.keys) = keys;
        Ok(())
    }

    /// The key for a token that names this one, and the algorithm with which it verifies.
    ///
    /// # Errors
    /// There is no such key, or the issuer has never told its keys: then it is no fault of the token.
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
    ) -> Result<(TokenAlgorithm, Arc<DecodingKey>), Code> {
        self.keep_fresh().await;
        if let Some(found) = self.choose(kid) {
            return Ok(found);
        }
        self.look_again().await;
        let known = self.remote.as_ref().is_none_or(|remote| remote.has_keys());
        let refusal = if known {
            Code::Unauthorized
        } else {
            Code::Overloaded
        };
        self.choose(kid).ok_or(refusal)
    }

    fn choose(&self, kid: Option<&str>) -> Option<(TokenAlgorithm, Arc<DecodingKey>)> {
        let keys = lock(&self.keys).clone();
        let key = match kid {
            Some(kid) if !keys.named.is_empty() => keys.named.get(kid),
            _ => keys.only.as_ref(),
        };
        Some((self.algorithm, key?.clone()))
    }
}

impl Keys {
    /// Those of a set that verify with this algorithm; none where it has none.
    fn of_set(algorithm: TokenAlgorithm, json: &[u8]) -> Result<Self, KeyError> {
        let set: JwkSet = serde_json::from_slice(json).map_err(|_| KeyError::Set)?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let mut keys = Self::default();
        let usable: Vec<&Jwk> = set
            .keys
            .iter()
            .filter(|jwk| verifies(jwk, algorithm))
            .collect();
        for jwk in &usable {
            let key = Arc::new(DecodingKey::from_jwk(jwk).map_err(|_| KeyError::Set)?);
            // Of several, a token without `kid` chooses none.
            keys.only = (usable.len() == 1).then(|| key.clone());
            if let Some(kid) = &jwk.common.key_id {
                keys.named.insert(kid.clone(), key);
            }
        }
        Ok(keys)
    }

    fn check(&self) -> Result<(), KeyError> {
        let is_empty = self.only.is_none() && self.named.is_empty();
        if is_empty {
            Err(KeyError::NoKey)
        } else {
            Ok(())
        }
    }

    fn single(key: DecodingKey) -> Self {
        Self {
            only: Some(Arc::new(key)),
            named: HashMap::new(),
        }
    }
}

/// Whether a key of a set is there to verify with this algorithm. Secrets in a set are never used:
/// sets are public.
fn verifies(jwk: &Jwk, algorithm: TokenAlgorithm) -> bool {
    let purpose = jwk.common.public_key_use.as_ref();
    let named = jwk.common.key_algorithm.as_ref();
    let fits = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), TokenAlgorithm::Rs256) => true,
        (AlgorithmParameters::EllipticCurve(key), TokenAlgorithm::Es256) => {
            key.curve == EllipticCurve::P256
        }
        (AlgorithmParameters::OctetKeyPair(key), TokenAlgorithm::EdDsa) => {
            key.curve == EllipticCurve::Ed25519
        }
        _ => false,
    };
    fits && purpose.is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
        && named.is_none_or(|named| named.to_string() == algorithm.as_str())
}

impl From<TokenAlgorithm> for Algorithm {
    fn from(algorithm: TokenAlgorithm) -> Self {
        match algorithm {
            TokenAlgorithm::Hs256 => Self::HS256,
            TokenAlgorithm::Rs256 => Self::RS256,
            TokenAlgorithm::Es256 => Self::ES256,
            TokenAlgorithm::EdDsa => Self::EdDSA,
        }
    }
}

impl FromStr for TokenAlgorithm {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|algorithm| algorithm.as_str() == text).ok_or(())
    }
}

impl fmt::Display for TokenAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({}, …)", self.algorithm)
    }
}
