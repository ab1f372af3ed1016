//! Who a client is behind proxies: only what a named proxy says is believed.
//!
//! Owns the trusted networks and the reading of `X-Forwarded-For`. Anybody can write that header, so
//! only the hops that named proxies have added count: the rightmost one that is not a proxy itself.

use std::{fmt, net::IpAddr, str::FromStr};

use axum::http::HeaderMap;

/// Each proxy adds one; longer lists are not read to their end.
const HOPS_MAX: usize = 32;

/// An address, or all that share its first bits: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text is no address, and no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an address, or a network such as 10.0.0.0/8")]
pub struct NetworkError;

impl Network {
    /// Whether the address belongs to it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = ours.to_bits() ^ theirs.to_bits();
                differing.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => whole,
            Some(bits) => bits.parse().map_err(|_| NetworkError)?,
        };
        if bits > whole {
            return Err(NetworkError);
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == whole {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.bits)
        }
    }
}

/// Whether one of the networks has the address.
pub(crate) fn is_trusted(trusted: &[Network], ip: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(ip))
}

/// The client behind `peer`: the rightmost hop that is no trusted proxy.
pub(crate) fn client_address(trusted: &[Network], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut client = peer.to_canonical();
    let lines = headers.get_all("x-forwarded-for");
    let lines: Vec<&str> = lines
        .iter()
        .map(|line| line.to_str().unwrap_or("?"))
        .collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        if !is_trusted(trusted, client) {
            break;
        }
        // What can't be read was not written by the proxy: the proxy itself stands for it.
        let Some(ip) = hop_address(hop.trim()) else {
            break;
        };
        client = ip.to_canonical();
    }
    client
}

/// An address, with or without a port.
fn hop_address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let trusted: Vec<Network> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
        }
        client_address(&trusted, peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_hops_that_named_proxies_added_count() {
        let two = &["10.0.0.0/8", "2001:db8::1"];
        for (trusted, peer, lines, expected) in [
            (&[][..], "192.0.2.1", &["198.51.100.9"][..], "192.0.2.1"),
            (two, "192.0.2.1", &["198.51.100.9"], "192.0.2.1"),
            (two, "10.0.0.1", &[], "10.0.0.1"),
            (two, "10.0.0.1", &["198.51.100.9"], "198.51.100.9"),
            (two, "10.0.0.1", &["1.1.1.1, 198.51.100.9"], "198.51.100.9"),
            (
                two,
                "10.0.0.1",
                &["1.1.1.1", "198.51.100.9, 10.2.2.2"],
                "198.51.100.9",
            ),
            (
                two,
                "::ffff:10.0.0.1",
                &["198.51.100.9:4711"],
                "198.51.100.9",
            ),
            (two, "2001:db8::1", &["[2001:db8::9]:80"], "2001:db8::9"),
            (two, "10.0.0.1", &["198.51.100.9, unknown"], "10.0.0.1"),
            (two, "10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            (two, "10.0.0.1", &["::ffff:198.51.100.9"], "198.51.100.9"),
        ] {
            assert_eq!(client(trusted, peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn networks_are_read_and_written() {
        for text in ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "10.0.0.0/33",
            "proxy.example",
            "10.0.0.0/",
            "10.0.0.0/-1",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains([1, 2, 3, 4].into()));
        assert!(!all.contains("::1".parse().unwrap()));
    }
}
