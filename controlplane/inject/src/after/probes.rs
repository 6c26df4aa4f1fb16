//! Probes and hooks of the application go by way of the agent, which a redirect rule does not catch (contract/inject.md §6).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::annotations::parse_flag;
use crate::names;
use crate::pod::{List, PodObject, array, name_of, object};
use crate::settings::Settings;

const ENV: &str = "ISTIO_KUBE_APP_PROBERS";
const PROBES: [(&str, &str); 3] = [
    ("readinessProbe", "readyz"),
    ("livenessProbe", "livez"),
    ("startupProbe", "startupz"),
];
const HOOKS: [(&str, &str); 2] = [("preStop", "prestopz"), ("postStart", "poststartz")];

/// Rewrites the probes of all containers but the proxy's, and tells the agent what they were.
pub(crate) fn rewrite(pod: &mut PodObject, settings: &Settings, mesh_status_port: i32) {
    let annotated = pod.annotation(names::REWRITE_PROBERS).and_then(parse_flag);
    let wanted = annotated.unwrap_or(
        settings
            .values
            .sidecar_injector_webhook
            .rewrite_app_http_probe,
    );
    if pod.sidecar().is_none() || !wanted {
        return;
    }
    let again = pod.annotation(names::STATUS).is_some();
    let port = pod
        .annotation(names::STATUS_PORT)
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(mesh_status_port);
    let mut found = BTreeMap::new();
    for list in [List::Containers, List::InitContainers] {
        for container in pod
            .containers_mut(list)
            .iter_mut()
            .filter(|container| name_of(container) != names::PROXY)
        {
            rewrite_container(container, port, mesh_status_port, &mut found);
        }
        pod.tidy(list);
    }
    if let Some(proxy) = pod.sidecar_mut().filter(|_| !found.is_empty()) {
        tell(array(proxy, "env"), found, again);
    }
}

fn rewrite_container(
    container: &mut Value,
    port: i32,
    mesh_port: i32,
    found: &mut BTreeMap<String, Value>,
) {
    let name = name_of(container).to_owned();
    let ports = named_ports(container);
    let Some(fields) = container.as_object_mut() else {
        return;
    };
    for (key, page) in PROBES {
        if let Some(probe) = fields.get_mut(key).and_then(Value::as_object_mut) {
            rewrite_one(
                probe,
                &format!("/app-health/{name}/{page}"),
                (port, mesh_port),
                &ports,
                found,
            );
        }
    }
    let Some(hooks) = fields.get_mut("lifecycle").and_then(Value::as_object_mut) else {
        return;
    };
    for (key, page) in HOOKS {
        if let Some(hook) = hooks
            .get_mut(key)
            .and_then(Value::as_object_mut)
            .filter(|hook| !hook.contains_key("grpc"))
        {
            rewrite_one(
                hook,
                &format!("/app-lifecycle/{name}/{page}"),
                (port, mesh_port),
                &ports,
                found,
            );
        }
    }
}

fn named_ports(container: &Value) -> BTreeMap<String, i64> {
    let ports = container.get("ports").and_then(Value::as_array);
    let named = |port: &Value| {
        Some((
            port.get("name")?.as_str()?.to_owned(),
            port.get("containerPort")?.as_i64()?,
        ))
    };
    ports.into_iter().flatten().filter_map(named).collect()
}

/// Sends one probe or hook to the agent, and notes what it was.
fn rewrite_one(
    probe: &mut Map<String, Value>,
    path: &str,
    (port, mesh_port): (i32, i32),
    ports: &BTreeMap<String, i64>,
    found: &mut BTreeMap<String, Value>,
) {
    let Some(kind) = ["httpGet", "tcpSocket", "grpc"]
        .into_iter()
        .find(|kind| probe.get(*kind).is_some_and(Value::is_object))
    else {
        return;
    };
    if let Some(noted) = noted(probe, kind, i64::from(mesh_port), ports) {
        found.insert(path.to_owned(), noted);
    }
    if kind != "httpGet" {
        probe.shift_remove(kind);
    }
    let get = object(probe, "httpGet");
    if get.get("scheme").and_then(Value::as_str) == Some("HTTPS") {
        get.insert("scheme".to_owned(), json!("HTTP"));
    }
    get.insert("path".to_owned(), json!(path));
    get.insert("port".to_owned(), json!(port));
}

/// The probe as the agent reads it; `None` when its port has a name that the container does not know, or is the agent's.
fn noted(
    probe: &Map<String, Value>,
    kind: &str,
    agent: i64,
    ports: &BTreeMap<String, i64>,
) -> Option<Value> {
    let action = probe.get(kind)?;
    let port = match action.get("port")? {
        Value::String(name) => ports.get(name).copied().or_else(|| name.parse().ok())?,
        port => port.as_i64()?,
    };
    if port == agent {
        return None;
    }
    let mut shown = Map::new();
    let text = |key: &str| {
        action
            .get(key)
            .filter(|value| value.as_str() != Some("") && !value.is_null())
            .cloned()
    };
    let mut set =
        |key: &str, value: Option<Value>| value.map(|value| shown.insert(key.to_owned(), value));
    match kind {
        "httpGet" => {
            set("path", text("path"));
            set("port", Some(json!(port)));
            set("host", text("host"));
            set("scheme", text("scheme"));
            set(
                "httpHeaders",
                text("httpHeaders")
                    .filter(|headers| headers.as_array().is_some_and(|list| !list.is_empty())),
            );
        }
        "tcpSocket" => {
            set("port", Some(json!(port)));
            set("host", text("host"));
        }
        _ => {
            set("port", Some(json!(port)));
            set(
                "service",
                Some(action.get("service").cloned().unwrap_or_default()),
            );
        }
    }
    let mut noted = Map::from_iter([(kind.to_owned(), Value::Object(shown))]);
    if let Some(timeout) = probe
        .get("timeoutSeconds")
        .filter(|timeout| timeout.as_i64().is_some_and(|seconds| seconds != 0))
    {
        noted.insert("timeoutSeconds".to_owned(), timeout.clone());
    }
    Some(Value::Object(noted))
}

/// Sets the variable; when the pod was injected before, what it says already wins, since its probes were rewritten then.
fn tell(env: &mut Vec<Value>, mut found: BTreeMap<String, Value>, again: bool) {
    let known = env.iter_mut().find(|var| name_of(var) == ENV);
    if let Some(known) = known.filter(|_| again) {
        let earlier = known
            .get("value")
            .and_then(Value::as_str)
            .and_then(|text| serde_json::from_str::<BTreeMap<_, _>>(text).ok());
        found.extend(earlier.unwrap_or_default());
        if let Some(fields) = known.as_object_mut() {
            fields.insert("value".to_owned(), json!(text(&found)));
        }
        return;
    }
    env.push(json!({"name": ENV, "value": text(&found)}));
}

fn text(found: &BTreeMap<String, Value>) -> String {
    serde_json::to_string(found).unwrap_or_default()
}
