//! The defaults hold, every bound is met, and foreign pages stay out.

use std::time::Duration;

use super::*;

fn keys(config: &Config) -> Vec<String> {
    match config.check() {
        Ok(()) => Vec::new(),
        Err(problems) => problems.into_iter().map(|problem| problem.key).collect(),
    }
}

#[test]
fn the_defaults_hold() {
    assert_eq!(Config::default().check(), Ok(()));
}

#[test]
fn all_problems_come_at_once() {
    let config = Config {
        ping_interval: Duration::ZERO,
        inflight_max: 0,
        send_queue_bytes_max: 65_536,
        messages_per_second: 0,
        ..Config::default()
    };
    assert_eq!(
        keys(&config),
        [
            "ping_interval",
            "inflight_max",
            "messages_per_second",
            "send_queue_bytes_max"
        ]
    );
}

#[test]
fn settings_that_depend_on_each_other_are_checked_together() {
    let config = Config {
        message_bytes_max: MIB,
        inflight_max: 500,
        access_timeout: Duration::from_secs(11),
        channel_bytes_max: 2_000,
        tail_bytes_max: 1,
        allowed_origins: AllowedOrigins::List(vec![
            "https://a.example".into(),
            "a.example".into(),
            "https://*.a.example".into(),
            AllowedOrigins::SAME_HOST.into(),
        ]),
        ..Config::default()
    };
    assert_eq!(
        keys(&config),
        [
            "channel_bytes_max",
            "send_queue_bytes_max",
            "http_body_bytes_max",
            "messages_burst_max",
            "tail_bytes_max",
            "access_timeout",
            "allowed_origins[1]",
            "allowed_origins[2]",
        ]
    );
}

#[test]
fn a_page_of_another_host_is_refused_unless_listed() {
    let mut config = Config::default();
    let host = Some("chat.example:8443");
    assert!(config.allows_origin(None, host));
    assert!(config.allows_origin(Some("https://chat.example:8443"), host));
    for origin in [
        "https://evil.example",
        "https://chat.example",
        "https://chat.example:8443.evil.example",
        "null",
        "",
    ] {
        assert!(!config.allows_origin(Some(origin), host), "{origin}");
    }
    let own = Some("https://chat.example:8443");
    let mut list = vec!["https://App.example/".into()];
    config.allowed_origins = AllowedOrigins::List(list.clone());
    assert!(config.allows_origin(Some("https://app.example"), host));
    assert!(!config.allows_origin(Some("http://app.example"), host));
    assert!(!config.allows_origin(own, host), "a list is the whole list");
    list.push(AllowedOrigins::SAME_HOST.into());
    config.allowed_origins = AllowedOrigins::List(list);
    assert!(config.allows_origin(own, host));
    assert!(!config.allows_origin(Some("https://evil.example"), host));
    config.allowed_origins = AllowedOrigins::Any;
    assert!(config.allows_origin(Some("null"), host));
}

#[test]
fn development_mode_takes_only_loopback_names() {
    let config = Config {
        dev: true,
        allowed_origins: AllowedOrigins::Any,
        ..Config::default()
    };
    assert!(config.allows_origin(Some("http://localhost:3000"), Some("127.0.0.1:8000")));
    assert!(config.allows_origin(None, Some("app.localhost")));
    assert!(!config.allows_origin(Some("http://evil.example"), Some("127.0.0.1:8000")));
    assert!(!config.allows_origin(None, Some("rebound.evil.example:8000")));
    assert!(!config.allows_origin(Some("null"), Some("127.0.0.1")));
    assert!(!config.allows_origin(None, None));
}
