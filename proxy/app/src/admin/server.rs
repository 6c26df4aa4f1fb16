//! Pages about the process itself.

use std::sync::Arc;

use lateen_proxy_state::{ResourceKind, State};
use lateen_proxy_sync::Layer;
use serde_json::{Map, Value, json};

use super::Admin;
use crate::config::VERSION;

impl Admin {
    /// What the process is about, in Envoy's words.
    pub(super) fn stage(&self) -> &'static str {
        let failing = self.state.readiness().failing();
        if failing.load(std::sync::atomic::Ordering::Relaxed) {
            "DRAINING"
        } else if self.readiness.check().is_ok() {
            "LIVE"
        } else {
            "INITIALIZING"
        }
    }

    /// `envoy.admin.v3.ServerInfo`.
    pub(super) fn server_info(&self) -> Value {
        let uptime = format!("{}s", self.started.0.elapsed().as_secs());
        let mut options = no_options();
        over(&mut options, &self.options);
        let mut node = build();
        over(&mut node, &self.bootstrap.node());
        json!({
            "version": format!("{VERSION}/lateen-proxy"),
            "state": self.stage(),
            "uptime_current_epoch": uptime,
            "uptime_all_epochs": uptime,
            "hot_restart_version": "disabled",
            "hot_restart_initializing": false,
            "command_line_options": options,
            "node": node,
        })
    }
}

/// What a bootstrap does not say of its node: who it is that runs.
pub(super) fn build() -> Value {
    let mut parts = VERSION.split(['.', '-', '+']);
    let mut number = || {
        parts
            .next()
            .and_then(|part| part.parse::<u32>().ok())
            .unwrap_or_default()
    };
    let version = json!({ "major_number": number(), "minor_number": number(), "patch": number() });
    json!({
        "id": "",
        "cluster": "",
        "user_agent_name": "envoy",
        "user_agent_build_version": {
            "version": version,
            "metadata": {
                "build.type": if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" },
                "revision.sha": "unknown",
                "revision.status": "unknown",
                "ssl.version": "aws-lc-rs",
            },
        },
        "extensions": [],
        "client_features": [],
        "listening_addresses": [],
        "dynamic_parameters": {},
        "locality": { "region": "", "zone": "", "sub_zone": "" },
    })
}

/// Options of Envoy's command line as they are when nobody gives them: tools read this page for all of them.
fn no_options() -> Value {
    json!({
        "base_id": "0",
        "use_dynamic_base_id": false,
        "skip_hot_restart_on_no_parent": false,
        "skip_hot_restart_parent_stats": false,
        "base_id_path": "",
        "concurrency": 0,
        "config_path": "",
        "config_yaml": "",
        "allow_unknown_static_fields": false,
        "reject_unknown_dynamic_fields": false,
        "ignore_unknown_dynamic_fields": false,
        "skip_deprecated_logs": false,
        "admin_address_path": "",
        "local_address_ip_version": "v4",
        "log_level": "info",
        "component_log_level": "",
        "log_format": "",
        "log_format_escaped": false,
        "log_path": "",
        "service_cluster": "",
        "service_node": "",
        "service_zone": "",
        "drain_strategy": "Gradual",
        "mode": "Serve",
        "disable_hot_restart": true,
        "enable_mutex_tracing": false,
        "restart_epoch": 0,
        "cpuset_threads": false,
        "disabled_extensions": [],
        "enable_fine_grain_logging": false,
        "socket_path": "",
        "socket_mode": 0,
        "enable_core_dump": false,
        "stats_tag": [],
        "log_stacktrace_single_entry": false,
        "file_flush_interval": "1s",
        "file_flush_min_size": 0,
        "drain_time": "0s",
        "parent_shutdown_time": "0s",
    })
}

/// Sets what `more` has in `value`, and leaves the rest.
pub(super) fn over(value: &mut Value, more: &Value) {
    match (value, more) {
        (Value::Object(fields), Value::Object(more)) => {
            for (name, member) in more {
                match fields.get_mut(name) {
                    Some(known) => over(known, member),
                    None => drop(fields.insert(name.clone(), member.clone())),
                }
            }
        }
        (value, more) => *value = more.clone(),
    }
}

/// `envoy.admin.v3.Memory`, as the kernel counts it.
pub(super) fn memory() -> Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kibibytes = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
        kibibytes.unwrap_or_default().saturating_mul(1024)
    };
    let (anonymous, data, resident) = (bytes("RssAnon:"), bytes("VmData:"), bytes("VmRSS:"));
    json!({
        "allocated": anonymous.to_string(),
        "heap_size": data.to_string(),
        "pageheap_unmapped": data.saturating_sub(anonymous).to_string(),
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": resident.to_string(),
    })
}

/// Runtime keys with their value in each layer.
pub(super) fn runtime(layers: &[Layer]) -> Value {
    let mut entries = Map::new();
    let keys: std::collections::BTreeSet<&String> = layers
        .iter()
        .flat_map(|layer| layer.values.keys())
        .collect();
    for key in keys {
        let values: Vec<&str> = layers
            .iter()
            .map(|layer| layer.values.get(key).map_or("", String::as_str))
            .collect();
        let last = values.iter().rev().find(|value| !value.is_empty());
        let entry = json!({ "layer_values": values, "final_value": last });
        entries.insert(key.clone(), entry);
    }
    let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    json!({ "entries": entries, "layers": names })
}

/// `envoy.admin.v3.UnreadyTargetsDumps`: what is not visible yet, and what it waits for.
pub(super) fn init_dump(state: &State, mask: Option<&str>) -> Value {
    let waiting = state.readiness().waiting();
    let of = |kinds: &[ResourceKind]| -> Vec<String> {
        let of_kind = waiting.iter().filter(|(kind, _)| kinds.contains(kind));
        of_kind.map(|(kind, name)| target(*kind, name)).collect()
    };
    let clusters = of(&[ResourceKind::Cluster]);
    let listeners = of(&[
        ResourceKind::Listener,
        ResourceKind::Route,
        ResourceKind::Secret,
        ResourceKind::Extension,
    ]);
    let mut dumps = Vec::new();
    for (name, targets) in [("cluster", clusters), ("listener", listeners)] {
        let wanted = mask.is_none_or(|mask| mask.split(',').any(|one| one == name));
        if wanted && !targets.is_empty() {
            let name = format!("init manager {name}");
            dumps.push(json!({ "name": name, "target_names": targets }));
        }
    }
    if dumps.is_empty() {
        return json!({});
    }
    json!({ "unready_targets_dumps": dumps })
}

fn target(kind: ResourceKind, name: &Arc<str>) -> String {
    let name = name.split('\0').next().unwrap_or_default();
    let kind = match kind {
        ResourceKind::Cluster => "Cluster",
        ResourceKind::Endpoint => "EdsAssignment",
        ResourceKind::Listener => "Listener",
        ResourceKind::Route => "RdsRouteConfig",
        ResourceKind::Secret => "SdsApi",
        ResourceKind::Extension => "FilterConfig",
    };
    format!("target {kind} {name}")
}
