//! Walks over real links that come and go between the steps.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use bowline_engine::{EngineConfig, Memory};
use futures_util::{FutureExt, future::join_all};
use socket2::{Domain, Type};
use tokio::net::TcpStream;

use super::*;
use crate::{
    access::{Identity, OpenAccess},
    channel::Channel,
    config::Config,
    entropy::Entropy,
    frames::Mode,
    hub::Hub,
    link::Link,
    node::Node,
    presence::Presence,
    socket::Socket,
    tails::TailBudget,
};

const CHANNEL: &str = "c";
const STEP: usize = 8;

fn node() -> Arc<Node> {
    let clock = Clock::start();
    let tails = TailBudget::new(2, 1 << 20, 1 << 20);
    let hub = Hub::new(tails, clock, tokio::runtime::Handle::current());
    Arc::new(Node::new(
        "node".into(),
        Arc::new(Config::default()),
        Arc::new(Memory::open(EngineConfig::default()).expect("it opens")),
        Arc::new(OpenAccess),
        None,
        Arc::new(hub),
        (clock, Entropy::default()),
    ))
}

/// A link of this user, that has received one message.
fn link(node: &Node, user: &str) -> Arc<Link> {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_nonblocking(true).expect("it can be");
    let socket = TcpStream::from_std(socket.into()).expect("a socket");
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let pass = node.limits.no_pass();
    let link = Link::new(node, Mode::Bowline, peer, None, Socket::Tcp(socket), pass);
    link.identify(Arc::new(Identity::user(user)), node.clock.now());
    link.found(1);
    Arc::new(link)
}

fn links(node: &Node, name: &str, count: usize) -> Vec<Arc<Link>> {
    (0..count)
        .map(|n| link(node, &format!("{name}{n:03}")))
        .collect()
}

/// Numbers in no order, each below `end`.
fn scattered(end: usize) -> impl Iterator<Item = usize> {
    (0..).scan(7_usize, move |state, _: usize| {
        *state = (*state * 31 + 17) % 1_009;
        Some(*state % end)
    })
}

fn join(node: &Node, links: &[Arc<Link>]) -> Arc<Channel> {
    let joined = links
        .iter()
        .map(|link| node.hub.join(&CHANNEL.into(), link));
    joined.last().expect("there are some")
}

#[tokio::test]
async fn nobody_who_stays_is_missed_or_seen_twice() {
    let node = node();
    let (stay, mut leave) = (links(&node, "stay", 50), links(&node, "leave", 100));
    let come = links(&node, "come", 100);
    let mut all: Vec<_> = stay.iter().chain(&leave).cloned().collect();
    all.sort_by_key(|link| link.id * 37 % 151);
    let channel = join(&node, &all);
    let mut making = Box::pin(Presence::make(channel.clone(), node.clock, STEP));
    let (mut come, mut place, mut steps) = (come.iter(), scattered(1_000), 1);
    let (answer, keep_for) = loop {
        if let Some(made) = making.as_mut().now_or_never() {
            break made;
        }
        steps += 1;
        // More leave than come, so that the last one takes a place before it, whoever it is.
        for place in place.by_ref().take(5.min(leave.len())) {
            let gone = leave.swap_remove(place % leave.len());
            node.hub.leave(&channel, &gone);
        }
        for link in come.by_ref().take(2) {
            node.hub.join(&CHANNEL.into(), link);
        }
    };
    assert!(steps > 10, "{steps}");
    assert!(keep_for.is_some(), "it took more than one step");
    let answer = serde_json::to_value(&answer).expect("JSON");
    let users = answer["users"].as_array().expect("a list");
    for link in &stay {
        let user = link.user().expect("it has one");
        let seen = users.iter().filter(|seen| **seen == *user).count();
        assert_eq!(seen, 1, "{user}");
    }
    assert_eq!(answer["user_count"], users.len());
    assert_eq!(answer["connection_count"], 150);
    assert!(users.len() <= 150, "{answer}");
}

