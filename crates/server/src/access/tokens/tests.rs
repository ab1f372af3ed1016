//! Whose token is taken, and that nothing in a token chooses how it is judged.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/keys/", $name))
    };
}

/// Keys that are here are looked at without waiting.
fn verify(issuers: &[Issuer], token: &str) -> Result<Identity, Code> {
    use futures_util::FutureExt;
    super::verify(issuers, token)
        .now_or_never()
        .expect("nothing is waited for")
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn issuer(keys: KeySet) -> Issuer {
    Issuer {
        name: None,
        audience: None,
        keys,
        leeway: Duration::ZERO,
    }
}

fn hs256() -> Issuer {
    issuer(KeySet::secret(SECRET).unwrap())
}

fn private(algorithm: TokenAlgorithm) -> EncodingKey {
    match algorithm {
        TokenAlgorithm::Hs256 => EncodingKey::from_secret(SECRET),
        TokenAlgorithm::Rs256 => EncodingKey::from_rsa_pem(pem!("rs256.pem")).unwrap(),
        TokenAlgorithm::Es256 => EncodingKey::from_ec_pem(pem!("es256.pem")).unwrap(),
        TokenAlgorithm::EdDsa => EncodingKey::from_ed_pem(pem!("eddsa.pem")).unwrap(),
    }
}

fn public(algorithm: TokenAlgorithm) -> &'static [u8] {
    match algorithm {
        TokenAlgorithm::Hs256 => SECRET,
        TokenAlgorithm::Rs256 => pem!("rs256.pub.pem"),
        TokenAlgorithm::Es256 => pem!("es256.pub.pem"),
        TokenAlgorithm::EdDsa => pem!("eddsa.pub.pem"),
    }
}

fn issuer_of(algorithm: TokenAlgorithm) -> Issuer {
    match algorithm {
        TokenAlgorithm::Hs256 => hs256(),
        _ => issuer(KeySet::public_key(algorithm, public(algorithm)).unwrap()),
    }
}

fn signed(algorithm: TokenAlgorithm, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(algorithm.into());
    header.kid = kid.map(str::to_owned);
    encode(&header, claims, &private(algorithm)).unwrap()
}

fn ana() -> Value {
    json!({"sub": "ana", "exp": now() + 100})
}

fn user(outcome: Result<Identity, Code>) -> Result<Option<String>, Code> {
    outcome.map(|identity| identity.user.map(|user| user.to_string()))
}

#[test]
fn an_extension_that_must_be_understood_is_not() {
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["exp2".to_owned()]);
    let token = encode(&header, &ana(), &EncodingKey::from_secret(SECRET)).unwrap();
    assert_eq!(user(verify(&[hs256()], &token)), Err(Code::Unauthorized));
}

#[test]
fn the_log_says_why_a_token_is_refused() {
    use futures_util::FutureExt;
    let claims = |more: Value| {
        let mut claims = ana();
        let claims_of = claims.as_object_mut().unwrap();
        claims_of.extend(more.as_object().unwrap().clone());
        claims
    };
    let token = |claims: &Value| signed(TokenAlgorithm::Hs256, None, claims);
    let mut strict = hs256();
    strict.audience = Some("us".into());
    for (issuer, token, why) in [
        (hs256(), "a.b.c".into(), "its header can't be read"),
        (hs256(), "a".repeat(TOKEN_BYTES_MAX + 1), "too long"),
        (hs256(), token(&json!({"sub": "ana"})), "exp is missing"),
        (hs256(), token(&claims(json!({"exp": 1}))), "exp is over"),
        (
            hs256(),
            token(&claims(json!({"nbf": now() + 50}))),
            "nbf is not reached",
        ),
        (
            hs256(),
            token(&claims(json!({"sub": "a".repeat(251)}))),
            "sub is empty or too long",
        ),
        (
            hs256(),
            token(&claims(json!({"channels": {"x": ["fly"]}}))),
            "a claim has another form",
        ),
        (
            strict,
            token(&claims(json!({"aud": "them"}))),
            "aud is another",
        ),
        (
            hs256(),
            signed(TokenAlgorithm::Rs256, None, &ana()),
            "its algorithm is not the one",
        ),
        (
            issuer(KeySet::secret(b"another secret, of 32 bytes here").unwrap()),
            token(&ana()),
            "its signature is not by this key",
        ),
    ] {
        let judged = judge(&[issuer], &token).now_or_never();
        let refused = judged.expect("nothing is waited for").unwrap_err();
        assert!(refused.why.contains(why), "{why}: {}", refused.why);
    }
}

