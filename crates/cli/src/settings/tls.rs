//! The certificate that TLS is spoken with: from `[server]` to the library's.
//!
//! Owns which of these settings go together, and the reading of their files, at the start and again
//! at SIGHUP. Must not know handshakes.

use std::{fs, path::Path, path::PathBuf};

use bowline::{Tls, TlsError};

/// Chains are a few thousand bytes, keys less.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// What `[server]` says of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
}

/// The chain's file and the key's.
type Files = (Vec<u8>, Vec<u8>);

/// A setting that is wrong, and why.
type Problem = (&'static str, String);

impl TlsSettings {
    /// What to shake hands with; none where nothing is set.
    ///
    /// # Errors
    /// The names of the settings that are wrong, and why.
    pub(crate) fn resolve(&self) -> Result<Option<Tls>, Vec<Problem>> {
        let Some((chain, key)) = self.read()? else {
            return Ok(None);
        };
        Tls::from_pem(&chain, &key).map(Some).map_err(told)
    }

    /// Reads the files again; with an error nothing has changed.
    pub(crate) fn reload(&self, tls: &Tls) -> Result<(), Vec<Problem>> {
        let Some((chain, key)) = self.read()? else {
            return Ok(());
        };
        tls.replace(&chain, &key).map_err(told)
    }

    fn read(&self) -> Result<Option<Files>, Vec<Problem>> {
        if self.certificate_file.is_none() && self.key_file.is_none() {
            return Ok(None);
        }
        let read = |name, file: &Option<PathBuf>| match file {
            Some(path) => read(name, path),
            None => Err((
                name,
                "tls_certificate_file and tls_key_file must be set together".to_owned(),
            )),
        };
        let chain = read("tls_certificate_file", &self.certificate_file);
        let key = read("tls_key_file", &self.key_file);
        match (chain, key) {
            (Ok(chain), Ok(key)) => Ok(Some((chain, key))),
            (chain, key) => Err([chain.err(), key.err()].into_iter().flatten().collect()),
        }
    }
}

fn told(error: TlsError) -> Vec<Problem> {
    let name = match error {
        TlsError::Certificate => "tls_certificate_file",
        _ => "tls_key_file",
    };
    vec![(name, error.to_string())]
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, Problem> {
    let length = fs::metadata(path).map(|data| data.len());
    if length.is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err((setting, "the file is larger than 256 KiB".to_owned()));
    }
    fs::read(path).map_err(|error| (setting, format!("can't be read: {error}")))
}