#[tokio::test]
async fn an_answer_about_few_is_exact_and_leaves_nothing() {
    let node = node();
    let links = links(&node, "u", 3);
    let channel = join(&node, &links[..2]);
    let ask = async || {
        let answer = Presence::of(&node, CHANNEL, None).await;
        let answer = serde_json::to_value(&answer).expect("JSON");
        let counts = ["user_count", "connection_count"];
        counts.map(|count| answer[count].as_u64().expect("a number"))
    };
    assert_eq!(ask().await, [2, 2]);
    node.hub.join(&CHANNEL.into(), &links[2]);
    assert_eq!(ask().await, [3, 3]);
    assert!(channel.presence().is_none());
    // One connection can't be a member twice, but so many sockets are more than a test may open.
    for _ in 0..STEP_MAX {
        channel.add(&links[0]);
    }
    assert_eq!(ask().await, [3, 3 + STEP_MAX as u64]);
    assert!(channel.presence().is_some());
    for _ in 0..STEP_MAX {
        channel.remove(&links[0]);
    }
    assert_eq!(ask().await, [3, 3]);
    assert!(channel.presence().is_none());
    node.hub.leave(&channel, &links[1]);
    assert_eq!(ask().await, [2, 2]);
}

#[tokio::test]
async fn a_total_has_each_link_once_whenever_it_ends() {
    let node = node();
    let mut open = links(&node, "u", 100);
    open.iter().for_each(|link| assert!(node.register(link)));
    let mut opened = open.len() as u64;
    let mut place = scattered(1_000);
    for round in 0..3 {
        let mut summing = Box::pin(node.sum_up(STEP));
        let (totals, _) = loop {
            if let Some(made) = summing.as_mut().now_or_never() {
                break made;
            }
            // Of those that were looked at and of those that are still ahead.
            for _ in 0..2 {
                let place = place.next().expect("there is always one");
                node.forget(&open.swap_remove(place % open.len()));
            }
            let new = link(&node, "new");
            assert!(node.register(&new));
            open.push(new);
            opened += 1;
        };
        assert_eq!(totals[0], opened, "{round}");
    }
    assert_eq!(node.totals().await["messages_in"], opened);
    open.iter().for_each(|link| node.forget(link));
    assert_eq!(node.totals().await["messages_in"], opened);
}

#[tokio::test]
async fn what_is_kept_is_shared_and_else_each_gets_its_own() {
    let clock = Clock::start();
    for (keep_for, made) in [
        (Some(Duration::from_secs(3_600)), 1),
        (Some(Duration::ZERO), 100),
        (None, 100),
    ] {
        let (kept, begun) = (Kept::default(), Arc::new(AtomicUsize::new(0)));
        let ask = |_| {
            let (kept, begun) = (kept.clone(), begun.clone());
            async move {
                let make = async move {
                    tokio::task::yield_now().await;
                    (begun.fetch_add(1, Ordering::Relaxed), keep_for)
                };
                kept.get(clock, make).await
            }
        };
        let answers = join_all((0..100).map(ask)).await;
        assert_eq!(begun.load(Ordering::Relaxed), made, "{keep_for:?}");
        assert_eq!(answers.iter().max(), Some(&(made - 1)));
        let is_held = kept.0.lock().await.is_some();
        assert_eq!(is_held, keep_for.is_some());
    }
}

#[tokio::test]
async fn who_asks_and_goes_away_leaves_the_answer_to_the_next() {
    let (clock, kept) = (Clock::start(), Kept::default());
    let first = kept.get(clock, async {
        tokio::task::yield_now().await;
        (1, Some(Duration::from_secs(3_600)))
    });
    assert!(first.now_or_never().is_none());
    let next = kept.get(clock, async { unreachable!("it is made already") });
    assert_eq!(next.await, 1);
}

#[tokio::test]
async fn it_is_kept_in_proportion_to_what_it_took() {
    let mut walk = Walk::begin(Clock::start());
    assert_eq!(walk.keep_for(), None, "one step");
    walk.rest().await;
    assert!(walk.keep_for().is_some());
    let [none, short, long] = [0, 3, 3_600_000].map(Duration::from_millis).map(keep_for);
    assert_eq!(none, Duration::ZERO);
    assert_eq!(short, Duration::from_millis(60));
    assert_eq!(long, KEEP_MAX);
}