#[test]
fn each_algorithm_verifies_its_own_and_no_other() {
    for ours in TokenAlgorithm::ALL {
        for theirs in TokenAlgorithm::ALL {
            let token = signed(theirs, None, &ana());
            let expected = if ours == theirs {
                Ok(Some("ana".into()))
            } else {
                Err(Code::Unauthorized)
            };
            assert_eq!(
                user(verify(&[issuer_of(ours)], &token)),
                expected,
                "{ours} {theirs}"
            );
        }
    }
}

#[test]
fn a_public_key_is_never_a_secret_and_none_is_no_algorithm() {
    let header = Header::new(Algorithm::HS256);
    for algorithm in [
        TokenAlgorithm::Rs256,
        TokenAlgorithm::Es256,
        TokenAlgorithm::EdDsa,
    ] {
        let key = EncodingKey::from_secret(public(algorithm));
        let forged = encode(&header, &ana(), &key).unwrap();
        assert_eq!(
            user(verify(&[issuer_of(algorithm)], &forged)),
            Err(Code::Unauthorized)
        );
    }
    let part = |json: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
    };
    for alg in ["none", "None", "NONE", "HS256"] {
        let head = part(&format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
        for signature in ["", "AAAA"] {
            let token = format!("{head}.{}.{signature}", part(&ana().to_string()));
            assert_eq!(
                user(verify(&[hs256()], &token)),
                Err(Code::Unauthorized),
                "{alg}"
            );
        }
    }
}

#[test]
fn time_audience_and_issuer_are_demanded() {
    let strict = Issuer {
        name: Some("me".to_owned()),
        audience: Some("bowline".to_owned()),
        ..hs256()
    };
    let good = json!({"sub": "ana", "exp": now() + 100, "iss": "me", "aud": ["x", "bowline"]});
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        claims
    };
    let without = |key: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(key);
        claims
    };
    let bad = Err(Code::Unauthorized);
    for (claims, expected) in [
        (good.clone(), Ok(Some("ana".to_owned()))),
        (with("exp", json!(now() - 1)), Err(Code::TokenExpired)),
        (with("exp", json!(now())), Err(Code::TokenExpired)),
        (with("exp", json!("soon")), bad.clone()),
        (without("exp"), bad.clone()),
        (with("nbf", json!(now() + 50)), bad.clone()),
        (with("iss", json!("you")), bad.clone()),
        (without("iss"), bad.clone()),
        (with("aud", json!("other")), bad.clone()),
        (without("aud"), bad.clone()),
        (with("sub", json!("")), bad.clone()),
        (with("sub", json!("é".repeat(100))), bad.clone()),
        (with("sub", json!(7)), bad.clone()),
        (with("channels", json!({"a": ["everything"]})), bad),
        (without("sub"), Ok(None)),
    ] {
        let token = signed(TokenAlgorithm::Hs256, None, &claims);
        assert_eq!(
            user(verify(std::slice::from_ref(&strict), &token)),
            expected,
            "{claims}"
        );
    }
    let token = signed(TokenAlgorithm::Hs256, None, &with("exp", json!(now() - 5)));
    let lenient = Issuer {
        leeway: Duration::from_secs(60),
        ..strict
    };
    let identity = verify(&[lenient], &token).unwrap();
    assert!(identity.expires_in.unwrap() <= Duration::from_secs(55));
}

#[test]
fn grants_come_with_the_token() {
    let claims = json!({"exp": now() + 9, "channels": {"news:*": ["subscribe", "history"]}});
    let token = signed(TokenAlgorithm::Hs256, None, &claims);
    let identity = verify(&[hs256()], &token).unwrap();
    let operations = vec![Operation::Subscribe, Operation::History];
    let pattern = "news:*".to_owned();
    assert_eq!(
        identity.grants,
        [Grant {
            pattern,
            operations
        }]
    );
    assert!(identity.expires_in.unwrap() <= Duration::from_secs(9));
}

