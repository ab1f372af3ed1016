//! Echoes every case of Autobahn's fuzzing server through the client's own dial, read and write
//! path: `autobahn ws://127.0.0.1:9001 bowline`. See `scripts/autobahn.sh client`.

use std::error::Error;

use bowline_client::{Endpoint, Received, WebSocket};
use bowline_ws::{Limits, MessageKind};

/// The largest message of sections 9 and 10 has 16 MiB.
const LIMITS: Limits = Limits {
    message_bytes_max: 17 << 20,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(agent)) = (arguments.next(), arguments.next()) else {
        return Err("usage: autobahn ws://HOST:PORT AGENT".into());
    };
    let count: u32 = ask(&format!("{url}/getCaseCount")).await?.parse()?;
    for case in 1..=count {
        echo(&format!("{url}/runCase?case={case}&agent={agent}")).await?;
    }
    ask(&format!("{url}/updateReports?agent={agent}")).await?;
    println!("{count} cases");
    Ok(())
}

/// The last text that the server says before it closes.
async fn ask(url: &str) -> Result<String, Box<dyn Error>> {
    let mut socket = WebSocket::dial(&Endpoint::parse(url)?, &[], LIMITS).await?;
    let mut answer = String::new();
    loop {
        match socket.receive().await? {
            Received::Text(text) => answer = text,
            Received::Closed { .. } => break,
            Received::Binary(_) | Received::Progress => {}
        }
    }
    socket.finish().await;
    Ok(answer)
}

/// Sends back what comes until the connection ends, however it does: the server judges that.
async fn echo(url: &str) -> Result<(), Box<dyn Error>> {
    let endpoint = Endpoint::parse(url)?;
    let mut socket = WebSocket::dial_compressed(&endpoint, &[], LIMITS, 0).await?;
    loop {
        match socket.receive().await {
            Ok(Received::Text(text)) => socket.send(MessageKind::Text, text.as_bytes())?,
            Ok(Received::Binary(bytes)) => socket.send(MessageKind::Binary, &bytes)?,
            Ok(Received::Progress) => {}
            Ok(Received::Closed { .. }) | Err(_) => break,
        }
    }
    socket.finish().await;
    Ok(())
}
