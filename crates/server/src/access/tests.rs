//! Keys open, wildcards stop at reserved names, and tokens stay out of debug texts.

use super::*;

const KEY: &str = "0123456789abcdef";

fn access() -> StaticAccess {
    StaticAccess::new(
        vec![
            ApiKey::new("another-key-of-some-length").unwrap(),
            ApiKey::new(KEY).unwrap(),
        ],
        vec![
            Grant {
                pattern: "public:*".into(),
                operations: vec![Operation::Subscribe, Operation::History],
            },
            Grant {
                pattern: "*".into(),
                operations: vec![Operation::Presence],
            },
        ],
    )
}

async fn enter(entrance: Entrance, token: Option<&str>) -> Result<Identity, Code> {
    let credentials = Credentials {
        token,
        entrance,
        remote_addr: None,
        origin: None,
    };
    access().authenticate(credentials).await
}

#[tokio::test]
async fn only_a_whole_key_opens() {
    assert_eq!(
        enter(Entrance::Http, Some(KEY)).await,
        Ok(Identity::backend())
    );
    for token in [
        "0123456789abcdeX",
        "0123456789abcde",
        "",
        "0123456789abcdef0",
    ] {
        assert_eq!(
            enter(Entrance::Http, Some(token)).await,
            Err(Code::Unauthorized),
            "{token}"
        );
    }
}

#[tokio::test]
async fn without_a_token_only_the_websocket_is_open() {
    assert_eq!(enter(Entrance::Http, None).await, Err(Code::Unauthorized));
    assert_eq!(
        enter(Entrance::WebSocket, None).await,
        Ok(Identity::anonymous())
    );
    assert_eq!(
        enter(Entrance::WebSocket, Some("forged")).await,
        Err(Code::Unauthorized)
    );
}

#[tokio::test]
async fn grants_follow_their_patterns_and_stop_at_reserved_names() {
    let access = access();
    let anonymous = Identity::anonymous();
    for (operation, channel, granted) in [
        (Operation::Subscribe, "public:a", true),
        (Operation::Publish, "public:a", false),
        (Operation::Subscribe, "publi", false),
        (Operation::Subscribe, "private:a", false),
        (Operation::Presence, "private:a", true),
        (Operation::Presence, "user:7", false),
    ] {
        assert_eq!(
            access.authorize(&anonymous, operation, channel).await,
            granted,
            "{operation:?} {channel}"
        );
    }
    assert!(
        access
            .authorize(&Identity::backend(), Operation::Publish, "user:7")
            .await
    );
}

#[test]
fn debug_texts_show_no_secret() {
    let credentials = Credentials {
        token: Some(KEY),
        entrance: Entrance::Http,
        remote_addr: None,
        origin: None,
    };
    let text = format!("{credentials:?} {:?}", access());
    assert!(!text.contains("0123"), "{text}");
    assert!(ApiKey::new("too-short").is_err());
}
