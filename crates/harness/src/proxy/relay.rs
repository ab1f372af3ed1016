//! One proxied connection: dial upstream, pump both ways, and bring it down as told.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{SockRef, Socket};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    fault::{Direction, Ending},
    link::Link,
    pump::{Broken, Marks, Pump},
};
use crate::rng::Rng;

/// Kernel buffers of both legs. The kernel doubles the value; the default of megabytes would hide
/// a slow client from the server for the length of a whole run.
const SOCKET_BUFFER_BYTES: usize = 16 * 1024;
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// After a FIN both sides may finish what they were saying before the sockets are closed.
const LINGER_AFTER_FIN: Duration = Duration::from_secs(1);

pub(super) async fn run(link: Arc<Link>, client: TcpStream, rng: Rng) {
    let Ok(Ok(server)) = timeout(DIAL_TIMEOUT, dial(link.upstream, link.from)).await else {
        // The server refuses or hangs: the client sees what it would see without a proxy.
        reset(client);
        return;
    };
    // Nagle's algorithm would add delays of its own to what the plan asks for.
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    carry(&link, client, server, rng).await;
}

pub(super) fn shrink_buffers(socket: &Socket) -> io::Result<()> {
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)
}

async fn dial(upstream: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = match upstream {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let raw = SockRef::from(&socket);
    raw.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    raw.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(upstream).await
}

async fn carry(link: &Link, mut client: TcpStream, mut server: TcpStream, rng: Rng) {
    let marks = Marks::default();
    let result = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let pump = |direction, part| Pump::new(link, direction, &marks, rng.fork(part));
        tokio::try_join!(
            pump(Direction::ToServer, 0).run(from_client, to_server),
            pump(Direction::ToClient, 1).run(from_server, to_client),
        )
    };
    if marks.answered() {
        link.count_down(matches!(result, Err(Broken::ByFault(_))));
    }
    match result {
        // Both sides said FIN and both FINs were passed on.
        Ok(_) => {}
        Err(Broken::ByPeer) => {
            reset(client);
            reset(server);
        }
        Err(Broken::ByFault(ending)) => match ending {
            Ending::Reset => {
                reset(client);
                reset(server);
            }
            Ending::Fin => {
                tokio::join!(finish(client), finish(server));
            }
        },
    }
}

/// Closes with RST. If the option can't be set, the socket is gone already.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Closes with FIN, and reads on for a moment: closing with unread bytes would send RST.
async fn finish(mut stream: TcpStream) {
    if SockRef::from(&stream)
        .shutdown(std::net::Shutdown::Write)
        .is_err()
    {
        return;
    }
    let mut scrap = [0; 1024];
    let drained =
        async { while matches!(stream.read(&mut scrap).await, Ok(count) if count > 0) {} };
    // What still comes after that moment meets a closed socket, as on a real link.
    let _ = timeout(LINGER_AFTER_FIN, drained).await;
}
