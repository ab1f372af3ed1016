//! A server whose log nobody reads, or that can't be written, serves and ends as any other.
#![expect(
    clippy::unwrap_used,
    reason = "clippy does not take helpers of integration tests for tests"
)]

#[path = "../../server/tests/edge/client.rs"]
#[expect(dead_code, reason = "the server's own tests use the rest of it")]
mod client;
#[path = "support/command.rs"]
#[expect(dead_code, reason = "every line counts here")]
mod command;

use std::{
    fs::{File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Write},
    net::TcpListener,
    process::Stdio,
};

use client::{Answer, Client, DEADLINE, HERE, Reach, hello};
use command::{Lines, Pipe, Process, bowline, output, serve};
use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::{Value, json};
use tokio::time::timeout;

/// More than a runtime has threads: a line that blocked one each would leave none.
const REFUSALS: usize = 16;

/// So many lines of so many bytes are more than any queue should take.
const LONG_LINES: usize = 40;
const LONG_BYTES: usize = 60_000;

struct Server {
    process: Process,
    reach: Reach,
}

impl Server {
    fn start(stderr: impl Into<Stdio>, more: &[&str]) -> Self {
        let process = Process::start(serve(&["--dev"]).args(more).stderr(stderr));
        let url = process.url();
        let address = url.strip_prefix("http://").unwrap().parse();
        let reach = Reach {
            address: address.unwrap(),
        };
        Self { process, reach }
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}",
            self.reach.address,
            body.len()
        );
        self.reach.raw(HERE, &head, body.as_bytes()).await
    }

    /// A foreign page's WebSocket, which makes a line of the log.
    async fn refused(&self) {
        let foreign = [("Origin", "https://elsewhere.example")];
        let dialled = self.reach.dial_with(HERE, "/ws", &["bowline.v1"], &foreign);
        let dialled = timeout(DEADLINE, dialled).await.expect("an answer in time");
        let closed = dialled.expect("it is upgraded").closed().await;
        assert_eq!(closed.code(), (4403, "origin_not_allowed"));
    }

    /// Makes lines, and is answered as if there were none.
    async fn serves(&self) {
        for _ in 0..REFUSALS {
            self.refused().await;
        }
        for (path, body) in [
            ("/api/publish", json!({"channel": "a", "data": 1})),
            ("/api/disconnect", json!({"user": "nobody"})),
        ] {
            assert_eq!(self.post(path, &body).await.status, 200, "{path}");
        }
        assert_eq!(self.reach.get("/health/live", &[]).await.status, 200);
    }

    async fn client(&self) -> Client {
        let welcomed = timeout(DEADLINE, self.reach.welcomed(HERE, hello("stderr", 1)));
        let client = welcomed.await.expect("a welcome in time");
        client.expect("there is room")
    }

    /// Serves, tells its clients that it goes, and goes.
    async fn serves_and_ends(mut self) {
        let mut client = self.client().await;
        self.serves().await;
        self.process.signal("TERM");
        let told = client.next().await.expect("it is told before it is closed");
        assert_eq!(
            (&told["type"], &told["reason"]),
            (&json!("reconnect"), &json!("restart"))
        );
        let closed = client.closed().await;
        assert_eq!(closed.code(), (4503, "draining"));
        drop(client);
        assert_eq!(self.process.exit_code(), Some(0));
    }
}

/// A pipe that takes no further byte until it is read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    for size in [4096, 1] {
        while writer.write(&vec![b'\n'; size]).is_ok() {}
    }
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

/// What comes out of a pipe.
fn lines(reader: PipeReader) -> Lines {
    Lines::of([Box::new(reader) as Pipe])
}

fn full_disk() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[tokio::test]
async fn nobody_reads_the_log_any_more() {
    let (reader, writer) = io::pipe().unwrap();
    let server = Server::start(writer, &[]);
    drop(reader);
    server.serves_and_ends().await;
}

#[tokio::test]
async fn the_log_is_on_a_full_disk() {
    Server::start(full_disk(), &[]).serves_and_ends().await;
    Server::start(full_disk(), &["--log-format", "json"])
        .serves_and_ends()
        .await;
}

