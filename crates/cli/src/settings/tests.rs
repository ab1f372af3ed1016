//! The three sources in their order, and every mistake at once.

mod words;

use std::{fs, time::Duration};

use bowline::{AllowedOrigins, Operation};

use super::{slot::Shown, *};

/// A file in a folder of its own, removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("bowline-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("bowline.toml");
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn sources(file: Option<&File>, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let environment = environment.iter();
    Sources {
        file: file.map(|file| file.0.clone()),
        environment: environment
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect(),
        flags: flags
            .iter()
            .map(|(key, value)| FlagValue::new("--set", key, value))
            .collect(),
    }
}

fn problems(sources: &Sources) -> Vec<String> {
    let found = load(sources, Settings::default()).expect_err("problems");
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn the_seed_settings_have_their_names_and_defaults() {
    for (variable, default) in [
        ("WEBSOCKET_PING_INTERVAL", "30"),
        ("WEBSOCKET_PONG_TIMEOUT", "10"),
        ("WEBSOCKET_CONNECTION_TIMEOUT", "10"),
        ("WEBSOCKET_MAX_RECONNECT_ATTEMPTS", "10"),
        ("WEBSOCKET_MAX_MESSAGE_SIZE", "65536"),
        ("WEBSOCKET_MAX_CONNECTIONS_PER_IP", "10"),
        ("WEBSOCKET_RATE_LIMIT_WINDOW", "60"),
        ("WEBSOCKET_RATE_LIMIT_ATTEMPTS", "60"),
        ("WEBSOCKET_SEND_TIMEOUT", "5"),
    ] {
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.variable() == variable);
        let value = (setting.expect(variable).slot)(&mut Settings::default()).show();
        assert_eq!(value, Shown::Value(default.to_owned()), "{variable}");
    }
}

#[test]
fn every_setting_is_reached_by_its_key_and_by_its_variable() {
    for setting in SETTINGS {
        let value = (setting.slot)(&mut Settings::default()).show();
        let value = match value {
            Shown::Value(value) => value.replace('"', ""),
            // What needs others, or files that are there: their own tests have some.
            _ if setting.name.ends_with("_file") || setting.name.ends_with("_url") => continue,
            _ => "k".repeat(32),
        };
        // A list on the command line has commas, not brackets.
        let value = value.replace("[]", "192.0.2.1");
        for sources in [
            sources(None, &[], &[(&setting.key(), &value)]),
            sources(None, &[(&setting.variable(), &value)], &[]),
        ] {
            let loaded = load(&sources, Settings::default());
            let loaded = loaded.unwrap_or_else(|found| panic!("{}: {found:?}", setting.key()));
            assert!(loaded.origins.contains_key(&setting.key()));
        }
    }
}

#[test]
fn keys_come_from_one_place_and_certificates_with_their_keys() {
    let keys = |name: &str| format!("{}/../server/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let algorithm = ("access.jwt_algorithm", "ES256");
    let url = ("access.jwks_url", "https://idp.example/keys");
    let (chain, key) = (keys("tls.pem"), keys("tls.key.pem"));
    let authority = keys("tls-ca.pem");
    let more = ("access.jwks_ca_file", authority.as_str());
    let certificate = ("server.tls_certificate_file", chain.as_str());
    let key = ("server.tls_key_file", key.as_str());
    let loaded = load(
        &sources(None, &[], &[algorithm, url, more, certificate, key]),
        Settings::default(),
    )
    .unwrap();
    assert!(loaded.settings.issuer.is_some() && loaded.settings.certificate.is_some());

    let other = ("server.tls_key_file", chain.as_str());
    let plain = ("access.jwks_url", "http://idp.example/keys");
    let port = ("access.jwks_url", "https://idp.example:65536/keys");
    let secret = ("access.jwt_secret", "0123456789abcdef0123456789abcdef");
    let often = ("access.jwks_refetch_interval", "1ms");
    let nothing = ("access.jwks_ca_file", "/nonexistent");
    for (flags, wrong) in [
        (&[certificate][..], "server.tls_key_file"),
        (&[key], "server.tls_certificate_file"),
        (&[certificate, other], "server.tls_key_file"),
        (&[url, more], "access.jwt_algorithm"),
        (&[algorithm, plain, more], "access.jwks_url"),
        (&[algorithm, port, more], "access.jwks_url"),
        (&[url, secret], "access.jwt_algorithm"),
        (
            &[algorithm, url, more, often],
            "access.jwks_refetch_interval",
        ),
        (&[algorithm, url, nothing], "access.jwks_ca_file"),
    ] {
        let found = problems(&sources(None, &[], flags));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(wrong), "{wrong}: {found:?}");
    }
}

