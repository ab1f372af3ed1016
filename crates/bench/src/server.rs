//! The server under test and the bare loop, as commands.
//!
//! Owns how they are built and started: `bowline serve` as it ships, with nothing in its settings but who may
//! come in and how fast, or whatever the command line says.

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::{http::API_KEY, who::Who, wire::CHANNEL};

/// Clients here dial as fast as they are answered, which is faster than the default lets them in.
const HANDSHAKES_PER_SECOND: u32 = 100_000;

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct ServerCommand {
    /// The program.
    pub(crate) program: String,
    /// Its arguments. `{addr}` stands for the address, `{config}` for a settings file that lets the
    /// clients in, `{dir}` for a directory of its own.
    pub(crate) arguments: Vec<String>,
}

/// A directory that is gone with its owner.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl ServerCommand {
    /// What the command line says, or `bowline serve`, built in release.
    pub(crate) fn new(command: Option<&str>) -> io::Result<Self> {
        let Some(command) = command else {
            let arguments = "serve --listen {addr} --config {config} --log-level error";
            return Ok(Self {
                program: build()?,
                arguments: arguments.split(' ').map(str::to_owned).collect(),
            });
        };
        let mut words = command.split_whitespace().map(str::to_owned);
        let program = words.next();
        Ok(Self {
            program: program.ok_or_else(|| io::Error::other("--server is empty"))?,
            arguments: words.collect(),
        })
    }

    /// Its arguments for this start.
    pub(crate) fn arguments(
        &self,
        address: SocketAddr,
        scratch: &Scratch,
        who: Who,
    ) -> io::Result<Vec<String>> {
        let (dir, config) = (scratch.path("data"), scratch.path("bowline.toml"));
        let access = who.settings(&scratch.path("key.pem"))?;
        let server = who.server_settings(&scratch.path("tls.key.pem"), &scratch.path("tls.pem"))?;
        let settings = format!(
            "{server}[access]\napi_keys = [\"{API_KEY}\"]\n{access}\
             [[access.anonymous]]\nchannels = \"{CHANNEL}\"\nallow = [\"subscribe\"]\n\
             [websocket]\nhandshakes_per_second = {HANDSHAKES_PER_SECOND}\n\
             [engine]\ndata_dir = \"{dir}\"\n"
        );
        fs::write(&config, settings)?;
        let place = |text: &String| {
            text.replace("{addr}", &address.to_string())
                .replace("{config}", &config)
                .replace("{dir}", &dir)
        };
        Ok(self.arguments.iter().map(place).collect())
    }
}

impl Scratch {
    /// A new one.
    pub(crate) fn new() -> io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bowline-bench-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What the system cleans up in its own time otherwise.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Builds the command `bowline` and answers where cargo has put it.
fn build() -> io::Result<String> {
    let output = Command::new("cargo")
        .args([
            "build",
            "--release",
            "-p",
            "bowline-cli",
            "--bin",
            "bowline",
        ])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let executable = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|artifact| artifact["target"]["name"] == "bowline")
        .find_map(|artifact| artifact["executable"].as_str().map(str::to_owned));
    executable.ok_or_else(|| io::Error::other("the server can't be built"))
}
