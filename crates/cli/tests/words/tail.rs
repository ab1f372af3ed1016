//! `bowline tail` says why it hears nothing, and ends once nobody reads it.

use std::net::TcpListener;

use super::{
    bowline,
    command::{Lines, Pipe, Process, Server},
    run,
};

const SECRET: [&str; 2] = [
    "--set",
    "access.jwt_secret=0123456789abcdef0123456789abcdef",
];

fn url(server: &Server) -> String {
    format!("ws://{}/ws", server.address())
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
        (format!("ws://{}", server.address()), "the path /ws"),
    ] {
        let authority = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../server/tests/keys/tls-ca.pem"
        );
        let mut tail = bowline(&["tail", "news", "--url", &url, "--ca", authority]);
        let line = Process::start(&mut tail).lines.with("");
        assert!(line.starts_with(&format!("bowline: {url}: ")), "{line}");
        assert!(line.contains(told), "{told}: {line}");
    }
}

#[test]
fn a_token_that_is_refused_is_told_from_one_that_is_missing() {
    let server = Server::start(&SECRET);
    let refused = |token: Option<&str>| {
        let mut tail = bowline(&["tail", "news", "--url", &url(&server)]);
        tail.envs(token.map(|token| ("BOWLINE_TOKEN", token)));
        let (code, said) = super::ended(&mut tail);
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
    let mut tail = bowline(&["tail", "news", "news", "--since", "first"]);
    let mut tail = Process::start(tail.args(["--url", &url(&server)]));
    for data in ["1", "2"] {
        let (code, said) = run(&["publish", "news", data, "--url", &server.url]);
        assert_eq!(code, Some(0), "{said}");
    }
    for data in ["1", "2"] {
        let line = tail.lines.with("\"data\":");
        assert!(line.ends_with(&format!("\"data\":{data}}}")), "{line}");
    }
    tail.signal("INT");
    assert_eq!(tail.exit_code(), Some(0));
}

#[test]
fn it_ends_without_a_word_once_nobody_reads_it() {
    let server = Server::start(&["--dev"]);
    let tail = bowline(&["tail", "news", "--url", &url(&server)]).spawn();
    let mut child = tail.unwrap();
    let (read, said) = (child.stdout.take(), child.stderr.take());
    let lines = Lines::of(said.map(|pipe| Box::new(pipe) as Pipe));
    let mut tail = Process { child, lines };
    tail.lines.with("bowline: news: subscribed");
    drop(read);
    assert_eq!(tail.exit_code(), Some(1));
    assert_eq!(tail.lines.rest(), [""; 0]);
}
