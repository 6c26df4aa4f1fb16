//! Copies of requests, sent beside them. Nobody waits for their answers.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, header};
use http_body::Body;
use http_body_util::BodyExt;
use lateen_proxy_model::{
    ActiveRequest, Balance, Choice, ClusterKind, ClusterRef, Dial, NamedCluster, ResetReason,
    Target,
};

use super::exchange::Exchange;
use super::forward::{ForwardPlan, Upstreams};
use super::origin::append_client;
use super::request_body::{Replay, RequestBody};
use super::switches::Switch;
use super::worker::KnownCluster;

static ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
static INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");

/// Longest life of a copy when the route has no timeout.
const LONGEST: Duration = Duration::from_secs(60);

/// Starts the copies whose share the request falls into.
pub(crate) fn send_all<L, D>(
    exchange: &Exchange,
    upstreams: &Upstreams<L, D>,
    plan: &ForwardPlan<'_>,
    parts: &Parts,
    body: Option<&Rc<Replay>>,
) where
    L: Balance + 'static,
    D: Dial<RequestBody> + 'static,
    D::Body: Body<Data = Bytes, Error = ResetReason>,
{
    for mirror in &plan.forward.mirrors {
        if !mirror.fraction.holds(fastrand::u32(..1_000_000)) {
            continue;
        }
        let worker = &exchange.conn.chain.worker;
        let slot = match &mirror.cluster {
            NamedCluster::Fixed(slot) => Arc::clone(slot),
            NamedCluster::Header(name) => {
                let value = parts.headers.get(name).and_then(|it| it.to_str().ok());
                worker.named_cluster(value.unwrap_or_default())
            }
        };
        let Some(cluster) = worker.cluster(&slot) else {
            continue;
        };
        let mut head = parts.clone();
        append_client(&exchange.conn, &mut head.headers);
        if let Some(host) = &mirror.host {
            head.headers.insert(header::HOST, host.clone());
        } else if mirror.shadow_suffix {
            shadow_host(&mut head);
        }
        if !mirror.headers.is_empty() {
            let expand = exchange.expander(None);
            for changes in &mirror.headers {
                changes.apply(&mut head.headers, &expand);
            }
        }
        if plan.attempt_count {
            head.headers
                .insert(&ATTEMPT_COUNT, HeaderValue::from_static("1"));
        }
        head.headers
            .insert(&INTERNAL, HeaderValue::from_static("true"));
        let body = body.map_or_else(RequestBody::empty, Replay::copy);
        let copy = send(
            upstreams.clone(),
            Facts::new(exchange, slot, cluster),
            Request::from_parts(head, body),
        );
        let limit = plan
            .timeout
            .filter(|limit| !limit.is_zero())
            .unwrap_or(LONGEST);
        tokio::task::spawn_local(async move {
            if tokio::time::timeout(limit, copy).await.is_err() {
                tracing::debug!("a mirrored request took too long");
            }
        });
    }
}

/// What a copy keeps of its request.
struct Facts {
    slot: ClusterRef,
    cluster: Rc<KnownCluster>,
    version: http::Version,
    istio_alpn: bool,
    addresses: (std::net::SocketAddr, std::net::SocketAddr),
    source: Option<lateen_proxy_model::UpstreamSource>,
}

impl Facts {
    fn new(exchange: &Exchange, slot: ClusterRef, cluster: Rc<KnownCluster>) -> Self {
        let facts = &exchange.conn.facts;
        Self {
            slot,
            cluster,
            version: exchange.version,
            istio_alpn: exchange.has(Switch::IstioAlpn),
            addresses: (facts.client.0, facts.destination.0),
            source: facts.source,
        }
    }
}

async fn send<L, D>(upstreams: Upstreams<L, D>, facts: Facts, request: Request<RequestBody>)
where
    L: Balance,
    D: Dial<RequestBody>,
    D::Body: Body<Data = Bytes, Error = ResetReason>,
{
    let choice = Choice {
        original_dst: Some(facts.addresses.1),
        headers: Some(request.headers()),
        ..Choice::default()
    };
    let own = &facts.cluster.cluster;
    let member = match &own.kind {
        ClusterKind::Aggregate { .. } => upstreams.balance.member(own),
        _ => None,
    };
    let (slot, cluster) = match &member {
        Some((slot, cluster)) => (slot, cluster),
        None => (&facts.slot, own),
    };
    let Some(endpoint) = upstreams.balance.choose(slot, cluster, &choice) else {
        return;
    };
    let _active = ActiveRequest::on(Arc::clone(&endpoint));
    let host = request.headers().get(header::HOST).cloned();
    let target = Target {
        slot,
        cluster,
        endpoint: &endpoint,
        downstream: facts.version,
        istio_alpn: facts.istio_alpn,
        host: host.as_ref().and_then(|host| host.to_str().ok()),
        downstream_addresses: Some(facts.addresses),
        source: facts.source,
        high: false,
        connection: 0,
    };
    if let Ok((response, _)) = upstreams.dial.send(target, request).await {
        // Read to its end, so that the connection can be used again.
        let mut body = std::pin::pin!(response.into_body());
        while let Some(Ok(_)) = body.frame().await {}
    }
}

/// `host:port` becomes `host-shadow:port`.
fn shadow_host(parts: &mut Parts) {
    let Some(host) = parts
        .headers
        .get(header::HOST)
        .and_then(|it| it.to_str().ok())
    else {
        return;
    };
    let shadow = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{name}-shadow:{port}")
        }
        _ => format!("{host}-shadow"),
    };
    if let Ok(shadow) = HeaderValue::try_from(shadow) {
        parts.headers.insert(header::HOST, shadow);
    }
}
