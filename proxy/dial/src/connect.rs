//! TCP and TLS to an endpoint, within the cluster's connect timeout.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::Version;
use lateen_proxy_model::{
    AddressFamily, ClientTls, Cluster, Endpoint, HealthCheck, ResetReason, SendFailure, Target,
    TcpKeepalive, UpstreamConnection, UpstreamOption, UpstreamSource,
};
use lateen_proxy_tls::TlsError;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

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

static HTTP1: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| vec![protocol("http/1.1")]);
static HTTP2: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| vec![protocol("h2")]);

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
    /// Where the connection comes from in place of the cluster's own address.
    pub(crate) source: Option<UpstreamSource>,
    /// Address in place of the endpoint's own, for health checks.
    pub(crate) address: Option<SocketAddr>,
    /// Protocols offered in place of those of the settings.
    pub(crate) alpn: Option<Vec<Vec<u8>>>,
    /// Texts that choose the transport in place of the endpoint's own.
    pub(crate) criteria: Option<Arc<HealthCheck>>,
}

impl Plan {
    fn transport(&self) -> (usize, Option<&Arc<ClientTls>>) {
        let given = self.criteria.as_ref().and_then(|it| it.transport.as_ref());
        let Some(given) = given else {
            return self.cluster.transport(&self.endpoint.metadata);
        };
        self.cluster.transport_of(|wanted| {
            let mut texts = given.iter();
            let found = texts.find(|(key, _)| **key == *wanted);
            found.map(|(_, value)| &**value)
        })
    }

    /// What the connection for a request must be; `version` `None` is TCP.
    pub(crate) fn new(target: &Target<'_>, version: Option<Version>) -> Self {
        Self {
            cluster: Arc::clone(target.cluster),
            endpoint: Arc::clone(target.endpoint),
            version,
            istio_alpn: target.istio_alpn,
            host: target.host.map(Into::into),
            downstream: target.downstream_addresses,
            source: target.source,
            address: None,
            alpn: None,
            criteria: None,
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
    let counted = plan.criteria.is_none();
    let totals = &plan.cluster.shared.connections;
    if counted {
        match plan.version {
            Some(Version::HTTP_2) => totals.http2.fetch_add(1, Ordering::Relaxed),
            Some(_) => totals.http1.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
    }
    let failure = match tokio::time::timeout(plan.cluster.connect_timeout, establish(plan)).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => fail(ResetReason::ConnectFailure, Some(error.text())),
        Err(_) => fail(ResetReason::ConnectTimeout, None),
    };
    // Those of health checks do not count.
    if counted {
        totals.connect_fail.fetch_add(1, Ordering::Relaxed);
        if failure.reason == ResetReason::ConnectTimeout {
            totals.connect_timeout.fetch_add(1, Ordering::Relaxed);
        }
        let stats = &plan.endpoint.stats;
        stats.cx_connect_fail.fetch_add(1, Ordering::Relaxed);
    }
    Err(failure)
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
        let text = match self {
            Self::Tls(error) => error.reason(),
            Self::Tcp(_) => self.to_string(),
        };
        match text.rsplit_once(" (os error ") {
            Some((plain, _)) => plain.into(),
            None => text.into(),
        }
    }
}

async fn establish(plan: &Plan) -> Result<(UpstreamStream, UpstreamConnection), ConnectError> {
    let (mut stream, remote) = first_open(plan).await?;
    if let (Some(version), Some((client, destination))) =
        (plan.cluster.proxy_protocol, plan.downstream)
    {
        let header = proxy_protocol::header(version, client, destination);
        stream.write_all(&header).await?;
    }
    let mut connection = UpstreamConnection {
        local: stream.local_addr().ok(),
        remote,
        peer: None,
        tls: false,
        handshake: None,
        alpn: None,
        version: plan.version.unwrap_or(Version::HTTP_11),
    };
    let (_, Some(tls)) = plan.transport() else {
        return Ok((UpstreamStream::Plain(stream), connection));
    };
    let alpn = plan.alpn.as_deref().or_else(|| alpn_override(plan));
    let alpn = alpn.or_else(|| by_protocol(plan, tls));
    let address = remote.ip();
    let host = match &plan.endpoint.hostname {
        Some(name) if tls.host_sni => Some(&**name),
        _ => plan.host.as_deref(),
    };
    let (stream, peer, agreed) =
        lateen_proxy_tls::connect(tls, alpn, host, address, stream).await?;
    connection.tls = true;
    connection.handshake = Some(Arc::new(agreed));
    connection.peer = peer.and_then(|peer| peer.identity);
    connection.alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    Ok((UpstreamStream::Tls(Box::new(stream)), connection))
}

/// Longest wait for one of several addresses before the next is tried too.
const HEAD_START: Duration = Duration::from_millis(300);

/// A connection to the first address of the endpoint that answers; each has a head start over the next.
async fn first_open(plan: &Plan) -> io::Result<(TcpStream, SocketAddr)> {
    let address = plan.address.unwrap_or(plan.endpoint.address);
    let others = match plan.address {
        None => &*plan.endpoint.additional,
        Some(_) => &[],
    };
    let mut attempts = JoinSet::new();
    let start = |attempts: &mut JoinSet<_>, address: SocketAddr| {
        let (cluster, source) = (Arc::clone(&plan.cluster), plan.source);
        attempts.spawn(async move {
            let opened = open(&cluster, address, source).await;
            opened.map(|it| (it, address))
        });
    };
    if others.is_empty() {
        return open(&plan.cluster, address, plan.source)
            .await
            .map(|it| (it, address));
    }
    let mut rest = in_turn(address, others, plan.cluster.options.first_family).into_iter();
    if let Some(first) = rest.next() {
        start(&mut attempts, first);
    }
    let mut last = io::Error::from(io::ErrorKind::ConnectionRefused);
    loop {
        let ended = tokio::time::timeout(HEAD_START, attempts.join_next()).await;
        match ended {
            Ok(Some(Ok(Ok(done)))) => return Ok(done),
            Ok(Some(Ok(Err(error)))) => last = error,
            Ok(Some(Err(_))) | Err(_) => {}
            Ok(None) => return Err(last),
        }
        if let Some(next) = rest.next() {
            start(&mut attempts, next);
        }
    }
}

/// Addresses of both families in turn (RFC 8305 section 4): so many of the first, then one of the other.
fn in_turn(
    address: SocketAddr,
    others: &[SocketAddr],
    (family, count): (Option<AddressFamily>, u32),
) -> Vec<SocketAddr> {
    let v4_first = family.map_or(address.is_ipv4(), |family| family == AddressFamily::V4);
    let all = std::iter::once(address).chain(others.iter().copied());
    let (first, second): (Vec<_>, Vec<_>) = all.partition(|one| one.is_ipv4() == v4_first);
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter());
    let mut order = Vec::with_capacity(others.len() + 1);
    loop {
        order.extend(first.by_ref().take(count.max(1) as usize));
        match second.next() {
            Some(one) => order.push(one),
            None if first.peek().is_none() => return order,
            None => {}
        }
    }
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

/// What is offered where the settings name nothing: the protocol that will be spoken.
fn by_protocol(plan: &Plan, tls: &ClientTls) -> Option<&'static [Vec<u8>]> {
    if !tls.alpn.is_empty() {
        return None;
    }
    plan.version.map(|version| match version {
        Version::HTTP_2 => &HTTP2[..],
        _ => &HTTP1[..],
    })
}

