//! The binary as its users meet it: real processes, real sockets, real signals.
#![expect(
    clippy::unwrap_used,
    reason = "clippy does not take helpers of integration tests for tests"
)]

#[path = "support/command.rs"]
mod command;

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use command::{PATIENCE, Process, Server, bowline, output, serve};

fn run(arguments: &[&str]) -> Output {
    output(&mut bowline(arguments))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_message_is_published_and_repeats_are_seen() {
    let server = Server::start(&["--dev"]);
    let publish = || {
        run(&[
            "publish",
            "news",
            "hello",
            "--key",
            "k",
            "--url",
            &server.url,
        ])
    };
    let (first, second) = (publish(), publish());
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    assert!(text(&first.stdout).contains(r#""duplicate":false"#));
    assert!(text(&second.stdout).contains(r#""duplicate":true"#));
    let refused = run(&["publish", "", "1", "--url", &server.url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("bad_channel"));
}

#[test]
fn keys_open_and_their_absence_does_not() {
    let file = std::env::temp_dir().join(format!("bowline-keys-{}.toml", std::process::id()));
    std::fs::write(&file, "[access]\napi_keys = [\"0123456789abcdef\"]\n").unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let without = run(&["publish", "a", "1", "--url", &server.url]);
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("unauthorized"));
    let mut with = bowline(&["publish", "a", "1", "--url", &server.url]);
    let with = output(with.env("BOWLINE_API_KEY", "0123456789abcdef"));
    assert_eq!(with.status.code(), Some(0), "{}", text(&with.stderr));
}

#[test]
fn tail_goes_on_where_it_was_when_the_link_is_cut() {
    let server = Server::start(&["--dev"]);
    let publish = |data: &str| {
        let published = run(&["publish", "news", data, "--url", &server.url]);
        assert_eq!(
            published.status.code(),
            Some(0),
            "{}",
            text(&published.stderr)
        );
    };
    publish("1");
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ws", proxy.local_addr().unwrap());
    let mut tail = bowline(&["tail", "news", "--since", "first", "--url", &url]);
    let mut tail = Process::start(tail.stderr(Stdio::null()));
    let next = || tail.lines.with("");
    let address = server.address();
    let first = relay(&proxy, address);
    assert!(next().ends_with(r#""data":1}"#));
    for end in &first {
        // An end that is gone already is as good as cut.
        let _ = end.shutdown(Shutdown::Both);
    }
    publish("2");
    let _second = relay(&proxy, address);
    publish("3");
    assert!(next().ends_with(r#""data":2}"#));
    assert!(next().ends_with(r#""data":3}"#));
    tail.signal("INT");
    assert_eq!(tail.exit_code(), Some(0));
}

#[test]
fn tail_says_why_there_is_no_connection() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ws", nobody.local_addr().unwrap());
    drop(nobody);
    let tail = Process::start(&mut bowline(&["tail", "news", "--url", &url]));
    assert_eq!(
        tail.lines.with(""),
        format!("bowline: {url}: nobody answers")
    );
}

/// Accepts one connection and carries its bytes both ways; the ends are for cutting it.
fn relay(proxy: &TcpListener, address: &str) -> [TcpStream; 2] {
    let near = accept(proxy);
    let far = TcpStream::connect(address).unwrap();
    let ends = [near.try_clone().unwrap(), far.try_clone().unwrap()];
    for (mut from, mut to) in [
        (near.try_clone().unwrap(), far.try_clone().unwrap()),
        (far, near),
    ] {
        thread::spawn(move || std::io::copy(&mut from, &mut to));
    }
    ends
}

fn accept(proxy: &TcpListener) -> TcpStream {
    proxy.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    loop {
        match proxy.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        assert!(begun.elapsed() < PATIENCE, "nobody dials");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn both_signals_end_it_well() {
    for name in ["INT", "TERM"] {
        let mut server = Server::start(&["--dev"]);
        server.process.signal(name);
        assert_eq!(server.process.exit_code(), Some(0), "{name}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let mut server = Server::start(&["--dev"]);
        // A client that never answers the close holds the shutdown up.
        let address = server.address();
        let mut client = ask(address, "/ws?channels=a", UPGRADE);
        let mut answer = [0; 12];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
        // The answer goes out before the connection counts as one.
        let begun = Instant::now();
        while !stats(address).contains(r#""connections":1,"#) {
            assert!(begun.elapsed() < PATIENCE, "it is never counted");
        }
        server.process.insist(name);
        assert_eq!(server.process.exit_code(), Some(code), "{name}");
    }
}

/// The headers of an upgrade.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

/// Sends a request; the socket, from which the answer is read in time.
fn ask(address: &str, target: &str, headers: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    socket
}

fn stats(address: &str) -> String {
    let mut answer = String::new();
    let mut socket = ask(address, "/ws/stats", "Connection: close\r\n");
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_log_is_looked_at_offline_and_damage_is_told() {
    let folder = std::env::temp_dir().join(format!("bowline-log-{}", std::process::id()));
    let path = folder.to_str().unwrap();
    let embedded = ["--dev", "--engine", "embedded", "--data-dir", path];
    let server = Server::start(&embedded);
    for number in 0..3 {
        let data = format!("{{\"n\":{number}}}");
        let published = run(&["publish", "news", &data, "--url", &server.url]);
        assert!(published.status.success());
    }
    drop(server);
    let verified = run(&["log", "verify", path]);
    let shown = text(&verified.stdout);
    assert!(verified.status.success(), "{shown}");
    assert!(shown.contains("good: 1 channels, 3 messages"), "{shown}");
    let dumped = text(&run(&["log", "dump", path, "--data"]).stdout);
    let lines: Vec<serde_json::Value> = dumped
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let publish = lines.iter().filter(|line| line["kind"] == "publish");
    let data: Vec<_> = publish.map(|line| line["data"].as_str().unwrap()).collect();
    assert_eq!(data, [r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#]);
    let totals = run(&["log", "stats", path]);
    let totals: serde_json::Value = serde_json::from_slice(&totals.stdout).unwrap();
    assert_eq!(totals["publications"], 3);

    // A bit in the first of several frames is no torn tail.
    let segment = folder.join("0000000000000001.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = lines.iter().find(|line| line["kind"] == "publish").unwrap()["at"].as_u64();
    bytes[usize::try_from(at.unwrap()).unwrap() + 8] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    let verified = run(&["log", "verify", path]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(text(&verified.stdout).contains("0000000000000001.log, byte "));
    let refused = output(&mut serve(&embedded));
    assert_eq!(refused.status.code(), Some(1));
    let told = text(&refused.stderr);
    assert!(told.contains("bowline log verify"), "{told}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_port_in_use_is_explained() {
    let server = Server::start(&["--dev"]);
    let second = run(&["serve", "--dev", "--listen", server.address()]);
    assert_eq!(second.status.code(), Some(1));
    let told = text(&second.stderr);
    assert!(
        told.contains("another program uses this port") && told.contains("--listen"),
        "{told}"
    );
}

#[test]
fn a_low_limit_of_files_is_explained() {
    let script = format!(
        "ulimit -n 256; exec {} serve --dev --engine memory --listen 127.0.0.1:0",
        env!("CARGO_BIN_EXE_bowline")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);
    let server = Process::start(shell.stdout(Stdio::null()).stderr(Stdio::piped()));
    let told = server.lines.with("nofile");
    assert!(told.contains("LimitNOFILE"), "{told}");
}

#[test]
fn mistakes_end_it_with_2_before_anything_starts() {
    let several = run(&[
        "serve",
        "--listen",
        "x",
        "--log-level",
        "loud",
        "--set",
        "a.b=1",
    ]);
    assert_eq!(several.status.code(), Some(2));
    let told = text(&several.stderr);
    for expected in ["(--listen)", "(--log-level)", "(--set)", "3 problem(s)"] {
        assert!(told.contains(expected), "{expected} in {told}");
    }
    assert_eq!(run(&["serve", "--no-such-flag"]).status.code(), Some(2));
    let url = run(&["publish", "a", "1", "--url", "ftp://example.com"]);
    assert_eq!(url.status.code(), Some(2));
}

#[test]
fn the_configuration_can_be_checked_and_printed() {
    let printed = run(&["config", "print", "--set", "websocket.ping_interval=7"]);
    assert_eq!(printed.status.code(), Some(0));
    let told = text(&printed.stdout);
    assert!(
        told.contains("ping_interval = 7  # --set; WEBSOCKET_PING_INTERVAL"),
        "{told}"
    );
    assert_eq!(run(&["config", "check"]).status.code(), Some(0));
    let mut bad = bowline(&["config", "check"]);
    let bad = output(bad.env("WEBSOCKET_PING_INTERVAL", "0"));
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("environment WEBSOCKET_PING_INTERVAL"));
}

#[test]
fn an_output_that_takes_nothing_is_an_error_and_no_panic() {
    let server = Server::start(&["--dev"]);
    let secret = "access.jwt_secret=a-secret-of-the-tests-with-32-bytes!";
    let commands: [(&[&str], &str); 4] = [
        (
            &["publish", "news", "1", "--url", &server.url],
            "the server took the message, which may be stored",
        ),
        (&["config", "check"], "No space left"),
        (&["config", "print"], "No space left"),
        (&["token", "--set", secret], "No space left"),
    ];
    for (arguments, expected) in commands {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = output(bowline(arguments).stdout(full));
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
}

#[test]
fn the_version_names_its_commit() {
    let version = text(&run(&["--version"]).stdout);
    assert!(
        version.starts_with("bowline 0.") && version.contains(" ("),
        "{version}"
    );
}

#[test]
fn a_minted_token_does_what_it_was_minted_for() {
    let secret = "access.jwt_secret=a-secret-of-the-tests-with-32-bytes!";
    let server = Server::start(&["--engine", "memory", "--set", secret]);
    let token = |grant: &str| {
        let output = run(&["token", "--user", "ana", "--grant", grant, "--set", secret]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    let publish = |token: &str| {
        run(&[
            "publish",
            "news",
            "1",
            "--url",
            &server.url,
            "--api-key",
            token,
        ])
    };
    assert!(publish(&token("news=publish")).status.success());
    let refused = publish(&token("news=subscribe"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("forbidden"),
        "{}",
        text(&refused.stderr)
    );
    for (flag, value) in [
        ("--ttl", "abc"),
        ("--grant", "nope"),
        ("--grant", "news=fly"),
    ] {
        let unusable = run(&["token", flag, value, "--set", secret]);
        assert_eq!(unusable.status.code(), Some(2), "{flag} {value}");
        assert!(text(&unusable.stderr).contains(flag), "{flag} {value}");
    }
    let without = run(&["token", "--user", "ana"]);
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("no key to sign with"));
}

#[test]
fn a_token_is_minted_for_exactly_the_users_that_the_server_takes() {
    const SECRET: &str = "a-secret-of-the-tests-with-32-bytes!";
    let secret = format!("access.jwt_secret={SECRET}");
    let server = Server::start(&["--set", &secret]);
    let publish = |token: &str| {
        run(&[
            "publish",
            "a",
            "1",
            "--url",
            &server.url,
            "--api-key",
            token,
        ])
    };
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let longest = "u".repeat(250);
    for (user, is_taken) in [
        ("", false),
        (&*longest, true),
        (&*format!("{longest}u"), false),
        // Each of these bytes becomes three.
        (&*"é".repeat(41), true),
        (&*"é".repeat(42), false),
        (&*"u".repeat(3_000), false),
    ] {
        let minted = run(&[
            "token",
            "--user",
            user,
            "--grant",
            "a=publish",
            "--set",
            &secret,
        ]);
        let told = text(&minted.stderr);
        let code = if is_taken { 0 } else { 2 };
        assert_eq!(minted.status.code(), Some(code), "{user}: {told}");
        assert_eq!(told.contains("--user: "), !is_taken, "{told}");
        let exp = jsonwebtoken::get_current_timestamp() + 100;
        let claims = serde_json::json!({"sub": user, "exp": exp, "channels": {"a": ["publish"]}});
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
        assert_eq!(publish(&token).status.success(), is_taken, "{user}");
        if is_taken {
            assert!(
                publish(text(&minted.stdout).trim()).status.success(),
                "{user}"
            );
        }
    }
}

#[test]
fn no_token_and_no_key_is_ever_logged() {
    let secret = "access.jwt_secret=a-secret-of-the-tests-with-32-bytes!";
    let settings = [
        "--log-level",
        "trace",
        "--set",
        secret,
        "--set",
        "access.api_keys=a-key-of-the-tests",
        "--set",
        "access.admin_token=the-admin-of-the-tests",
    ];
    let mut server = Server::start(&settings);
    let answered = |target: &str, headers: &str| {
        let mut answer = vec![0; 512];
        let _ = ask(server.address(), target, headers)
            .read(&mut answer)
            .unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{}", text(&answer));
    };
    let minted = run(&["token", "--user", "ana", "--set", secret]);
    let good = text(&minted.stdout).trim().to_owned();
    let bad = format!("{good}-bad");
    for token in [
        &*good,
        &*bad,
        "a-key-of-the-tests",
        "the-admin-of-the-tests",
    ] {
        answered(&format!("/ws?token={token}"), "");
        answered(&format!("/ws?channels=x&token={token}"), UPGRADE);
        answered("/ws/stats", &format!("Authorization: Bearer {token}\r\n"));
        answered("/ws/stats", &format!("X-API-Key: {token}\r\n"));
    }
    server.process.child.kill().unwrap();
    let log = server.process.lines.rest().join("\n");
    assert!(
        log.contains("connected") && log.contains("connection ends"),
        "{log}"
    );
    let signature = good.rsplit('.').next().unwrap();
    for secret in [
        signature,
        "a-key-of-the-tests",
        "the-admin-of-the-tests",
        "with-32-bytes",
    ] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn the_pages_of_settings_name_each_with_its_default() {
    let settings_page = include_str!("../../../docs/settings.md");
    let engine_page = include_str!("../../../docs/durability.md");
    let mut print = bowline(&["config", "print"]);
    let printed = output(print.env_remove("BOWLINE_ENGINE_KIND"));
    let (mut section, mut settings) = (String::new(), 0);
    for line in text(&printed.stdout).lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            continue;
        }
        let Some((setting, variable)) = line.rsplit_once("; ") else {
            continue;
        };
        settings += 1;
        let setting = setting.trim_start_matches("# ");
        let row = match setting.split_once(" = ") {
            Some((name, value)) => {
                let value = value.trim_end_matches("  # default");
                format!("| `{name}` | `{variable}` | `{value}` |")
            }
            None => {
                let (name, _) = setting.split_once([' ', ':']).unwrap();
                format!("| `{name}` | `{variable}` | none |")
            }
        };
        let page = match &*section {
            "engine" => engine_page,
            _ => settings_page,
        };
        assert!(page.contains(&format!("\n{row} ")), "{section}: {row}");
    }
    assert!(settings > 90, "{settings}");
}
