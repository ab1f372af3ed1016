//! `bowline token` mints what was asked for, or nothing.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{bowline, ended};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn token(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = bowline(&["token"]);
    let command = command.args(arguments);
    ended(command.env("BOWLINE_ACCESS_JWT_SECRET", SECRET))
}

#[test]
fn grants_on_one_pattern_add_up() {
    let grants = ["a=subscribe", "b:*=history", "a=publish"];
    let arguments: Vec<&str> = grants.iter().flat_map(|one| ["--grant", *one]).collect();
    let (code, said) = token(&arguments);
    assert_eq!(code, Some(0), "{said}");
    let claims = said.split('.').nth(1).unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let granted = json!({"a": ["publish", "subscribe"], "b:*": ["history"]});
    assert_eq!(claims["channels"], granted);
}

#[test]
fn a_token_that_nobody_could_use_is_not_minted() {
    for (arguments, told) in [
        (["--ttl", "0"], "must be between 1 s and"),
        (["--ttl", "1ms"], "must be between 1 s and"),
        (["--ttl", "999ms"], "must be between 1 s and"),
        (["--ttl", "18446744073709550000"], "must be between 1 s and"),
        (["--ttl", "soon"], "must be seconds"),
        (["--grant", "=subscribe"], "the pattern is a channel name"),
        (
            ["--grant", "a*b=subscribe"],
            "the pattern is a channel name",
        ),
        (["--grant", "a=fly"], "of subscribe, publish, history"),
    ] {
        let (code, said) = token(&arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        let begins = format!("bowline: {} {}: ", arguments[0], arguments[1]);
        assert!(said.starts_with(&begins) && said.contains(told), "{said}");
    }
    let (code, said) = token(&["--ttl", "1s"]);
    assert_eq!(code, Some(0), "{said}");
}
