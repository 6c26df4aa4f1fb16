//! The page `clusters`: upstream clusters with the endpoints they have now.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use lateen_proxy_model::{
    ActiveHealth, CircuitBreakers, Cluster, Endpoint, EndpointStats, Health, LocalityEndpoints,
};
use lateen_proxy_state::{ResourceKind, State};
use serde_json::{Map, Value, json};

use super::socket_address;

/// A line a fact, as Envoy prints them; `now` is the balancer's clock.
pub(super) fn as_text(state: &State, now: u64) -> String {
    let mut out = String::new();
    for (name, cluster) in state.clusters().values() {
        let _ = writeln!(out, "{name}::observability_name::{name}");
        if cluster.outlier.is_some() {
            // Averages are worked out when endpoints are judged, and not kept.
            for fact in [
                "success_rate_average",
                "success_rate_ejection_threshold",
                "local_origin_success_rate_average",
                "local_origin_success_rate_ejection_threshold",
            ] {
                let _ = writeln!(out, "{name}::outlier::{fact}::-1");
            }
        }
        for (priority, high) in [("default_priority", false), ("high_priority", true)] {
            for (fact, value) in limits(cluster.limits_of(high)) {
                let _ = writeln!(out, "{name}::{priority}::{fact}::{value}");
            }
        }
        let _ = writeln!(out, "{name}::added_via_api::{}", !is_static(state, &name));
        for (locality, endpoint) in endpoints(&cluster) {
            endpoint_lines(&name, (&locality, &endpoint), now, &mut out);
        }
    }
    out
}

/// `envoy.admin.v3.Clusters`; `now` is the balancer's clock.
pub(super) fn as_json(state: &State, now: u64) -> Value {
    let statuses: Vec<Value> = state
        .clusters()
        .values()
        .iter()
        .map(|(name, cluster)| {
            let hosts: Vec<Value> = endpoints(cluster)
                .iter()
                .map(|(locality, endpoint)| host(locality, endpoint, now))
                .collect();
            let thresholds = |(name, high): (&str, bool)| {
                let facts = limits(cluster.limits_of(high));
                let mut one: Map<String, Value> = facts
                    .into_iter()
                    .map(|(fact, value)| (fact.to_owned(), value.into()))
                    .collect();
                if high {
                    one.insert("priority".to_owned(), name.into());
                }
                Value::from(one)
            };
            let thresholds = [("DEFAULT", false), ("HIGH", true)].map(thresholds);
            let mut status = json!({
                "name": **name,
                "added_via_api": !is_static(state, name),
                "observability_name": **name,
                "circuit_breakers": {
                    "thresholds": thresholds,
                },
            });
            if !hosts.is_empty() {
                status["host_statuses"] = hosts.into();
            }
            status
        })
        .collect();
    json!({ "cluster_statuses": statuses })
}

fn is_static(state: &State, name: &str) -> bool {
    state
        .resources()
        .accepted(ResourceKind::Cluster, name)
        .is_some_and(|resource| resource.is_static)
}

fn endpoints(cluster: &Cluster) -> Vec<(LocalityEndpoints, Arc<Endpoint>)> {
    let Some(set) = cluster.endpoints().and_then(|slot| slot.load_full()) else {
        return Vec::new();
    };
    let with_locality = |locality: &LocalityEndpoints| {
        let bare = LocalityEndpoints {
            endpoints: Vec::new(),
            ..locality.clone()
        };
        locality
            .endpoints
            .iter()
            .map(|endpoint| (bare.clone(), Arc::clone(endpoint)))
            .collect::<Vec<_>>()
    };
    set.localities.iter().flat_map(with_locality).collect()
}

fn endpoint_lines(
    cluster: &str,
    (locality, endpoint): (&LocalityEndpoints, &Endpoint),
    now: u64,
    out: &mut String,
) {
    let address = endpoint.address;
    let place = &locality.locality;
    for (fact, _, value) in totals(endpoint) {
        let _ = writeln!(out, "{cluster}::{address}::{fact}::{value}");
    }
    let facts = [
        (
            "hostname",
            endpoint.hostname.as_deref().unwrap_or_default().to_owned(),
        ),
        ("health_flags", health_flags(endpoint, now)),
        ("weight", endpoint.weight.to_string()),
        ("region", place.region.to_string()),
        ("zone", place.zone.to_string()),
        ("sub_zone", place.sub_zone.to_string()),
        ("canary", "false".to_owned()),
        ("priority", locality.priority.to_string()),
        ("success_rate", "-1".to_owned()),
        ("local_origin_success_rate", "-1".to_owned()),
    ];
    for (fact, value) in facts {
        let _ = writeln!(out, "{cluster}::{address}::{fact}::{value}");
    }
}

