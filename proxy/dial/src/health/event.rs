//! The log of health events: a JSON object a line, as Envoy writes them.

use std::fs::OpenOptions;
use std::io::Write;

use lateen_proxy_model::{CheckKind, Cluster, Endpoint, HealthCheck};
use serde_json::{Value, json};

use super::judge::Verdict;

/// Writes what happened, where a log is asked for.
pub(super) fn log(check: &HealthCheck, cluster: &Cluster, endpoint: &Endpoint, verdict: &Verdict) {
    let Some(path) = &check.event_log else {
        return;
    };
    let mut lines = String::new();
    for (name, event) in events(check, verdict) {
        let mut line = json!({
            "health_checker_type": match check.kind {
                CheckKind::Http(_) => "HTTP",
                CheckKind::Grpc(_) => "GRPC",
                CheckKind::Tcp(_) => "TCP",
            },
            "host": { "socket_address": {
                "protocol": "TCP",
                "address": endpoint.address.ip().to_string(),
                "resolver_name": "",
                "ipv4_compat": false,
                "port_value": endpoint.address.port(),
            } },
            "cluster_name": *cluster.name,
            "timestamp": jiff::Timestamp::now().to_string(),
        });
        line[name] = event;
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    if lines.is_empty() {
        return;
    }
    let file = OpenOptions::new().create(true).append(true).open(&**path);
    if let Err(error) = file.and_then(|mut file| file.write_all(lines.as_bytes())) {
        tracing::warn!(%path, %error, "a health event cannot be logged");
    }
}

fn events(check: &HealthCheck, verdict: &Verdict) -> Vec<(&'static str, Value)> {
    let mut events = Vec::new();
    let failed = verdict.failure;
    match verdict.turned {
        Some(true) => {
            events.push(("eject_unhealthy_event", json!({ "failure_type": failed })));
        }
        Some(false) => events.push(("add_healthy_event", json!({ "first_check": verdict.first }))),
        None => {}
    }
    match verdict.degraded {
        Some(true) => events.push(("degraded_healthy_host", json!({}))),
        Some(false) => events.push(("no_longer_degraded_host", json!({}))),
        None => {}
    }
    if !verdict.well && (check.log_failures || verdict.first) {
        let event = json!({ "failure_type": failed, "first_check": verdict.first });
        events.push(("health_check_failure_event", event));
    }
    if verdict.well && check.log_successes {
        events.push(("successful_health_check_event", json!({})));
    }
    events
}
