//! URLs of `http://` and `https://` in their parts.
//!
//! Owns nothing but the schemes: the rest is read by the rules for `ws://` and `wss://`, which take no
//! other port where a wrong one stands.

use bowline_client::{Endpoint, EndpointError};

/// Why a URL is none that a request can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    /// It begins with neither.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// What comes then is wrong.
    #[error(transparent)]
    Rest(#[from] EndpointError),
}

/// Reads a URL; what follows `#` is left out.
pub(crate) fn parse(url: &str) -> Result<Endpoint, UrlError> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => "ws",
        "https" => "wss",
        _ => return Err(UrlError::Scheme),
    };
    Ok(Endpoint::parse(&format!("{scheme}://{rest}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_one_that_stands_there_or_none() {
        for (url, port) in [
            ("http://h", 80),
            ("HTTPS://h/", 443),
            ("http://[::1]:7", 7),
            ("https://h:8443/keys", 8443),
        ] {
            assert_eq!(parse(url).map(|url| url.port()), Ok(port), "{url}");
        }
        for port in ["99999", "65536", "abc", "-1", ""] {
            for scheme in ["http", "https"] {
                let parsed = parse(&format!("{scheme}://127.0.0.1:{port}"));
                assert_eq!(parsed, Err(EndpointError::Authority.into()), "{port}");
            }
        }
        assert_eq!(parse("ws://h"), Err(UrlError::Scheme));
    }
}
