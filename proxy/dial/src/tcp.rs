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
