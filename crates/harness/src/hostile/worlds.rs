//! The servers that are attacked: one process for each set of limits.
//!
//! Owns their configurations. Every value that a case depends on stands here.

use std::{fs, path::Path};

use super::tokens::{AUDIENCE, RSA_PUBLIC_PEM, SECRET, Tokens};
use crate::{
    process::{Server, ServerSpec},
    scenario::RunError,
};

/// A server and what is special about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum World {
    /// `--dev` with shipped defaults.
    Dev,
    /// Tokens with HS256 and an audience, keys, a few public channels; shipped limits, on loopback too.
    Guarded,
    /// The same, with its log in JSON.
    GuardedJson,
    /// Tokens with RS256.
    Rsa,
    /// Tokens with ES256, keys from a set.
    Keys,
    /// Every wait is under a second.
    Short,
    /// Every count is small.
    Narrow,
    /// There are few places for connections.
    Crowded,
    /// Handshakes are admitted at one a second.
    Slow,
    /// 127.77.0.1 and 10.0.0.0/8 are trusted proxies.
    Trusting,
    /// 127.77.0.1 speaks the PROXY protocol.
    Balanced,
    /// The log has room for six messages and three channels.
    Filled,
    /// The log is on disk, in small segments.
    Disk,
    /// The log is on disk, and is waited for a millisecond.
    Hasty,
    /// Will be told to shut down.
    Leaving,
    /// A program of its own with a handler that fails in every way.
    Application,
}

/// What the suite's own requests show.
pub(super) const API_KEY: &str = "the-api-key-of-the-suite";
pub(super) const ADMIN_TOKEN: &str = "the-admin-token-of-the-suite";
/// Where innocents listen: without history, so that no full log keeps their messages from them.
pub(super) const INNOCENT_CHANNEL: &str = "innocents";

/// Channels without history: of innocents, and of cases.
const VOLATILE: &str = "[[channels]]\npattern = \"innocents\"\nhistory = false
[[channels]]\npattern = \"volatile:*\"\nhistory = false\n";

/// Starts a development server with these settings beside the defaults that are shipped.
pub(super) async fn start_with(
    binary: &Path,
    folder: &Path,
    config: &str,
) -> Result<Server, RunError> {
    let spec = ServerSpec {
        binary: binary.to_owned(),
        data: folder.join("data"),
        folder: folder.to_owned(),
        config: config.to_owned(),
        environment: Vec::new(),
        public_key: None,
        prefix: Vec::new(),
        ip: None,
    };
    Ok(Server::start(spec).await?)
}

impl World {
    pub(super) const ALL: [Self; 16] = [
        Self::Dev,
        Self::Guarded,
        Self::GuardedJson,
        Self::Rsa,
        Self::Keys,
        Self::Short,
        Self::Narrow,
        Self::Crowded,
        Self::Slow,
        Self::Trusting,
        Self::Balanced,
        Self::Filled,
        Self::Disk,
        Self::Hasty,
        Self::Leaving,
        Self::Application,
    ];

