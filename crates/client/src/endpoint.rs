//! Where to dial: a `ws://` URL in its parts.
//!
//! Owns the reading of URLs. Must not know sockets.

/// The port of `ws://` (RFC 6455, section 3).
const PORT: u16 = 80;

/// A `ws://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    target: Box<str>,
}

/// Why a URL can't be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It does not begin with `ws://`.
    #[error("the URL must begin with ws://")]
    Scheme,
    /// TLS is not built in.
    #[error("wss:// is not supported; use ws:// behind a local TLS proxy")]
    Tls,
    /// The host or port is malformed, or there is user information.
    #[error("the URL's host or port is malformed")]
    Authority,
}

impl Endpoint {
    /// Reads a URL; what follows `#` is left out.
    ///
    /// # Errors
    /// It is not one that this crate can dial.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        if url.starts_with("wss://") {
            return Err(EndpointError::Tls);
        }
        let rest = url.strip_prefix("ws://").ok_or(EndpointError::Scheme)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| EndpointError::Authority)?)
            }
            _ => (authority, PORT),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if bare.is_empty() || authority.contains('@') {
            return Err(EndpointError::Authority);
        }
        let target = if target.starts_with('/') {
            target.to_owned()
        } else {
            format!("/{target}")
        };
        Ok(Self {
            host: bare.into(),
            port,
            authority: authority.into(),
            target: target.into(),
        })
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
            ("ws://h?q=1", "h", 80, "/?q=1"),
        ] {
            let endpoint = Endpoint::parse(url).expect(url);
            let parts = (endpoint.host(), endpoint.port(), endpoint.target());
            assert_eq!(parts, (host, port, target));
        }
        for (url, error) in [
            ("http://h", EndpointError::Scheme),
            ("wss://h", EndpointError::Tls),
            ("ws://", EndpointError::Authority),
            ("ws://u@h", EndpointError::Authority),
            ("ws://h:99999", EndpointError::Authority),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }
}