fn set() -> Value {
    let jwk = |algorithm: TokenAlgorithm, kid: &str| {
        let key = jsonwebtoken::jwk::Jwk::from_encoding_key(&private(algorithm), algorithm.into());
        let mut jwk = serde_json::to_value(key.unwrap()).unwrap();
        jwk["kid"] = kid.into();
        jwk
    };
    let mut encryption = jwk(TokenAlgorithm::Es256, "enc");
    encryption["use"] = "enc".into();
    let other = json!({"kty": "oct", "kid": "oct", "k": "c2VjcmV0"});
    json!({"keys": [jwk(TokenAlgorithm::Es256, "one"), jwk(TokenAlgorithm::Rs256, "two"), encryption, other]})
}

#[test]
fn a_key_of_a_set_is_chosen_by_its_name_within_its_issuer() {
    let keys = KeySet::jwks(TokenAlgorithm::Es256, set().to_string().as_bytes()).unwrap();
    let es256 = Issuer {
        name: Some("es".to_owned()),
        ..issuer(keys.clone())
    };
    let hs256 = Issuer {
        name: Some("hs".to_owned()),
        ..hs256()
    };
    let both = [es256, hs256];
    let claims = |iss: &str| json!({"sub": "ana", "exp": now() + 100, "iss": iss});
    let es = |kid, iss: &str| signed(TokenAlgorithm::Es256, kid, &claims(iss));
    assert_eq!(
        user(verify(&both, &es(Some("one"), "es"))),
        Ok(Some("ana".into()))
    );
    // One usable key needs no name; a name that is not there is no other key's.
    assert_eq!(user(verify(&both, &es(None, "es"))), Ok(Some("ana".into())));
    for kid in ["two", "enc", "oct", "../one"] {
        assert_eq!(
            user(verify(&both, &es(Some(kid), "es"))),
            Err(Code::Unauthorized),
            "{kid}"
        );
    }
    for iss in ["hs", "else"] {
        assert_eq!(
            user(verify(&both, &es(Some("one"), iss))),
            Err(Code::Unauthorized),
            "{iss}"
        );
    }
    let hs = signed(TokenAlgorithm::Hs256, Some("one"), &claims("es"));
    assert_eq!(user(verify(&both, &hs)), Err(Code::Unauthorized));
    // After a rotation the old key's tokens are refused.
    let mut rotated = set();
    rotated["keys"][0]["kid"] = "three".into();
    let rotated = KeySet::jwks(TokenAlgorithm::Es256, rotated.to_string().as_bytes()).unwrap();
    keys.replace(&rotated).unwrap();
    assert_eq!(
        user(verify(&both, &es(Some("one"), "es"))),
        Err(Code::Unauthorized)
    );
    assert_eq!(
        user(verify(&both, &es(Some("three"), "es"))),
        Ok(Some("ana".into()))
    );
    let secret = KeySet::secret(SECRET).unwrap();
    assert_eq!(keys.replace(&secret), Err(KeyError::Mismatch));
}

#[test]
fn texts_that_are_no_keys_are_refused() {
    assert_eq!(
        KeySet::secret(&SECRET[1..]).unwrap_err(),
        KeyError::SecretTooShort
    );
    let rsa = public(TokenAlgorithm::Rs256);
    let wrong = KeySet::public_key(TokenAlgorithm::Es256, rsa);
    assert_eq!(wrong.unwrap_err(), KeyError::Pem);
    let empty = KeySet::jwks(TokenAlgorithm::EdDsa, set().to_string().as_bytes());
    assert_eq!(empty.unwrap_err(), KeyError::NoKey);
    assert_eq!(
        KeySet::jwks(TokenAlgorithm::EdDsa, b"{}").unwrap_err(),
        KeyError::Set
    );
    assert!(!format!("{:?}", hs256()).contains("0123"));
}

#[test]
fn anything_else_is_nobody() {
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    for token in ["", ".", "..", "a.b.c", "\u{1b}[31m", &long] {
        assert_eq!(user(verify(&[hs256()], token)), Err(Code::Unauthorized));
        assert_eq!(user(verify(&[], token)), Err(Code::Unauthorized));
    }
}
