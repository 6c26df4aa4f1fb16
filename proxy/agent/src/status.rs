//! The agent's servers: 15020 (status), 15021 (health) and 15090 (the proxy's metrics).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, StatusCode};
use lateen_proxy_telemetry::Metrics;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;

use crate::agent_metrics::AgentMetrics;
use crate::native_stats::refresh_stats;
use crate::probes::{Probers, Target};
use crate::readiness::Readiness;
use crate::scrape::{ScrapeConfig, merged};
use crate::serve::{Answer, Call, is_local, serve, text, typed};
use crate::{Ask, Settings};

/// What the servers answer from.
#[derive(Debug)]
pub struct Status {
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    agent: Arc<AgentMetrics>,
    probers: Probers,
    target: Target,
    scrape: Option<ScrapeConfig>,
    merge_proxy_stats: bool,
    asks: mpsc::Sender<Ask>,
}

/// A port of the agent that cannot be listened on.
#[derive(Debug, Error)]
#[error("listen on {address} ({what}): {source}")]
pub struct ListenError {
    /// Address and port.
    pub address: SocketAddr,
    /// Which server.
    pub what: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// Prometheus text.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Status {
    /// Puts together what the servers need; `asks` takes what callers on this machine ask for.
    #[must_use]
    pub fn new(
        settings: &Settings,
        readiness: Arc<Readiness>,
        metrics: Arc<Metrics>,
        agent: Arc<AgentMetrics>,
        asks: mpsc::Sender<Ask>,
    ) -> Arc<Self> {
        let localhost = std::net::IpAddr::from([127, 0, 0, 1]);
        let address = if settings.probe_localhost {
            localhost
        } else {
            settings.pod.address()
        };
        Arc::new(Self {
            readiness,
            metrics,
            agent,
            probers: settings.probers.clone(),
            target: Target {
                address,
                status_port: settings.ports.status,
            },
            scrape: settings.scrape.clone(),
            merge_proxy_stats: settings.merge_proxy_stats,
            asks,
        })
    }

    /// The agent's own server.
    pub async fn serve_status(self: Arc<Self>, listener: TcpListener) {
        serve(listener, move |call| {
            let status = Arc::clone(&self);
            async move { status.status_answer(call).await }
        })
        .await;
    }

    /// Readiness alone, for the kubelet.
    pub async fn serve_health(self: Arc<Self>, listener: TcpListener) {
        serve(listener, move |call| {
            let answer = match call.request.uri().path() {
                "/healthz/ready" => self.ready(),
                _ => text(
                    StatusCode::NOT_FOUND,
                    "only /healthz/ready is served here\n",
                ),
            };
            std::future::ready(answer)
        })
        .await;
    }

    /// The proxy's metrics alone.
    pub async fn serve_prometheus(self: Arc<Self>, listener: TcpListener) {
        serve(listener, move |call| {
            let answer = match call.request.uri().path() {
                "/stats/prometheus" => typed(StatusCode::OK, METRICS_TYPE, self.proxy_page()),
                _ => text(
                    StatusCode::NOT_FOUND,
                    "only /stats/prometheus is served here\n",
                ),
            };
            std::future::ready(answer)
        })
        .await;
    }

    async fn status_answer(&self, call: Call) -> Answer {
        let path = call.request.uri().path();
        match path {
            "/healthz/ready" => self.ready(),
            "/metrics" | "/stats/prometheus" => {
                let page = self.merge_proxy_stats.then(|| self.proxy_page());
                merged(
                    self.scrape.as_ref(),
                    call.request.headers(),
                    page,
                    &self.agent,
                )
                .await
            }
            "/quitquitquit" => self.ask(&call, Ask::Quit),
            "/drain" => self.ask(&call, Ask::Drain),
            _ if Probers::is_probe(path) => self.probers.run(&call.request, self.target).await,
            _ => text(StatusCode::NOT_FOUND, "no such page\n"),
        }
    }

    fn proxy_page(&self) -> String {
        refresh_stats(self.readiness.state(), self.metrics.stats());
        self.metrics.render()
    }

    fn ready(&self) -> Answer {
        match self.readiness.check() {
            Ok(()) => {
                self.agent.ready();
                text(StatusCode::OK, "")
            }
            Err(reason) => {
                tracing::debug!(reason, "not ready");
                text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("Envoy proxy is NOT ready: {reason}\n"),
                )
            }
        }
    }

    fn ask(&self, call: &Call, ask: Ask) -> Answer {
        if !is_local(call.from) {
            return text(
                StatusCode::FORBIDDEN,
                "only requests from localhost are allowed\n",
            );
        }
        if call.request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only POST is allowed\n");
        }
        match self.asks.try_send(ask) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => text(StatusCode::OK, "OK\n"),
            Err(mpsc::error::TrySendError::Closed(_)) => text(StatusCode::OK, "already ending\n"),
        }
    }
}

/// Listens on a port of the agent: all addresses of both families, or IPv4 alone where the machine has no IPv6.
///
/// # Errors
/// When the port is taken or not allowed; the text names it.
pub fn listen(what: &'static str, port: u16) -> Result<TcpListener, ListenError> {
    let any6 = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
    let any4 = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port));
    match listen_on(what, any6) {
        Err(ListenError { source, .. }) if source.kind() != io::ErrorKind::AddrInUse => {
            listen_on(what, any4)
        }
        outcome => outcome,
    }
}

/// Listens on one address.
///
/// # Errors
/// When the port is taken or not allowed; the text names it.
pub fn listen_on(what: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let open = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if address.is_ipv6() {
            socket2::SockRef::from(&socket).set_only_v6(false)?;
        }
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(128)
    };
    open().map_err(|source| ListenError {
        address,
        what,
        source,
    })
}

#[cfg(test)]
mod tests;
