//! One link: a task that dials, turns bytes into the machine's inputs and writes its messages.
//!
//! Owns a [`WebSocket`]. Must not know what messages mean.

use std::time::Duration;

use bowline_proto::{
    Evidence, SUBPROTOCOL,
    client::Input,
    codec::{Frame, Incoming, decode_server},
};
use bowline_ws::{CloseCode, Limits, MessageKind};
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    endpoint::Endpoint,
    socket::{DialError, Received, SocketError, WebSocket},
};

/// The largest message that is taken from the server: above any sensible `message_bytes_max`, and
/// large enough for a `welcome` with thousands of subscriptions.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// With more unwritten than this no further message is taken from the owner.
const UNWRITTEN_BYTES_MAX: usize = 256 * 1024;
/// The bound of the wait for the server's close frame after ours.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the owner tells a link.
#[derive(Debug)]
pub(crate) enum LinkCommand {
    /// Write this.
    Write(Frame),
    /// Write what is queued, then close.
    Close(u16),
}

/// Runs a link to its end. The owner that drops `commands` lets it go at once.
pub(crate) async fn run(
    link: u64,
    endpoint: Endpoint,
    compress_from: Option<usize>,
    mut commands: mpsc::Receiver<LinkCommand>,
    inputs: mpsc::Sender<Input>,
) {
    let limits = Limits {
        message_bytes_max: MESSAGE_BYTES_MAX,
    };
    let protocols = [SUBPROTOCOL];
    let dialled = tokio::select! {
        dialled = WebSocket::dial_as(&endpoint, &protocols, limits, compress_from) => dialled,
        // Before the link is open the only command is to close it.
        _ = commands.recv() => return,
    };
    let evidence = match dialled {
        Ok(socket) => {
            if inputs.send(Input::Opened { link }).await.is_err() {
                return;
            }
            match exchange(link, socket, &mut commands, &inputs).await {
                Some(evidence) => evidence,
                None => return,
            }
        }
        Err(error) => {
            tracing::info!(link, %error, "the server was not reached");
            dial_evidence(&error)
        }
    };
    // The owner is gone if this fails, and with it everybody who could care.
    let _ = inputs.send(Input::Failed { link, evidence }).await;
}

/// Reads and writes until the end; none where the owner asked for it.
async fn exchange(
    link: u64,
    mut socket: WebSocket,
    commands: &mut mpsc::Receiver<LinkCommand>,
    inputs: &mpsc::Sender<Input>,
) -> Option<Evidence> {
    loop {
        tokio::select! {
            biased;
            // First, so that a busy server can't hold our messages up; bounded by what is unwritten.
            command = commands.recv(), if socket.unwritten_bytes() < UNWRITTEN_BYTES_MAX => {
                let written = match command {
                    Some(LinkCommand::Write(Frame::Text(text))) => {
                        socket.send(MessageKind::Text, &text)
                    }
                    Some(LinkCommand::Write(Frame::Binary(bytes))) => {
                        socket.send(MessageKind::Binary, &bytes)
                    }
                    Some(LinkCommand::Close(code)) => {
                        close(socket, code).await;
                        return None;
                    }
                    None => return None,
                };
                if written.is_err() {
                    return Some(Evidence::Opaque);
                }
            }
            received = socket.receive() => match received {
                Ok(Received::Text(text)) => {
                    if hear(link, Incoming::Text(&text), inputs).await.is_err() {
                        socket.finish().await;
                        return Some(Evidence::Violation);
                    }
                }
                Ok(Received::Binary(bytes)) => {
                    if hear(link, Incoming::Binary(&bytes), inputs).await.is_err() {
                        socket.finish().await;
                        return Some(Evidence::Violation);
                    }
                }
                Ok(Received::Progress) => {
                    // Proof of life is only worth telling while the owner has room.
                    let _ = inputs.try_send(Input::Received { link });
                }
                Ok(Received::Closed { code, reason }) => {
                    socket.finish().await;
                    return Some(Evidence::Close { code, reason: reason.into() });
                }
                Err(SocketError::Protocol(_)) => {
                    socket.finish().await;
                    return Some(Evidence::Violation);
                }
                Err(SocketError::Io(_)) => {
                    let reason = "".into();
                    return Some(Evidence::Close { code: 1006, reason });
                }
            },
        }
    }
}

async fn hear(link: u64, frame: Incoming<'_>, inputs: &mpsc::Sender<Input>) -> Result<(), ()> {
    for message in decode_server(frame) {
        match message {
            Ok(message) => {
                let input = Input::Message { link, message };
                inputs.send(input).await.map_err(|_| ())?;
            }
            // A newer server may say what this client does not know; it changes nothing else.
            Err(error) if !error.ends_frame => {
                tracing::debug!(link, code = %error.error.code, "a message was not understood");
            }
            Err(_) => return Err(()),
        }
    }
    Ok(())
}

async fn close(mut socket: WebSocket, code: u16) {
    let code = CloseCode::new(code).unwrap_or(CloseCode::NORMAL);
    if socket.close(code).is_ok() {
        let answered = async {
            while let Ok(received) = socket.receive().await {
                if matches!(received, Received::Closed { .. }) {
                    break;
                }
            }
        };
        // A peer that does not answer is left alone.
        let _ = timeout(CLOSE_TIMEOUT, answered).await;
        socket.finish().await;
    }
}

/// What is answered to a request that is no upgrade: something in between may have made it so, and go
/// away, whatever the server says of it.
const SILENT: [u16; 4] = [400, 404, 405, 426];

fn dial_evidence(error: &DialError) -> Evidence {
    match error {
        DialError::Io(_) | DialError::Tls(_) | DialError::Trust(_) | DialError::Request(_) => {
            Evidence::Unreachable
        }
        DialError::Response(_) => Evidence::NotWebsocket,
        DialError::Refused { refusal, body } => {
            // Any other server's body says nothing.
            let said: Value = serde_json::from_slice(body).unwrap_or_default();
            let header_ms = refusal.retry_after_secs.map(|secs| u64::from(secs) * 1_000);
            let code = said["code"].as_str();
            Evidence::Http {
                status: refusal.status,
                code: code
                    .filter(|_| !SILENT.contains(&refusal.status))
                    .map(Into::into),
                // The header has it in seconds, rounded up.
                retry_after_ms: said["retry_after_ms"].as_u64().or(header_ms),
            }
        }
    }
}
