//! What the log says. Alone in its process: other tests would log as well, and decide whether a line
//! is looked at.

use std::{
    io,
    sync::{Arc, Mutex},
};

use bowline::Server;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use client::{Client, hello, start};

#[path = "support/client.rs"]
mod client;

/// What is logged, where a test can read it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The JSON that a request is answered.
async fn ask(address: &str, request: &str, body: &str) -> Value {
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    let request = head + body;
    let written = socket.write_all(request.as_bytes()).await;
    written.expect("it is read");
    let mut answer = String::new();
    let read = socket.read_to_string(&mut answer).await;
    read.expect("an answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    serde_json::from_str(body).expect("JSON")
}

#[tokio::test]
async fn it_says_who_was_disconnected() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(move || writer.clone())
        .init();
    let (_server, address) = start(Server::builder()).await;
    let (mut client, _) = Client::bowline(&address, hello("one", 1, json!({}))).await;
    let list = ask(&address, "GET /ws/stats/detailed", "").await;
    let session = &list["connections"][0]["session"];
    let asked = [
        (json!({"session": session}), session.clone()),
        (json!({"user": "ana"}), json!("ana")),
        (json!({"connection": "77"}), json!(77)),
    ];
    for (body, _) in &asked {
        ask(&address, "POST /api/disconnect", &body.to_string()).await;
    }
    client.closed().await;
    let text = log.0.lock().expect("nobody panics").clone();
    let text = String::from_utf8(text).expect("text");
    let told = |line: &&str| line.contains("\"disconnected\":");
    let lines: Vec<&str> = text.lines().filter(told).collect();
    assert_eq!(lines.len(), asked.len(), "{text}");
    for (line, (body, whom)) in lines.iter().zip(asked) {
        assert_eq!(line.matches("\"target\":").count(), 1, "{line}");
        let line: Value = serde_json::from_str(line).expect("JSON");
        let key = body.as_object().and_then(|body| body.keys().next());
        assert_eq!(line[key.expect("one")], whom, "{line}");
    }
}
