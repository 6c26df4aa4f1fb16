//! Connections for the TCP relay.

use std::sync::Arc;

use lateen_proxy_model::{ActiveRequest, SendFailure, Target, UpstreamConnection};

use crate::connect::{self, Plan};
use crate::guard::{ConnectionGuard, PendingGuard};
use crate::pool::overflow;
use crate::stream::UpstreamStream;

/// An upstream connection of its own, counted for as long as the guards live.
#[derive(Debug)]
pub struct TcpUpstream {
    /// The bytes.
    pub stream: UpstreamStream,
    /// What is known of it.
    pub connection: Arc<UpstreamConnection>,
    /// Counts it in the cluster's circuit breakers.
    pub guard: ConnectionGuard,
    /// Counts it on the endpoint, for least request.
    pub active: ActiveRequest,
}

/// Opens a connection of its own to the target, with the cluster's TLS, limits and timeouts. The PROXY protocol's header
/// is sent where the cluster asks for it.
pub async fn connect_tcp(target: Target<'_>) -> Result<TcpUpstream, SendFailure> {
    let Some(guard) = ConnectionGuard::enter(target.cluster, target.endpoint, target.high, false)
    else {
        return Err(overflow());
    };
    let Some(_pending) = PendingGuard::enter(&target) else {
        return Err(overflow());
    };
    let plan = Plan::new(&target, None);
    let active = ActiveRequest::on(Arc::clone(target.endpoint));
    let (stream, connection) = connect::connect(&plan).await?;
    Ok(TcpUpstream {
        stream,
        connection: Arc::new(connection),
        guard,
        active,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use http::Version;
    use lateen_proxy_model::{
        Cluster, ClusterKind, Endpoint, EndpointMetadata, Health, Slot, UpstreamSource,
    };
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_come_from_the_client_where_that_is_asked_for() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        if let Err(error) = socket.unwrap().set_ip_transparent_v4(true) {
            // Needs CAP_NET_ADMIN, and a kernel that knows the option.
            return eprintln!("skipped: IP_TRANSPARENT cannot be set here: {error}");
        }
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Arc::new(Endpoint::new(
            server.local_addr().unwrap(),
            1,
            Health::Healthy,
            EndpointMetadata::default(),
        ));
        let cluster = Arc::new(Cluster::new("c", ClusterKind::Endpoints(Slot::new("c"))));
        let slot = Slot::filled("c", Arc::clone(&cluster));
        let client = IpAddr::from([127, 0, 0, 77]);
        let upstream = connect_tcp(Target {
            slot: &slot,
            cluster: &cluster,
            endpoint: &endpoint,
            downstream: Version::HTTP_11,
            istio_alpn: false,
            host: None,
            downstream_addresses: None,
            source: Some(UpstreamSource {
                ip: client,
                mark: 0,
            }),
            high: false,
            connection: 0,
        });
        let (upstream, accepted) = tokio::join!(upstream, server.accept());
        let (_, peer): (_, SocketAddr) = accepted.unwrap();
        assert_eq!(peer.ip(), client);
        let local = upstream.unwrap().connection.local.unwrap();
        assert_eq!(local, peer);
    }
}
