//! What is said of a mistake: the value, the bounds, and the setting that somebody set.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use super::*;

const INTERVAL: &str = "WEBSOCKET_PING_INTERVAL";

fn told(name: &str, value: &str) -> String {
    problems(&sources(None, &[(name, value)], &[])).join("\n")
}

#[test]
fn a_value_is_shown_escaped_and_never_a_whole_page_of_it() {
    let form = "must be seconds, or a number with ms, s, m, h or d";
    let begins = format!("websocket.ping_interval (environment {INTERVAL}): ");
    let range = "must be between 1 ms and 365 days";
    let long = "x".repeat(1_000);
    for (value, expected) in [
        ("abc", format!("{form}; it is \"abc\"")),
        ("", format!("{form}; it is empty")),
        (" ", format!("{form}; it is empty")),
        ("a\u{1b}\"", format!("{form}; it is \"a\\u{{1b}}\\\"\"")),
        ("-1", "must not be negative; it is \"-1\"".to_owned()),
        ("0", format!("{range}; it is \"0\"")),
        (
            "99999999999999999999",
            format!("{range}; it is \"99999999999999999999\""),
        ),
        (
            &long,
            format!("{form}; it begins with \"{}\"", "x".repeat(64)),
        ),
    ] {
        assert_eq!(told(INTERVAL, value), begins.clone() + &expected);
    }
    let mut bytes = sources(None, &[], &[]);
    let value = OsString::from_vec(vec![b'1', 0xff]);
    bytes.environment.push((INTERVAL.to_owned(), value));
    assert_eq!(problems(&bytes), [begins + "must be UTF-8"]);
}

#[test]
fn a_list_of_tables_shows_its_values_too() {
    let file = File::new(
        "shown",
        "[[channels]]\npattern = \"a\"\nhistory_age = \"soon\"\n",
    );
    let found = problems(&sources(Some(&file), &[], &[])).join("\n");
    assert!(found.ends_with("it is \"soon\""), "{found}");
}

#[test]
fn a_secret_is_never_shown() {
    for (name, value) in [
        ("BOWLINE_ACCESS_JWT_SECRET", "geheim"),
        ("BOWLINE_ACCESS_API_KEYS", "geheim"),
        ("BOWLINE_ACCESS_ADMIN_TOKEN", "geheim"),
        ("BOWLINE_ACCESS_JWKS_URL", "https://user:geheim@host/"),
        ("BOWLINE_ACCESS_JWKS_URL", "http://host/?key=geheim"),
    ] {
        let found = told(name, value);
        assert!(!found.is_empty() && !found.contains("geheim"), "{found}");
    }
}

#[test]
fn only_sizes_have_units() {
    for (name, value) in [
        ("WEBSOCKET_MAX_RECONNECT_ATTEMPTS", "64KiB"),
        ("WEBSOCKET_MAX_CONNECTIONS", "1MiB"),
        ("BOWLINE_ENGINE_MAX_MESSAGES", "1GiB"),
    ] {
        let found = told(name, value);
        let expected = format!("must be a whole number; it is \"{value}\"");
        assert!(found.ends_with(&expected), "{found}");
    }
    let found = told("WEBSOCKET_PAGE_BYTES", "64KB");
    assert!(found.contains("or one with KiB, MiB or GiB"), "{found}");
    for name in ["WEBSOCKET_PAGE_BYTES", "WEBSOCKET_MAX_RECONNECT_ATTEMPTS"] {
        let found = told(name, "99999999999999999999");
        assert!(found.contains("is too large"), "{found}");
    }
    let sizes = [
        ("WEBSOCKET_PAGE_BYTES", "64KiB"),
        ("BOWLINE_ENGINE_MAX_BYTES", "1GiB"),
    ];
    let loaded = load(&sources(None, &sizes, &[]), Settings::default()).unwrap();
    assert_eq!(loaded.settings.server.page_bytes_max, 64 << 10);
}

