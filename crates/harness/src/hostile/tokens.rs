//! The tokens of the hostile suite, by name: a few good ones, and every kind of forgery.
//!
//! Owns keys and claims. The keys are those of the server's own tests and open nothing. Must not know
//! what a server makes of a token.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use serde_json::{Value, json};

use super::worlds::{ADMIN_TOKEN, API_KEY};

/// The secret of the worlds with HS256.
pub(super) const SECRET: &str = "a-secret-of-the-hostile-suite-with-32-bytes";
/// What their tokens are for.
pub(super) const AUDIENCE: &str = "bowline-under-test";
/// The secret that stands in the public key set, where it must open nothing.
const PUBLISHED_SECRET: &[u8] = b"a-symmetric-key-in-a-public-key-set!";
pub(super) const RSA_PUBLIC_PEM: &str = include_str!("../../../server/tests/keys/rs256.pub.pem");
const RSA_PEM: &str = include_str!("../../../server/tests/keys/rs256.pem");
const EC_PUBLIC_PEM: &str = include_str!("../../../server/tests/keys/es256.pub.pem");
const EC_PEM: &str = include_str!("../../../server/tests/keys/es256.pem");
const OTHER_SECRET: &[u8] = b"another-secret-that-nobody-has-configured";

/// Mints tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    now: u64,
    keys: Keys,
}

