//! `[server]` and `[log]`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Case;
use crate::{
    client::{HERE, Reach, until},
    registries::process::{KEY, Process},
};

/// A file of the server's own tests, as TOML.
macro_rules! keys {
    ($name:literal) => {
        concat!(
            "\"",
            env!("CARGO_MANIFEST_DIR"),
            "/../server/tests/keys/",
            $name,
            "\""
        )
    };
}

pub(super) fn case(name: &str) -> Option<Case> {
    let (base, value, expected): (&[_], _, _) = match name {
        "server.listen" => (&[], "\"127.0.0.2:0\"", json!("127.0.0.2")),
        "server.dev" => (&[], "true", json!(200)),
        "server.shutdown_timeout" => (&[], "1", json!(true)),
        "server.http_body_bytes" => (&[], "100_000", json!(413)),
        "server.http_requests" => (&[], "1", json!(503)),
        "server.batch_messages" => (&[], "2", json!(413)),
        "server.history_bytes" => (&[], "1", json!(true)),
        "server.http_connections" => (&[], "1", json!(503)),
        "server.max_headers" => (&[], "3", json!(431)),
        "server.header_bytes" => (&[], "2_000", json!(431)),
        "server.trusted_proxies" => (&[], "[\"127.0.0.0/8\"]", json!("192.0.2.9")),
        "server.proxy_protocol" => {
            let base = &[("server.trusted_proxies", "[\"127.0.0.0/8\"]")];
            (base, "true", json!(""))
        }
        "server.metrics_public" => (&[], "false", json!(401)),
        // Each of the two is nothing without the other one.
        "server.tls_certificate_file" => (
            &[],
            concat!(keys!("tls.pem"), "\ntls_key_file = ", keys!("tls.key.pem")),
            json!("https"),
        ),
        "server.tls_key_file" => (
            &[],
            concat!(
                keys!("tls.key.pem"),
                "\ntls_certificate_file = ",
                keys!("tls.pem")
            ),
            json!("https"),
        ),
        "log.level" => (&[], "\"debug\"", json!([true, false])),
        "log.format" => (
            &[("log.level", "\"debug\"")],
            "\"json\"",
            json!([true, true]),
        ),
        _ => return None,
    };
    Some(Case::new(base, value, expected))
}

pub(super) async fn look(name: &str, process: &mut Process) -> Value {
    let reach = &process.reach;
    match name {
        "server.listen" => json!(reach.address.ip().to_string()),
        "server.tls_certificate_file" | "server.tls_key_file" => json!(process.scheme),
        "server.dev" => json!(reach.get("/ws/stats", &[]).await.status),
        "server.shutdown_timeout" => shutdown(process).await,
        "server.http_body_bytes" => {
            let body = format!("{}{}", " ".repeat(120_000), r#"{"channel":"a","data":1}"#);
            json!(reach.send("/api/publish", &body).await.status)
        }
        "server.http_requests" => {
            let _first = half_a_body(reach).await;
            json!(
                reach
                    .send("/api/publish", r#"{"channel":"a","data":1}"#)
                    .await
                    .status
            )
        }
        "server.batch_messages" => {
            let body = r#"{"channels":["a","b","c"],"data":1}"#;
            json!(reach.send("/api/publish", body).await.status)
        }
        "server.history_bytes" => {
            reach.fill("a", 3, 100).await;
            let newest = reach.get("/api/channels/a/history?limit=3", &[KEY]).await;
            json!(newest.json()["publications"][2].is_null())
        }
        "server.http_connections" => {
            let _idle = reach.socket(HERE).await;
            json!(reach.get("/health/live", &[]).await.status)
        }
        "server.max_headers" => {
            let more = ["X-A: 1", "X-B: 1"];
            json!(reach.get("/health/live", &more).await.status)
        }
        "server.header_bytes" => {
            let long = format!("X-Long: {}", "x".repeat(3_000));
            json!(reach.get("/health/live", &[&long]).await.status)
        }
        "server.trusted_proxies" => {
            let headers = [("X-Forwarded-For", "192.0.2.9")];
            let client = reach.dial_with(HERE, "/ws?channels=a", &[], &headers).await;
            let _client = client.expect("it is let in");
            until("it is there", async || {
                reach.stat("/connections").await == 1
            })
            .await;
            reach.detailed().await[0]["ip"].clone()
        }
        "server.proxy_protocol" => json!(unheralded(reach).await),
        "server.metrics_public" => json!(reach.get("/metrics", &[]).await.status),
        _ => {
            // The log has a line for it before the answer is sent.
            let body = r#"{"channel":"a","data":1}"#;
            let _ = reach.send("/api/publish", body).await;
            let log = process.log();
            json!([log.contains("DEBUG"), log.contains("\"level\":\"DEBUG\"")])
        }
    }
}

/// Whether it ends soon although a request is not complete.
async fn shutdown(process: &mut Process) -> Value {
    let _unfinished = half_a_body(&process.reach).await;
    process.signal("TERM");
    json!(process.ends_within(Duration::from_secs(4)).await)
}

/// Takes a place for a body that does not end.
async fn half_a_body(reach: &Reach) -> tokio::net::TcpStream {
    let mut socket = reach.socket(HERE).await;
    let head = format!(
        "POST /api/publish HTTP/1.1\r\nHost: {}\r\n{KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        reach.address
    );
    socket
        .write_all(head.as_bytes())
        .await
        .expect("it is taken");
    // The server says `100 Continue` once the place is held and the body is read.
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.expect("it goes on");
    assert_eq!(&answer, b"HTTP/1.1 100");
    socket
}

/// The beginning of the answer to a request without a PROXY header; nothing where it is dropped.
async fn unheralded(reach: &Reach) -> String {
    let mut socket = reach.socket(HERE).await;
    let request = "GET /health/live HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    socket
        .write_all(request.as_bytes())
        .await
        .expect("it is taken");
    let mut answer = Vec::new();
    // Dropped with what it had not read, the connection may be reset.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).chars().take(8).collect()
}