#[test]
fn flags_go_before_environment_and_environment_before_the_file() {
    let file = File::new(
        "order",
        "[websocket]\nping_interval = 1\npong_timeout = \"1500ms\"\nsend_timeout = 2.5\n",
    );
    let environment = [
        ("WEBSOCKET_PING_INTERVAL", "2"),
        ("WEBSOCKET_PONG_TIMEOUT", "2m"),
    ];
    let flags = [("websocket.ping_interval", "3")];
    let loaded = load(
        &sources(Some(&file), &environment, &flags),
        Settings::default(),
    )
    .unwrap();
    let server = loaded.settings.server;
    assert_eq!(server.ping_interval, Duration::from_secs(3));
    assert_eq!(server.pong_timeout, Duration::from_secs(120));
    assert_eq!(server.send_timeout, Duration::from_millis(2_500));
}

#[test]
fn all_problems_come_at_once_with_key_and_source() {
    let file = File::new(
        "problems",
        "top = 1\n[websocket]\nping_intervall = 1\nsend_timeout = \"soon\"\nmax_inflight = 0\n\
         listen = \"x\"\n[[channels]]\npattern = \"a*b\"\nhistory_cuont = 1\nhistory_age = \"40d\"\n\
         [[channels]]\nhistory = false\nhistory_count = 2\n",
    );
    let environment = [
        ("WEBSOCKET_MAX_MESSAGE_SIZ", "1"),
        ("BOWLINE_LISTEN", "nowhere"),
    ];
    let found = problems(&sources(
        Some(&file),
        &environment,
        &[("no.such", "1"), ("channels", "a")],
    ))
    .join("\n");
    let path = file.0.display().to_string();
    for expected in [
        format!("top ({path}): no such setting"),
        format!(
            "websocket.ping_intervall ({path}): no such setting; did you mean websocket.ping_interval?"
        ),
        format!("websocket.send_timeout ({path}): must be seconds"),
        format!("websocket.max_inflight ({path}): must be between 1"),
        format!("websocket.listen ({path}): no such setting; did you mean server.listen?"),
        format!("channels[0].history_cuont ({path}): no such key; did you mean history_count?"),
        format!("channels[0].pattern ({path}): must be a channel name"),
        format!("channels[0].history_age ({path}): must be at least 1 ms"),
        format!("channels[1].history ({path}): means nothing beside history_count"),
        format!("channels[1].pattern ({path}): is needed"),
        "WEBSOCKET_MAX_MESSAGE_SIZ (environment WEBSOCKET_MAX_MESSAGE_SIZ): no such setting; \
         did you mean WEBSOCKET_MAX_MESSAGE_SIZE?"
            .to_owned(),
        "server.listen (environment BOWLINE_LISTEN): must be an address".to_owned(),
        "no.such (--set): no such setting".to_owned(),
        "channels (--set): is a list of tables: [[channels]] in the file".to_owned(),
    ] {
        assert!(
            found.contains(&expected),
            "missing: {expected}\nin:\n{found}"
        );
    }
    assert_eq!(found.lines().count(), 14, "{found}");
}

#[test]
fn a_file_that_is_no_toml_or_is_not_there_is_told() {
    let file = File::new("syntax", "[websocket\n");
    assert!(problems(&sources(Some(&file), &[], &[]))[0].contains("the file"));
    let missing = Sources {
        file: Some("/nonexistent/bowline.toml".into()),
        ..Sources::default()
    };
    assert!(problems(&missing)[0].contains("can't be read"));
}

#[test]
fn variables_that_others_set_are_only_mentioned() {
    let environment = [
        ("BOWLINE_SERVICE_HOST", "10.0.0.1"),
        ("BOWLINE_API_KEY", "secret"),
    ];
    let loaded = load(&sources(None, &environment, &[]), Settings::default()).unwrap();
    assert!(loaded.warnings[0].contains("BOWLINE_SERVICE_HOST"));
    assert!(
        !loaded
            .warnings
            .iter()
            .any(|warning| warning.contains("BOWLINE_API_KEY"))
    );
}

