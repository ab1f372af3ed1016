//! SIGHUP: certificates and keys are read again.
//!
//! Owns what is read again, that a bad file changes nothing, and that the log says what it came to. Must not know what the files are
//! for.

use std::io;

use bowline::{Issuer, Tls};
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::{Settings, TlsSettings, TokenSettings};

/// Reads the files of the settings again whenever the process is told to hang up.
pub(super) fn at_hangup(settings: &Settings) -> io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    let files = Files {
        tls: settings.tls.clone(),
        certificate: settings.certificate.clone(),
        tokens: settings.tokens.clone(),
        issuer: settings.issuer.clone(),
    };
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            // Files may be on a slow disk.
            let files = files.clone();
            let read = tokio::task::spawn_blocking(move || files.read_again());
            if read.await.is_err() {
                tracing::error!("reading the files again has panicked");
            }
        }
    });
    Ok(())
}

#[derive(Clone)]
struct Files {
    tls: TlsSettings,
    certificate: Option<Tls>,
    tokens: TokenSettings,
    issuer: Option<Issuer>,
}

impl Files {
    fn read_again(&self) {
        let keys = self.issuer.as_ref().filter(|_| self.tokens.has_file());
        if let Some(certificate) = &self.certificate {
            match self.tls.reload(certificate) {
                Ok(()) => tracing::info!("the certificate was read again"),
                Err(problems) => tell("server", problems, "the certificate stays as it is"),
            }
        }
        if let Some(issuer) = keys {
            match self.tokens.reload(issuer) {
                Ok(()) => tracing::info!("the keys of tokens were read again"),
                Err(problems) => tell("access", problems, "the keys of tokens stay as they are"),
            }
        }
        if self.certificate.is_none() && keys.is_none() {
            tracing::info!(
                "nothing was read again: no certificate and no key of tokens is in a file"
            );
        }
        tracing::info!("a changed configuration needs a restart");
    }
}

fn tell(section: &str, problems: Vec<(&str, String)>, outcome: &str) {
    for (name, problem) in problems {
        tracing::error!(setting = format_args!("{section}.{name}"), %problem, "{outcome}");
    }
}
