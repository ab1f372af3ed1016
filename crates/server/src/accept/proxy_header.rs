//! The PROXY protocol, version 2: what a load balancer that only forwards bytes says of the client.
//!
//! Owns the header's form (HAProxy's proxy-protocol.txt, 2.2). Must not know who may send it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The addresses and what balancers add to them are below a hundred bytes; certificates of the
/// client, which some add, are a few thousand.
const BYTES_MAX: u16 = 4_096;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// Reads the header and nothing behind it; none where the connection is the proxy's own.
///
/// # Errors
/// The socket's own, or [`io::ErrorKind::InvalidData`]: there is no such header.
pub(super) async fn read(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut head = [0; 16];
    socket.read_exact(&mut head).await?;
    let (signature, fields) = head.split_at(SIGNATURE.len());
    let &[version_and_command, family, high, low] = fields else {
        return Err(invalid());
    };
    let length = u16::from_be_bytes([high, low]);
    if signature != SIGNATURE || version_and_command >> 4 != 2 || length > BYTES_MAX {
        return Err(invalid());
    }
    let mut body = vec![0; length.into()];
    socket.read_exact(&mut body).await?;
    match (version_and_command & 0x0f, family) {
        // LOCAL: a health check of the proxy itself.
        (0, _) => Ok(None),
        (1, TCP_OVER_IPV4) => {
            let &[a, b, c, d, _, _, _, _, high, low, ..] = body.as_slice() else {
                return Err(invalid());
            };
            let ip = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
            Ok(Some(SocketAddr::new(ip, u16::from_be_bytes([high, low]))))
        }
        (1, TCP_OVER_IPV6) => {
            let source = body.first_chunk::<16>().ok_or_else(invalid)?;
            let &[high, low] = body
                .get(32..34)
                .and_then(|port| port.first_chunk())
                .ok_or_else(invalid)?;
            let ip = IpAddr::V6(Ipv6Addr::from(*source));
            Ok(Some(SocketAddr::new(ip, u16::from_be_bytes([high, low]))))
        }
        // Unix sockets and the like have no address that limits could use.
        (1, _) => Ok(None),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_and_command, family]);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    async fn parse(bytes: &[u8]) -> Result<(Option<SocketAddr>, usize), io::ErrorKind> {
        let mut input = bytes;
        let source = read(&mut input).await.map_err(|error| error.kind())?;
        Ok((source, input.len()))
    }

    #[tokio::test]
    async fn the_client_is_read_and_nothing_behind_it() {
        let mut bytes = header(
            0x21,
            TCP_OVER_IPV4,
            &[192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80, 9, 9],
        );
        bytes.extend(b"GET");
        let source = "192.0.2.7:4711".parse().ok();
        assert_eq!(parse(&bytes).await, Ok((source, 3)));
        let mut body = [0; 36];
        body[..2].copy_from_slice(&[0x20, 0x01]);
        body[15] = 9;
        body[32..34].copy_from_slice(&[0x12, 0x67]);
        let source = "[2001::9]:4711".parse().ok();
        assert_eq!(
            parse(&header(0x21, TCP_OVER_IPV6, &body)).await,
            Ok((source, 0))
        );
        assert_eq!(parse(&header(0x20, 0, &[])).await, Ok((None, 0)));
        assert_eq!(parse(&header(0x21, 0x31, &[0; 216])).await, Ok((None, 0)));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let short = header(0x21, TCP_OVER_IPV4, &[192, 0, 2, 7]);
        let other = header(0x11, TCP_OVER_IPV4, &[0; 12]);
        let long = header(0x21, TCP_OVER_IPV4, &[0; 5_000]);
        for bytes in [&short[..], &other, &long, b"GET /ws HTTP/1.1\r\n"] {
            assert_eq!(parse(bytes).await, Err(io::ErrorKind::InvalidData));
        }
        assert_eq!(parse(b"\r\n\r\n").await, Err(io::ErrorKind::UnexpectedEof));
    }
}
