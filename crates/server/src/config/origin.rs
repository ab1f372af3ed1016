//! Which web pages may talk to this server.
//!
//! Owns the judgement of `Origin` and `Host` against the allow-list and against development mode.
//! Must not know whether the request is an upgrade or not. A browser sends `Origin` with every
//! WebSocket handshake and a page can't change it: without this check any page that a user visits
//! could speak in the user's name (cross-site WebSocket hijacking, CVE-2023-0957).

use std::net::IpAddr;

use super::Config;

/// Which `Origin` values pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Pages of the host and port that the request itself names.
    SameHost,
    /// These alone: each `scheme://host`, `scheme://host:port`, or [`AllowedOrigins::SAME_HOST`].
    List(Vec<String>),
    /// Every page. Only for servers whose tokens no browser sends by itself.
    Any,
}

impl AllowedOrigins {
    /// In a list: pages of the host and port that the request itself names.
    pub const SAME_HOST: &str = "same-host";
}

impl Config {
    /// Whether a request with these headers may come in; both texts as they were sent.
    pub fn allows_origin(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        // A foreign name that resolves to loopback (DNS rebinding) shows in Host, not in Origin.
        if self.dev && !host.is_some_and(is_loopback_host) {
            return false;
        }
        let Some(origin) = origin else { return true };
        let Some((_, authority)) = origin.split_once("://") else {
            // `null` is the origin of sandboxed frames and local files: anybody's.
            return !self.dev && self.allowed_origins == AllowedOrigins::Any;
        };
        if self.dev {
            return is_loopback_host(authority);
        }
        let is_own = host.is_some_and(|host| host.eq_ignore_ascii_case(authority));
        match &self.allowed_origins {
            AllowedOrigins::Any => true,
            AllowedOrigins::SameHost => is_own,
            AllowedOrigins::List(list) => list.iter().any(|allowed| match allowed.as_str() {
                AllowedOrigins::SAME_HOST => is_own,
                allowed => allowed.trim_end_matches('/').eq_ignore_ascii_case(origin),
            }),
        }
    }
}

/// Whether `host` or `host:port` names this machine's loopback.
///
/// ```
/// assert!(bowline::is_loopback_host("127.0.0.1:8000"));
/// assert!(bowline::is_loopback_host("[::1]:8000"));
/// assert!(bowline::is_loopback_host("localhost"));
/// assert!(!bowline::is_loopback_host("localhost.example.com"));
/// ```
pub fn is_loopback_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return address.is_loopback();
    }
    // RFC 6761, 6.3: names below localhost are loopback too.
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}
