//! The command line.
//!
//! Owns the names and help of commands and flags. Must not know what values are good: flags that
//! are settings go the same way as those of files and environment.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::settings::{FlagValue, Sources};

const EXIT_CODES: &str = "\
Exit codes:
  0    done; for serve: shut down after SIGINT or SIGTERM
  1    it failed while it ran (port in use, no connection, message refused)
  2    the command line or the configuration can't be used
  130  a second SIGINT ended the shutdown at once (143: a second SIGTERM)";

/// Keeps WebSocket connections up and messages whole.
#[derive(Parser)]
#[command(name = "bowline", version = version(), after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs the server until SIGINT or SIGTERM; a second signal exits at once.
    Serve(SettingsArgs),
    /// Publishes one message over HTTP and prints the answer.
    Publish(PublishArgs),
    /// Follows channels and prints one JSON line per message, whatever breaks; ends at SIGINT.
    Tail(TailArgs),
    /// Mints a token for trying, signed as the settings say, and prints it.
    Token(TokenArgs),
    /// Looks at the files of the engine embedded, and changes nothing.
    Log {
        #[command(subcommand)]
        action: LogAction,
    },
    /// Looks at the configuration without starting anything.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
}

#[derive(Subcommand)]
pub(crate) enum LogAction {
    /// Checks every frame and record and reports all damage; exits 0 if a server would open it.
    Verify {
        /// The data folder.
        folder: PathBuf,
    },
    /// Prints every record as a line of JSON, in the order of the log.
    Dump {
        /// The data folder.
        folder: PathBuf,
        /// With the payloads.
        #[arg(long)]
        data: bool,
    },
    /// Prints totals as JSON.
    Stats {
        /// The data folder.
        folder: PathBuf,
    },
}

#[derive(Subcommand)]
pub(crate) enum ConfigAction {
    /// Reports every problem at once; exits 0 if there is none.
    Check(SettingsArgs),
    /// Prints every setting with its value, its source and its environment variable, as TOML.
    Print(SettingsArgs),
}

/// Where settings come from: the file, then the environment, then these flags.
#[derive(Args)]
pub(crate) struct SettingsArgs {
    /// Where to listen [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// A TOML file; BOWLINE_CONFIG names it as well.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For one developer's machine: no tokens, loopback only, foreign pages refused.
    #[arg(long)]
    dev: bool,
    /// Where logs live: embedded (on this machine's disk) or memory (until the end) [default: embedded].
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// The folder of the engine embedded, made if there is none [default: ./bowline-data].
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any setting, for example --set websocket.ping_interval=15 (see `config print`).
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
pub(crate) struct PublishArgs {
    /// The channel.
    pub(crate) channel: String,
    /// JSON; what is no JSON is sent as a string.
    pub(crate) data: String,
    /// The server; BOWLINE_URL names it as well [default: http://127.0.0.1:8000].
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Certificates of authorities (PEM) by which https:// is believed besides the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The idempotency key: repeated with it, the message takes effect once.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// The API key; better in BOWLINE_API_KEY, since other users can see a program's arguments.
    #[arg(long)]
    pub(crate) api_key: Option<String>,
}

#[derive(Args)]
pub(crate) struct TailArgs {
    /// The channels.
    #[arg(required = true)]
    pub(crate) channels: Vec<String>,
    /// The server; BOWLINE_WS_URL names it as well [default: ws://127.0.0.1:8000/ws].
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Certificates of authorities (PEM) by which wss:// is believed besides the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// From where: first, last:N, or a position that was printed before [default: from now on].
    #[arg(long, value_name = "POSITION")]
    pub(crate) since: Option<String>,
}

#[derive(Args)]
pub(crate) struct TokenArgs {
    /// Whose token it is (`sub`); without one it is a guest's.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// What it grants, for example --grant 'news:*=subscribe,history'.
    #[arg(long, value_name = "PATTERN=OPERATIONS")]
    pub(crate) grant: Vec<String>,
    /// For how long it holds.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) ttl: String,
    /// The private key in PEM, for RS256, ES256 and EdDSA.
    #[arg(long, value_name = "FILE")]
    pub(crate) private_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

impl SettingsArgs {
    /// The flags with the process's environment.
    pub(crate) fn sources(&self) -> Sources {
        let environment: Vec<(String, OsString)> = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .collect();
        let named = environment
            .iter()
            .find(|(name, _)| name == "BOWLINE_CONFIG");
        let named = named.map(|(_, path)| PathBuf::from(path));
        let pairs = self.set.iter();
        let mut flags: Vec<_> = pairs.map(|pair| FlagValue::from_pair(pair)).collect();
        for (flag, key, value) in [
            ("--listen", "server.listen", &self.listen),
            ("--engine", "engine.kind", &self.engine),
            ("--data-dir", "engine.data_dir", &self.data_dir),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
        ] {
            flags.extend(value.iter().map(|value| FlagValue::new(flag, key, value)));
        }
        if self.dev {
            flags.push(FlagValue::new("--dev", "server.dev", "true"));
        }
        Sources {
            file: self.config.clone().or(named),
            environment,
            flags,
        }
    }
}

const fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILT_FROM"), ")")
}