async fn open(
    cluster: &Cluster,
    address: SocketAddr,
    source: Option<UpstreamSource>,
) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_nodelay(true)?;
    socket_options(&socket, cluster, address.is_ipv4())?;
    if let Some(keepalive) = &cluster.keepalive {
        keep_alive(&socket, keepalive)?;
    }
    if let Some(source) = source.filter(|it| it.ip.is_ipv4() == address.is_ipv4()) {
        come_from(&socket, source)?;
        return socket.connect(address).await;
    }
    let local = cluster.bind.iter().chain(&cluster.options.extra_bind);
    if let Some(bind) = local
        .copied()
        .find(|one| one.is_ipv4() == address.is_ipv4())
    {
        let port = cluster.options.bind_port;
        if port == 0 {
            // The port is left to connect(), which knows that only the four-tuple must be free.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        } else {
            socket.set_reuseaddr(true)?;
        }
        if cluster.options.freebind {
            SockRef::from(&socket).set_freebind_v4(true)?;
        }
        socket.bind(SocketAddr::new(bind, port))?;
    }
    socket.connect(address).await
}

/// Binds to an address that may be another host's.
fn come_from(socket: &TcpSocket, source: UpstreamSource) -> io::Result<()> {
    let raw = SockRef::from(socket);
    match source.ip {
        IpAddr::V4(_) => raw.set_ip_transparent_v4(true)?,
        IpAddr::V6(_) => raw.set_ip_transparent_v6(true)?,
    }
    if source.mark != 0 {
        raw.set_mark(source.mark)?;
    }
    // The port is left to connect(), which knows that only the four-tuple must be free.
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(SocketAddr::new(source.ip, 0))
}

fn socket_options(socket: &TcpSocket, cluster: &Cluster, v4: bool) -> io::Result<()> {
    let raw = SockRef::from(socket);
    for option in &cluster.options.socket {
        match *option {
            UpstreamOption::Mark(mark) => raw.set_mark(mark)?,
            UpstreamOption::Tos(tos) if v4 => raw.set_tos_v4(tos)?,
            UpstreamOption::Tos(tos) => raw.set_tclass_v6(tos)?,
            UpstreamOption::SendBuffer(size) => raw.set_send_buffer_size(size as usize)?,
            UpstreamOption::ReceiveBuffer(size) => raw.set_recv_buffer_size(size as usize)?,
            UpstreamOption::KeepAlive(on) => raw.set_keepalive(on)?,
            UpstreamOption::NoDelay(on) => raw.set_tcp_nodelay(on)?,
            UpstreamOption::ReuseAddress(on) => raw.set_reuse_address(on)?,
            UpstreamOption::UserTimeout(time) => {
                raw.set_tcp_user_timeout(Some(Duration::from_millis(time.into())))?;
            }
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let of = |text: &str| -> Vec<SocketAddr> {
            let one = |it: char| match it.is_ascii_digit() {
                true => SocketAddr::from(([127, 0, 0, 1], it as u16)),
                false => SocketAddr::from(([0; 16], it as u16)),
            };
            text.chars().map(one).collect()
        };
        let order = |text: &str, family, count| {
            let all = of(text);
            let order = in_turn(all[0], &all[1..], (family, count));
            let name = |it: &SocketAddr| char::from_u32(it.port().into()).unwrap();
            order.iter().map(name).collect::<String>()
        };
        let (v4, v6) = (Some(AddressFamily::V4), Some(AddressFamily::V6));
        assert_eq!(order("123ab", None, 0), "1a2b3");
        assert_eq!(order("ab123", None, 1), "a1b23");
        assert_eq!(order("123ab", v6, 1), "a1b23");
        assert_eq!(order("ab123", v4, 2), "12a3b");
        assert_eq!(order("12", v6, 1), "12");
        assert_eq!(order("1", None, 1), "1");
    }
}
