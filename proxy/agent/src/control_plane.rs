//! The authenticated way to the control plane: TLS against the mesh's root, a fresh token, and the workload's certificate.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use lateen_proxy_model::IdentityRef;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::Settings;
use crate::certificate::validity;

/// Where the control plane is and how this proxy proves itself to it. Files are read again on each use.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    address: String,
    roots: PathBuf,
    token_file: PathBuf,
    cluster_id: String,
    identity: IdentityRef,
    socket_mark: Option<u32>,
}

/// Why the control plane cannot be reached.
#[derive(Debug, Error)]
pub enum ControlPlaneError {
    /// The roots that its certificate must chain to.
    #[error("root certificates in {path}: {reason}")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The address is not `host:port`.
    #[error("control plane address `{0}` is not host:port")]
    Address(String),
    /// TLS settings that do not go together.
    #[error("TLS towards {address}: {source}")]
    Tls {
        /// Control plane.
        address: String,
        /// What rustls says.
        source: rustls::Error,
    },
    /// No connection.
    #[error("connect to {address}: {reason}")]
    Connect {
        /// Control plane.
        address: String,
        /// The whole chain of causes.
        reason: String,
    },
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Flow-control window: large configurations come in fast, an idle stream holds nothing.
const WINDOW: u32 = 1 << 20;

impl ControlPlane {
    /// The way to the certificate authority.
    #[must_use]
    pub fn authority(settings: &Settings, identity: IdentityRef) -> Self {
        Self {
            address: settings.ca_address.clone(),
            roots: settings.control_plane_roots.clone(),
            token_file: settings.token_file.clone(),
            cluster_id: settings.cluster_id.clone(),
            identity,
            socket_mark: settings.socket_mark,
        }
    }

    /// With `root-cert.pem` and `token` in one folder.
    #[cfg(test)]
    pub(crate) fn at(address: String, folder: &std::path::Path, identity: IdentityRef) -> Self {
        Self {
            address,
            roots: folder.join("root-cert.pem"),
            token_file: folder.join("token"),
            cluster_id: "Kubernetes".to_owned(),
            identity,
            socket_mark: None,
        }
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Opens a connection: one for each stream or call, so that rotated roots and certificates are used.
    ///
    /// # Errors
    /// When the roots cannot be read or the handshake fails; the text names address and cause.
    pub async fn connect(&self) -> Result<Channel, ControlPlaneError> {
        let (host, port) = self.host_port()?;
        let config = self.tls_config()?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ControlPlaneError::Address(self.address.clone()))?;
        let connector = Connector {
            host: host.into(),
            port,
            name,
            config: Arc::new(config),
            socket_mark: self.socket_mark,
        };
        // The scheme only keeps tonic from adding TLS of its own: the connector brings it.
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address))
            .map_err(|_| ControlPlaneError::Address(self.address.clone()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .buffer_size(16);
        endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|error| ControlPlaneError::Connect {
                address: self.address.clone(),
                reason: lateen_api::causes(&error),
            })
    }

    /// Adds what authenticates a call: the token, if there is one, and the cluster's id.
    pub fn authorize(&self, metadata: &mut MetadataMap) {
        if let Some(bearer) = self.bearer() {
            metadata.insert("authorization", bearer);
        }
        if let Ok(cluster) = self.cluster_id.parse() {
            metadata.insert("clusterid", cluster);
        }
    }

    fn bearer(&self) -> Option<MetadataValue<Ascii>> {
        let token = std::fs::read_to_string(&self.token_file)
            .inspect_err(|error| {
                tracing::debug!(path = %self.token_file.display(), %error, "no token; only a client certificate can prove who this is");
            })
            .ok()?;
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim()).parse().ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn host_port(&self) -> Result<(&str, u16), ControlPlaneError> {
        let parts = self
            .address
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parts.ok_or_else(|| ControlPlaneError::Address(self.address.clone()))?;
        Ok((host.trim_matches(['[', ']']), port))
    }

    fn tls_config(&self) -> Result<ClientConfig, ControlPlaneError> {
        let tls = |source| ControlPlaneError::Tls {
            address: self.address.clone(),
            source,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(tls)?
            .with_root_certificates(self.read_roots()?);
        let now = SystemTime::now();
        let valid = self.identity.load_full().filter(|identity| {
            identity
                .chain
                .first()
                .and_then(|leaf| validity(leaf).ok())
                .is_some_and(|span| span.contains(now))
        });
        let mut config = match valid {
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(tls)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    fn read_roots(&self) -> Result<RootCertStore, ControlPlaneError> {
        let wrong = |reason: String| ControlPlaneError::Roots {
            path: self.roots.clone(),
            reason,
        };
        let text = std::fs::read(&self.roots).map_err(|error| wrong(error.to_string()))?;
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            store
                .add(certificate)
                .map_err(|error| wrong(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(wrong("holds no certificate".to_owned()));
        }
        Ok(store)
    }
}

/// The TLS connector that tonic calls.
#[derive(Clone)]
struct Connector {
    host: Arc<str>,
    port: u16,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    socket_mark: Option<u32>,
}

impl Connector {
    async fn connect(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let mut last = io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} has no address", self.host),
        );
        for address in lookup_host((&*self.host, self.port)).await? {
            match self.connect_to(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let stream = TlsConnector::from(self.config)
                        .connect(self.name, stream)
                        .await?;
                    return Ok(TokioIo::new(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(mark) = self.socket_mark {
            socket2::SockRef::from(&socket).set_mark(mark)?;
        }
        socket.connect(address).await
    }
}

impl tower_service::Service<http::Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: http::Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}
