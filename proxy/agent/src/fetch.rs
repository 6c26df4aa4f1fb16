//! One HTTP/1.1 request from the pod's side: probes, scrapes, `wait` and `request`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::unverified;

/// What to ask, and how long to wait for it.
#[derive(Debug)]
pub(crate) struct Fetch<'a> {
    /// Name or address to connect to.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Path with query.
    pub(crate) path: &'a str,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// TLS without verification: the kubelet's way with HTTPS probes.
    pub(crate) tls: bool,
    /// Address to connect from, by the family of the destination.
    pub(crate) from: Option<fn(IpAddr) -> IpAddr>,
    /// For the whole exchange.
    pub(crate) timeout: Duration,
    /// Most bytes of the body that are kept.
    pub(crate) max_body: usize,
    /// A larger body is cut instead of refused.
    pub(crate) cut: bool,
}

/// What came back.
#[derive(Debug)]
pub struct Fetched {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, at most as large as was allowed.
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, Error)]
pub enum FetchError {
    /// No connection.
    #[error("connect to {to}: {source}")]
    Connect {
        /// Host and port.
        to: String,
        /// What the system said.
        source: io::Error,
    },
    /// The host name gave no address.
    #[error("{0} has no address")]
    NoAddress(String),
    /// The exchange broke off.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// Path, host or header that cannot be sent.
    #[error("request: {0}")]
    Request(#[from] http::Error),
    /// No whole answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// More body than allowed.
    #[error("body is larger than {0} bytes")]
    TooLarge(usize),
    /// A URL that is not understood.
    #[error("`{0}` is not a URL of the form http://host:port/path")]
    Url(String),
}

impl<'a> Fetch<'a> {
    /// A GET with nothing special.
    pub(crate) fn get(host: &'a str, port: u16, path: &'a str, timeout: Duration) -> Self {
        Self {
            host,
            port,
            path,
            method: Method::GET,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            tls: false,
            from: None,
            timeout,
            max_body: 16 << 20,
            cut: false,
        }
    }

    /// Sends the request and reads the whole answer. Redirects are not followed.
    pub(crate) async fn send(self) -> Result<Fetched, FetchError> {
        let timeout = self.timeout;
        tokio::time::timeout(timeout, self.exchange())
            .await
            .map_err(|_| FetchError::Timeout(timeout))?
    }

    async fn exchange(self) -> Result<Fetched, FetchError> {
        let stream = connect(self.host, self.port, self.from).await?;
        if !self.tls {
            return self.over(stream).await;
        }
        let to = || format!("{}:{}", self.host, self.port);
        let connect_error = |source| FetchError::Connect { to: to(), source };
        let name = ServerName::try_from(self.host.trim_matches(['[', ']']).to_owned())
            .map_err(|error| connect_error(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let config =
            unverified::client_config().map_err(|error| connect_error(io::Error::other(error)))?;
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(connect_error)?;
        self.over(stream).await
    }

    async fn over<S>(self, stream: S) -> Result<Fetched, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let mut builder = Request::builder().method(self.method).uri(self.path);
        if !self.headers.contains_key(http::header::HOST) {
            builder = builder.header(http::header::HOST, format!("{}:{}", self.host, self.port));
        }
        if let Some(headers) = builder.headers_mut() {
            headers.extend(self.headers);
        }
        let response = sender
            .send_request(builder.body(Full::new(self.body))?)
            .await?;
        let (head, body) = response.into_parts();
        let body = read(body, self.max_body, self.cut).await;
        driver.abort();
        Ok(Fetched {
            status: head.status,
            headers: head.headers,
            body: body?,
        })
    }
}

/// Connects to the first address that answers.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    from: Option<fn(IpAddr) -> IpAddr>,
) -> Result<TcpStream, FetchError> {
    let to = || format!("{host}:{port}");
    let bare = host.trim_matches(['[', ']']);
    let addresses = lookup_host((bare, port))
        .await
        .map_err(|source| FetchError::Connect { to: to(), source })?;
    let mut last = None;
    for address in addresses {
        match connect_one(address, from).await {
            Ok(stream) => return Ok(stream),
            Err(source) => last = Some(source),
        }
    }
    match last {
        Some(source) => Err(FetchError::Connect { to: to(), source }),
        None => Err(FetchError::NoAddress(host.to_owned())),
    }
}

async fn connect_one(to: SocketAddr, from: Option<fn(IpAddr) -> IpAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from(to.ip()), 0))?;
    }
    socket.connect(to).await
}

async fn read(mut body: Incoming, max: usize, cut: bool) -> Result<Bytes, FetchError> {
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let room = max.saturating_sub(kept.len());
        if data.len() > room {
            if !cut {
                return Err(FetchError::TooLarge(max));
            }
            kept.extend_from_slice(data.get(..room).unwrap_or_default());
            break;
        }
        kept.extend_from_slice(&data);
    }
    Ok(kept.freeze())
}
