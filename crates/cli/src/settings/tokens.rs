//! Whose JSON Web Tokens are taken: from `[access]` to the library's issuer.
//!
//! Owns which of these settings go together. Must not know how a token is judged.

use std::{fmt, fs, path::Path, path::PathBuf, time::Duration};

use bowline::{FetchError, Issuer, JwksSource, KeyError, KeySet, TokenAlgorithm};

use crate::url::{self, UrlError};

/// Keys are a few hundred bytes each, sets of them a few thousand.
const KEY_FILE_BYTES_MAX: u64 = 256 << 10;

/// Issuers are asked no more often: nobody rotates keys within seconds.
const SPAN_MIN: Duration = Duration::from_secs(1);
/// As the library's own spans: more is a mistake in the unit.
const SPAN_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A setting that is wrong, and why.
type Problem = (&'static str, String);

/// What `[access]` says of tokens.
#[derive(Clone, Debug)]
pub(crate) struct TokenSettings {
    pub(crate) algorithm: TokenAlgorithm,
    pub(crate) secret: Option<Secret>,
    pub(crate) public_key_file: Option<PathBuf>,
    pub(crate) jwks_file: Option<PathBuf>,
    pub(crate) jwks_url: Option<String>,
    pub(crate) jwks_ca_file: Option<PathBuf>,
    pub(crate) jwks_max_age: Duration,
    pub(crate) jwks_refetch_interval: Duration,
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) leeway: Duration,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl TokenSettings {
    /// Whether its keys come from a file.
    pub(crate) const fn has_file(&self) -> bool {
        self.public_key_file.is_some() || self.jwks_file.is_some()
    }

    /// Reads the file again; with an error nothing has changed.
    pub(crate) fn reload(&self, issuer: &Issuer) -> Result<(), Vec<Problem>> {
        let Some(fresh) = self.resolve()? else {
            return Ok(());
        };
        let replaced = issuer.keys.replace(&fresh.keys);
        replaced.map_err(|error| vec![("jwt_algorithm", error.to_string())])
    }

    /// The issuer; none where no key is set.
    ///
    /// # Errors
    /// The names of the settings that are wrong, and why.
    pub(crate) fn resolve(&self) -> Result<Option<Issuer>, Vec<Problem>> {
        let sources = usize::from(self.secret.is_some())
            + usize::from(self.public_key_file.is_some())
            + usize::from(self.jwks_file.is_some())
            + usize::from(self.jwks_url.is_some());
        if sources > 1 {
            let problem = "only one of jwt_secret, jwt_public_key_file, jwks_file and jwks_url";
            return Err(vec![("jwt_algorithm", problem.to_owned())]);
        }
        let mut problems = Vec::new();
        if self.leeway > SPAN_MAX {
            problems.push(("jwt_leeway", "must be at most 365 days".to_owned()));
        }
        match self.keys() {
            Ok(keys) if problems.is_empty() => Ok(keys.map(|keys| Issuer {
                name: self.issuer.clone(),
                audience: self.audience.clone(),
                keys,
                leeway: self.leeway,
            })),
            Ok(_) => Err(problems),
            Err(more) => {
                problems.extend(more);
                Err(problems)
            }
        }
    }

    fn keys(&self) -> Result<Option<KeySet>, Vec<Problem>> {
        if let Some(secret) = &self.secret {
            let keys = KeySet::secret(secret.0.as_bytes());
            let mut problems = Vec::new();
            if self.algorithm != TokenAlgorithm::Hs256 {
                let problem = format!("is for HS256; {} takes a public key", self.algorithm);
                problems.push(("jwt_secret", problem));
            }
            return match keys {
                Ok(keys) if problems.is_empty() => Ok(Some(keys)),
                Ok(_) => Err(problems),
                Err(error) => {
                    problems.push(("jwt_secret", error.to_string()));
                    Err(problems)
                }
            };
        }
        if let Some(path) = &self.public_key_file {
            let parse = |bytes: &[u8]| KeySet::public_key(self.algorithm, bytes);
            return from_file("jwt_public_key_file", path, parse)
                .map(Some)
                .map_err(|one| vec![one]);
        }
        if let Some(path) = &self.jwks_file {
            let parse = |bytes: &[u8]| match KeySet::jwks(self.algorithm, bytes) {
                Err(KeyError::NoKey) if self.algorithm == TokenAlgorithm::Hs256 => {
                    Err(KeyError::Mismatch)
                }
                parsed => parsed,
            };
            return from_file("jwks_file", path, parse)
                .map(Some)
                .map_err(|one| vec![one]);
        }
        self.jwks_url
            .as_ref()
            .map(|url| self.fetched_from(url))
            .transpose()
    }

    fn fetched_from(&self, url: &str) -> Result<KeySet, Vec<Problem>> {
        let mut source = JwksSource::new(url);
        source.max_age = self.jwks_max_age;
        source.refetch_interval = self.jwks_refetch_interval;
        let mut problems = Vec::new();
        // What else is wrong does not depend on the algorithm.
        let mut algorithm = self.algorithm;
        if algorithm == TokenAlgorithm::Hs256 {
            problems.push(needs_public_keys());
            algorithm = TokenAlgorithm::Rs256;
        }
        for (name, span) in [
            ("jwks_max_age", self.jwks_max_age),
            ("jwks_refetch_interval", self.jwks_refetch_interval),
        ] {
            if !(SPAN_MIN..=SPAN_MAX).contains(&span) {
                problems.push((name, "must be between 1 s and 365 days".to_owned()));
            }
        }
        if let Some(path) = &self.jwks_ca_file {
            match read("jwks_ca_file", path) {
                Ok(authorities) => source.authorities = authorities,
                Err(problem) => problems.push(problem),
            }
        }
        // The library takes the scheme's port for one that is wrong.
        if let Err(UrlError::Rest(error)) = url::parse(url) {
            problems.push(("jwks_url", error.to_string()));
            return Err(problems);
        }
        match KeySet::jwks_url(algorithm, &source) {
            Ok(keys) if problems.is_empty() => return Ok(keys),
            Ok(_) => {}
            Err(error @ FetchError::Authorities) => {
                problems.push(("jwks_ca_file", error.to_string()));
            }
            Err(FetchError::Keys(error)) => problems.push(("jwt_algorithm", error.to_string())),
            Err(error) => problems.push(("jwks_url", error.to_string())),
        }
        Err(problems)
    }
}

impl Default for TokenSettings {
    fn default() -> Self {
        let source = JwksSource::new("");
        Self {
            algorithm: TokenAlgorithm::default(),
            secret: None,
            public_key_file: None,
            jwks_file: None,
            jwks_url: None,
            jwks_ca_file: None,
            jwks_max_age: source.max_age,
            jwks_refetch_interval: source.refetch_interval,
            issuer: None,
            audience: None,
            leeway: Duration::ZERO,
        }
    }
}

fn from_file(
    setting: &'static str,
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<KeySet, KeyError>,
) -> Result<KeySet, Problem> {
    parse(&read(setting, path)?).map_err(|error| match error {
        KeyError::Mismatch => needs_public_keys(),
        error => (setting, error.to_string()),
    })
}

fn needs_public_keys() -> Problem {
    let problem = "must be RS256, ES256 or EdDSA: HS256 has a secret, and no public keys";
    ("jwt_algorithm", problem.to_owned())
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, Problem> {
    let told = |problem: String| (setting, problem);
    let length = fs::metadata(path).map(|data| data.len());
    if length.is_ok_and(|length| length > KEY_FILE_BYTES_MAX) {
        return Err(told("the file is larger than 256 KiB".to_owned()));
    }
    fs::read(path).map_err(|error| told(format!("can't be read: {error}")))
}
