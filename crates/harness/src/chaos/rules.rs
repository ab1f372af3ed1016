//! Faults by message type: which frames are struck.

use std::time::Duration;

use crate::proxy::{
    Direction::{ToClient, ToServer},
    Fault, FrameAction, FrameRule, Proxy,
};

/// Long enough that others overtake it, and well below the silence that ends a link (2 s).
const LATE: Duration = Duration::from_millis(700);

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
        let names: BTreeSet<String> = RULES.iter().map(FrameRule::name).collect();
        assert_eq!(names.len(), RULES.len());
    }
}
