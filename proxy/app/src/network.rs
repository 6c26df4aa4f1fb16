//! The network filters before a chain's terminal one, in the order of the chain.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::HeaderMap;
use lateen_proxy_admit::{Limit, ask_limit, rbac};
use lateen_proxy_model::{
    CacheFull, ClusterRef, ConnectionFilter, ConnectionPermit, ConnectionRateLimit, Descriptor,
    DynamicMetadata, FilterChain, NetworkRbac, RequestView, SniForwardProxy,
};
use lateen_proxy_relay::cells::Cells;
use lateen_proxy_relay::http::{ConnectionFacts, ServiceCalls, Upstreams};
use lateen_proxy_telemetry::Flags;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::worker::Worker;

/// Where network RBAC notes.
static RBAC: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("envoy.filters.network.rbac"));

/// What the filters decided for the terminal one.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// The cluster to take in place of the configured one; `Some(None)` is one that does not exist.
    pub(crate) cluster: Option<Option<ClusterRef>>,
    /// The port that goes with the server name, for clusters that forward to it.
    pub(crate) port: Option<u16>,
    /// What filters noted of the connection.
    pub(crate) metadata: DynamicMetadata,
    /// Held while the connection lives.
    permits: Vec<ConnectionPermit>,
}

/// Why a filter ends a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusal {
    /// Response flags for the log.
    pub(crate) flags: Flags,
    /// Envoy's response code details.
    pub(crate) details: Option<&'static str>,
    /// Envoy's connection termination details.
    pub(crate) termination: Option<Cow<'static, str>>,
}

/// Runs the filters of a chain on a new connection.
pub(crate) async fn admit(
    worker: &Worker,
    chain: &FilterChain,
    facts: &ConnectionFacts,
) -> Result<Passed, Refusal> {
    let mut passed = Passed::default();
    for entry in &chain.filters {
        match &entry.filter {
            ConnectionFilter::ConnectionLimit(limit) => match limit.enter() {
                Some(permit) => passed.permits.push(permit),
                None => {
                    let name =
                        format!("connection_limit.{}.limited_connections", limit.stat_prefix);
                    worker.blueprint.metrics.stats().counter(&name).inc();
                    if let Some(delay) = limit.delay {
                        tokio::time::sleep(delay).await;
                    }
                    return Err(Refusal::default());
                }
            },
            ConnectionFilter::Rbac(rbac) => {
                allowed(worker, rbac, facts, &mut passed.metadata).await?;
            }
            ConnectionFilter::RateLimit(limit) => rated(worker, limit).await?,
            ConnectionFilter::LocalRateLimit(limit) => {
                let now = std::time::Instant::now();
                if limit.enabled && !limit.bucket.take(1.0, now) {
                    let cells = Cells(worker.blueprint.metrics.stats());
                    limit.stats.inc(0, &cells);
                    return Err(Refusal::default());
                }
            }
            // It looks at what passes later.
            ConnectionFilter::Mongo(_) => {}
            ConnectionFilter::ForwardProxy(proxy) => {
                if let Some(name) = &facts.sni {
                    looked_up(proxy, name).await?;
                    passed.port = Some(proxy.port);
                }
            }
            // Decided when the first bytes come.
            ConnectionFilter::Authz(_) => {}
            ConnectionFilter::SniCluster => {
                if let Some(name) = &facts.sni {
                    passed.cluster = Some(worker.blueprint.state.clusters().known(name));
                }
            }
        }
    }
    Ok(passed)
}

/// Waits until a server name is looked up; a name that resolves to nothing has no endpoint later.
async fn looked_up(proxy: &SniForwardProxy, name: &str) -> Result<(), Refusal> {
    let _pending = proxy.cache.enter().ok_or_else(Refusal::default)?;
    match proxy.cache.load(name, proxy.port) {
        Ok(host) => {
            host.resolved().await;
            Ok(())
        }
        Err(CacheFull) => Err(Refusal::default()),
    }
}

/// Asks the rules of a network filter.
async fn allowed(
    worker: &Worker,
    rules: &NetworkRbac,
    facts: &ConnectionFacts,
    metadata: &mut DynamicMetadata,
) -> Result<(), Refusal> {
    let none = HeaderMap::new();
    let outcome = {
        let mut view = RequestView::of_head("", "", "", &none);
        view.facts = facts;
        rbac(&rules.filter, &view)
    };
    let count = |prefix: &str, kind: &str, allowed: bool| {
        let result = if allowed { "allowed" } else { "denied" };
        let name = format!("{}rbac.{prefix}{kind}{result}", rules.stat_prefix);
        worker.blueprint.metrics.stats().counter(&name).inc();
    };
    if let Some(shadow) = &outcome.shadow {
        metadata.share(&RBAC, rules.filter.notes.shadow.of(shadow.place));
        count(&rules.filter.shadow_prefix, "shadow_", shadow.allowed);
    }
    let Some(verdict) = outcome.enforced else {
        return Ok(());
    };
    count("", "", verdict.allowed);
    if verdict.allowed {
        return Ok(());
    }
    if let Some(delay) = rules.delay {
        tokio::time::sleep(delay).await;
    }
    Err(Refusal {
        termination: Some(verdict.details()),
        ..Refusal::default()
    })
}

/// Asks a rate limit service whether a connection may go on.
async fn rated(worker: &Worker, limit: &ConnectionRateLimit) -> Result<(), Refusal> {
    const TOTAL: usize = 0;
    const OK: usize = 1;
    const OVER: usize = 2;
    const CLOSED: usize = 3;
    const ERROR: usize = 4;
    const ALLOWED: usize = 5;
    let cells = Cells(worker.blueprint.metrics.stats());
    let count = |place| limit.stats.inc(place, &cells);
    count(TOTAL);
    let descriptors: Vec<_> = limit
        .descriptors
        .iter()
        .map(|entries| Descriptor {
            entries: entries
                .iter()
                .map(|(key, value)| (&**key, Cow::Borrowed(&**value)))
                .collect(),
            ..Descriptor::default()
        })
        .collect();
    let upstreams = Upstreams {
        balance: Rc::clone(&worker.balancer),
        dial: Rc::clone(&worker.pools),
    };
    let calls = ServiceCalls::new(upstreams, Rc::clone(&worker.http));
    let asked = (&limit.service, limit.timeout);
    let answer = Box::pin(ask_limit(&calls, asked, &limit.domain, &descriptors)).await;
    let refused = match answer.limit {
        Limit::Ok => {
            count(OK);
            false
        }
        Limit::Over => {
            count(OVER);
            true
        }
        Limit::Error => {
            count(ERROR);
            if !limit.deny_on_failure {
                count(ALLOWED);
            }
            limit.deny_on_failure
        }
    };
    if refused {
        count(CLOSED);
        return Err(Refusal::default());
    }
    Ok(())
}

/// Sends everything back until the client ends.
pub(crate) async fn echo<S>(mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let part = buffer.get(..count).unwrap_or_default();
        if stream.write_all(part).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

/// Sends an answer of its own and closes.
pub(crate) async fn direct_response<S>(mut stream: S, response: &Bytes)
where
    S: AsyncWrite + Unpin,
{
    let sent = stream.write_all(response).await;
    if sent.is_ok() {
        let _ = stream.shutdown().await;
    }
}
