//! From an accepted TCP connection to HTTP requests.
//!
//! Owns what happens before a request is known: the deadline that runs from the accept, the PROXY
//! protocol, the bound of sockets that speak HTTP, the bounds of a request's head, and the end of
//! idle connections. Must not know routes.

mod proxy_header;
mod secure;
mod stream;

use std::{
    convert::Infallible,
    future::ready,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, HeaderName, HeaderValue, Response, request::Parts},
    response::IntoResponse,
};
use bowline_proto::{Code, message::ErrorInfo};
use futures_util::future::Either;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    config::Config,
    http::{ApiError, Unread, tally},
    limits::{SocketPass, client_address, is_trusted},
    node::Node,
    sync::{Mutex, lock},
    tls::Tls,
    upgrade::{FirstRequest, enter_directly},
};
pub(crate) use stream::{Stream, Transport};

/// The longest line of a request's head: common servers take 8 KB.
const HEADER_LINE_BYTES_MAX: usize = 8 << 10;
/// hyper refuses a buffer below it.
const BUFFER_BYTES_MIN: usize = 8 << 10;
/// How long a socket that is turned away is given to take the answer.
const LINGER: Duration = Duration::from_secs(1);
/// What is read and thrown away of it meanwhile.
const LINGER_BYTES: usize = 16 << 10;

/// A refusal that is told without reading a request.
struct PlainRefusal {
    status: &'static str,
    code: Code,
    message: &'static str,
    retry_after_secs: Option<u64>,
}

const NO_ROOM: PlainRefusal = PlainRefusal {
    status: "503 Service Unavailable",
    code: Code::Overloaded,
    message: "Too many sockets speak HTTP.",
    retry_after_secs: Some(1),
};

/// By when the connection of this request must be welcomed, if it becomes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(pub(crate) Instant);

/// Serves accepted sockets; clones are the same.
#[derive(Clone)]
pub(crate) struct Acceptor {
    node: Arc<Node>,
    router: Router,
    /// None: HTTP comes unencrypted.
    tls: Option<Tls>,
    sockets: Arc<Semaphore>,
    /// True once idle connections must go.
    closing: Arc<watch::Sender<bool>>,
}

impl Acceptor {
    pub(crate) fn new(node: Arc<Node>, router: Router, tls: Option<Tls>) -> Self {
        let sockets = Arc::new(Semaphore::new(node.config.http_connections_max));
        Self {
            node,
            router,
            tls,
            sockets,
            closing: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Serves the socket in a task of its own, or turns it away.
    pub(crate) fn accept(&self, socket: TcpStream, peer: SocketAddr) {
        let deadline = Instant::now() + self.node.config.connection_timeout;
        let Ok(place) = self.sockets.clone().try_acquire_owned() else {
            tracing::debug!(%peer, "too many sockets speak HTTP");
            self.turn_away(socket);
            return;
        };
        let this = self.clone();
        tokio::spawn(async move {
            this.serve(socket, peer, deadline).await;
            drop(place);
        });
    }

    /// Ends what is idle, and lets what is under way finish.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Whether no socket speaks HTTP any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.sockets.available_permits() == self.node.config.http_connections_max
    }

    async fn serve(&self, socket: TcpStream, peer: SocketAddr, deadline: Instant) {
        let mut closing = self.closing.subscribe();
        let arrived = tokio::select! {
            biased;
            // A request that has come is answered.
            arrived = self.arrive(socket, peer, deadline) => arrived,
            // Who has asked nothing yet goes with the server.
            () = async { drop(closing.wait_for(|closing| *closing).await) } => return,
        };
        let Some((stream, peer, _place)) = arrived else {
            return;
        };
        match enter_directly(&self.node, stream, peer, deadline) {
            FirstRequest::Entered => {}
            // On the heap, so that nothing of it is memory in a handshake that never comes so far.
            FirstRequest::ForHttp(stream, first) => {
                Box::pin(self.speak(stream, peer, deadline, first)).await;
            }
        }
    }

    /// The stream with the head of its first request, from whom it comes, and its place; none where
    /// no request comes.
    async fn arrive(
        &self,
        mut socket: TcpStream,
        mut peer: SocketAddr,
        deadline: Instant,
    ) -> Option<(Stream, SocketAddr, SocketPass)> {
        let config = &self.node.config;
        if config.proxy_protocol && is_trusted(&config.trusted_proxies, peer.ip()) {
            match timeout_at(deadline, proxy_header::read(&mut socket)).await {
                Ok(Ok(source)) => peer = source.unwrap_or(peer),
                _ => {
                    tracing::debug!(%peer, "a trusted proxy sent no PROXY header of version 2");
                    return None;
                }
            }
        }
        let Some(place) = self.node.limits.socket(peer.ip()) else {
            tracing::debug!(%peer, "too many sockets of one address speak HTTP");
            self.turn_away(socket);
            return None;
        };
        let transport = match &self.tls {
            None => Transport::Tcp(socket),
            Some(tls) => match secure::shake_hands(tls, socket, deadline).await {
                Ok(stream) => Transport::Tls(Box::new(stream)),
                Err(failure) => {
                    tracing::debug!(%peer, %failure, "no TLS connection came about");
                    if let secure::Failure::Plaintext(socket) = failure {
                        self.answer_plainly(socket, &secure::PLAINTEXT);
                    }
                    return None;
                }
            },
        };
        let mut stream = Stream::new(transport, config.send_timeout);
        let Ok(Ok(())) = timeout_at(deadline, stream.read_head(config.header_bytes_max)).await
        else {
            tracing::debug!(%peer, "a socket ends without a request");
            return None;
        };
        Some((stream, peer, place))
    }

    /// Answers requests until the peer, or the server, ends it; the first with this answer if there is
    /// one.
    async fn speak(
        &self,
        stream: Stream,
        peer: SocketAddr,
        deadline: Instant,
        answer: Option<Box<Response<Body>>>,
    ) {
        let config = &self.node.config;
        let first = AtomicBool::new(true);
        let first_answer = Mutex::new(answer);
        let routes = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let deadline = if first.swap(false, Ordering::Relaxed) {
                deadline
            } else {
                Instant::now() + config.connection_timeout
            };
            let begun = Instant::now();
            let at_once = lock(&first_answer)
                .take()
                .map(|answer| *answer)
                .or_else(|| {
                    let target = request.uri().path_and_query();
                    let refused = check_head(config, request.headers(), target).err();
                    refused.map(IntoResponse::into_response)
                });
            if let Some(mut answer) = at_once {
                tally(&self.node, begun, &mut answer);
                let mut request = request.map(Body::new);
                if let Some(unread) = Unread::watch(&mut request) {
                    drop(request);
                    unread.settle(config, &mut answer);
                }
                return Either::Left(ready(Ok::<_, Infallible>(answer)));
            }
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(Deadline(deadline));
            Either::Right(routes.call(request))
        });
        let io = TokioIo::new(stream);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            // The first head is whole already.
            .header_read_timeout(config.connection_timeout)
            .max_headers(config.headers_max.saturating_mul(2))
            .max_header_size(config.header_bytes_max)
            .max_buf_size(config.header_bytes_max.max(BUFFER_BYTES_MIN));
        let serving = http.serve_connection(io, service).with_upgrades();
        tokio::pin!(serving);
        let mut closing = self.closing.subscribe();
        let ended = tokio::select! {
            biased;
            // The requests first: what has come is answered.
            ended = &mut serving => ended,
            // Then the server's end, which idle connections share at once.
            () = async { drop(closing.wait_for(|closing| *closing).await) } => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP connection ends");
        }
    }

    /// Says that there is no room, where that can be said: under TLS it would take a handshake.
    fn turn_away(&self, socket: TcpStream) {
        if self.tls.is_none() {
            self.answer_plainly(socket, &NO_ROOM);
        }
    }

    /// Says why not in HTTP without its machinery, as far as the budget for refusals reaches.
    fn answer_plainly(&self, mut socket: TcpStream, refusal: &PlainRefusal) {
        let Ok(permit) = self.node.refusals.clone().try_acquire_owned() else {
            return;
        };
        self.node.counters.errors.add(refusal.code);
        let answer = refusal.answer();
        tokio::spawn(async move {
            let told = async {
                socket.write_all(answer.as_bytes()).await?;
                socket.shutdown().await?;
                // Unread bytes would make the kernel reset the connection, and the answer with it.
                let mut sink = vec![0; 1_024];
                let mut discarded = 0;
                while discarded < LINGER_BYTES {
                    match socket.read(&mut sink).await? {
                        0 => break,
                        read => discarded += read,
                    }
                }
                Ok::<(), std::io::Error>(())
            };
            let _ = timeout(LINGER, told).await;
            drop(permit);
        });
    }
}

