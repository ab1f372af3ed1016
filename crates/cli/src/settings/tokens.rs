//! Whose JSON Web Tokens are taken: from `[access]` to the library's issuer.
//!
//! Owns which of these settings go together. Must not know how a token is judged.

use std::{fmt, fs, path::Path, path::PathBuf, time::Duration};

use bowline::{Issuer, KeyError, KeySet, TokenAlgorithm};

/// Keys are a few hundred bytes each, sets of them a few thousand.
const KEY_FILE_BYTES_MAX: u64 = 256 << 10;

/// What `[access]` says of tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenSettings {
    pub(crate) algorithm: TokenAlgorithm,
    pub(crate) secret: Option<Secret>,
    pub(crate) public_key_file: Option<PathBuf>,
    pub(crate) jwks_file: Option<PathBuf>,
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
    pub(crate) fn reload(&self, issuer: &Issuer) -> Result<(), (&'static str, String)> {
        let Some(fresh) = self.resolve()? else {
            return Ok(());
        };
        let replaced = issuer.keys.replace(&fresh.keys);
        replaced.map_err(|error| ("jwt_algorithm", error.to_string()))
    }

    /// The issuer; none where no key is set.
    ///
    /// # Errors
    /// The name of the setting that is wrong, and why.
    pub(crate) fn resolve(&self) -> Result<Option<Issuer>, (&'static str, String)> {
        let keys = match (&self.secret, &self.public_key_file, &self.jwks_file) {
            (None, None, None) => return Ok(None),
            (Some(secret), None, None) if self.algorithm == TokenAlgorithm::Hs256 => {
                let keys = KeySet::secret(secret.0.as_bytes());
                keys.map_err(|error| ("jwt_secret", error.to_string()))?
            }
            (Some(_), None, None) => {
                let problem = format!("is for HS256; {} takes a public key", self.algorithm);
                return Err(("jwt_secret", problem));
            }
            (None, Some(path), None) => from_file("jwt_public_key_file", path, |bytes| {
                KeySet::public_key(self.algorithm, bytes)
            })?,
            (None, None, Some(path)) => from_file("jwks_file", path, |bytes| {
                KeySet::jwks(self.algorithm, bytes)
            })?,
            _ => {
                let problem = "only one of jwt_secret, jwt_public_key_file and jwks_file";
                return Err(("jwt_algorithm", problem.to_owned()));
            }
        };
        Ok(Some(Issuer {
            name: self.issuer.clone(),
            audience: self.audience.clone(),
            keys,
            leeway: self.leeway,
        }))
    }
}

fn from_file(
    setting: &'static str,
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<KeySet, KeyError>,
) -> Result<KeySet, (&'static str, String)> {
    let told = |problem: String| (setting, problem);
    let length = fs::metadata(path).map(|data| data.len());
    if length.is_ok_and(|length| length > KEY_FILE_BYTES_MAX) {
        return Err(told("the file is larger than 256 KiB".to_owned()));
    }
    let bytes = fs::read(path).map_err(|error| told(format!("can't be read: {error}")))?;
    parse(&bytes).map_err(|error| told(error.to_string()))
}