#[test]
fn lists_of_tables_become_policies_and_grants() {
    let file = File::new(
        "lists",
        "[[channels]]\npattern = \"tiny:*\"\nhistory_count = 20\n[[channels]]\npattern = \"v\"\n\
         history = false\n[[access.anonymous]]\nchannels = \"public:*\"\n\
         allow = [\"subscribe\", \"history\"]\n[websocket]\nallowed_origins = [\"https://a.example\"]",
    );
    let mut loaded = load(&sources(Some(&file), &[], &[]), Settings::default()).unwrap();
    let policies = &loaded.settings.bounds.policies;
    assert_eq!(policies[0].history.unwrap().messages, 20);
    assert_eq!(policies[1].history, None);
    let allowed = [Operation::Subscribe, Operation::History];
    assert_eq!(loaded.settings.anonymous[0].operations, allowed);
    let list = vec!["https://a.example".to_owned()];
    assert_eq!(
        loaded.settings.server.allowed_origins,
        AllowedOrigins::List(list)
    );
    let again = File::new("again", &print(&mut loaded));
    let reloaded = load(&sources(Some(&again), &[], &[]), Settings::default()).unwrap();
    assert_eq!(reloaded.settings.server, loaded.settings.server);
    assert_eq!(reloaded.settings.bounds, loaded.settings.bounds);
    assert_eq!(reloaded.settings.anonymous, loaded.settings.anonymous);
}

