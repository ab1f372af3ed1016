//! A key set of one key under several names, and tokens that it signs.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp, jwk::Jwk};
use serde_json::{Value, json};

const ES256: &[u8] = include_bytes!("../keys/es256.pem");

/// As an issuer answers it.
pub(crate) fn set(kids: &[&str]) -> String {
    let named = |kid: &&str| {
        let jwk = Jwk::from_encoding_key(&key(), Algorithm::ES256).expect("a public half");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(kid);
        jwk
    };
    let keys: Vec<Value> = kids.iter().map(named).collect();
    json!({ "keys": keys }).to_string()
}

/// A token of the user `ana`.
pub(crate) fn signed(kid: &str, also: impl FnOnce(&mut Header)) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    also(&mut header);
    let claims = json!({"sub": "ana", "exp": get_current_timestamp() + 100});
    encode(&header, &claims, &key()).expect("it is signed")
}

fn key() -> EncodingKey {
    EncodingKey::from_ec_pem(ES256).expect("a key")
}
