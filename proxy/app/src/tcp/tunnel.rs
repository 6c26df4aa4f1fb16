//! Upstream connections of TCP chains: direct ones, and tunnels through HTTP proxies.

use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderMap, Method, Request, Uri, header};
use lateen_proxy_dial::{TcpUpstream, connect_tcp};
use lateen_proxy_model::{
    ActiveRequest, Expand, ResetReason, SendFailure, Target, TcpTunnel, Template,
    UpstreamConnection,
};
use lateen_proxy_relay::http::{Tunnel, open_tunnel};
use lateen_proxy_telemetry::{Format, HttpRecord};
use tokio::io::AsyncWriteExt;

use super::Session;

/// A way to an endpoint.
pub(super) enum Upstream {
    /// A connection to it.
    Direct(TcpUpstream),
    /// Through a proxy.
    Tunnel(
        Tunnel,
        #[expect(dead_code, reason = "held for its drop")] ActiveRequest,
    ),
}

/// Writes texts for a connection.
struct Texts<'s>(&'s Session);

impl Expand for Texts<'_> {
    fn expand(&self, template: &Template, _: &HeaderMap) -> Vec<u8> {
        let Some(format) = template.inside::<Format>() else {
            return Vec::new();
        };
        format.expand(&HttpRecord {
            exchange: self.0.record(&self.0.counts).exchange,
            ..HttpRecord::default()
        })
    }
}

impl Upstream {
    pub(super) fn connection(&self) -> &Arc<UpstreamConnection> {
        match self {
            Self::Direct(upstream) => &upstream.connection,
            Self::Tunnel(tunnel, _) => &tunnel.connection,
        }
    }
}

impl Upstream {
    /// Sends all of these bytes.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Direct(upstream) => {
                upstream.stream.write_all(bytes).await?;
                upstream.stream.flush().await
            }
            Self::Tunnel(tunnel, _) => {
                tunnel.stream.write_all(bytes).await?;
                tunnel.stream.flush().await
            }
        }
    }
}

impl Session {
    /// Connects to the target, or to what lies behind it.
    pub(super) async fn reach(
        &self,
        target: Target<'_>,
        tunnel: Option<&TcpTunnel>,
    ) -> Result<Upstream, SendFailure> {
        let Some(tunnel) = tunnel else {
            return connect_tcp(target).await.map(Upstream::Direct);
        };
        let active = ActiveRequest::on(Arc::clone(target.endpoint));
        let head = self.tunnel_request(tunnel).ok_or(SendFailure {
            reason: ResetReason::ConnectFailure,
            transport: None,
            started: false,
            connection: None,
        })?;
        let opened = Box::pin(open_tunnel(&*self.worker.pools, target, head)).await?;
        Ok(Upstream::Tunnel(opened, active))
    }

    /// The request for a tunnel; `None` when its host cannot be one.
    fn tunnel_request(&self, tunnel: &TcpTunnel) -> Option<Request<()>> {
        let texts = Texts(self);
        let none = HeaderMap::new();
        let host = tunnel.host.value(&none, &texts)?;
        let mut request = Request::new(());
        match &tunnel.post {
            Some(path) => {
                *request.method_mut() = Method::POST;
                *request.uri_mut() = path.clone().into();
            }
            None => {
                *request.method_mut() = Method::CONNECT;
                *request.uri_mut() = Uri::from(Authority::try_from(host.as_bytes()).ok()?);
            }
        }
        let headers = request.headers_mut();
        tunnel.headers.apply(headers, &texts);
        headers.insert(header::HOST, host);
        Some(request)
    }
}
