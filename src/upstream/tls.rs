//! TLS towards the upstream: whom to trust, who we are, and the handshake.
//!
//! Guarantees that the server's certificate is verified, against the named authorities or the system's; there is no
//! way to switch that off. Files are read when the node is made, so a fault in them is found at the start.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How TLS towards an upstream is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates (PEM) to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate chain (PEM) to show, where the server asks for one; with `client_key_file` or not at all.
    pub client_certificate_file: Option<PathBuf>,
    /// The key (PEM) of that certificate.
    pub client_key_file: Option<PathBuf>,
    /// The name that the server's certificate must bear, if it is not the host's.
    pub server_name: Option<String>,
}

/// Why TLS can't be set up. Each names the file or the name at fault.
#[derive(Debug)]
pub enum TlsError {
    /// A file can't be read, or is not PEM.
    File(PathBuf, rustls::pki_types::pem::Error),
    /// A file holds no certificate.
    NoCertificate(PathBuf),
    /// The system's certificates can't be read; name a `ca_file`.
    NoSystemRoots(String),
    /// The name can't stand in a certificate.
    ServerName(String, InvalidDnsNameError),
    /// A certificate or key is not usable.
    Unusable(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NoCertificate(path) => write!(f, "{}: no certificate (PEM) in this file", path.display()),
            Self::NoSystemRoots(why) => {
                write!(f, "the system's certificates can't be read ({why}); name the authority with upstream.ca_file")
            }
            Self::ServerName(name, error) => write!(f, "upstream.server_name '{name}': {error}"),
            Self::Unusable(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// What shakes hands with one server.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files and checks that they fit together. `host` is the upstream's.
    ///
    /// # Errors
    /// Something in the options can't be used.
    pub fn new(options: &TlsOptions, host: &str) -> Result<Self, TlsError> {
        let name = options.server_name.as_deref().unwrap_or(host);
        let name =
            ServerName::try_from(name.to_owned()).map_err(|error| TlsError::ServerName(name.to_owned(), error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_root_certificates(roots(options.ca_file.as_deref())?);
        let config = match (&options.client_certificate_file, &options.client_key_file) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::File(key.clone(), error))?;
                builder.with_client_auth_cert(chain, key).map_err(TlsError::Unusable)?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Shakes hands on a connection.
    ///
    /// # Errors
    /// The connection broke, or one side does not trust the other.
    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(TlsError::Unusable)?;
        }
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(TlsError::NoSystemRoots(why));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |error| TlsError::File(path.to_owned(), error);
    let found = CertificateDer::pem_file_iter(path).map_err(file)?.collect::<Result<Vec<_>, _>>().map_err(file)?;
    if found.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(found) }
}
