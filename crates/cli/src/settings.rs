//! The settings: raw from file, environment and flags, then resolved and checked at once.
//!
//! Owns the order of the three sources and the list of all problems. Must not know what any setting
//! does; names and places are in `table`, forms of values in `slot`.

mod follow;
mod lists;
mod nearest;
mod print;
mod slot;
mod table;
mod tls;
mod tokens;

use std::{collections::BTreeMap, ffi::OsString, fmt, fs, net::SocketAddr, path::PathBuf};

use bowline::{ApiKey, Config, Grant, Issuer, Tls};
use bowline_engine::{ConfigProblem, EngineConfig, LogConfig};
use toml::{Table, Value};

pub(crate) use lists::is_pattern;
pub(crate) use print::print;
use slot::Raw;
pub(crate) use slot::{EngineKind, LogFormat, parse_span};
use table::{SETTINGS, Setting};
pub(crate) use tls::TlsSettings;
pub(crate) use tokens::TokenSettings;

/// A configuration is written by hand; a larger file is another one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that `serve` needs, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) log_level: tracing::Level,
    pub(crate) log_format: LogFormat,
    pub(crate) engine: EngineKind,
    pub(crate) server: Config,
    pub(crate) data_dir: PathBuf,
    pub(crate) bounds: EngineConfig,
    pub(crate) log: LogConfig,
    pub(crate) api_keys: Vec<ApiKey>,
    pub(crate) anonymous: Vec<Grant>,
    pub(crate) admin_token: Option<ApiKey>,
    pub(crate) tokens: TokenSettings,
    /// What `tokens` amount to, once all is checked.
    pub(crate) issuer: Option<Issuer>,
    pub(crate) tls: TlsSettings,
    /// What `tls` amounts to.
    pub(crate) certificate: Option<Tls>,
}

/// Where to look.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) file: Option<PathBuf>,
    pub(crate) environment: Vec<(String, OsString)>,
    pub(crate) flags: Vec<FlagValue>,
}

/// A setting on the command line.
#[derive(Debug)]
pub(crate) struct FlagValue {
    flag: &'static str,
    key: String,
    value: Option<String>,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    pub(crate) warnings: Vec<String>,
    origins: Origins,
}

/// Where each setting that was set was set last.
type Origins = BTreeMap<String, Source>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(&'static str),
    /// Nobody set it, and its default would contradict this setting.
    Follows(&'static str),
}

/// A setting that can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    key: String,
    source: Source,
    problem: String,
}

