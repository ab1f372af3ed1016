//! The benchmark, small, with the bare loop as the server under test: every figure is
//! printed, and a server that ends its clients makes it fail.

use std::process::{Command, Output};

/// `welcome` and a publication: text frames whose payloads have 126 and 200 bytes.
fn bare(message: &str) -> String {
    let welcome = encoded(126);
    let bench = env!("CARGO_BIN_EXE_bench");
    format!("{bench} bare --addr={{addr}} --welcome={welcome} --message={message}")
}

fn encoded(payload: u16) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let mut frame = vec![0x81, 126];
    frame.extend(payload.to_be_bytes());
    frame.resize(frame.len() + usize::from(payload), b'x');
    BASE64_STANDARD.encode(frame)
}

fn bench(measurement: &str, server: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([
            measurement,
            "--connections=60",
            "--subscribers=10,40",
            "--samples=2",
            "--rest=0",
        ])
        .args(["--deliveries=400", "--latency-subscribers=10", "--rate=200"])
        .args(["--publications=20", "--server", server])
        // The bare loop speaks no TLS.
        .arg("--only=guests,deflate,hs256,es256")
        .output()
        .expect("bench starts")
}

#[test]
fn every_figure_is_printed_beside_the_bare_loop() {
    for (measurement, figures) in [("idle", 2), ("accept", 4), ("fanout", 8), ("latency", 3)] {
        let output = bench(measurement, &bare(&encoded(200)));
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{errors}");
        let rows = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
        assert!(text.starts_with(&format!("bench {measurement} ")), "{text}");
        assert_eq!(rows("commit "), 1, "{text}");
        assert_eq!(rows(&format!("{measurement}: ")), figures, "{text}");
    }
}

#[test]
fn a_server_that_closes_its_clients_fails_the_run() {
    // A close frame where the publication should be.
    let output = bench("fanout", &bare("iAA="));
    assert!(!output.status.success());
}