#[test]
fn what_a_followed_setting_breaks_is_told_of_the_one_that_was_set() {
    let most = "805303296";
    let name = "WEBSOCKET_MAX_MESSAGE_SIZE";
    for value in ["1GiB", "805303297", "2GiB", "0"] {
        let found = told(name, value);
        let begins = format!(
            "websocket.max_message_size (environment {name}): must be between 1 and {most}, "
        );
        assert!(found.starts_with(&begins), "{found}");
        assert!(found.ends_with(&format!("; it is \"{value}\"")), "{found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
    assert!(load(&sources(None, &[(name, most)], &[]), Settings::default()).is_ok());
    let found = told("WEBSOCKET_MESSAGES_BURST", "0");
    let expected = "websocket.messages_burst (environment WEBSOCKET_MESSAGES_BURST): \
                    websocket.max_inflight, which follows it, must be between 1 and 2^30; it is \"0\"";
    assert_eq!(found, expected);
}

#[test]
fn a_flag_without_a_name_or_a_value_is_told_the_form() {
    for (pair, expected) in [
        (
            "websocket.ping_interval",
            "websocket.ping_interval (--set): has no value",
        ),
        ("=1", "a setting (--set): has no name"),
        ("", "a setting (--set): has no name"),
    ] {
        let sources = Sources {
            environment: vec![(INTERVAL.to_owned(), "7".into())],
            flags: vec![FlagValue::from_pair(pair)],
            ..Sources::default()
        };
        assert_eq!(
            problems(&sources),
            [format!("{expected}; --set takes NAME=VALUE")]
        );
    }
}

#[test]
fn an_empty_name_of_the_file_is_told_by_its_variable() {
    let sources = Sources {
        file: Some(PathBuf::new()),
        ..Sources::default()
    };
    let expected = "the file (environment BOWLINE_CONFIG): is empty; it must be a path";
    assert_eq!(problems(&sources), [expected]);
}

#[test]
fn keys_that_are_published_tell_their_algorithms_beside_other_mistakes() {
    let algorithms = "access.jwt_algorithm (default): must be RS256, ES256 or EdDSA: ";
    let found = told("BOWLINE_ACCESS_JWKS_URL", "http://evil/");
    assert!(found.starts_with(algorithms), "{found}");
    assert!(
        found.contains("\naccess.jwks_url (environment BOWLINE_ACCESS_JWKS_URL): must be an https"),
        "{found}"
    );
    let public = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../server/tests/keys/es256.pub.pem"
    );
    let set = File::new("set", "{\"keys\": []}");
    for (name, path) in [
        ("BOWLINE_ACCESS_JWT_PUBLIC_KEY_FILE", public),
        ("BOWLINE_ACCESS_JWKS_FILE", set.0.to_str().unwrap()),
    ] {
        let found = told(name, path);
        assert!(found.starts_with(algorithms), "{found}");
    }
}

#[test]
fn spans_of_tokens_have_an_end() {
    let keys = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../server/tests/keys/tls-ca.pem"
    );
    let flags = [
        ("access.jwt_algorithm", "ES256"),
        ("access.jwks_url", "https://idp.example/keys"),
        ("access.jwks_ca_file", keys),
        ("access.jwks_max_age", "366d"),
        ("access.jwks_refetch_interval", "99999999999999999999"),
        ("access.jwt_leeway", "99999999999999999999"),
    ];
    let found = problems(&sources(None, &[], &flags));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found.iter().all(|one| one.contains("365 days")),
        "{found:?}"
    );
}

#[test]
fn the_admins_token_is_none_of_the_keys() {
    let environment = [
        (
            "BOWLINE_ACCESS_API_KEYS",
            "0123456789abcdef,fedcba9876543210",
        ),
        ("BOWLINE_ACCESS_ADMIN_TOKEN", "fedcba9876543210"),
    ];
    let found = problems(&sources(None, &environment, &[]));
    let variable = "environment BOWLINE_ACCESS_ADMIN_TOKEN";
    let told = format!(
        "access.admin_token ({variable}): must be none of access.api_keys, which may do less"
    );
    assert_eq!(found, [told]);
}