fn host(locality: &LocalityEndpoints, endpoint: &Endpoint, now: u64) -> Value {
    let place = &locality.locality;
    let mut health = Map::new();
    health.insert(
        "eds_health_status".to_owned(),
        eds_health(endpoint.health).into(),
    );
    if endpoint.is_out(now) {
        health.insert("failed_outlier_check".to_owned(), true.into());
    }
    let found = endpoint.found.bits();
    for (bit, name) in [
        (ActiveHealth::FAILED, "failed_active_health_check"),
        (ActiveHealth::DEGRADED, "failed_active_degraded_check"),
        (ActiveHealth::LEAVING, "pending_dynamic_removal"),
        (ActiveHealth::PENDING, "pending_active_hc"),
        (ActiveHealth::EXCLUDED, "excluded_via_immediate_hc_fail"),
        (ActiveHealth::TIMED_OUT, "active_hc_timeout"),
    ] {
        if found & bit != 0 {
            health.insert(name.to_owned(), true.into());
        }
    }
    let stats: Vec<Value> = totals(endpoint)
        .into_iter()
        .map(|(name, kind, value)| match (kind, value) {
            // As in Envoy's JSON, zero has no value.
            ("COUNTER", 0) => json!({ "name": name }),
            (kind, 0) => json!({ "type": kind, "name": name }),
            ("COUNTER", value) => json!({ "name": name, "value": value.to_string() }),
            (kind, value) => json!({ "type": kind, "name": name, "value": value.to_string() }),
        })
        .collect();
    let mut fields = json!({
        "address": socket_address(endpoint.address),
        "stats": stats,
        "health_status": health,
        "weight": endpoint.weight,
        "locality": { "region": *place.region, "zone": *place.zone, "sub_zone": *place.sub_zone },
    });
    if locality.priority > 0 {
        fields["priority"] = locality.priority.into();
    }
    if let Some(name) = &endpoint.hostname {
        fields["hostname"] = (**name).into();
    }
    fields
}

fn eds_health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Unhealthy => "UNHEALTHY",
        Health::Draining => "DRAINING",
    }
}

/// Totals of an endpoint in the order of Envoy's page.
fn totals(endpoint: &Endpoint) -> [(&'static str, &'static str, u64); 9] {
    let none = EndpointStats::default();
    let stats = endpoint.stats.made().unwrap_or(&none);
    let counter = |name, value: &AtomicU64| (name, "COUNTER", value.load(Relaxed));
    let gauge = |name, value: &AtomicU32| (name, "GAUGE", u64::from(value.load(Relaxed)));
    [
        gauge("cx_active", &stats.cx_active),
        counter("cx_connect_fail", &stats.cx_connect_fail),
        counter("cx_total", &stats.cx_total),
        gauge("rq_active", &endpoint.active),
        counter("rq_error", &stats.rq_error),
        gauge("rq_pending_active", &stats.rq_pending),
        counter("rq_success", &stats.rq_success),
        counter("rq_timeout", &stats.rq_timeout),
        counter("rq_total", &stats.rq_total),
    ]
}

fn limits(limits: &CircuitBreakers) -> [(&'static str, u32); 4] {
    [
        ("max_connections", limits.max_connections),
        ("max_pending_requests", limits.max_pending),
        ("max_requests", limits.max_requests),
        ("max_retries", limits.max_retries),
    ]
}

fn health_flags(endpoint: &Endpoint, now: u64) -> String {
    let mut flags = String::new();
    let found = endpoint.found.bits();
    if found & ActiveHealth::FAILED != 0 {
        flags.push_str("/failed_active_hc");
    }
    if endpoint.is_out(now) {
        flags.push_str("/failed_outlier_check");
    }
    match endpoint.health {
        Health::Healthy => {}
        Health::Degraded => flags.push_str("/degraded_eds"),
        Health::Unhealthy => flags.push_str("/failed_eds_health"),
        Health::Draining => flags.push_str("/eds_status_draining"),
    }
    for (bit, text) in [
        (ActiveHealth::DEGRADED, "/degraded_active_hc"),
        (ActiveHealth::LEAVING, "/pending_dynamic_removal"),
        (ActiveHealth::PENDING, "/pending_active_hc"),
        (ActiveHealth::EXCLUDED, "/excluded_via_immediate_hc_fail"),
        (ActiveHealth::TIMED_OUT, "/active_hc_timeout"),
    ] {
        if found & bit != 0 {
            flags.push_str(text);
        }
    }
    if flags.is_empty() {
        "healthy".to_owned()
    } else {
        flags
    }
}
