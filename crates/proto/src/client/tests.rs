//! One behaviour after the other, in virtual time, with the server's part as wire text.

use super::*;
use crate::{
    Time,
    classify::Evidence,
    codec::{Frame, Incoming, decode_server, encode_client, json_data},
    message::ClientMessage,
    recovery::From,
};

struct World {
    client: Client,
    now: Time,
    out: Vec<Output>,
}

const WELCOME: &str = r#""type":"welcome","connection":"k1","session":"s1","node":"n1","inflight_max":3,"session_ttl_ms":86400000,"ping_interval_ms":30000,"pong_timeout_ms":10000,"message_bytes_max":65536,"max_reconnect_attempts":2"#;
const AT: &str = "00000000000000aa";

impl World {
    fn new(options: Options) -> Self {
        Self {
            client: Client::new(1, options),
            now: Time::ZERO,
            out: Vec::new(),
        }
    }

    fn open() -> Self {
        let mut world = Self::new(Options {
            session: Some("s1".into()),
            ..Options::default()
        });
        world.feed(Input::Subscribe {
            channel: "a".into(),
            from: From::Now,
        });
        world.feed(Input::Connect);
        world.feed(Input::Opened { link: 1 });
        world.welcome(1, r#""resumed":false,"acked":0"#, 5);
        world.take();
        world
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.client.handle(self.now, input, &mut out);
        self.out.extend(out.iter().cloned());
        out
    }

    fn hear(&mut self, link: u64, text: &str) -> Vec<Output> {
        let messages: Vec<_> = decode_server(Incoming::Text(text)).collect();
        messages
            .into_iter()
            .flat_map(|message| {
                let message = message.expect("the test writes valid messages");
                self.feed(Input::Message { link, message })
            })
            .collect()
    }

    fn welcome(&mut self, link: u64, fields: &str, offset: u64) -> Vec<Output> {
        self.hear(link, &format!(
            r#"{{{WELCOME},{fields},"subscriptions":{{"a":{{"position":"{AT}.{offset}.00000001","recovered":true}}}}}}"#
        ))
    }

    fn publication(&mut self, link: u64, offset: u64) -> Vec<Output> {
        self.hear(link, &format!(
            r#"{{"type":"message","channel":"a","position":"{AT}.{offset}.00000001","data":{offset}}}"#
        ))
    }

    fn queue(&mut self, key: u64) -> Vec<Output> {
        let data = json_data(b"1").expect("valid");
        let item = Item::Publish {
            channel: "a".into(),
            data,
            tag: None,
        };
        self.feed(Input::Queue { key, item })
    }

    fn close(&mut self, link: u64, code: u16, reason: &str) -> Vec<Output> {
        let evidence = Evidence::Close {
            code,
            reason: reason.into(),
        };
        self.feed(Input::Failed { link, evidence })
    }

    /// Goes to the next timeout and fires it.
    fn timeout(&mut self) -> Vec<Output> {
        self.now = self.client.next_timeout().expect("a timer runs");
        self.feed(Input::Timeout)
    }

    fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }
}

fn events(out: &[Output]) -> Vec<Event> {
    out.iter()
        .filter_map(|output| match output {
            Output::Event(event) => Some(event.clone()),
            _ => None,
        })
        .collect()
}

fn written(out: &[Output]) -> Vec<String> {
    out.iter()
        .filter_map(|output| match output {
            Output::Write { link, message } => Some(match encode_client(message) {
                Frame::Text(text) => format!("{link} {}", String::from_utf8_lossy(&text)),
                Frame::Binary(_) => format!("{link} binary"),
            }),
            _ => None,
        })
        .collect()
}

fn seqs(out: &[Output]) -> Vec<u64> {
    out.iter()
        .filter_map(|output| match output {
            Output::Write {
                message: ClientMessage::Publish(publish),
                ..
            } => publish.seq,
            _ => None,
        })
        .collect()
}

fn delivered(out: &[Output]) -> usize {
    events(out)
        .iter()
        .filter(|e| matches!(e, Event::Message(_)))
        .count()
}

fn dialled(out: &[Output]) -> Option<u64> {
    out.iter().find_map(|output| match output {
        Output::Dial { link, .. } => Some(*link),
        _ => None,
    })
}

