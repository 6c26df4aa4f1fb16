//! Connections to servers that a bootstrap names: clusters of it, or addresses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use lateen_proxy_model::{Cluster, Endpoint, Health};
use lateen_proxy_state::State;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Uri};
use tower::service_fn;

use crate::connect::{CONNECT, ConnectError, Connecting, Connection, Connector, KEEPALIVE};
use crate::session::Line;
use crate::source::{ApiSource, Server, Target};

/// How long the first addresses of a cluster are waited for.
const ADDRESSES: Duration = Duration::from_secs(5);
/// Time between looks for them.
const LOOK: Duration = Duration::from_millis(20);

/// A stream of bytes to a server.
trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// The ways to the servers of a source.
pub(crate) fn connectors(api: &ApiSource, state: &Arc<State>) -> Vec<Line> {
    let line = |server: &Server| Line {
        backoff: server.backoff,
        max_message: server.max_message,
        connector: Arc::new(ToServer {
            server: server.clone(),
            state: Arc::clone(state),
            turn: AtomicUsize::new(0),
        }),
    };
    api.servers.iter().map(line).collect()
}

struct ToServer {
    server: Server,
    state: Arc<State>,
    turn: AtomicUsize,
}

impl Connector for ToServer {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async move {
            let channel = match &self.server.target {
                Target::Address(address) => self.to_address(address).await?,
                Target::Cluster { name, authority } => {
                    let (cluster, endpoint) = self.endpoint(name).await?;
                    let authority = authority.as_deref().unwrap_or(name);
                    channel(&cluster, &endpoint, authority).await?
                }
            };
            Ok(Connection {
                channel,
                authorization: None,
                cluster_id: None,
                metadata: self.server.metadata.clone(),
            })
        })
    }
}

impl ToServer {
    async fn to_address(&self, address: &str) -> Result<Channel, ConnectError> {
        let endpoint = endpoint(&format!("http://{address}"), address)?;
        let connecting = endpoint.connect().await;
        connecting.map_err(|error| failed(address, lateen_api::causes(&error)))
    }

    /// The next endpoint of a cluster; a healthy one while there is any.
    async fn endpoint(&self, name: &str) -> Result<(Arc<Cluster>, Arc<Endpoint>), ConnectError> {
        let late = Instant::now() + ADDRESSES;
        loop {
            let cluster = self.state.clusters().value(name);
            let found = cluster.and_then(|cluster| {
                let set = cluster.endpoints().and_then(|slot| slot.load_full())?;
                let all: Vec<&Arc<Endpoint>> = set.iter().collect();
                let healthy = all.iter().filter(|one| one.health == Health::Healthy);
                let healthy: Vec<&Arc<Endpoint>> = healthy.copied().collect();
                let from = if healthy.is_empty() { &all } else { &healthy };
                let turn = self.turn.fetch_add(1, Relaxed) % from.len().max(1);
                let endpoint = Arc::clone(from.get(turn)?);
                Some((cluster, endpoint))
            });
            match found {
                Some(found) => return Ok(found),
                None if Instant::now() >= late => {
                    return Err(failed(name, "the cluster has no endpoint".to_owned()));
                }
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

async fn channel(
    cluster: &Arc<Cluster>,
    to: &Arc<Endpoint>,
    authority: &str,
) -> Result<Channel, ConnectError> {
    let (_, tls) = cluster.transport(&to.metadata);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = to.address;
    // A cluster's name need not be a host.
    let origin = format!("{scheme}://{authority}").parse::<Uri>();
    let origin = match origin {
        Ok(origin) if origin.host().is_some() => origin,
        _ => format!("{scheme}://{address}")
            .parse()
            .map_err(|_| ConnectError::Address(address.to_string()))?,
    };
    let endpoint = endpoint(&format!("http://{address}"), authority)?.origin(origin);
    let tls = tls.cloned();
    let host: Arc<str> = authority.into();
    let dial = service_fn(move |_: Uri| {
        let (tls, host) = (tls.clone(), Arc::clone(&host));
        async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let Some(tls) = tls else {
                return Ok::<_, io::Error>(TokioIo::new(Box::new(tcp) as Box<dyn Pipe>));
            };
            let offered = [b"h2".to_vec()];
            let alpn = tls.alpn.is_empty().then_some(&offered[..]);
            let done = lateen_proxy_tls::connect(&tls, alpn, Some(&host), address.ip(), tcp).await;
            let (stream, ..) = done.map_err(io::Error::other)?;
            Ok(TokioIo::new(Box::new(stream) as Box<dyn Pipe>))
        }
    });
    let limit = cluster.connect_timeout;
    match tokio::time::timeout(limit, endpoint.connect_with_connector(dial)).await {
        Ok(done) => done.map_err(|error| named(&cluster.name, address, lateen_api::causes(&error))),
        Err(_) => {
            let reason = format!("no connection within {} ms", limit.as_millis());
            Err(named(&cluster.name, address, reason))
        }
    }
}

fn endpoint(uri: &str, address: &str) -> Result<tonic::transport::Endpoint, ConnectError> {
    let endpoint = tonic::transport::Endpoint::from_shared(uri.to_owned())
        .map_err(|_| ConnectError::Address(address.to_owned()))?;
    Ok(endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true))
}

fn named(cluster: &str, address: SocketAddr, reason: String) -> ConnectError {
    failed(&format!("{cluster} ({address})"), reason)
}

fn failed(address: &str, reason: String) -> ConnectError {
    ConnectError::Connect {
        address: address.to_owned(),
        reason,
    }
}
