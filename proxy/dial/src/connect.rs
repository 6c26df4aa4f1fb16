//! TCP and TLS to an endpoint, within the cluster's connect timeout.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use http::Version;
use lateen_proxy_model::{
    Cluster, Endpoint, ResetReason, SendFailure, Target, TcpKeepalive, UpstreamConnection,
};
use lateen_proxy_tls::TlsError;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::proxy_protocol;
use crate::stream::UpstreamStream;

/// ALPN of the `istio.alpn` filter for HTTP/1.1 (contract: xds, ALPN values).
static ISTIO_HTTP1: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    ["istio-http/1.1", "istio", "http/1.1"]
        .map(protocol)
        .to_vec()
});
/// The same for HTTP/2.
static ISTIO_HTTP2: LazyLock<Vec<Vec<u8>>> =
    LazyLock::new(|| ["istio-h2", "istio", "h2"].map(protocol).to_vec());

fn protocol(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// All that a connection needs to know, kept beyond the request that asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Protocol to be spoken; `None` is TCP.
    pub(crate) version: Option<Version>,
    pub(crate) istio_alpn: bool,
    pub(crate) host: Option<Box<str>>,
    pub(crate) downstream: Option<(SocketAddr, SocketAddr)>,
}

impl Plan {
    /// What the connection for a request must be; `version` `None` is TCP.
    pub(crate) fn new(target: &Target<'_>, version: Option<Version>) -> Self {
        Self {
            cluster: Arc::clone(target.cluster),
            endpoint: Arc::clone(target.endpoint),
            version,
            istio_alpn: target.istio_alpn,
            host: target.host.map(Into::into),
            downstream: target.downstream_addresses,
        }
    }
}

/// Connects; the text of a failure is what the transport said.
pub(crate) async fn connect(
    plan: &Plan,
) -> Result<(UpstreamStream, UpstreamConnection), SendFailure> {
    let fail = |reason, transport: Option<Arc<str>>| SendFailure {
        reason,
        transport,
        started: false,
        connection: None,
    };
    match tokio::time::timeout(plan.cluster.connect_timeout, establish(plan)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(fail(ResetReason::ConnectFailure, Some(error.text()))),
        Err(_) => Err(fail(ResetReason::ConnectTimeout, None)),
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("delayed connect error: {0}")]
    Tcp(#[from] io::Error),
    #[error("{0}")]
    Tls(#[from] TlsError),
}

impl ConnectError {
    fn text(&self) -> Arc<str> {
        let text = self.to_string();
        match text.rsplit_once(" (os error ") {
            Some((plain, _)) => plain.into(),
            None => text.into(),
        }
    }
}

async fn establish(plan: &Plan) -> Result<(UpstreamStream, UpstreamConnection), ConnectError> {
    let mut stream = open(&plan.cluster, plan.endpoint.address).await?;
    if let (Some(version), Some((client, destination))) =
        (plan.cluster.proxy_protocol, plan.downstream)
    {
        let header = proxy_protocol::header(version, client, destination);
        stream.write_all(&header).await?;
    }
    let mut connection = UpstreamConnection {
        local: stream.local_addr().ok(),
        remote: plan.endpoint.address,
        peer: None,
        tls: false,
        alpn: None,
        version: plan.version.unwrap_or(Version::HTTP_11),
    };
    let (_, Some(tls)) = plan.cluster.transport(&plan.endpoint.metadata) else {
        return Ok((UpstreamStream::Plain(stream), connection));
    };
    let alpn = alpn_override(plan);
    let address = plan.endpoint.address.ip();
    let host = plan.host.as_deref();
    let (stream, peer) = lateen_proxy_tls::connect(tls, alpn, host, address, stream).await?;
    connection.tls = true;
    connection.peer = peer.and_then(|peer| peer.identity);
    connection.alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    Ok((UpstreamStream::Tls(Box::new(stream)), connection))
}

fn alpn_override(plan: &Plan) -> Option<&'static [Vec<u8>]> {
    if !plan.istio_alpn || plan.cluster.alpn_override_off {
        return None;
    }
    plan.version.map(|version| match version {
        Version::HTTP_2 => &ISTIO_HTTP2[..],
        _ => &ISTIO_HTTP1[..],
    })
}

async fn open(cluster: &Cluster, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_nodelay(true)?;
    if let Some(keepalive) = &cluster.keepalive {
        keep_alive(&socket, keepalive)?;
    }
    if let Some(bind) = cluster
        .bind
        .filter(|bind| bind.is_ipv4() == address.is_ipv4())
    {
        // The port is left to connect(), which knows that only the four-tuple must be free.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(SocketAddr::new(bind, 0))?;
    }
    socket.connect(address).await
}

fn keep_alive(socket: &TcpSocket, keepalive: &TcpKeepalive) -> io::Result<()> {
    let mut settings = socket2::TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        settings = settings.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        settings = settings.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        settings = settings.with_retries(probes);
    }
    SockRef::from(socket).set_tcp_keepalive(&settings)
}