#[test]
fn two_tables_with_one_pattern_are_a_problem() {
    let file = File::new(
        "twice",
        "[[channels]]\npattern = \"a\"\n[[channels]]\npattern = \"b\"\n[[channels]]\n\
         pattern = \"a\"\nhistory = false\n",
    );
    let found = problems(&sources(Some(&file), &[], &[]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("channels[2].pattern ("), "{found:?}");
    assert!(found[0].contains("is that of channels[0]"), "{found:?}");
}

#[test]
fn what_is_no_table_is_told_how_one_is_written() {
    for (text, key, hint) in [
        (
            "channels = [\"x\"]\n",
            "channels[0]",
            "must be a table: [[channels]]",
        ),
        (
            "[access]\nanonymous = [\"x\"]\n",
            "access.anonymous[0]",
            "must be a table: [[access.anonymous]]",
        ),
    ] {
        let file = File::new("no-table", text);
        let found = problems(&sources(Some(&file), &[], &[]));
        let path = file.0.display();
        assert_eq!(found, [format!("{key} ({path}): {hint}")]);
    }
}

#[test]
fn keys_are_never_shown() {
    let secret = "a-very-secret-key-indeed";
    let environment = [("BOWLINE_ACCESS_API_KEYS", secret)];
    let mut loaded = load(&sources(None, &environment, &[]), Settings::default()).unwrap();
    assert_eq!(loaded.settings.api_keys, [ApiKey::new(secret).unwrap()]);
    assert!(!format!("{loaded:?}{}", print(&mut loaded)).contains(secret));
    let short = problems(&sources(
        None,
        &[("BOWLINE_ACCESS_API_KEYS", "short-secret")],
        &[],
    ));
    assert!(
        short[0].contains("at least 16") && !short[0].contains("short-secret"),
        "{short:?}"
    );
}

#[test]
fn development_mode_listens_on_loopback_only() {
    let flags = [("server.dev", "true"), ("server.listen", "0.0.0.0:8000")];
    let found = problems(&sources(None, &[], &flags));
    assert!(found[0].contains("must be loopback"), "{found:?}");
}

#[test]
fn keys_for_tokens_must_go_with_the_algorithm() {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/keys");
    let public = format!("{keys}/es256.pub.pem");
    let good = [
        ("access.jwt_algorithm", "ES256"),
        ("access.jwt_public_key_file", &*public),
    ];
    let loaded = load(&sources(None, &[], &good), Settings::default()).unwrap();
    assert!(loaded.settings.issuer.is_some());
    let secret = "s".repeat(32);
    for (flags, expected) in [
        (
            vec![("access.jwt_secret", "short")],
            "access.jwt_secret (--set): a secret must have",
        ),
        (
            vec![
                ("access.jwt_secret", &*secret),
                ("access.jwt_algorithm", "ES256"),
            ],
            "access.jwt_secret (--set): is for HS256",
        ),
        (
            vec![("access.jwt_algorithm", "none")],
            "access.jwt_algorithm (--set): must be HS256",
        ),
        (
            vec![("access.jwt_public_key_file", "/nonexistent")],
            "access.jwt_public_key_file (--set): can't be read",
        ),
        (
            vec![
                ("access.jwt_algorithm", "RS256"),
                ("access.jwt_public_key_file", &*public),
            ],
            "access.jwt_public_key_file (--set): is no public key",
        ),
        (
            vec![("access.jwks_file", &*public)],
            "access.jwks_file (--set): is no JSON Web Key Set",
        ),
        (
            vec![("access.jwt_secret", &*secret), ("access.jwks_file", "x")],
            "only one of jwt_secret",
        ),
    ] {
        let found = problems(&sources(None, &[], &flags)).join("\n");
        assert!(found.contains(expected), "{flags:?}: {found}");
        assert!(!found.contains(&secret));
    }
}

#[test]
fn each_setting_can_be_changed_alone() {
    for (name, value, followers) in [
        ("WEBSOCKET_PING_INTERVAL", "1", &[][..]),
        ("WEBSOCKET_PONG_TIMEOUT", "600", &[]),
        (
            "WEBSOCKET_CONNECTION_TIMEOUT",
            "1",
            &["\naccess_timeout = 1  #"],
        ),
        ("WEBSOCKET_MAX_RECONNECT_ATTEMPTS", "1", &[]),
        (
            "WEBSOCKET_MAX_MESSAGE_SIZE",
            "1048576",
            &[
                "\nsend_queue_bytes = 1052672  #",
                "\nhttp_body_bytes = 1402198  #",
            ],
        ),
        ("WEBSOCKET_MAX_MESSAGE_SIZE", "1024", &[]),
        (
            "WEBSOCKET_MAX_CONNECTIONS_PER_IP",
            "5000",
            &["\nmax_verified_connections_per_ip = 5000  #"],
        ),
        ("WEBSOCKET_RATE_LIMIT_WINDOW", "1", &[]),
        ("WEBSOCKET_SEND_TIMEOUT", "60", &[]),
        (
            "WEBSOCKET_MESSAGES_BURST",
            "8",
            &["\nmax_inflight = 8  # default, follows websocket.messages_burst;"],
        ),
        (
            "WEBSOCKET_MAX_INFLIGHT",
            "500",
            &["\nmessages_burst = 500  #"],
        ),
    ] {
        let mut loaded = load(&sources(None, &[(name, value)], &[]), Settings::default())
            .unwrap_or_else(|problems| panic!("{name}={value}: {problems:?}"));
        let text = print(&mut loaded);
        for follower in followers {
            assert!(text.contains(follower), "{name}={value}: {text}");
        }
        assert_eq!(text.matches("follows").count(), followers.len(), "{name}");
        let again = File::new("followed", &text);
        let reloaded = load(&sources(Some(&again), &[], &[]), Settings::default()).unwrap();
        assert_eq!(reloaded.settings.server, loaded.settings.server);
    }
}

#[test]
fn two_settings_that_contradict_each_other_are_a_problem() {
    let flags = [
        ("websocket.connection_timeout", "1"),
        ("websocket.access_timeout", "2"),
        ("websocket.max_message_size", "1048576"),
        ("websocket.send_queue_bytes", "65536"),
        ("websocket.session_ttl", "40d"),
    ];
    let found = problems(&sources(None, &[], &flags)).join("\n");
    assert_eq!(found.lines().count(), 3, "{found}");
    for key in ["access_timeout", "send_queue_bytes", "session_ttl"] {
        let told = format!("websocket.{key} (--set): ");
        assert!(found.contains(&told), "{found}");
    }
}

#[test]
fn files_and_keys_are_told_of_in_one_go_too() {
    let flags = [
        ("server.tls_certificate_file", "/nonexistent/a"),
        ("server.tls_key_file", "/nonexistent/b"),
        ("access.jwt_algorithm", "ES256"),
        ("access.jwks_url", "http://idp.example/keys"),
        ("access.jwks_max_age", "1ms"),
        ("access.jwks_refetch_interval", "1ms"),
        ("access.jwks_ca_file", "/nonexistent/c"),
    ];
    let found = problems(&sources(None, &[], &flags)).join("\n");
    for (key, _) in flags
        .iter()
        .filter(|(key, _)| *key != "access.jwt_algorithm")
    {
        assert!(
            found.contains(&format!("{key} (--set): ")),
            "{key}: {found}"
        );
    }
    assert_eq!(found.lines().count(), 6, "{found}");
    let flags = [
        ("access.jwt_algorithm", "ES256"),
        ("access.jwt_secret", "short"),
        ("server.tls_certificate_file", "/nonexistent/a"),
    ];
    let found = problems(&sources(None, &[], &flags)).join("\n");
    for expected in [
        "access.jwt_secret (--set): is for HS256",
        "access.jwt_secret (--set): a secret must have",
        "server.tls_certificate_file (--set): can't be read",
        "server.tls_key_file (default): ",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

/// Every size, window and interval of the engine is told to those who set it.
#[test]
fn the_engines_settings_are_documented() {
    let document = include_str!("../../../../docs/durability.md");
    for setting in SETTINGS.iter().filter(|one| one.section == "engine") {
        let row = format!("\n| `{}` |", setting.name);
        assert!(
            document.contains(&row),
            "docs/durability.md lacks {}",
            setting.name
        );
    }
}