#[test]
fn one_round_trip_opens_and_subscribes() {
    let mut world = World::new(Options::default());
    world.feed(Input::Subscribe {
        channel: "a".into(),
        from: From::First,
    });
    assert_eq!(dialled(&world.feed(Input::Connect)), Some(1));
    let hello = written(&world.feed(Input::Opened { link: 1 }));
    assert_eq!(
        hello,
        [r#"1 {"type":"hello","link":1,"first":1,"next":1,"subscribe":{"a":"first"}}"#]
    );
    let out = world.welcome(1, r#""resumed":false,"acked":0"#, 0);
    assert!(
        events(&out)
            .iter()
            .any(|e| matches!(e, Event::Subscribed { .. }))
    );
    assert_eq!(world.client.state(), State::Open);
}

#[test]
fn a_publication_is_delivered_once_and_a_jump_resubscribes() {
    let mut world = World::open();
    assert_eq!(delivered(&world.publication(1, 6)), 1);
    assert_eq!(delivered(&world.publication(1, 6)), 0);
    let out = world.publication(1, 8);
    assert_eq!(delivered(&out), 0);
    assert_eq!(
        written(&out),
        [
            r#"1 {"type":"unsubscribe","channel":"a"}"#.to_owned(),
            format!(
                r#"1 {{"type":"subscribe","id":1,"channel":"a","position":"{AT}.6.00000001"}}"#
            ),
        ]
    );
    assert_eq!(
        delivered(&world.publication(1, 7)),
        0,
        "the old subscription's"
    );
    let out = world.hear(1, &format!(
        r#"{{"type":"subscribed","id":1,"channel":"a","position":"{AT}.6.00000001","recovered":true}}"#
    ));
    assert_eq!(delivered(&out), 0);
    assert_eq!(delivered(&world.publication(1, 7)), 1);
}

#[test]
fn a_rewound_answer_resets_the_cursor() {
    let mut world = World::open();
    world.publication(1, 6);
    world.close(1, 1006, "");
    world.timeout();
    world.feed(Input::Opened { link: 2 });
    world.hear(2, &format!(
        r#"{{{WELCOME},"resumed":false,"acked":0,"subscriptions":{{"a":{{"position":"{AT}.2.00000002","recovered":false,"reason":"rewound"}}}}}}"#
    ));
    assert_eq!(delivered(&world.publication(2, 3)), 1);
}

#[test]
fn a_seq_is_given_when_first_written_and_kept_over_links() {
    let mut world = World::open();
    world.close(1, 1006, "");
    assert!(seqs(&world.queue(10)).is_empty());
    world.queue(11);
    world.timeout();
    let hello = written(&world.feed(Input::Opened { link: 2 }));
    assert!(hello[0].contains(r#""first":1,"next":1"#), "{hello:?}");
    let out = world.welcome(2, r#""resumed":false,"acked":0"#, 5);
    assert_eq!(seqs(&out), [1, 2]);
    world.hear(2, r#"{"type":"acked","seq":1}"#);
    world.close(2, 1006, "");
    world.timeout();
    let hello = written(&world.feed(Input::Opened { link: 3 }));
    assert!(hello[0].contains(r#""first":2,"next":3"#), "{hello:?}");
    let out = world.welcome(3, r#""resumed":true,"acked":1"#, 5);
    assert_eq!(seqs(&out), [2]);
    assert_eq!(world.client.outbox().len(), 1);
}

#[test]
fn inflight_is_bounded_and_acks_make_room() {
    let mut world = World::open();
    let out: Vec<_> = (0..5).flat_map(|key| world.queue(key)).collect();
    assert_eq!(seqs(&out), [1, 2, 3]);
    assert_eq!(seqs(&world.hear(1, r#"{"type":"acked","seq":2}"#)), [4, 5]);
}

#[test]
fn a_refusal_is_skipped_or_sent_again_in_order() {
    let mut world = World::open();
    for key in 0..3 {
        world.queue(key);
    }
    let out = world.hear(
        1,
        r#"{"type":"error","seq":2,"code":"forbidden","message":"","retry":false}"#,
    );
    let dropped = Event::Dropped {
        key: 1,
        fate: Fate::Refused,
        reason: "forbidden".into(),
    };
    assert_eq!(events(&out), [Event::Acked { key: 0 }, dropped]);
    assert!(written(&out)[0].contains(r#""type":"skip","seq":2"#));
    assert_eq!(seqs(&out), [3]);
    let out = world.hear(
        1,
        r#"{"type":"error","seq":3,"code":"rate_limited","message":"","retry":true,"retry_after_ms":700}"#,
    );
    assert_eq!(seqs(&out), [0u64; 0]);
    let out = world.timeout();
    assert_eq!(world.now, Time::from_millis(700));
    assert_eq!(seqs(&out), [3]);
}

#[test]
fn a_skip_that_was_not_acked_is_written_again_on_the_next_link() {
    let mut world = World::open();
    world.queue(0);
    world.hear(
        1,
        r#"{"type":"error","seq":1,"code":"forbidden","message":"","retry":false}"#,
    );
    world.close(1, 1006, "");
    world.timeout();
    world.feed(Input::Opened { link: 2 });
    let out = world.welcome(2, r#""resumed":false,"acked":0"#, 5);
    assert_eq!(written(&out), [r#"2 {"type":"skip","seq":1}"#]);
}

#[test]
fn a_lost_session_moves_what_was_never_written() {
    let mut world = World::open();
    world.queue(0);
    world.close(1, 1006, "");
    world.queue(1);
    world.timeout();
    world.feed(Input::Opened { link: 2 });
    let out = world.hear(
        2,
        &format!(
            r#"{{{},"resumed":false,"reason":"session_lost","acked":0,"subscriptions":{{}}}}"#,
            WELCOME.replace("s1", "s2")
        ),
    );
    let dropped = Event::Dropped {
        key: 0,
        fate: Fate::Unknown,
        reason: "session_lost".into(),
    };
    assert!(events(&out).contains(&dropped));
    assert_eq!(seqs(&out), [1]);
}

#[test]
fn silence_is_death_after_interval_and_timeout() {
    let mut world = World::open();
    world.now = Time::from_millis(5_000);
    world.feed(Input::Received { link: 1 });
    let out = world.timeout();
    assert_eq!(world.now, Time::from_millis(45_000));
    assert!(matches!(out[0], Output::CloseLink { link: 1, .. }));
    assert_eq!(world.client.state(), State::Waiting);
}

#[test]
fn a_hint_probes_and_two_missed_probes_are_death() {
    let mut world = World::open();
    let out = world.feed(Input::Hint(Hint::Wake));
    assert_eq!(world.client.state(), State::Probing);
    assert_eq!(written(&out), [r#"1 {"type":"ping","ts":0}"#]);
    world.hear(1, r#"{"type":"pong","ts":0}"#);
    assert_eq!(world.client.state(), State::Open);
    world.feed(Input::Hint(Hint::Visible));
    assert_eq!(written(&world.timeout()), [r#"1 {"type":"ping","ts":800}"#]);
    world.timeout();
    assert_eq!(world.now, Time::from_millis(1_600));
    assert_eq!(world.client.state(), State::Waiting);
}

#[test]
fn a_drain_dials_before_the_old_link_falls() {
    let mut world = World::open();
    world.hear(1, r#"{"type":"reconnect","after_ms":40,"reason":"drain"}"#);
    assert_eq!(dialled(&world.timeout()), Some(2));
    assert_eq!(world.client.state(), State::Open);
    assert_eq!(seqs(&world.queue(0)), [1]);
    world.feed(Input::Opened { link: 2 });
    assert!(
        seqs(&world.queue(1)).is_empty(),
        "nothing numbered after hello"
    );
    assert_eq!(delivered(&world.publication(1, 6)), 1);
    let out = world.welcome(2, r#""resumed":true,"acked":1"#, 5);
    assert_eq!(seqs(&out), [2]);
    assert!(world.close(1, 4409, r#"{"code":"replaced"}"#).is_empty());
    assert_eq!(
        delivered(&world.publication(2, 6)),
        0,
        "came over the old link"
    );
    assert_eq!(delivered(&world.publication(2, 7)), 1);
}

#[test]
fn a_restart_waits_for_the_close() {
    let mut world = World::open();
    world.hear(
        1,
        r#"{"type":"reconnect","after_ms":60000,"reason":"restart"}"#,
    );
    assert_eq!(world.client.next_timeout(), Some(Time::from_millis(40_000)));
    world.close(1, 4503, r#"{"code":"draining"}"#);
    let at = world.client.next_timeout().expect("a dial is due");
    assert!(
        at > Time::from_millis(1_000) && at <= Time::from_millis(60_000),
        "{at:?}"
    );
}

#[test]
fn replaced_on_the_newest_link_never_takes_back() {
    let mut world = World::open();
    world.close(1, 4409, r#"{"code":"replaced"}"#);
    assert_eq!(world.client.state(), State::Blocked);
    assert_eq!(world.client.next_timeout(), None);
    world.feed(Input::Connect);
    let hello = written(&world.feed(Input::Opened { link: 2 }));
    assert!(!hello[0].contains("session"), "{hello:?}");
}

#[test]
fn auth_asks_for_a_new_token_once_then_blocks() {
    let mut world = World::new(Options {
        authorize: true,
        ..Options::default()
    });
    assert!(world.feed(Input::Connect).contains(&Output::Authorize));
    world.feed(Input::Token(Some("t1".into())));
    world.feed(Input::Opened { link: 1 });
    let out = world.close(1, 4401, r#"{"code":"token_expired"}"#);
    assert!(out.contains(&Output::Authorize));
    let out = world.feed(Input::Token(Some("t2".into())));
    assert_eq!(dialled(&out), Some(2));
    world.feed(Input::Opened { link: 2 });
    world.close(2, 4401, "");
    assert_eq!(world.client.state(), State::Blocked);
}

#[test]
fn attempts_used_up_make_it_dormant_until_a_hint() {
    let mut world = World::new(Options {
        attempts_max: Some(2),
        ..Options::default()
    });
    world.feed(Input::Connect);
    for link in 1..=3 {
        world.feed(Input::Failed {
            link,
            evidence: Evidence::Unreachable,
        });
        if link < 3 {
            assert_eq!(world.client.state(), State::Waiting);
            world.timeout();
        }
    }
    assert_eq!(world.client.state(), State::Dormant);
    let slow = world.client.next_timeout().expect("it still tries");
    assert!(slow - world.now >= std::time::Duration::from_secs(60));
    world.feed(Input::Hint(Hint::Online));
    let soon = world.client.next_timeout().expect("sooner now");
    assert!(soon - world.now <= std::time::Duration::from_secs(1));
}

#[test]
fn a_paused_channel_goes_on_from_its_cursor() {
    let mut world = World::open();
    world.publication(1, 6);
    let out = world.feed(Input::Pause {
        channel: "a".into(),
    });
    assert_eq!(written(&out), [r#"1 {"type":"unsubscribe","channel":"a"}"#]);
    assert_eq!(delivered(&world.publication(1, 7)), 0);
    let out = world.feed(Input::Resume {
        channel: "a".into(),
    });
    assert!(written(&out)[0].contains(".6.00000001"), "{out:?}");
}

#[test]
fn what_is_given_up_on_its_way_is_skipped_where_it_is_refused() {
    let mut world = World::open();
    world.queue(0);
    world.queue(1);
    let out = world.feed(Input::ClearOutbox);
    let unknown = |key| Event::Dropped {
        key,
        fate: Fate::Unknown,
        reason: "cleared".into(),
    };
    assert_eq!(events(&out), [unknown(0), unknown(1)]);
    assert!(written(&out).is_empty(), "the server answers both anyhow");
    let refusal = r#"{"type":"error","seq":1,"code":"forbidden","message":"m","retry":false}"#;
    let out = world.hear(1, refusal);
    assert!(events(&out).is_empty(), "{out:?}");
    assert_eq!(written(&out), [r#"1 {"type":"skip","seq":2}"#]);
    world.hear(1, r#"{"type":"acked","seq":2}"#);
    assert!(world.client.outbox().is_empty());
}

#[test]
fn the_outbox_is_bounded() {
    let mut options = Options::default();
    options.outbox.messages_max = 1;
    let mut world = World::new(options);
    assert!(world.queue(0).is_empty());
    let full = Event::Dropped {
        key: 1,
        fate: Fate::Refused,
        reason: "outbox_full".into(),
    };
    assert_eq!(events(&world.queue(1)), [full]);
    let out = world.timeout();
    assert_eq!(world.now, Time::from_millis(12 * 60 * 60 * 1_000));
    let expired = Event::Dropped {
        key: 0,
        fate: Fate::Refused,
        reason: "expired".into(),
    };
    assert_eq!(events(&out), [expired]);
}

/// A broken or hostile server begins subscriptions with names that it makes up, and never ends.
#[test]
fn names_that_a_server_makes_up_leave_room_in_hello() {
    for (quotes, kept) in [(1, 1_000), (1_000, 196)] {
        let mut world = World::open();
        for number in 0..3_000 {
            let name = format!("{number:04}{}", r#"\""#.repeat(quotes));
            let out = world.hear(1, &format!(
                r#"{{"type":"subscribed","channel":"{name}","position":"{AT}.9007199254740991.00000001","recovered":true}}"#
            ));
            let is_begun = !events(&out).is_empty();
            let ended = format!(r#"1 {{"type":"unsubscribe","channel":"{name}"}}"#);
            assert_eq!(written(&out), if is_begun { vec![] } else { vec![ended] });
        }
        // A place that is given up is free again.
        let quotes = r#"\""#.repeat(quotes);
        world.hear(
            1,
            &format!(r#"{{"type":"unsubscribed","channel":"0000{quotes}","code":"forbidden"}}"#),
        );
        for number in 3_000..3_002 {
            world.hear(
                1,
                &format!(
                    r#"{{"type":"subscribed","channel":"{number:04}{quotes}","recovered":true}}"#
                ),
            );
        }
        assert_eq!(world.client.subscriptions().len(), kept);

        world.close(1, 1006, "");
        world.timeout();
        let out = world.feed(Input::Opened { link: 2 });
        let hello = &written(&out)[0];
        assert_eq!(
            hello.matches(r#""00000000000000aa."#).count(),
            kept - 1,
            "all but the newest"
        );
        assert!(hello.len() < 512 * 1_024, "{} bytes", hello.len());
    }
}
