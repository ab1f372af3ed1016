//! Settings: the defaults are sound, and each that makes no sense is named.

use super::*;

#[test]
fn the_defaults_are_sound() {
    assert_eq!(EngineConfig::default().check(), Ok(()));
}

#[test]
fn every_problem_is_reported_at_once_with_its_key() {
    let config = EngineConfig {
        channels_max: 0,
        keys_max: 0,
        key_window: Duration::ZERO,
        session_ttl: 31 * 24 * HOUR,
        policies: vec![
            ChannelPolicy {
                pattern: "a*b".to_owned(),
                history: None,
            },
            ChannelPolicy {
                pattern: "chat:*".to_owned(),
                history: Some(Retention {
                    messages: 0,
                    bytes: 0,
                    age: 40 * 24 * HOUR,
                }),
            },
        ],
        ..EngineConfig::default()
    };
    let problems = config.check().expect_err("seven settings are wrong");
    let keys: Vec<&str> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "channels_max",
            "keys_max",
            "session_ttl",
            "key_window",
            "policies[0].pattern",
            "policies[1].history.messages",
            "policies[1].history.bytes",
            "policies[1].history.age",
        ]
    );
}

#[test]
fn a_short_memory_for_channels_needs_patterns_for_all_of_them() {
    let mut config = EngineConfig {
        channel_forget_after: HOUR,
        session_ttl: HOUR,
        ..EngineConfig::default()
    };
    assert!(config.check().is_err());
    config.policies.push(ChannelPolicy {
        pattern: "*".to_owned(),
        history: None,
    });
    assert_eq!(config.check(), Ok(()));
}

#[test]
fn a_pattern_is_a_name_or_a_beginning() {
    let policy = |pattern: &str| ChannelPolicy {
        pattern: pattern.to_owned(),
        history: None,
    };
    assert!(policy("chat").matches("chat"));
    assert!(!policy("chat").matches("chat:1"));
    assert!(policy("chat:*").matches("chat:1"));
    assert!(policy("chat:*").matches("chat:"));
    assert!(!policy("chat:*").matches("chat"));
    assert!(policy("*").matches("anything"));
}
