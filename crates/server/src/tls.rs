//! Certificates and keys: what a TLS handshake is made with.
//!
//! Owns their reading and their exchange while the server runs. Must not know files, sockets or
//! signals: whoever embeds the server brings PEM, and replaces it when it is renewed.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::sync::{Mutex, lock};

/// The most certificates of a chain: a leaf and two or three above it are usual.
const CHAIN_MAX: usize = 16;

/// What the server shows to its peers; clones share it, and see when it is replaced.
///
/// ```no_run
/// # fn run(builder: bowline::ServerBuilder) -> Result<(), Box<dyn std::error::Error>> {
/// let tls = bowline::Tls::from_pem(&std::fs::read("chain.pem")?, &std::fs::read("key.pem")?)?;
/// let server = builder.tls(tls.clone()).build()?;
/// // Once the certificate is renewed; connections that are open go on with the old one.
/// tls.replace(&std::fs::read("chain.pem")?, &std::fs::read("key.pem")?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    config: Arc<Mutex<Arc<ServerConfig>>>,
}

/// Why a certificate and its key can't be used. It never shows them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The chain is no list of certificates.
    #[error("the certificate file is no chain of certificates in PEM")]
    Certificate,
    /// The key is none.
    #[error("the key file has no private key in PEM")]
    Key,
    /// The two do not go together, or rustls can't use them.
    #[error("certificate and key can't be used: {0}")]
    Unusable(String),
}

impl Tls {
    /// From a chain of certificates in PEM, the server's own first, and its private key (PKCS #8,
    /// PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let config = configure(chain, key)?;
        Ok(Self {
            config: Arc::new(Mutex::new(Arc::new(config))),
        })
    }

    /// Shows another certificate from now on; open connections are not touched.
    ///
    /// # Errors
    /// [`TlsError`]; the old one is kept then.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let mut config = configure(chain, key)?;
        let mut current = lock(&self.config);
        // The tickets' keys stay, so that whoever was here before resumes in one round trip.
        config.ticketer = current.ticketer.clone();
        *current = Arc::new(config);
        Ok(())
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        lock(&self.config).clone()
    }
}

/// The cryptography of the whole server: the one that verifies tokens, too.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn configure(chain: &[u8], key: &[u8]) -> Result<ServerConfig, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Certificate)?;
    if chain.is_empty() || chain.len() > CHAIN_MAX {
        return Err(TlsError::Certificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
    let unusable = |error: rustls::Error| TlsError::Unusable(error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Sealed tickets cost the server no memory, and a herd that comes back half the work.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &[u8] = include_bytes!("../tests/keys/tls.pem");
    const KEY: &[u8] = include_bytes!("../tests/keys/tls.key.pem");
    const OTHER_KEY: &[u8] = include_bytes!("../tests/keys/es256.pem");

    #[test]
    fn what_does_not_go_together_is_refused_and_the_old_one_stays() {
        let tls = Tls::from_pem(CHAIN, KEY).expect("they go together");
        let before = tls.current();
        for (chain, key, problem) in [
            (&b"nothing"[..], KEY, TlsError::Certificate),
            (KEY, KEY, TlsError::Certificate),
            (CHAIN, CHAIN, TlsError::Key),
            (&CHAIN.repeat(17), KEY, TlsError::Certificate),
        ] {
            assert_eq!(tls.replace(chain, key), Err(problem));
        }
        let mismatch = tls.replace(CHAIN, OTHER_KEY);
        assert!(
            matches!(mismatch, Err(TlsError::Unusable(_))),
            "{mismatch:?}"
        );
        assert!(Arc::ptr_eq(&before, &tls.current()));
        tls.replace(CHAIN, KEY).expect("they go together");
        assert!(!Arc::ptr_eq(&before, &tls.current()));
        assert!(Arc::ptr_eq(&before.ticketer, &tls.current().ticketer));
    }
}