struct Loading {
    settings: Settings,
    origins: Origins,
    /// What stands there for each setting that was set and may be shown.
    written: BTreeMap<String, String>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

/// Resolves the settings over `defaults`, or tells everything that is wrong with them.
pub(crate) fn load(sources: &Sources, defaults: Settings) -> Result<Loaded, Vec<Problem>> {
    let mut loading = Loading {
        settings: defaults,
        origins: Origins::new(),
        written: BTreeMap::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    if let Some(path) = &sources.file {
        loading.read_file(path);
    }
    loading.read_environment(&sources.environment);
    for flag in &sources.flags {
        loading.read_flag(flag);
    }
    loading.check();
    if loading.problems.is_empty() {
        Ok(Loaded {
            settings: loading.settings,
            warnings: loading.warnings,
            origins: loading.origins,
        })
    } else {
        Err(loading.problems)
    }
}

impl Loading {
    fn read_file(&mut self, path: &PathBuf) {
        if path.as_os_str().is_empty() {
            // No flag can be so.
            let source = Source::Environment("BOWLINE_CONFIG".to_owned());
            return self.problem("the file", &source, "is empty; it must be a path");
        }
        let source = Source::File(path.clone());
        let text = fs::metadata(path).and_then(|data| {
            if data.len() > FILE_BYTES_MAX {
                return Err(std::io::Error::other("larger than 1 MiB"));
            }
            fs::read_to_string(path)
        });
        let table = match text {
            Ok(text) => text.parse::<Table>().map_err(|error| error.to_string()),
            Err(error) => Err(format!("can't be read: {error}")),
        };
        match table {
            Ok(table) => self.read_table(table, &source),
            Err(problem) => self.problem("the file", &source, problem.trim_end()),
        }
    }

    fn read_table(&mut self, table: Table, source: &Source) {
        for (section, value) in table {
            match value {
                Value::Array(entries) if section == "channels" => {
                    self.read_channels(entries, source);
                }
                Value::Table(entries) => {
                    for (name, value) in entries {
                        let key = format!("{section}.{name}");
                        match value {
                            Value::Array(grants) if key == "access.anonymous" => {
                                self.read_grants(grants, source);
                            }
                            value => match Raw::from_toml(value) {
                                Some(raw) => self.set(&key, raw, source.clone()),
                                None => self.unknown(&key, source),
                            },
                        }
                    }
                }
                _ => self.unknown(&section, source),
            }
        }
    }

    fn read_environment(&mut self, environment: &[(String, OsString)]) {
        for (name, value) in environment {
            let prefixed = name.starts_with("WEBSOCKET_") || name.starts_with("BOWLINE_");
            if !prefixed || table::OTHER_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let source = Source::Environment(name.clone());
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == *name) {
                match value.to_str() {
                    Some(value) => self.set(&setting.key(), Raw::One(value.to_owned()), source),
                    None => self.unread(&setting.key(), &source, "must be UTF-8"),
                }
                continue;
            }
            // Only what looks like a misspelling stops the start: Kubernetes, for one, sets
            // BOWLINE_SERVICE_HOST and the like for a service of that name.
            let names: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
            match nearest::nearest(name, names.iter().map(String::as_str)) {
                Some(near) => {
                    let problem = format!("no such setting; did you mean {near}?");
                    self.problem(name, &source, &problem);
                }
                None => self
                    .warnings
                    .push(format!("{name} is no setting and is ignored")),
            }
        }
    }

    fn read_flag(&mut self, flag: &FlagValue) {
        let source = Source::Flag(flag.flag);
        match &flag.value {
            _ if flag.key.is_empty() => {
                self.problem("a setting", &source, "has no name; --set takes NAME=VALUE");
            }
            Some(value) => self.set(&flag.key, Raw::One(value.clone()), source),
            None => self.unread(&flag.key, &source, "has no value; --set takes NAME=VALUE"),
        }
    }

    fn set(&mut self, key: &str, raw: Raw, source: Source) {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key() == key) else {
            return self.unknown(key, &source);
        };
        let slot = (setting.slot)(&mut self.settings);
        self.written.remove(key);
        if !slot.is_secret(&raw) {
            self.written.insert(key.to_owned(), raw.show());
        }
        if let Err(problem) = slot.set(raw) {
            self.problem(key, &source, &problem);
        }
        self.origins.insert(key.to_owned(), source);
    }

    /// A problem of a source that has no text for the setting: what an earlier one said is not to blame.
    fn unread(&mut self, key: &str, source: &Source, problem: &str) {
        self.written.remove(key);
        self.problem(key, source, problem);
    }

    fn unknown(&mut self, key: &str, source: &Source) {
        let keys: Vec<String> = SETTINGS.iter().map(Setting::key).collect();
        let keys = keys.iter().map(String::as_str).chain(table::LISTS);
        let problem = match nearest::nearest(key, keys) {
            Some(near) if near == key => format!("is a list of tables: [[{key}]] in the file"),
            Some(near) => format!("no such setting; did you mean {near}?"),
            None => "no such setting; `bowline config print` lists them all".to_owned(),
        };
        self.problem(key, source, &problem);
    }

    /// With what stands there, where that may be shown.
    fn problem(&mut self, key: &str, source: &Source, problem: &str) {
        let written = self.written.get(key);
        self.problems.push(Problem {
            key: key.to_owned(),
            source: source.clone(),
            problem: match written {
                Some(written) => format!("{problem}; {written}"),
                None => problem.to_owned(),
            },
        });
    }

