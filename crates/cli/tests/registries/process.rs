//! `bowline serve` as a process of its own, with settings of choice.

use std::{
    collections::BTreeMap,
    net::ToSocketAddrs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::{
    client::{Answer, DEADLINE, HERE, Reach},
    command,
};

pub(crate) const SECRET: &str = "a-secret-of-the-tests-with-32-bytes!";
pub(crate) const KEY: &str = "Authorization: Bearer a-key-of-the-tests";
pub(crate) const ADMIN: &str = "Authorization: Bearer the-admin-of-the-tests";

/// The log on a disk instead of memory.
pub(crate) const EMBEDDED: (&str, &str) = ("engine.kind", "\"embedded\"");

/// The channels `brief*` forget after a millisecond, `last*` keep their newest publication.
const CHANNELS: &str = r#"
[[channels]]
pattern = "brief*"
history_age = "1ms"
[[channels]]
pattern = "last*"
history_count = 1
[[access.anonymous]]
channels = "*"
allow = ["subscribe", "publish", "history", "presence"]
"#;

/// A server that ends with this.
pub(crate) struct Process {
    process: command::Process,
    settings: BTreeMap<String, String>,
    pub(crate) reach: Reach,
    pub(crate) folder: PathBuf,
    /// `http` or `https`, as it says itself.
    pub(crate) scheme: String,
}

impl Process {
    pub(crate) async fn start(base: &[(&str, &str)], change: Option<(&str, &str)>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("bowline-settings-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let usual = [
            ("server.listen", "\"127.0.0.1:0\""),
            ("engine.kind", "\"memory\""),
            ("access.api_keys", "[\"a-key-of-the-tests\"]"),
            ("access.admin_token", "\"the-admin-of-the-tests\""),
            (
                "access.jwt_secret",
                "\"a-secret-of-the-tests-with-32-bytes!\"",
            ),
        ];
        let mut settings = BTreeMap::new();
        for (name, value) in usual.iter().chain(base).copied().chain(change) {
            set(&mut settings, name, value);
        }
        let launched = launch(&folder, &settings).await;
        let (process, url) = launched.unwrap_or_else(|told| panic!("{base:?} {change:?}: {told}"));
        Self {
            process,
            reach: reach(&url),
            scheme: url.split("://").next().unwrap_or_default().to_owned(),
            settings,
            folder,
        }
    }

    /// Ends it in order and starts it again on what it has left.
    ///
    /// # Errors
    /// What it says where it does not start.
    pub(crate) async fn restart(&mut self) -> Result<(), String> {
        self.end().await;
        self.start_again().await
    }

    /// Starts it again, where it has ended.
    ///
    /// # Errors
    /// As [`restart`](Self::restart).
    pub(crate) async fn start_again(&mut self) -> Result<(), String> {
        let (process, url) = launch(&self.folder, &self.settings).await?;
        self.process = process;
        self.reach = reach(&url);
        Ok(())
    }

    /// Ends it in order.
    pub(crate) async fn end(&mut self) {
        self.signal("TERM");
        assert!(self.ends_within(DEADLINE).await, "it does not end");
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.process.child.kill().expect("it runs");
        self.process.child.wait().expect("it ends");
    }

    /// What holds from the next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        set(&mut self.settings, name, value);
    }

    /// Ends it, and answers what it has logged.
    pub(crate) fn log(&mut self) -> String {
        self.signal("TERM");
        self.process.lines.rest().join("\n")
    }

    /// Whether it ends by itself within this time.
    pub(crate) async fn ends_within(&mut self, time: Duration) -> bool {
        let ended = tokio::time::timeout(time, async {
            while matches!(self.process.child.try_wait(), Ok(None)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        ended.await.is_ok()
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Lets it write files of at most so many bytes: beyond that its disk is as good as full.
    pub(crate) fn limit_files(&self, bytes: u64) {
        let id = i32::try_from(self.process.child.id()).ok();
        let id = id.and_then(Pid::from_raw);
        let before = getrlimit(Resource::Fsize);
        let limit = Rlimit {
            current: Some(bytes),
            maximum: before.maximum,
        };
        prlimit(id, Resource::Fsize, limit).expect("it is ours");
    }

    /// How many of its threads have a name that begins so.
    pub(crate) fn threads(&self, name: &str) -> usize {
        let tasks = format!("/proc/{}/task", self.process.child.id());
        let tasks = std::fs::read_dir(tasks).expect("it runs");
        let names = tasks.filter_map(|task| {
            let comm = task.expect("it is listed").path().join("comm");
            // A thread may end meanwhile.
            std::fs::read_to_string(comm).ok()
        });
        names.filter(|found| found.starts_with(name)).count()
    }

    /// A file of its log.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.folder.join("bowline-data").join(name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn set(settings: &mut BTreeMap<String, String>, name: &str, value: &str) {
    match value {
        // For what stands in the way of what is looked at.
        "" => settings.remove(name),
        value => settings.insert(name.to_owned(), value.to_owned()),
    };
}

/// Starts a server and waits until it listens: itself, and its URL.
///
/// # Errors
/// What it says where it ends instead.
async fn launch(
    folder: &Path,
    settings: &BTreeMap<String, String>,
) -> Result<(command::Process, String), String> {
    let file = folder.join("bowline.toml");
    std::fs::write(&file, toml(settings)).expect("it is written");
    // A file that grows beyond its limit is to be an error, and not the signal that ends the process.
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "trap '' XFSZ; exec \"$0\" serve --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_bowline"))
        .arg(&file)
        .current_dir(folder)
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Elsewhere, since others have something to do meanwhile.
    let announced = tokio::task::spawn_blocking(move || {
        let process = command::Process::start(&mut shell);
        let url = process.announced()?;
        Ok((process, url))
    });
    announced.await.expect("no panic")
}

fn reach(url: &str) -> Reach {
    let address = url.split("://").nth(1).map(str::to_socket_addrs);
    let address = address.and_then(Result::ok);
    let address = address.and_then(|mut found| found.next());
    Reach {
        address: address.unwrap_or_else(|| panic!("{url} has no address")),
    }
}

fn toml(settings: &BTreeMap<String, String>) -> String {
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
    text + CHANNELS
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

/// Polls until it holds; false once the server has been up for so many seconds more without it.
/// What is not to happen at all has no event of its own that tells so.
pub(crate) async fn happens(
    reach: &Reach,
    seconds: u64,
    mut holds: impl AsyncFnMut() -> bool,
) -> bool {
    let up = async || reach.stat("/uptime_s").await.as_u64().expect("seconds");
    let end = up().await + seconds;
    loop {
        let is_last = up().await >= end;
        if holds().await {
            return true;
        }
        if is_last {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
