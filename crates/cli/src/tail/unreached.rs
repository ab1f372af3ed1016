//! Why there is no connection, said each time that it is lost or does not come about.
//!
//! Owns one look of its own at a server that was not reached, for the client tells of it no more than
//! that. Must not end anything: the client tries again by itself.

use std::{io::ErrorKind, time::Duration};

use bowline_client::{Endpoint, EndpointError, Event, Evidence, Trust, advice};
use tokio::{
    net::TcpStream,
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};

use crate::{output::say, publish::explain_tls};

/// As long as the client waits for a connection itself.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// Where Bowline's server has its WebSocket.
const PATH: &str = "/ws";

/// Whom to reach.
pub(super) struct Target {
    url: String,
    endpoint: Endpoint,
    /// None: without TLS.
    trust: Option<Trust>,
}

impl Target {
    /// The server of this URL, believed by these authorities in PEM and the system's.
    pub(super) fn new(url: &str, authorities: &[u8]) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::parse(url)?;
        let secure = endpoint.is_secure();
        Ok(Self {
            url: url.to_owned(),
            endpoint,
            trust: secure.then(|| Trust::new(authorities)).transpose()?,
        })
    }

    /// Says it until the client has ended.
    pub(super) async fn explain(self, mut events: Receiver<Event>) {
        loop {
            match events.recv().await {
                Ok(Event::LinkClosed {
                    evidence, verdict, ..
                }) => {
                    let why = match &evidence {
                        Evidence::Unreachable => self.look().await,
                        Evidence::Http { status, .. } => {
                            format!("answered with status {status}{}", self.path_hint(*status))
                        }
                        Evidence::Close { code, reason } => format!("closed with {code} {reason}"),
                        _ => advice(verdict.class).sentence.to_owned(),
                    };
                    say(format_args!("{}: {}", self.url, why.trim_end()));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// What a connection of our own fails with; it may come about where the client's did not.
    async fn look(&self) -> String {
        let looked = timeout(LOOK_MAX, self.connect()).await;
        match looked {
            Ok(Err(why)) => why,
            Ok(Ok(())) | Err(_) => "nobody answers".to_owned(),
        }
    }

    async fn connect(&self) -> Result<(), String> {
        let host = self.endpoint.host();
        let socket = TcpStream::connect((host, self.endpoint.port())).await;
        let socket = socket.map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => "nobody answers".to_owned(),
            _ => error.to_string(),
        })?;
        if let Some(trust) = &self.trust {
            let secured = trust.secure(host, socket).await;
            secured
                .map_err(|error| format!("the TLS handshake failed: {}", explain_tls(&error)))?;
        }
        Ok(())
    }

    fn path_hint(&self, status: u16) -> &'static str {
        let path = self.endpoint.target().split('?').next();
        if status == 404 && path != Some(PATH) {
            "; a Bowline server has its WebSocket at the path /ws"
        } else {
            ""
        }
    }
}