    /// What only shows in the whole. A value that could not be read counts as its default here.
    fn check(&mut self) {
        self.follow();
        let settings = &mut self.settings;
        settings.bounds.session_ttl = settings.server.session_ttl;
        let (dev, listen) = (settings.server.dev, settings.listen);
        let server = settings.server.check().err().unwrap_or_default();
        let mut engine = settings.bounds.check().err().unwrap_or_default();
        engine.extend(settings.log.check().err().unwrap_or_default());
        for problem in server {
            self.library_problem("", problem);
        }
        for problem in engine {
            // The same number stands in both, and the server's check has told of it.
            let told = self
                .problems
                .iter()
                .any(|told| told.key == "websocket.session_ttl");
            if problem.key != "session_ttl" || !told {
                self.library_problem("engine/", problem);
            }
        }
        if dev && !listen.ip().is_loopback() {
            let source = self.source("server.listen");
            let problem = "must be loopback with --dev, which lets everybody in without a token";
            self.problem("server.listen", &source, problem);
        }
        let admin = self.settings.admin_token.as_ref();
        if admin.is_some_and(|admin| self.settings.api_keys.contains(admin)) {
            let source = self.source("access.admin_token");
            let problem = "must be none of access.api_keys, which may do less";
            self.problem("access.admin_token", &source, problem);
        }
        match self.settings.tokens.resolve() {
            Ok(issuer) => self.settings.issuer = issuer,
            Err(problems) => self.section_problems("access", problems),
        }
        match self.settings.tls.resolve() {
            Ok(certificate) => self.settings.certificate = certificate,
            Err(problems) => self.section_problems("server", problems),
        }
        let known = !self.settings.api_keys.is_empty() || self.settings.issuer.is_some();
        if !dev && !known && self.settings.anonymous.is_empty() {
            self.warnings.push(
                "nobody may do anything: set access.api_keys, access.jwt_secret or [[access.anonymous]], or \
                 use --dev"
                    .to_owned(),
            );
        }
    }

    fn section_problems(&mut self, section: &str, problems: Vec<(&str, String)>) {
        for (name, problem) in problems {
            let key = format!("{section}.{name}");
            let source = self.source(&key);
            self.problem(&key, &source, &problem);
        }
    }

    /// Tells a problem of the library under the name that the user wrote.
    fn library_problem(&mut self, place: &str, problem: ConfigProblem) {
        let (field, index) = match problem.key.split_once('[') {
            Some((field, index)) => (field, format!("[{index}")),
            None => (problem.key.as_str(), String::new()),
        };
        let field = format!("{place}{field}");
        let setting = SETTINGS.iter().find(|setting| setting.field == field);
        let key = match setting {
            Some(setting) => setting.key(),
            None if field == "engine/policies" => "channels".to_owned(),
            None if field == "engine/session_ttl" => "websocket.session_ttl".to_owned(),
            None => field,
        };
        let shown = format!("{key}{}", index.replace("history.", "history_"));
        let shown = shown.replace("history_messages", "history_count");
        self.problem_or_leaders(&key, &shown, &problem.problem);
    }

    fn source(&self, key: &str) -> Source {
        self.origins.get(key).cloned().unwrap_or(Source::Default)
    }
}

impl FlagValue {
    pub(crate) fn new(flag: &'static str, key: &str, value: &str) -> Self {
        Self {
            flag,
            key: key.to_owned(),
            value: Some(value.to_owned()),
        }
    }

    /// Of `--set`.
    pub(crate) fn from_pair(pair: &str) -> Self {
        match pair.split_once('=') {
            Some((key, value)) => Self::new("--set", key, value),
            None => Self {
                flag: "--set",
                key: pair.to_owned(),
                value: None,
            },
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            log_level: tracing::Level::INFO,
            log_format: LogFormat::Text,
            engine: EngineKind::Embedded,
            data_dir: PathBuf::from("./bowline-data"),
            server: Config::default(),
            bounds: EngineConfig::default(),
            log: LogConfig::default(),
            api_keys: Vec::new(),
            anonymous: Vec::new(),
            admin_token: None,
            tokens: TokenSettings::default(),
            issuer: None,
            tls: TlsSettings::default(),
            certificate: None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Follows(leader) => write!(f, "default, follows {leader}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.source, self.problem)
    }
}

#[cfg(test)]
mod tests;
