//! Faults by message type: which frames are struck, and when.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::ChaosOptions;
use crate::{
    proxy::{
        Direction::{ToClient, ToServer},
        Fault, FrameAction, FrameRule, Proxy,
    },
    rng::Rng,
};

/// Long enough that others overtake it, and well below the silence that ends a link (2 s).
const LATE: Duration = Duration::from_millis(700);
/// Each link gets a rule so often.
const RULE_INTERVAL: Duration = Duration::from_millis(900);

/// What both sides promise to come through. TCP leaves nothing out and repeats nothing, so these are
/// the faults of what stands between: a frame that is missing shows by its number or offset, or by
/// silence; one that comes twice by the same. A `subscribed` that never comes would show by nothing.
pub(super) const RULES: [FrameRule; 22] = [
    rule(ToServer, "hello", FrameAction::Suppress),
    rule(ToServer, "publish", FrameAction::Suppress),
    rule(ToServer, "pong", FrameAction::Suppress),
    rule(ToClient, "welcome", FrameAction::Suppress),
    rule(ToClient, "message", FrameAction::Suppress),
    rule(ToClient, "acked", FrameAction::Suppress),
    rule(ToClient, "ping", FrameAction::Suppress),
    rule(ToServer, "publish", FrameAction::Duplicate),
    rule(ToServer, "pong", FrameAction::Duplicate),
    rule(ToClient, "message", FrameAction::Duplicate),
    rule(ToClient, "acked", FrameAction::Duplicate),
    rule(ToClient, "ping", FrameAction::Duplicate),
    rule(ToServer, "hello", FrameAction::Delay(LATE)),
    rule(ToServer, "publish", FrameAction::Delay(LATE)),
    rule(ToClient, "welcome", FrameAction::Delay(LATE)),
    rule(ToClient, "message", FrameAction::Delay(LATE)),
    rule(ToClient, "acked", FrameAction::Delay(LATE)),
    rule(ToServer, "hello", FrameAction::DisconnectAfter),
    rule(ToServer, "publish", FrameAction::DisconnectAfter),
    rule(ToClient, "welcome", FrameAction::DisconnectAfter),
    rule(ToClient, "message", FrameAction::DisconnectAfter),
    rule(ToClient, "acked", FrameAction::DisconnectAfter),
];

const fn rule(
    direction: crate::proxy::Direction,
    message: &'static str,
    action: FrameAction,
) -> FrameRule {
    FrameRule {
        direction,
        message,
        action,
    }
}

/// The names of all rules.
pub(super) fn names() -> impl Iterator<Item = String> {
    RULES.iter().map(FrameRule::name)
}

/// Gives every link a rule now and then, each rule as often as any other, until the span is over.
pub(super) async fn play(links: &Proxy, options: &ChaosOptions, mut rng: Rng) {
    let links = links.links();
    let begun = Instant::now();
    let total = links.len() * (options.span.as_millis() / RULE_INTERVAL.as_millis()) as usize;
    let mut deck: Vec<FrameRule> = RULES.iter().copied().cycle().take(total).collect();
    rng.shuffle(&mut deck);
    let mut order: Vec<usize> = (0..links.len()).collect();
    for (index, rule) in deck.into_iter().enumerate() {
        if index % links.len() == 0 {
            rng.shuffle(&mut order);
        }
        sleep_until(begun + options.span.mul_f64(index as f64 / total as f64)).await;
        let link = &links[order[index % links.len()]];
        link.add_rule(rule);
        if matches!(rule.message, "hello" | "welcome") {
            // They come with a new connection only.
            link.begin(Fault::Reset { after_bytes: 0 });
        }
    }
}

/// Cuts every link once. The last `acked` or the last publish of a link may have been suppressed, which
/// nothing but the next handshake brings to light.
pub(super) fn cut_all(links: &Proxy) {
    for link in links.links() {
        link.begin(Fault::Reset { after_bytes: 0 });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rules_have_names_of_their_own() {
        assert_eq!(names().collect::<BTreeSet<_>>().len(), RULES.len());
    }
}