#[tokio::test]
async fn the_reader_of_the_log_is_stuck() {
    let (_reader, writer) = full_pipe();
    Server::start(writer, &[]).serves_and_ends().await;
}

/// Standard output as well, as behind `2>&1 |`: nothing says when it listens.
#[tokio::test]
async fn the_reader_of_all_it_says_is_stuck() {
    let (_reader, writer) = full_pipe();
    // Nobody else is at this address, so nobody takes the port before the server does.
    let free = TcpListener::bind("127.9.9.9:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let process = Process::start(
        bowline(&["serve", "--dev", "--listen", &address.to_string()])
            .stdout(writer.try_clone().unwrap())
            .stderr(writer),
    );
    let reach = Reach { address };
    let server = Server { process, reach };
    client::until("it listens", async || {
        tokio::net::TcpStream::connect(address).await.is_ok()
    })
    .await;
    server.serves_and_ends().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_though_the_log_is_stuck() {
    let (_reader, writer) = full_pipe();
    let mut server = Server::start(writer, &["--set", "server.shutdown_timeout=10m"]);
    // Who never answers the close holds the shutdown up.
    let _client = server.client().await;
    server.process.insist("TERM");
    assert_eq!(server.process.exit_code(), Some(143));
}

#[tokio::test]
async fn what_was_lost_is_counted_and_told_once_there_is_room() {
    for (format, lost) in [("text", "lost="), ("json", "\"lost\":")] {
        let (reader, writer) = full_pipe();
        let mut server = Server::start(writer, &["--log-format", format]);
        let user = "u".repeat(LONG_BYTES);
        let asked = json!({"user": user});
        for _ in 0..LONG_LINES {
            let answer = server.post("/api/disconnect", &asked).await;
            assert_eq!(answer.status, 200);
        }
        let lines = lines(reader);
        let told = lines.until(lost).expect("it is told");
        let written = told.iter().filter(|line| line.contains(&user)).count();
        let (_, count) = told.last().unwrap().split_once(lost).unwrap();
        let digits = count.chars().take_while(char::is_ascii_digit);
        let count: usize = digits.collect::<String>().parse().unwrap();
        assert!(written > 0 && count > 0, "{written} written, {count} lost");
        assert_eq!(written + count, LONG_LINES);
        // What follows is whole again.
        server.process.signal("TERM");
        assert_eq!(server.process.exit_code(), Some(0));
        assert!(lines.rest().last().unwrap().contains("shut down"));
    }
}

/// What is said at the start and at the end arrives where somebody reads, in the order in which it
/// was said.
#[test]
fn the_log_is_whole_where_it_is_read() {
    let (reader, writer) = io::pipe().unwrap();
    let mut server = Server::start(writer, &[]);
    let log = lines(reader);
    server.process.signal("TERM");
    assert_eq!(server.process.exit_code(), Some(0));
    let log = log.rest().join("\n") + "\n";
    let mut rest = log.as_str();
    for expected in ["listening", "shutting down", "shut down\n"] {
        let found = rest.split_once(expected);
        (_, rest) = found.unwrap_or_else(|| panic!("no {expected:?} in {log}"));
    }
    assert!(!log.contains("lost"), "{log}");
}

/// The codes of the start stay what they are, and so does what it says.
#[test]
fn errors_of_the_start_have_their_codes_whatever_stderr_takes() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let arguments: [(&[&str], i32); 2] = [
        (&["serve", "--dev", "--listen", &taken], 1),
        (&["serve", "--listen", "nowhere"], 2),
    ];
    for (arguments, code) in arguments {
        let said = output(&mut bowline(arguments));
        assert_eq!(said.status.code(), Some(code));
        assert!(
            String::from_utf8_lossy(&said.stderr).contains("\nbowline: ")
                || said.stderr.starts_with(b"bowline: ")
        );
        let unheard = output(bowline(arguments).stderr(full_disk()));
        assert_eq!(unheard.status.code(), Some(code));
    }
}
