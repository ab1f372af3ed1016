//! `[access]`: which of some credentials are taken.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use super::Case;
use crate::{
    client::HERE,
    registries::process::{ADMIN, KEY, Process, token},
};

/// The keys that the server's own tests have.
const PUBLIC_KEY: &str = concat!(
    "\"",
    env!("CARGO_MANIFEST_DIR"),
    "/../server/tests/keys/eddsa.pub.pem\""
);
const PRIVATE_KEY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../server/tests/keys/eddsa.pem"
);

/// Who is taken, in the order of [`look`]: the API key, the admin, a user by HS256, one whose token
/// names an issuer and audience, one whose token has just expired, one by EdDSA.
pub(super) fn case(name: &str) -> Option<Case> {
    const NO_SECRET: (&str, &str) = ("access.jwt_secret", "");
    const EDDSA: (&str, &str) = ("access.jwt_algorithm", "\"EdDSA\"");
    let (base, value, expected): (&[_], _, _) = match name {
        "access.api_keys" => (
            &[],
            "[\"another-key-of-tests\"]",
            [false, true, true, true, false, false],
        ),
        "access.admin_token" => (
            &[],
            "\"another-admin-of-tests\"",
            [true, false, true, true, false, false],
        ),
        "access.jwt_secret" => (
            &[],
            "\"another-secret-of-the-tests-that-is-long\"",
            [true, true, false, false, false, false],
        ),
        "access.jwt_algorithm" => (
            &[NO_SECRET, EDDSA, ("access.jwks_file", JWKS)],
            "\"ES256\"",
            [true, true, false, false, false, false],
        ),
        "access.jwks_file" => (
            &[NO_SECRET, EDDSA],
            JWKS,
            [true, true, false, false, false, true],
        ),
        "access.jwt_public_key_file" => (
            &[NO_SECRET, EDDSA],
            PUBLIC_KEY,
            [true, true, false, false, false, true],
        ),
        "access.jwt_issuer" => (&[], "\"us\"", [true, true, false, true, false, false]),
        "access.jwt_audience" => (&[], "\"chat\"", [true, true, false, true, false, false]),
        "access.jwt_leeway" => (&[], "60", [true, true, true, true, true, false]),
        _ => return None,
    };
    Some(Case::new(base, value, json!(expected)))
}

/// The same public key in a set with another one.
const JWKS: &str = concat!(
    "\"",
    env!("CARGO_MANIFEST_DIR"),
    "/../server/tests/keys/jwks.json\""
);

pub(super) async fn look(process: &Process) -> Value {
    let reach = &process.reach;
    let mut taken = Vec::new();
    for header in [KEY, ADMIN] {
        taken.push(reach.get("/ws/stats", &[header]).await.status == 200);
    }
    let past = get_current_timestamp() - 10;
    let eddsa = || {
        let key = EncodingKey::from_ed_pem(&std::fs::read(PRIVATE_KEY).expect("a key"));
        let claims = json!({"sub": "ana", "exp": get_current_timestamp() + 100});
        encode(
            &Header::new(Algorithm::EdDSA),
            &claims,
            &key.expect("a key"),
        )
    };
    for token in [
        token("ana", &json!({})),
        token("ana", &json!({"iss": "us", "aud": "chat"})),
        token("ana", &json!({"exp": past})),
        eddsa().expect("it is signed"),
    ] {
        let hello = json!({"type": "hello", "token": token, "subscribe": {}});
        taken.push(reach.welcomed(HERE, hello).await.is_ok());
    }
    json!(taken)
}
