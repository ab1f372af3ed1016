//! Which servers are believed to be who they say, and the handshake that shows it.
//!
//! Owns the authorities: the system's, and those that an application adds. Must not know URLs or
//! WebSocket.

use std::{fmt, io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The authorities by which servers are believed; clones are the same.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

/// Why no TLS connection can even be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// It is no list of certificates.
    #[error("the authorities are no certificates in PEM")]
    Pem,
    /// The system has no authorities, and none were added.
    #[error("the system has no certificate authorities, and none were given")]
    NoAuthorities,
    /// Cryptography is not built in on this system.
    #[error(
        "no cryptography is built in: enable the feature aws-lc-rs or ring of bowline-client, or \
         install a provider of rustls for the process"
    )]
    NoProvider,
}

impl Trust {
    /// The system's authorities, and these in PEM, at least one unless it is empty. It reads files,
    /// so it is best kept.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn new(more: &[u8]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::debug!(%error, "an authority of the system can't be read");
        }
        roots.add_parsable_certificates(system.certs);
        let of_system = roots.len();
        for authority in CertificateDer::pem_slice_iter(more) {
            let authority = authority.map_err(|_| TrustError::Pem)?;
            roots.add(authority).map_err(|_| TrustError::Pem)?;
        }
        if roots.len() == of_system && !more.is_empty() {
            return Err(TrustError::Pem);
        }
        if roots.is_empty() {
            return Err(TrustError::NoAuthorities);
        }
        let provider = provider().ok_or(TrustError::NoProvider)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| TrustError::NoProvider)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands over a socket with the server of this name or address. The caller bounds the
    /// time.
    ///
    /// # Errors
    /// The server is not believed, or the connection broke.
    pub async fn secure(&self, host: &str, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        TlsConnector::from(self.0.clone())
            .connect(name, socket)
            .await
    }
}

/// The process's own, else the one that is built in.
fn provider() -> Option<Arc<CryptoProvider>> {
    let installed = CryptoProvider::get_default().cloned();
    installed.or_else(built_in)
}

#[cfg(any(target_os = "linux", feature = "aws-lc-rs"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "on other systems there may be none"
)]
fn built_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(all(feature = "ring", not(any(target_os = "linux", feature = "aws-lc-rs"))))]
fn built_in() -> Option<Arc<CryptoProvider>> {
    Some(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(any(target_os = "linux", feature = "aws-lc-rs", feature = "ring")))]
const fn built_in() -> Option<Arc<CryptoProvider>> {
    None
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Trust {}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_certificates() {
        let other = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for bad in [&other[..], b"none"] {
            assert_eq!(Trust::new(bad), Err(TrustError::Pem));
        }
        let authority = include_bytes!("../../server/tests/keys/tls-ca.pem");
        assert!(Trust::new(authority).is_ok());
    }
}
