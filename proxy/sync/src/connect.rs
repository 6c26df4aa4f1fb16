//! Connections to the control plane.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use lateen_proxy_state::State;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Time for TCP connect and TLS handshake together.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// A silent control plane is asked for a sign of life after this time, and given up when none comes.
pub(crate) const KEEPALIVE: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(10));
/// Where the system keeps its roots.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file of roots or a token cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file of roots holds no certificate.
    #[error("{0}: holds no certificate in PEM form")]
    NoRoots(PathBuf),
    /// A token holds characters that no header may have.
    #[error("{0}: not a token")]
    Token(PathBuf),
    /// The certificate to show does not fit its key.
    #[error("certificate for the control plane: {0}")]
    Certificate(rustls::Error),
    /// The server's name is no DNS name or address.
    #[error("{name:?} is no server name: {source}")]
    ServerName {
        /// The name.
        name: String,
        /// Cause.
        source: InvalidDnsNameError,
    },
    /// The address is none.
    #[error("{0:?} is no address of the form host:port")]
    Address(String),
    /// No connection, or the handshake failed.
    #[error("{address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// What failed, with causes.
        reason: String,
    },
}

/// An open connection and what every stream on it must say.
#[derive(Debug)]
pub struct Connection {
    /// Connected channel.
    pub channel: Channel,
    /// `authorization` header of streams.
    pub authorization: Option<MetadataValue<Ascii>>,
    /// `ClusterID` header of streams.
    pub cluster_id: Option<MetadataValue<Ascii>>,
    /// Other headers of streams.
    pub metadata: Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
}

/// A connection that is being made.
pub type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send + 'a>>;

/// Makes connections to the control plane; a new one for each stream.
pub trait Connector: Send + Sync {
    /// Connects; credentials are read anew.
    ///
    /// # Errors
    /// See [`ConnectError`].
    fn connect(&self) -> Connecting<'_>;
}

/// Roots that the control plane's certificate must chain to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The certificates of a PEM file.
    File(PathBuf),
    /// The system's own.
    System,
}

/// How the connection is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS.
    Tls {
        /// Roots.
        roots: Roots,
        /// Name that the certificate must have; also sent as server name.
        server_name: String,
    },
    /// None. For control planes on the same machine that an operator opened on purpose.
    PlainText,
}

/// The control plane at one address.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    /// `host:port`.
    pub address: String,
    /// Protection.
    pub security: Security,
    /// File of a bearer token, read for each connection; a missing file is no error, since a certificate may do.
    pub token: Option<PathBuf>,
    /// Sent as `ClusterID`.
    pub cluster_id: Option<String>,
    /// Its secret `default`, where there is one, is the certificate that is shown.
    pub state: Arc<State>,
}

impl Connector for ControlPlane {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async move {
            let authorization = self.authorization()?;
            let channel = match &self.security {
                Security::PlainText => {
                    let endpoint = self.endpoint("http")?;
                    endpoint
                        .connect()
                        .await
                        .map_err(|error| self.failed(&error))?
                }
                Security::Tls { roots, server_name } => {
                    self.connect_tls(roots, server_name).await?
                }
            };
            let cluster_id = self.cluster_id.as_ref();
            Ok(Connection {
                channel,
                authorization,
                cluster_id: cluster_id.and_then(|id| id.parse().ok()),
                metadata: Vec::new(),
            })
        })
    }
}

impl ControlPlane {
    async fn connect_tls(&self, roots: &Roots, name: &str) -> Result<Channel, ConnectError> {
        let config = Arc::new(self.client_config(roots)?);
        let server =
            ServerName::try_from(name.to_owned()).map_err(|source| ConnectError::ServerName {
                name: name.to_owned(),
                source,
            })?;
        let address = self.address.clone();
        let dial = service_fn(move |_: Uri| {
            let (address, server) = (address.clone(), server.clone());
            let tls = TlsConnector::from(Arc::clone(&config));
            async move {
                let tcp = TcpStream::connect(&address).await?;
                tcp.set_nodelay(true)?;
                Ok::<_, io::Error>(TokioIo::new(tls.connect(server, tcp).await?))
            }
        });
        // The channel must not add TLS of its own to ours, and requests must say https all the same.
        let origin = format!("https://{}", self.address)
            .parse()
            .map_err(|_| ConnectError::Address(self.address.clone()))?;
        let endpoint = self.endpoint("http")?.origin(origin);
        let connecting = endpoint.connect_with_connector(dial);
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(done) => done.map_err(|error| self.failed(&error)),
            Err(_) => Err(ConnectError::Connect {
                address: self.address.clone(),
                reason: format!("no connection within {} s", CONNECT.as_secs()),
            }),
        }
    }

    fn endpoint(&self, scheme: &str) -> Result<Endpoint, ConnectError> {
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.address))
            .map_err(|_| ConnectError::Address(self.address.clone()))?;
        Ok(endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .keep_alive_while_idle(true))
    }

    fn client_config(&self, roots: &Roots) -> Result<ClientConfig, ConnectError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(read_roots(roots)?);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ConnectError::Certificate)?
            .with_root_certificates(store);
        let own = self.state.secrets().identity("default").load_full();
        let mut config = match own {
            Some(own) => builder
                .with_client_auth_cert(own.chain.clone(), own.key.clone_key())
                .map_err(ConnectError::Certificate)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    fn authorization(&self) -> Result<Option<MetadataValue<Ascii>>, ConnectError> {
        let Some(path) = &self.token else {
            return Ok(None);
        };
        let token = match std::fs::read_to_string(path) {
            Ok(token) => token,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let path = path.clone();
                return Err(ConnectError::File { path, source });
            }
        };
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim())
            .parse()
            .map_err(|_| ConnectError::Token(path.clone()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> ConnectError {
        ConnectError::Connect {
            address: self.address.clone(),
            reason: lateen_api::causes(error),
        }
    }
}

fn read_roots(roots: &Roots) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let path = match roots {
        Roots::File(path) => path.as_path(),
        Roots::System => SYSTEM_ROOTS
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
            .unwrap_or_else(|| Path::new(SYSTEM_ROOTS[0])),
    };
    let pem = std::fs::read(path).map_err(|source| ConnectError::File {
        path: path.to_owned(),
        source,
    })?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .collect();
    if found.is_empty() {
        return Err(ConnectError::NoRoots(path.to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
