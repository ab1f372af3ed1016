//! Who the clients are: guests, or users with a token of their own.
//!
//! Owns the kinds of clients, and what the server's settings and each client's `hello` say for them.

use std::io;

use clap::ValueEnum;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::{stream::Dialect, wire::CHANNEL};

/// The secret of HS256 tokens, in the server's settings and here.
const SECRET: &str = "a secret of this benchmark alone, which opens nothing";

/// A key pair for ES256 and TLS, made for tests; it opens nothing.
const ES256_PRIVATE: &str = include_str!("../keys/es256.pem");
const ES256_PUBLIC: &str = include_str!("../keys/es256.pub.pem");

/// The certificate of 127.0.0.1 over the same key.
const TLS_CERTIFICATE: &str = include_str!("../keys/tls.pem");

/// When the tokens end: 2100.
const EXPIRY_S: u64 = 4_102_444_800;

/// A kind of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    /// Anonymous, one channel.
    Guests,
    /// The same, with permessage-deflate agreed on.
    Deflate,
    /// Guests over TLS.
    Tls,
    /// A user of its own each by an HS256 token, with a session, one channel and the personal one.
    Hs256,
    /// The same by ES256.
    Es256,
}

/// What signs the tokens of one kind of clients.
pub(crate) struct Signer {
    header: Header,
    key: EncodingKey,
}

impl Who {
    /// As it stands in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Guests => "guest, 1 channel",
            Self::Deflate => "guest, 1 channel, deflate",
            Self::Tls => "guest, 1 channel, TLS",
            Self::Hs256 => "HS256 user, session, 2 channels",
            Self::Es256 => "ES256 user, session, 2 channels",
        }
    }

    /// As it stands on a command line.
    pub(crate) const fn argument(self) -> &'static str {
        match self {
            Self::Guests => "guests",
            Self::Deflate => "deflate",
            Self::Tls => "tls",
            Self::Hs256 => "hs256",
            Self::Es256 => "es256",
        }
    }

    /// Whether the opening handshake offers permessage-deflate.
    pub(crate) const fn offers_deflate(self) -> bool {
        matches!(self, Self::Deflate)
    }

    /// The same as far as the bare loop can serve them, which has no TLS.
    pub(crate) const fn bare(self) -> Self {
        match self {
            Self::Tls => Self::Guests,
            other => other,
        }
    }

    /// How they speak to the server, and whoever publishes to them.
    pub(crate) fn dialect(self) -> io::Result<Dialect> {
        match self {
            Self::Tls => Dialect::secure(TLS_CERTIFICATE.as_bytes()),
            _ => Ok(Dialect::Plain),
        }
    }

    /// What serves them, as lines of the server's settings; what is in files is written to those.
    pub(crate) fn server_settings(self, key_file: &str, chain_file: &str) -> io::Result<String> {
        if self != Self::Tls {
            return Ok(String::new());
        }
        std::fs::write(key_file, ES256_PRIVATE)?;
        std::fs::write(chain_file, TLS_CERTIFICATE)?;
        Ok(format!(
            "[server]\ntls_certificate_file = \"{chain_file}\"\ntls_key_file = \"{key_file}\"\n"
        ))
    }

    /// What verifies the tokens, as lines of the server's settings below `[access]`; the public key
    /// is written to `key_file`.
    pub(crate) fn settings(self, key_file: &str) -> io::Result<String> {
        Ok(match self {
            Self::Guests | Self::Deflate | Self::Tls => String::new(),
            Self::Hs256 => format!("jwt_secret = \"{SECRET}\"\n"),
            Self::Es256 => {
                std::fs::write(key_file, ES256_PUBLIC)?;
                format!("jwt_algorithm = \"ES256\"\njwt_public_key_file = \"{key_file}\"\n")
            }
        })
    }

    /// What signs their tokens; none for guests.
    pub(crate) fn signer(self) -> io::Result<Option<Signer>> {
        let (algorithm, key) = match self {
            Self::Guests | Self::Deflate | Self::Tls => return Ok(None),
            Self::Hs256 => (
                Algorithm::HS256,
                EncodingKey::from_secret(SECRET.as_bytes()),
            ),
            Self::Es256 => {
                let key = EncodingKey::from_ec_pem(ES256_PRIVATE.as_bytes());
                (Algorithm::ES256, key.map_err(io::Error::other)?)
            }
        };
        Ok(Some(Signer {
            header: Header::new(algorithm),
            key,
        }))
    }
}

impl Signer {
    /// A token for this user.
    pub(crate) fn token(&self, user: &str) -> io::Result<String> {
        let grants = json!({CHANNEL: ["subscribe"]});
        let claims = json!({"sub": user, "exp": EXPIRY_S, "channels": grants});
        encode(&self.header, &claims, &self.key).map_err(io::Error::other)
    }
}
