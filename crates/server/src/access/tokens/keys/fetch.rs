//! One HTTP GET, bounded in time and size, from one host.
//!
//! Owns the request and what is taken for an answer: status 200 and nothing else, so no redirection
//! leads elsewhere. Must not know keys.

use std::{fmt, io, sync::Arc, time::Duration};

use axum::http::{Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::KeyError;
use crate::{config::is_loopback_host, tls::provider};

/// From the name's resolution to the last byte: below the default of `access_timeout`, within which
/// clients wait for it.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Sets are a few thousand bytes.
const BYTES_MAX: usize = 256 << 10;

/// Why keys can't be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The URL is none that keys are fetched from.
    #[error("must be an https:// URL without user or fragment; http:// is for loopback alone")]
    Url,
    /// The authorities are none, or there are none at all.
    #[error("there are no certificate authorities by which the server could be believed")]
    Authorities,
    /// The server can't be reached, or is not believed.
    #[error("the server can't be reached: {0}")]
    Io(#[from] io::Error),
    /// It does not answer in HTTP, or answers too much.
    #[error("the answer can't be used: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
    /// It answers something else; redirections are not followed.
    #[error("the server answers {0}")]
    Status(StatusCode),
    /// It took longer than 4 s.
    #[error("no whole answer came within 4 s")]
    TooSlow,
    /// What came is no usable set of keys.
    #[error("what came {0}")]
    Keys(#[from] KeyError),
}

/// Where a document is.
pub(super) struct Location {
    host: String,
    port: u16,
    /// As the `Host` header has it.
    authority: String,
    target: String,
    /// None: plain HTTP, on this machine.
    tls: Option<TlsConnector>,
}

impl Location {
    pub(super) fn new(url: &str, authorities: &[u8]) -> Result<Self, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Url)?;
        let authority = uri.authority().ok_or(FetchError::Url)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback_host(authority.as_str()) => false,
            _ => return Err(FetchError::Url),
        };
        if authority.as_str().contains('@') || url.contains('#') {
            return Err(FetchError::Url);
        }
        let port = if secure { 443 } else { 80 };
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(port),
            authority: authority.as_str().to_owned(),
            target: uri
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .to_owned(),
            tls: secure.then(|| connector(authorities)).transpose()?,
        })
    }

    /// The document.
    pub(super) async fn get(&self) -> Result<Bytes, FetchError> {
        timeout(TIMEOUT, self.ask())
            .await
            .unwrap_or(Err(FetchError::TooSlow))
    }

    async fn ask(&self) -> Result<Bytes, FetchError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let Some(tls) = &self.tls else {
            return self.exchange(tcp).await;
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|_| FetchError::Url)?;
        self.exchange(tls.connect(name, tcp).await?).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Bytes, FetchError> {
        let answer = |error: hyper::Error| FetchError::Answer(error.into());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(answer)?;
        let request = Request::get(&self.target)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|_| FetchError::Url)?;
        let exchanged = async {
            let response = sender.send_request(request).await.map_err(answer)?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), BYTES_MAX);
            let body = body.collect().await.map_err(FetchError::Answer)?;
            Ok(body.to_bytes())
        };
        // Together, so that nothing runs on where this is dropped.
        tokio::pin!(exchanged, connection);
        tokio::select! {
            biased;
            // The answer first: the connection ends with it.
            exchanged = &mut exchanged => exchanged,
            _ = &mut connection => exchanged.await,
        }
    }
}

fn connector(authorities: &[u8]) -> Result<TlsConnector, FetchError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for authority in CertificateDer::pem_slice_iter(authorities) {
        let authority = authority.map_err(|_| FetchError::Authorities)?;
        roots.add(authority).map_err(|_| FetchError::Authorities)?;
    }
    if roots.is_empty() {
        return Err(FetchError::Authorities);
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|_| FetchError::Authorities)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The target may hold what is secret.
        write!(f, "Location({}, …)", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_tls_or_from_this_machine() {
        let authority = include_bytes!("../../../../tests/keys/tls-ca.pem");
        for url in [
            "https://idp.example/keys",
            "https://idp.example:8443/a?b=c",
            "http://127.0.0.1:1/keys",
            "http://[::1]/keys",
        ] {
            assert!(Location::new(url, authority).is_ok(), "{url}");
        }
        for url in [
            "http://idp.example/keys",
            "http://localhost.example/keys",
            "https://me@idp.example/",
            "https://idp.example/#x",
            "file:///etc/passwd",
            "idp.example",
            "",
        ] {
            let refused = Location::new(url, authority);
            assert!(matches!(refused, Err(FetchError::Url)), "{url}");
        }
        let other = Location::new("https://idp.example/", b"-----BEGIN CERTIFICATE-----\nA");
        assert!(matches!(other, Err(FetchError::Authorities)), "{other:?}");
    }
}
