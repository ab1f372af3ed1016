//! The closing handshake (RFC 6455 section 7): who sends a close frame, who waits, which code is
//! echoed and who ends TCP. It knows no clock; the shell bounds each wait by a timeout of its own.

use crate::close::CloseFrame;
use crate::error::ProtocolError;
use crate::frame::Role;

/// 1005: the peer closed without a code. It never stands on the wire.
const NO_CODE: u16 = 1005;
/// 1006: the peer sent no close frame. It never stands on the wire.
const ABNORMAL: u16 = 1006;

/// The closing handshake of one connection, as one side sees it.
///
/// The shell tells it what happens and then does what [`step`](Self::step) says. The shell's part
/// is to bound the waits: on a timeout it drops the socket and reads [`outcome`](Self::outcome).
#[derive(Debug, Clone, Copy)]
pub struct Closing {
    role: Role,
    state: State,
    initiator: Option<Initiator>,
    /// The code of the peer's close frame; `NO_CODE` if it had none.
    received_code: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Our close frame is sent, the peer's is awaited.
    Sent,
    /// Both close frames are exchanged.
    Exchanged,
    /// We failed the connection: the peer's bytes are no longer decoded.
    Failed,
}

/// Who began to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// This side.
    Local,
    /// The peer.
    Remote,
}

/// What the shell does with the socket, after it has written what it was given to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read and write as usual.
    Exchange,
    /// Send no further message; go on reading until the peer's close frame or a timeout.
    AwaitClose,
    /// Send nothing; go on reading, discarding, until the server ends TCP or a timeout (a client
    /// lets the server go first, so that TIME_WAIT stands with the server: section 7.1.1).
    AwaitEof,
    /// Flush, shut down the write half, discard what still comes until EOF or a short timeout,
    /// then drop the socket. To drop it with unread input would make the kernel send RST, which
    /// can destroy our close frame in the peer's receive buffer.
    Shutdown,
}

/// How a connection ended, in the terms of the browsers' `CloseEvent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether both sides' close frames were exchanged.
    pub clean: bool,
    /// The peer's close code; 1005 if its close frame had none, 1006 if none came.
    pub code: u16,
    /// Who began to close; `None` if the link ended without any close frame.
    pub initiator: Option<Initiator>,
}

impl Closing {
    /// The closing handshake of an open connection.
    #[must_use]
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            state: State::Open,
            initiator: None,
            received_code: None,
        }
    }

    /// This side wants to close. If this answers true, send a close frame now, and no message
    /// after it; otherwise the connection is already closing and nothing must be sent.
    #[must_use]
    pub fn start(&mut self) -> bool {
        if self.state != State::Open {
            return false;
        }
        self.state = State::Sent;
        self.initiator = Some(Initiator::Local);
        true
    }

    /// The peer's close frame came. `Some` is the body of the close frame to answer with: the
    /// peer's code without its reason, or no body if it sent none (section 5.5.1).
    #[must_use]
    pub fn received(
        &mut self,
        frame: Option<&CloseFrame<'_>>,
    ) -> Option<Option<CloseFrame<'static>>> {
        let was_open = self.state == State::Open;
        if self.state == State::Exchanged || self.state == State::Failed {
            return None;
        }
        self.state = State::Exchanged;
        self.received_code = Some(frame.map_or(NO_CODE, |frame| frame.code().as_u16()));
        if !was_open {
            return None;
        }
        self.initiator = Some(Initiator::Remote);
        Some(frame.map(|frame| CloseFrame::new(frame.code(), "")))
    }

    /// The peer violated the protocol: the connection fails (section 7.1.7). `Some` is the close
    /// frame to send, unless one was sent before.
    #[must_use]
    pub fn fail(&mut self, error: &ProtocolError) -> Option<CloseFrame<'static>> {
        self.abort()
            .then(|| CloseFrame::new(error.close_code(), ""))
    }

    /// This side ends the connection without waiting for the peer's close frame, as a server does
    /// with a peer that it doesn't trust to answer. If this answers true, send a close frame first.
    #[must_use]
    pub fn abort(&mut self) -> bool {
        let was_open = self.state == State::Open;
        if self.state != State::Exchanged {
            self.state = State::Failed;
        }
        if was_open {
            self.initiator = Some(Initiator::Local);
        }
        was_open
    }

    /// What the shell does with the socket.
    #[must_use]
    pub const fn step(&self) -> Step {
        match (self.state, self.role) {
            (State::Open, _) => Step::Exchange,
            (State::Sent, _) => Step::AwaitClose,
            (State::Exchanged, Role::Client) => Step::AwaitEof,
            (State::Exchanged, Role::Server) | (State::Failed, _) => Step::Shutdown,
        }
    }

    /// Whether messages, pings and pongs may still be sent.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.state == State::Open
    }

    /// How the connection ended, once the socket is gone.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome {
            clean: self.state == State::Exchanged,
            code: self.received_code.unwrap_or(ABNORMAL),
            initiator: self.initiator,
        }
    }
}

#[cfg(test)]
mod tests;
