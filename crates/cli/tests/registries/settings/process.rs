//! `bowline serve` as a process of its own, with settings of choice.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    net::ToSocketAddrs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};

use crate::client::{Answer, HERE, Reach};

pub(crate) const SECRET: &str = "a-secret-of-the-tests-with-32-bytes!";
pub(crate) const KEY: &str = "Authorization: Bearer a-key-of-the-tests";
pub(crate) const ADMIN: &str = "Authorization: Bearer the-admin-of-the-tests";

/// A server that ends with this.
pub(crate) struct Process {
    child: Child,
    pub(crate) reach: Reach,
    pub(crate) folder: PathBuf,
    /// `http` or `https`, as it says itself.
    pub(crate) scheme: String,
}

impl Process {
    pub(crate) fn start(base: &[(&str, &str)], change: Option<(&str, &str)>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("bowline-settings-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut settings = BTreeMap::from([
            ("server.listen", "\"127.0.0.1:0\""),
            ("engine.kind", "\"memory\""),
            ("access.api_keys", "[\"a-key-of-the-tests\"]"),
            ("access.admin_token", "\"the-admin-of-the-tests\""),
            (
                "access.jwt_secret",
                "\"a-secret-of-the-tests-with-32-bytes!\"",
            ),
        ]);
        for (name, value) in base.iter().copied().chain(change) {
            match value {
                // For what stands in the way of what is looked at.
                "" => settings.remove(name),
                value => settings.insert(name, value),
            };
        }
        let file = folder.join("bowline.toml");
        std::fs::write(&file, toml(&settings)).expect("it is written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_bowline"))
            .args(["serve", "--config"])
            .arg(&file)
            .current_dir(&folder)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        read.expect("it says where it listens");
        let url = line.trim().rsplit(' ').next().unwrap_or_default();
        let address = url.split("://").nth(1).map(str::to_socket_addrs);
        let address = address.and_then(Result::ok);
        let address = address.and_then(|mut found| found.next());
        let address = address.unwrap_or_else(|| {
            let mut told = String::new();
            let stderr = child.stderr.as_mut().expect("it is piped");
            let _ = stderr.read_to_string(&mut told);
            panic!("{base:?} {change:?}: {told}")
        });
        Self {
            child,
            reach: Reach { address },
            folder,
            scheme: url.split("://").next().unwrap_or_default().to_owned(),
        }
    }

    /// Ends it, and answers what it has logged.
    pub(crate) fn log(&mut self) -> String {
        self.signal("TERM");
        let mut told = String::new();
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut told).expect("it ends");
        told
    }

    /// Whether it ends by itself within this time.
    pub(crate) async fn ends_within(&mut self, time: Duration) -> bool {
        let ended = tokio::time::timeout(time, async {
            while matches!(self.child.try_wait(), Ok(None)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        ended.await.is_ok()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn toml(settings: &BTreeMap<&str, &str>) -> String {
    let mut text = String::new();
    let mut last = "";
    for (name, value) in settings {
        let (section, name) = name.split_once('.').expect("a section");
        if section != last {
            text += &format!("[{section}]\n");
            last = section;
        }
        text += &format!("{name} = {value}\n");
    }
    let all = r#"["subscribe", "publish", "history", "presence"]"#;
    text + &format!("[[access.anonymous]]\nchannels = \"*\"\nallow = {all}\n")
}

/// A token of this user, with more claims.
pub(crate) fn token(user: &str, more: &Value) -> String {
    let mut claims = json!({"sub": user, "exp": get_current_timestamp() + 100});
    for (name, value) in more.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &claims, &key).expect("it is signed")
}

impl Reach {
    /// Posts JSON with an API key.
    pub(crate) async fn send(&self, path: &str, body: &str) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: {}",
            self.address,
            body.len()
        );
        self.raw(HERE, &head, body.as_bytes()).await
    }

    /// Publishes so many messages of so many bytes.
    pub(crate) async fn fill(&self, channel: &str, count: usize, bytes: usize) {
        let data = "x".repeat(bytes);
        for _ in 0..count {
            let body = json!({"channel": channel, "data": data}).to_string();
            assert_eq!(self.send("/api/publish", &body).await.status, 200);
        }
    }

    /// A field of the statistics, by its JSON pointer.
    pub(crate) async fn stat(&self, pointer: &str) -> Value {
        let stats = self.get("/ws/stats", &[ADMIN]).await.json();
        stats.pointer(pointer).cloned().unwrap_or(Value::Null)
    }

    /// The connections, one by one.
    pub(crate) async fn detailed(&self) -> Value {
        let page = self.get("/ws/stats/detailed", &[ADMIN]).await.json();
        page["connections"].clone()
    }
}
