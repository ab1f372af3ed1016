//! Where to dial: a `ws://` or `wss://` URL in its parts.
//!
//! Owns the reading of URLs. Must not know sockets.

use std::{iter, net::Ipv6Addr};

use bowline_ws::{ClientRequest, RequestError};

use crate::tls::{Trust, TrustError};

/// The port of `ws://` (RFC 6455, section 3).
const PORT: u16 = 80;
/// The port of `wss://`.
const SECURE_PORT: u16 = 443;

/// A `ws://` or `wss://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    target: Box<str>,
    secure: bool,
    /// By whom the server is believed; none: by the system's authorities.
    trust: Option<Trust>,
}

/// Why a URL can't be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It begins with neither `ws://` nor `wss://`.
    #[error("the URL must begin with ws:// or wss://")]
    Scheme,
    /// There is nothing by which a server could be believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The host or port is malformed, or there is user information.
    #[error("the URL's host or port is malformed")]
    Authority,
    /// The path or query has spaces, controls or non-ASCII characters.
    #[error("the URL's path and query must be percent-encoded")]
    Target,
}

impl Endpoint {
    /// Reads a URL; what follows `#` is left out.
    ///
    /// # Errors
    /// It is not one that this crate can dial.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let secured = url.strip_prefix("wss://");
        let secure = secured.is_some();
        let rest = secured.or_else(|| url.strip_prefix("ws://"));
        let rest = rest.ok_or(EndpointError::Scheme)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| EndpointError::Authority)?)
            }
            _ => (authority, if secure { SECURE_PORT } else { PORT }),
        };
        let bare = unbracketed(host);
        if !is_host(host) {
            return Err(EndpointError::Authority);
        }
        let target = if target.starts_with('/') {
            target.to_owned()
        } else {
            format!("/{target}")
        };
        let request = ClientRequest {
            host: authority,
            target: &target,
            key: [0; 16],
            protocols: &[],
            headers: &[],
        };
        // What can't stand in a request won't be dialled.
        request.encode().map_err(|error| match error {
            RequestError::Target => EndpointError::Target,
            _ => EndpointError::Authority,
        })?;
        Ok(Self {
            host: bare.into(),
            port,
            authority: authority.into(),
            target: target.into(),
            secure,
            trust: None,
        })
    }

    /// The same server, believed by these authorities.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self {
            trust: Some(trust),
            ..self
        }
    }

    /// Where this server may send a client of `self`, for its token goes there: to the same host or
    /// one of `hosts`, and never from TLS to none.
    pub(crate) fn redirected(&self, to: &str, hosts: &[Box<str>]) -> Option<Self> {
        let to = Self::parse(to).ok()?;
        let known = iter::once(&self.host)
            .chain(hosts)
            .any(|host| unbracketed(host).eq_ignore_ascii_case(&to.host));
        let allowed = known && (to.secure || !self.secure);
        allowed.then(|| Self {
            trust: self.trust.clone(),
            ..to
        })
    }

    /// Whether TLS is spoken.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// By whom the server is believed, if it speaks TLS.
    pub(crate) fn trust(&self) -> Result<Option<Trust>, TrustError> {
        match &self.trust {
            _ if !self.secure => Ok(None),
            Some(trust) => Ok(Some(trust.clone())),
            None => Trust::new(b"").map(Some),
        }
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as the `Host` header has them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }
}

/// A name or an IPv4 address, or an IPv6 address in brackets, with its zone where it has one.
fn is_host(host: &str) -> bool {
    let bare = unbracketed(host);
    if bare.len() == host.len() {
        return !host.is_empty() && !host.contains(['[', ']', ':']);
    }
    let address = bare.split('%').next().unwrap_or_default();
    address.parse::<Ipv6Addr>().is_ok()
}

/// An IPv6 address stands in brackets in URLs.
fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_in_their_parts() {
        for (url, host, port, target) in [
            ("ws://example.org", "example.org", 80, "/"),
            (
                "ws://example.org:9000/ws?a=b#c",
                "example.org",
                9000,
                "/ws?a=b",
            ),
            ("ws://[::1]:7/x", "::1", 7, "/x"),
            ("ws://[::1]/x", "::1", 80, "/x"),
            ("ws://[fe80::1%eth0]:7", "fe80::1%eth0", 7, "/"),
            ("ws://h?q=1", "h", 80, "/?q=1"),
            ("wss://h/ws", "h", 443, "/ws"),
            ("wss://h:8443/ws", "h", 8443, "/ws"),
        ] {
            let endpoint = Endpoint::parse(url).expect(url);
            let parts = (endpoint.host(), endpoint.port(), endpoint.target());
            assert_eq!(parts, (host, port, target));
            assert_eq!(endpoint.is_secure(), url.starts_with("wss"));
        }
        for (url, error) in [
            ("http://h", EndpointError::Scheme),
            ("wss:/h", EndpointError::Scheme),
            ("ws://", EndpointError::Authority),
            ("ws://u@h", EndpointError::Authority),
            ("ws://h:99999", EndpointError::Authority),
            ("ws://:80/", EndpointError::Authority),
            ("ws://[::1/", EndpointError::Authority),
            ("ws://::1/", EndpointError::Authority),
            ("ws://[h]/", EndpointError::Authority),
            ("ws://[]/", EndpointError::Authority),
            ("ws://[::1]x:80/", EndpointError::Authority),
            ("ws://h h/", EndpointError::Authority),
            ("ws://h\r\nX: y/", EndpointError::Authority),
            ("ws://\u{e4}.example/ws", EndpointError::Authority),
            ("ws://h/a b", EndpointError::Target),
            ("ws://h/ws\r\nX: y", EndpointError::Target),
            ("ws://h/?q=\u{e4}", EndpointError::Target),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn a_redirection_leads_to_a_host_that_was_named_and_not_out_of_tls() {
        let endpoint = |url| Endpoint::parse(url).expect("a URL");
        let (plain, secure) = (endpoint("ws://h/ws"), endpoint("wss://h/ws"));
        let hosts = ["Friend".into(), "[::1]".into()];
        for (from, to, allowed, allowed_by_hosts) in [
            (&plain, "ws://h:81/ws", true, true),
            (&plain, "ws://H/ws", true, true),
            (&plain, "wss://h/ws", true, true),
            (&plain, "ws://other/ws", false, false),
            (&plain, "ws://friend:81/ws", false, true),
            (&plain, "ws://[::1]:81/ws", false, true),
            (&plain, "ws://friend.example/ws", false, false),
            (&plain, "ws://x@friend/ws", false, false),
            (&secure, "wss://h:444/", true, true),
            (&secure, "wss://friend/", false, true),
            (&secure, "ws://h/ws", false, false),
            (&secure, "ws://friend/ws", false, false),
            (&secure, "nonsense", false, false),
        ] {
            assert_eq!(from.redirected(to, &[]).is_some(), allowed, "{to}");
            let by_hosts = from.redirected(to, &hosts).is_some();
            assert_eq!(by_hosts, allowed_by_hosts, "{to} with hosts");
        }
    }
}
