//! Letting the clients go before the server stops.
//!
//! Owns the pace: `reconnect` goes out over a window, each link is closed a window later, and so
//! the clients come back over another one. A herd of thousands that is told and closed at once
//! would be back at once. Must not know what a connection does when it ends.

use std::{sync::Arc, time::Duration};

use bowline_proto::message::{ReconnectReason, ServerMessage};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::{
    accept::Acceptor,
    frames::Mode,
    link::{Ending, Link},
    node::Node,
};

/// What one connection adds to the window: a new process welcomes a thousand a second with ease,
/// and a server with few clients does not wait for them.
const WINDOW_PER_LINK: Duration = Duration::from_millis(1);

/// The window's part of `shutdown_timeout`: two windows pass until the last link is closed, and as
/// much remains for closing handshakes and for requests that are under way.
const WINDOW_PART: u32 = 4;

/// How often something is told or closed.
const TICK: Duration = Duration::from_millis(10);

/// Over how long clients come back at least, so that a few do not all meet the first moment of the
/// next process.
const JITTER_MIN: Duration = Duration::from_millis(250);

/// Tells the clients, closes their links, and waits until they are gone or `shutdown_timeout` is
/// over. `acceptor` is the server's own, if it has one.
pub(crate) async fn run(node: &Node, acceptor: Option<&Acceptor>) {
    let begun = Instant::now();
    let end = begun + node.config.shutdown_timeout;
    node.begin_drain();
    if let Some(acceptor) = acceptor {
        acceptor.close();
    }
    let mut links = Vec::new();
    node.visit_links(|link| links.push(link)).await;
    let window = window(links.len(), node.config.shutdown_timeout);
    let advice = advice(window);
    let (mut told, mut closed) = (0, 0);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while closed < links.len() {
        ticks.tick().await;
        let passed = begun.elapsed();
        let due = due(links.len(), passed, window);
        tell(node, &links[told..due.max(told)], &advice);
        told = due.max(told);
        let due = passed
            .checked_sub(window)
            .map_or(0, |passed| self::due(links.len(), passed, window));
        for link in &links[closed..due.max(closed)] {
            link.end(Ending::Draining);
        }
        closed = due.max(closed);
    }
    drop(links);
    let is_idle = || acceptor.is_none_or(Acceptor::is_idle);
    while !(node.link_count() == 0 && is_idle()) && Instant::now() < end {
        sleep(TICK).await;
    }
}

fn tell(node: &Node, links: &[Arc<Link>], advice: &ServerMessage) {
    // Nothing precedes `welcome`: who is on the way to it is closed, and comes back by itself.
    let listens = |link: &&Arc<Link>| link.mode == Mode::Bowline && link.has_begun();
    for link in links.iter().filter(listens) {
        link.send(advice, node.clock.now());
    }
}

fn advice(window: Duration) -> ServerMessage {
    let after = window.max(JITTER_MIN);
    ServerMessage::Reconnect {
        after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        reason: ReconnectReason::Restart,
        url: None,
    }
}

/// Over how long this many links are told.
fn window(links: usize, shutdown_timeout: Duration) -> Duration {
    let links = u32::try_from(links).unwrap_or(u32::MAX);
    WINDOW_PER_LINK
        .saturating_mul(links)
        .min(shutdown_timeout / WINDOW_PART)
}

/// How many of `links` have had their turn when this much of the window has passed.
fn due(links: usize, passed: Duration, window: Duration) -> usize {
    if passed >= window {
        return links;
    }
    let share = passed.as_secs_f64() / window.as_secs_f64();
    ((links as f64 * share) as usize).min(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_with_the_links_and_stays_within_its_part() {
        let timeout = Duration::from_secs(30);
        assert_eq!(window(0, timeout), Duration::ZERO);
        assert_eq!(window(10, timeout), Duration::from_millis(10));
        assert_eq!(window(10_000, timeout), Duration::from_millis(7_500));
        assert_eq!(window(usize::MAX, timeout), Duration::from_millis(7_500));
    }

    #[test]
    fn turns_are_spread_evenly_and_all_come() {
        let window = Duration::from_secs(1);
        for (passed_ms, turns) in [
            (0, 0),
            (250, 250),
            (500, 500),
            (1_000, 1_000),
            (9_000, 1_000),
        ] {
            assert_eq!(due(1_000, Duration::from_millis(passed_ms), window), turns);
        }
        assert_eq!(due(7, Duration::ZERO, Duration::ZERO), 7);
    }
}
