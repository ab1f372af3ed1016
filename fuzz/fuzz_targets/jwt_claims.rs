//! Tokens: any text as a token, and any claims in a token whose signature holds. Neither panics, and
//! nobody gets in without an expiry, or as somebody's backend.
#![no_main]

use std::{
    pin::pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bowline::{
    AccessControl, Code, Credentials, Entrance, Identity, Issuer, KeySet, Operation, Role,
    StaticAccess,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

fn access() -> &'static StaticAccess {
    static ACCESS: OnceLock<StaticAccess> = OnceLock::new();
    ACCESS.get_or_init(|| {
        StaticAccess::new(Vec::new(), Vec::new()).with_issuers(vec![Issuer {
            name: None,
            audience: None,
            keys: KeySet::secret(SECRET).expect("it is long enough"),
            leeway: Duration::from_secs(1),
        }])
    })
}

fn answer<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("a fixed list answers at once"),
    }
}

fn present(token: &str) -> Result<Identity, Code> {
    answer(access().authenticate(Credentials {
        token: Some(token),
        entrance: Entrance::WebSocket,
        remote_addr: None,
        origin: None,
    }))
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    assert!(present(text).is_err(), "an unsigned text was taken");
    let Ok(claims) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let key = EncodingKey::from_secret(SECRET);
    let Ok(token) = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key) else {
        return;
    };
    if let Ok(identity) = present(&token) {
        assert!(identity.expires_in.is_some());
        assert_eq!(identity.role, Role::Client);
        for operation in Operation::ALL {
            answer(access().authorize(&identity, operation, "user:somebody"));
        }
    }
});