impl PlainRefusal {
    fn answer(&self) -> String {
        let mut error = ErrorInfo::new(self.code).with_message(self.message.to_owned());
        let mut retry_after = String::new();
        if let Some(secs) = self.retry_after_secs {
            error = error.with_retry_after_ms(secs * 1_000);
            retry_after = format!("Retry-After: {secs}\r\n");
        }
        let body = serde_json::to_string(&error).expect("an error serializes");
        format!(
            "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             {retry_after}Connection: close\r\n\r\n{body}",
            self.status,
            body.len()
        )
    }
}

/// The client's address, as far as the program that serves the request tells: behind trusted
/// proxies it is the one that they name.
pub(crate) fn client_of(config: &Config, parts: &Parts) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(client_address(
        &config.trusted_proxies,
        peer.ip(),
        &parts.headers,
    ))
}

/// The text of a header that may stand once (see [`only_text`]).
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    only_text(headers.get_all(name).iter().map(HeaderValue::as_bytes))
}

/// The text of the only one of these values. One that is repeated, or is no text, has a value that
/// nobody has, so that it is judged rather than overlooked.
pub(crate) fn only_text<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a str> {
    let value = values.next()?;
    let text = text(value);
    Some(text.filter(|_| values.next().is_none()).unwrap_or("?"))
}

/// hyper bounds the whole head, and the headers at twice the number, with an answer that has no
/// body; within that the refusal says why.
fn check_head(
    config: &Config,
    headers: &HeaderMap,
    target: Option<&axum::http::uri::PathAndQuery>,
) -> Result<(), ApiError> {
    let target = target.map_or(0, |target| target.as_str().len());
    let lines = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    match fits(config, target, lines) {
        true => Ok(()),
        false => Err(Code::HeadersTooLarge.into()),
    }
}

/// Whether the number of headers, and each line's length, keep to the bounds.
pub(crate) fn fits<'a>(
    config: &Config,
    target_bytes: usize,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> bool {
    let (count, longest) = headers.fold((0, target_bytes), |(count, longest), (name, value)| {
        (count + 1, longest.max(name.len() + value.len()))
    });
    count <= config.headers_max && longest <= HEADER_LINE_BYTES_MAX
}

/// The text of a header's value; none where it is more than visible ASCII.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let text = str::from_utf8(value).ok()?;
    let is_visible = |byte| matches!(byte, b'\t' | b' '..=b'~');
    text.bytes().all(is_visible).then_some(text)
}