    /// Its name in folders and reports.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_ascii_lowercase()
    }

    /// Whether its log is JSON lines.
    pub(super) const fn logs_json(self) -> bool {
        matches!(self, Self::GuardedJson | Self::Dev)
    }

    /// The user whose token innocents show; none where they are guests.
    pub(super) const fn innocent_token(self) -> Option<&'static str> {
        match self {
            Self::Guarded | Self::GuardedJson => Some("valid"),
            Self::Rsa => Some("rsa"),
            Self::Keys => Some("ec"),
            _ => None,
        }
    }

    /// Whether a publish of an innocent can be relied on.
    pub(super) const fn delivers(self) -> bool {
        !matches!(self, Self::Hasty | Self::Disk)
    }

    const fn is_dev(self) -> bool {
        matches!(self, Self::Dev | Self::Short | Self::Application)
    }

    /// What is its own below `[server]`, `[websocket]`, `[engine]` and `[access]`.
    const fn sections(self) -> [&'static str; 4] {
        match self {
            Self::Dev | Self::Leaving | Self::Application => ["", "", MEMORY, ""],
            Self::Guarded | Self::GuardedJson | Self::Rsa | Self::Keys => ["", STRICT, MEMORY, ""],
            Self::Short => [
                "",
                "connection_timeout = \"700ms\"\naccess_timeout = \"700ms\"\nping_interval = \"500ms\"
pong_timeout = \"500ms\"\nsend_timeout = \"500ms\"\nsocket_send_buffer_bytes = 8192\n",
                MEMORY,
                "",
            ],
            Self::Narrow => [
                "http_requests = 2\nhttp_connections = 64\nbatch_messages = 3\n",
                "loopback_exempt = false\nmax_connections_per_ip = 3\nmax_verified_connections_per_ip = 12
max_connections_per_user = 2\nrate_limit_attempts = 6\nmax_subscriptions = 4\nmax_inflight = 4
messages_per_second = 5\nmessages_burst = 10\nmax_message_size = 1024\nmax_channel_bytes = 32
max_refusals = 4\n",
                MEMORY,
                "",
            ],
            Self::Crowded => [
                "http_connections = 12\n",
                "loopback_exempt = false\nmax_connections = 8\nmax_handshakes = 4
connection_timeout = \"2s\"\naccess_timeout = \"2s\"\n",
                MEMORY,
                "",
            ],
            Self::Slow => ["", "handshakes_per_second = 1\n", MEMORY, ""],
            Self::Trusting => [
                "trusted_proxies = [\"127.77.0.1\", \"10.0.0.0/8\"]\n",
                "loopback_exempt = false\nmax_connections_per_ip = 1\n",
                MEMORY,
                "",
            ],
            Self::Balanced => [
                "trusted_proxies = [\"127.77.0.1\"]\nproxy_protocol = true\n",
                "loopback_exempt = false\nmax_connections_per_ip = 1
connection_timeout = \"1s\"\naccess_timeout = \"1s\"\n",
                MEMORY,
                "",
            ],
            Self::Filled => [
                "",
                "",
                "kind = \"memory\"\nmax_messages = 6\nmax_channels = 3\n",
                "",
            ],
            Self::Hasty => [
                "publish_timeout = \"1ms\"\n",
                "",
                "kind = \"embedded\"\n",
                "",
            ],
            Self::Disk => [
                "",
                "",
                "kind = \"embedded\"\nsegment_bytes = 4096\nprobe_interval = \"1h\"\n",
                "",
            ],
        }
    }

    /// The settings file. Tokens and keys are written beside it.
    fn config(self, folder: &Path) -> Result<String, RunError> {
        let [server, websocket, engine, access] = self.sections();
        let format = if self.logs_json() { "json" } else { "text" };
        let mut text = format!(
            "[log]\nlevel = \"debug\"\nformat = \"{format}\"\n[server]\n{server}[websocket]\n{websocket}\
             [engine]\n{engine}"
        );
        if !self.is_dev() {
            text += &format!(
                "[access]\napi_keys = [\"{API_KEY}\"]\nadmin_token = \"{ADMIN_TOKEN}\"\n{access}"
            );
            text += &self.issuer(folder)?;
            text += "[[access.anonymous]]\nchannels = \"public:*\"
allow = [\"subscribe\", \"publish\", \"history\", \"presence\"]
[[access.anonymous]]\nchannels = \"innocents\"\nallow = [\"subscribe\"]\n";
        }
        Ok(text + VOLATILE)
    }

    fn issuer(self, folder: &Path) -> Result<String, RunError> {
        let file = |name: &str, content: &str| {
            let path = folder.join(name);
            fs::write(&path, content).map(|()| path)
        };
        Ok(match self {
            Self::Guarded | Self::GuardedJson => {
                format!("jwt_secret = \"{SECRET}\"\njwt_audience = \"{AUDIENCE}\"\n")
            }
            Self::Rsa => {
                let path = file("key.pem", RSA_PUBLIC_PEM)?;
                format!("jwt_algorithm = \"RS256\"\njwt_public_key_file = {path:?}\n")
            }
            Self::Keys => {
                let path = file("keys.json", &Tokens::key_set().map_err(RunError::Failed)?)?;
                format!("jwt_algorithm = \"ES256\"\njwks_file = {path:?}\n")
            }
            _ => format!("jwt_secret = \"{SECRET}\"\n"),
        })
    }

    /// Starts it, in a folder of its own below this one.
    pub(super) async fn start(
        self,
        binary: &Path,
        application: &Path,
        folder: &Path,
    ) -> Result<Server, RunError> {
        let folder = folder.join(self.name());
        fs::create_dir_all(&folder)?;
        let config = self.config(&folder)?;
        let binary = match self {
            Self::Application => application,
            _ => binary,
        };
        let spec = ServerSpec {
            binary: binary.to_owned(),
            data: folder.join("data"),
            folder,
            config,
            environment: Vec::new(),
            public_key: (!self.is_dev()).then(|| API_KEY.to_owned()),
            prefix: match self {
                Self::Hasty => SLOW_DISK.split(' ').map(str::to_owned).collect(),
                _ => Vec::new(),
            },
            ip: None,
        };
        Ok(Server::start(spec).await?)
    }
}

/// A disk that is sure to take longer than a timeout of 1 ms. The tracer stands aside (`-D`), so that
/// the server is the process that was started.
const SLOW_DISK: &str = "strace -D -f -qq -o /dev/null -e trace=fdatasync \
                         -e inject=fdatasync:delay_enter=100000";
const MEMORY: &str = "kind = \"memory\"\n";
const STRICT: &str = "loopback_exempt = false\n";