struct Keys {
    secret: EncodingKey,
    other: EncodingKey,
    empty: EncodingKey,
    published: EncodingKey,
    rsa: EncodingKey,
    rsa_public_as_secret: EncodingKey,
    ec: EncodingKey,
    ec_public_as_secret: EncodingKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Tokens {
    /// # Errors
    /// The committed keys are broken.
    pub(super) fn new() -> Result<Self, String> {
        let told = |error: jsonwebtoken::errors::Error| error.to_string();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            now: since_1970.map_err(|error| error.to_string())?.as_secs(),
            keys: Keys {
                secret: EncodingKey::from_secret(SECRET.as_bytes()),
                other: EncodingKey::from_secret(OTHER_SECRET),
                empty: EncodingKey::from_secret(b""),
                published: EncodingKey::from_secret(PUBLISHED_SECRET),
                rsa: EncodingKey::from_rsa_pem(RSA_PEM.as_bytes()).map_err(told)?,
                rsa_public_as_secret: EncodingKey::from_secret(RSA_PUBLIC_PEM.as_bytes()),
                ec: EncodingKey::from_ec_pem(EC_PEM.as_bytes()).map_err(told)?,
                ec_public_as_secret: EncodingKey::from_secret(EC_PUBLIC_PEM.as_bytes()),
            },
        })
    }

    /// The token of this name; none if there is no such name.
    pub(super) fn mint(&self, name: &str) -> Option<String> {
        self.by_claims(name)
            .or_else(|| self.by_header(name))
            .or_else(|| self.by_form(name))
    }

    /// Signed as it should be; what differs is what it claims.
    fn by_claims(&self, name: &str) -> Option<String> {
        let (now, good) = (self.now, self.claims());
        let with = |key: &str, value: Value| changed(&good, key, Some(value));
        let claims = match name {
            "valid" => good,
            "bob" => with("sub", json!("bob")),
            "guest" => changed(&good, "sub", None),
            "expired" => with("exp", json!(now - 1)),
            "expired long ago" => with("exp", json!(1)),
            "expiry before 1970" => with("exp", json!(-1)),
            "no expiry" => changed(&good, "exp", None),
            "expiry is text" => with("exp", json!((now + 1_000).to_string())),
            "expiry is null" => with("exp", Value::Null),
            "expiry is a list" => with("exp", json!([now + 1_000])),
            "expiry is huge" => with("exp", json!(1e300)),
            "not yet" => with("nbf", json!(now + 1_000)),
            "wrong audience" => with("aud", json!("another-service")),
            "no audience" => changed(&good, "aud", None),
            "audience is empty" => with("aud", json!([])),
            "audience in upper case" => with("aud", json!(AUDIENCE.to_ascii_uppercase())),
            "two audiences" => with("aud", json!(["another-service", AUDIENCE])),
            "empty user" => with("sub", json!("")),
            "user is a number" => with("sub", json!(7)),
            "long user" => with("sub", json!("u".repeat(300))),
            "channels is a list" => with("channels", json!(["news:*"])),
            "unknown operation" => with("channels", json!({"news:*": ["destroy"]})),
            "everything" => with("channels", everything("*")),
            "everything of users" => with("channels", everything("user:*")),
            "bob's channel" => with("channels", everything("user:bob")),
            "star inside" => with("channels", everything("ne*s")),
            "empty pattern" => with("channels", everything("")),
            "publish only" => with("channels", json!({"news:*": ["publish"]})),
            "a forged line" => with("sub", json!("ana\r\n2026-01-01T00:00:00Z  INFO FORGED")),
            "a coloured user" => with("sub", json!("\u{1b}[31mFORGED\u{1b}[0m")),
            "a user with NUL" => with("sub", json!("ana\u{0}FORGED\u{85}\u{2028}")),
            _ => return None,
        };
        Some(self.signed(&json!({"alg": "HS256", "typ": "JWT"}), &claims))
    }

    /// Good claims; what differs is the header, and the key with which it is signed.
    fn by_header(&self, name: &str) -> Option<String> {
        let (keys, claims) = (&self.keys, self.claims());
        let hs = |key: &EncodingKey, header: Value| signed(&header, &claims, key, Algorithm::HS256);
        Some(match name {
            "alg none" => unsigned(&json!({"alg": "none"}), &claims),
            "alg nOnE" => unsigned(&json!({"alg": "nOnE"}), &claims),
            "alg empty" => unsigned(&json!({"alg": ""}), &claims),
            "no alg" => unsigned(&json!({"typ": "JWT"}), &claims),
            "alg none with a signature" => hs(&keys.secret, json!({"alg": "none"})),
            "alg HS384" => {
                let header = json!({"alg": "HS384"});
                signed(&header, &claims, &keys.secret, Algorithm::HS384)
            }
            "alg RS256 signed as HS256" => hs(&keys.secret, json!({"alg": "RS256"})),
            "another secret" => hs(&keys.other, json!({"alg": "HS256"})),
            "an empty secret" => hs(&keys.empty, json!({"alg": "HS256"})),
            "kid is a path" => hs(
                &keys.empty,
                json!({"alg": "HS256", "kid": "../../../../../../dev/null"}),
            ),
            "kid is a query" => hs(
                &keys.other,
                json!({"alg": "HS256", "kid": "x' UNION SELECT 'key"}),
            ),
            "kid is an object" => hs(&keys.other, json!({"alg": "HS256", "kid": {"k": 1}})),
            "jku" => hs(
                &keys.other,
                json!({"alg": "HS256", "jku": "http://127.0.0.1:1/keys"}),
            ),
            "jwk of its own" => hs(
                &keys.other,
                json!({"alg": "HS256", "jwk": {"kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(OTHER_SECRET)}}),
            ),
            "critical" => hs(
                &keys.secret,
                json!({"alg": "HS256", "crit": ["exp2"], "exp2": 1}),
            ),
            "encrypted" => hs(&keys.secret, json!({"alg": "dir", "enc": "A256GCM"})),
            "rsa" => {
                let header = json!({"alg": "RS256"});
                signed(&header, &claims, &keys.rsa, Algorithm::RS256)
            }
            "rsa as PS256" => {
                let header = json!({"alg": "PS256"});
                signed(&header, &claims, &keys.rsa, Algorithm::PS256)
            }
            "rsa public key as secret" => hs(&keys.rsa_public_as_secret, json!({"alg": "HS256"})),
            "ec" => self.ec(json!({"alg": "ES256", "kid": "one"})),
            "ec without kid" => self.ec(json!({"alg": "ES256"})),
            "ec with an unknown kid" => self.ec(json!({"alg": "ES256", "kid": "two"})),
            "ec with the kid of another key" => self.ec(json!({"alg": "ES256", "kid": "rsa"})),
            "ec with an empty kid" => self.ec(json!({"alg": "ES256", "kid": ""})),
            "ec public key as secret" => hs(
                &keys.ec_public_as_secret,
                json!({"alg": "HS256", "kid": "one"}),
            ),
            "the published secret" => hs(&keys.published, json!({"alg": "HS256", "kid": "secret"})),
            "rsa key of the set" => {
                let header = json!({"alg": "RS256", "kid": "rsa"});
                signed(&header, &claims, &keys.rsa, Algorithm::RS256)
            }
            "alg none with a kid" => unsigned(&json!({"alg": "none", "kid": "one"}), &claims),
            _ => return None,
        })
    }

    /// No token at all, or one that was tampered with.
    fn by_form(&self, name: &str) -> Option<String> {
        let valid = self.by_claims("valid")?;
        let parts: Vec<&str> = valid.split('.').collect();
        let &[header, claims, signature] = parts.as_slice() else {
            return None;
        };
        let other_claims = changed(&self.claims(), "sub", Some(json!("bob")));
        Some(match name {
            "no signature" => format!("{header}.{claims}."),
            "two parts" => format!("{header}.{claims}"),
            "four parts" => format!("{valid}.{signature}"),
            "truncated" => valid.get(..valid.len() - 4)?.to_owned(),
            "trailing bytes" => valid + "AAAA",
            "other claims" => format!("{header}.{}.{signature}", part(&other_claims)),
            "claims are a list" => self.signed(&json!({"alg": "HS256"}), &json!([1])),
            "header is a list" => format!("{}.{claims}.{signature}", part(&json!([]))),
            "header is no JSON" => {
                format!(
                    "{}.{claims}.{signature}",
                    BASE64_URL_SAFE_NO_PAD.encode("{")
                )
            }
            "no base64" => "!!!.???.***".to_owned(),
            "dots" => "..".to_owned(),
            "a mountain" => "a".repeat(7_000),
            "a mountain of dots" => ".".repeat(7_000),
            _ => return None,
        })
    }

    /// The key set of the world with one: a good key, one for another algorithm, and a secret.
    pub(super) fn key_set() -> Result<String, String> {
        let der: String = EC_PUBLIC_PEM
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let der = BASE64_STANDARD
            .decode(der)
            .map_err(|error| error.to_string())?;
        // The point is the end of the structure: 32 bytes each of x and y.
        let point = der.last_chunk::<64>().ok_or("the key is too short")?;
        let (x, y) = point.split_at(32);
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let set = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "one", "use": "sig", "x": text(x), "y": text(y)},
            {"kty": "oct", "kid": "secret", "alg": "HS256", "k": text(PUBLISHED_SECRET)},
            {"kty": "RSA", "kid": "rsa", "use": "sig", "n": text(&[0xc5; 256]), "e": "AQAB"},
        ]});
        Ok(set.to_string())
    }

    /// What no log may show: keys, and the parts of tokens that open something.
    pub(super) fn secrets(&self) -> Vec<String> {
        let valid = self.by_claims("valid");
        let signature = valid.and_then(|token| Some(token.rsplit_once('.')?.1.to_owned()));
        [SECRET, API_KEY, ADMIN_TOKEN]
            .into_iter()
            .map(str::to_owned)
            .chain(signature)
            .collect()
    }

    fn claims(&self) -> Value {
        json!({
            "sub": "ana", "exp": self.now + 3_600, "aud": AUDIENCE,
            "channels": {
                "news:*": ["subscribe", "publish", "history", "presence"],
                "exact": ["subscribe"],
            },
        })
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        signed(header, claims, &self.keys.secret, Algorithm::HS256)
    }

    fn ec(&self, header: Value) -> String {
        signed(&header, &self.claims(), &self.keys.ec, Algorithm::ES256)
    }
}

fn everything(pattern: &str) -> Value {
    json!({pattern: ["subscribe", "publish", "history", "presence"]})
}

fn changed(claims: &Value, key: &str, value: Option<Value>) -> Value {
    let mut claims = claims.clone();
    if let Some(object) = claims.as_object_mut() {
        object.remove(key);
        object.extend(value.map(|value| (key.to_owned(), value)));
    }
    claims
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}.", part(header), part(claims))
}

fn signed(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = sign(message.as_bytes(), key, algorithm)
        .expect("keys of the suite go with their algorithms");
    format!("{message}.{signature}")
}
