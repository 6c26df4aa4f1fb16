//! Connection pools, circuit breakers and outlier detection.

use lateen_api::networking::{ConnectionPoolSettings, OutlierDetection as Wanted, RetryBudget};

use super::unlimited;
use crate::pb::cluster::circuit_breakers::thresholds;
use crate::pb::cluster::{CircuitBreakers, Cluster, OutlierDetection, UpstreamConnectionOptions};
use crate::pb::{core, kind};
use crate::view::View;
use crate::wire::{number, positive, span};

/// Circuit breakers of a pool; everything a pool leaves out is unlimited.
pub(super) fn breakers(
    pool: Option<&ConnectionPoolSettings>,
    budget: Option<&RetryBudget>,
) -> CircuitBreakers {
    let mut limits = unlimited();
    if let Some(tcp) = pool.and_then(|pool| pool.tcp.as_ref()) {
        limits.max_connections = positive(tcp.max_connections).or(limits.max_connections);
    }
    if let Some(http) = pool.and_then(|pool| pool.http.as_ref()) {
        limits.max_pending_requests =
            positive(http.http1_max_pending_requests).or(limits.max_pending_requests);
        limits.max_requests = positive(http.http2_max_requests).or(limits.max_requests);
        limits.max_retries = positive(http.max_retries).or(limits.max_retries);
    }
    limits.retry_budget = budget.map(|budget| thresholds::RetryBudget {
        budget_percent: Some(kind::Percent {
            value: budget.percent.unwrap_or(20.0),
        }),
        budget_interval: budget.budget_interval.and_then(span),
        min_retry_concurrency: (budget.min_retry_concurrency > 0)
            .then(|| number(budget.min_retry_concurrency))
            .flatten(),
    });
    CircuitBreakers {
        thresholds: vec![limits],
        ..Default::default()
    }
}

/// Applies a pool to a cluster: limits, connect timeout, keep-alive. HTTP options are built with the protocol.
pub(super) fn apply(
    cluster: &mut Cluster,
    view: &View,
    pool: Option<&ConnectionPoolSettings>,
    budget: Option<&RetryBudget>,
) {
    cluster.circuit_breakers = Some(breakers(pool, budget));
    let tcp = pool.and_then(|pool| pool.tcp.as_ref());
    if let Some(timeout) = tcp.and_then(|tcp| tcp.connect_timeout) {
        cluster.connect_timeout = span(timeout);
    }
    let keepalive = tcp
        .and_then(|tcp| tcp.tcp_keepalive.as_ref())
        .or(view.config().tcp_keepalive.as_ref());
    if let Some(keepalive) = keepalive {
        let whole = |span: Option<lateen_api::proto::Duration>| {
            span.and_then(|span| u32::try_from(span.as_secs()).ok())
                .and_then(number)
        };
        let tcp_keepalive = core::TcpKeepalive {
            keepalive_probes: (keepalive.probes > 0)
                .then(|| number(keepalive.probes))
                .flatten(),
            keepalive_time: whole(keepalive.time),
            keepalive_interval: whole(keepalive.interval),
        };
        cluster.upstream_connection_options = Some(UpstreamConnectionOptions {
            tcp_keepalive: Some(tcp_keepalive),
            ..Default::default()
        });
    }
}

/// Outlier detection: only the detectors that are asked for, never by success rate.
pub(super) fn outlier(wanted: &Wanted) -> OutlierDetection {
    let enforced =
        |count: Option<u32>| count.and_then(|count| number(if count > 0 { 100 } else { 0 }));
    let local = wanted
        .consecutive_local_origin_failures
        .filter(|_| wanted.split_external_local_origin_errors);
    OutlierDetection {
        consecutive_5xx: wanted.consecutive_5xx_errors.and_then(number),
        enforcing_consecutive_5xx: enforced(wanted.consecutive_5xx_errors),
        consecutive_gateway_failure: wanted.consecutive_gateway_errors.and_then(number),
        enforcing_consecutive_gateway_failure: enforced(wanted.consecutive_gateway_errors),
        split_external_local_origin_errors: wanted.split_external_local_origin_errors,
        consecutive_local_origin_failure: local.and_then(number),
        enforcing_consecutive_local_origin_failure: enforced(local),
        interval: wanted.interval.and_then(span),
        base_ejection_time: wanted.base_ejection_time.and_then(span),
        max_ejection_percent: positive(wanted.max_ejection_percent),
        enforcing_success_rate: number(0),
        enforcing_local_origin_success_rate: wanted
            .split_external_local_origin_errors
            .then(|| number(0))
            .flatten(),
        ..Default::default()
    }
}
