//! `bowline tail` says why it hears nothing, and ends once nobody reads it.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use super::{bowline, exit_code, run, signal};

const SECRET: [&str; 2] = [
    "--set",
    "access.jwt_secret=0123456789abcdef0123456789abcdef",
];

struct Server {
    child: Child,
    authority: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = bowline(&["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let authority = line.trim().rsplit('/').next().unwrap().to_owned();
        Self { child, authority }
    }

    fn url(&self) -> String {
        format!("ws://{}/ws", self.authority)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line that it says of its own.
fn first_line(tail: &mut Command) -> String {
    let mut child = tail.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let stderr = child.stderr.take().unwrap();
    BufReader::new(stderr).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    line
}

#[test]
fn why_no_link_comes_about_is_told() {
    let server = Server::start(&["--dev"]);
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    // It answers as a server without TLS does.
    std::thread::spawn(move || {
        for socket in plain.incoming() {
            let answered =
                std::io::Write::write_all(&mut socket.unwrap(), b"HTTP/1.1 400 ?\r\n\r\n");
            drop(answered);
        }
    });
    for (url, told) in [
        ("ws://nosuchhost.invalid/ws".to_owned(), "lookup"),
        (format!("wss://127.0.0.1:{port}/ws"), "TLS"),
        (format!("ws://{}", server.authority), "the path /ws"),
    ] {
        let authority = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../server/tests/keys/tls-ca.pem"
        );
        let line = first_line(&mut bowline(&[
            "tail", "news", "--url", &url, "--ca", authority,
        ]));
        assert!(line.starts_with(&format!("bowline: {url}: ")), "{line}");
        assert!(line.contains(told), "{told}: {line}");
    }
}

#[test]
fn a_token_that_is_refused_is_told_from_one_that_is_missing() {
    let server = Server::start(&SECRET);
    let refused = |token: Option<&str>| {
        let mut tail = bowline(&["tail", "news", "--url", &server.url()]);
        tail.envs(token.map(|token| ("BOWLINE_TOKEN", token)));
        let (code, said) = super::ended(&tail.output().unwrap());
        assert_eq!(code, Some(1), "{said}");
        said.lines().last().unwrap().to_owned()
    };
    let begins = "bowline: the server refuses this client";
    let none = refused(None);
    assert_eq!(
        none,
        format!("{begins} (unauthorized); is a token (BOWLINE_TOKEN) needed?")
    );
    let wrong = refused(Some("wrong"));
    let told = "(unauthorized); it does not take what is in BOWLINE_TOKEN";
    assert_eq!(wrong, format!("{begins} {told}"));
}

#[test]
fn a_channel_named_twice_is_followed_once() {
    let server = Server::start(&["--dev"]);
    let mut tail = bowline(&["tail", "news", "news", "--since", "first"])
        .args(["--url", &server.url()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let url = format!("http://{}", server.authority);
    for data in ["1", "2"] {
        let (code, said) = run(&["publish", "news", data, "--url", &url]);
        assert_eq!(code, Some(0), "{said}");
    }
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    for data in ["1", "2"] {
        let line = lines.next().unwrap().unwrap();
        assert!(line.ends_with(&format!("\"data\":{data}}}")), "{line}");
    }
    signal(&tail, "INT");
    assert_eq!(exit_code(&mut tail), Some(0));
}

#[test]
fn it_ends_without_a_word_once_nobody_reads_it() {
    let server = Server::start(&["--dev"]);
    let mut tail = bowline(&["tail", "news", "--url", &server.url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(tail.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("bowline: news: subscribed"), "{line}");
    drop(tail.stdout.take());
    assert_eq!(exit_code(&mut tail), Some(1));
    line.clear();
    said.read_to_string(&mut line).unwrap();
    assert_eq!(line, "");
}
