//! What a handshake agrees on.

use bowline_ws::{Extensions, UpgradeRequest, accept};

/// With this offer.
pub(crate) fn agreed(offer: &str) -> Extensions {
    let headers = [
        ("Host", "h"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Extensions", offer),
    ];
    let request = UpgradeRequest {
        method: "GET",
        is_http_1_1: true,
        headers: headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes())),
    };
    accept(request, &[]).expect("a good request").extensions
}
