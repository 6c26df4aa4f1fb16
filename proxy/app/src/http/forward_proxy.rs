//! Has the host of a request looked up before it goes to a cluster that forwards to it.

use http::StatusCode;
use http::request::Parts;
use lateen_proxy_model::{ClusterKind, FilterOverride, ForwardHost, ForwardProxy, host_and_port};
use lateen_proxy_relay::http::{Exchange, LocalReply, lookup_failure};
use lateen_proxy_route::Found;
use lateen_proxy_telemetry::Flags;

use super::filters::chosen_cluster;

const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// Changes the host as the route says, and waits until it is looked up.
pub(super) async fn run(
    exchange: &mut Exchange,
    (found, random): (&Found<'_>, u64),
    parts: &mut Parts,
    (filter, own): (&ForwardProxy, Option<&FilterOverride>),
) -> Result<(), LocalReply> {
    let Some(slot) = chosen_cluster(exchange, found, parts, random) else {
        return Ok(());
    };
    let default_port = match slot.load().as_deref().map(|cluster| &cluster.kind) {
        Some(ClusterKind::Forward { port, .. }) => *port,
        _ => return Ok(()),
    };
    if let Some(FilterOverride::ForwardProxy(host)) = own {
        let host = match host {
            ForwardHost::Unchanged => None,
            ForwardHost::Literal(host) => Some(host.clone()),
            ForwardHost::Header(name) => parts.headers.get(name).cloned(),
        };
        if let Some(host) = host {
            exchange.set_host(parts, &host);
        }
    }
    if exchange.authority().is_empty() {
        let (status, text) = (StatusCode::BAD_REQUEST, "Empty host header");
        return Err(LocalReply::new(
            status,
            text,
            Flags::NONE,
            "empty_host_header",
        ));
    }
    let cache = &filter.cache;
    let Some(_pending) = cache.enter() else {
        let text = "Dynamic forward proxy pending request overflow";
        let details = "dynamic_forward_proxy_pending_request_overflow";
        return Err(LocalReply::new(UNAVAILABLE, text, Flags::NONE, details));
    };
    let (host, port) = host_and_port(exchange.authority()).unwrap_or(("", None));
    let loaded = cache.load(host, port.unwrap_or(default_port));
    let Ok(host) = loaded else {
        let (text, details) = ("DNS cache overflow", "dns_cache_overflow");
        return Err(LocalReply::new(UNAVAILABLE, text, Flags::NONE, details));
    };
    host.resolved().await;
    match host.resolution() {
        Some(known) if known.endpoint.is_none() => {
            let details = lookup_failure(&known);
            let text = "DNS resolution failure";
            Err(LocalReply::new(
                UNAVAILABLE,
                text,
                Flags::DNS_FAILED,
                details,
            ))
        }
        _ => Ok(()),
    }
}
