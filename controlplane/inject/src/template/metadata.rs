//! The labels and annotations that the templates add (contract/inject.md §3).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::init::excluded_inbound_ports;
use crate::context::Context;
use crate::names;

/// The longest value of a label.
const LABEL_LIMIT: usize = 63;

pub(super) fn sidecar(context: &Context<'_>) -> ObjectMeta {
    let mut labels = canonical(context, true);
    labels.insert(
        names::TLS_MODE.to_owned(),
        context.label(names::TLS_MODE).unwrap_or("istio").to_owned(),
    );
    if context
        .config
        .proxy_metadata
        .get("ISTIO_META_ENABLE_HBONE")
        .is_some_and(|value| value == "true")
    {
        labels.insert(
            names::TUNNEL.to_owned(),
            context.label(names::TUNNEL).unwrap_or("http").to_owned(),
        );
    }
    let mut annotations = annotations(context);
    if context.settings.values.pilot.cni.enabled {
        cni(context, &mut annotations);
    }
    ObjectMeta {
        labels: Some(labels),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    }
}

pub(super) fn gateway(context: &Context<'_>) -> ObjectMeta {
    ObjectMeta {
        labels: Some(canonical(context, false)),
        annotations: Some(annotations(context)),
        ..ObjectMeta::default()
    }
}

/// The names under which metrics count the workload.
fn canonical(context: &Context<'_>, shorten: bool) -> BTreeMap<String, String> {
    let first = |keys: &[&str], default: &str| -> String {
        keys.iter()
            .find_map(|key| context.label(key))
            .unwrap_or(default)
            .to_owned()
    };
    let mut name = first(
        &[names::CANONICAL_NAME, names::APP_NAME, "app"],
        &context.owner.name,
    );
    if shorten && name.chars().count() > LABEL_LIMIT {
        name = name.chars().take(LABEL_LIMIT).collect();
    }
    if shorten {
        name.truncate(name.trim_end_matches(['-', '_', '.']).len());
    }
    let revision = first(
        &[names::CANONICAL_REVISION, names::APP_VERSION, "version"],
        "latest",
    );
    BTreeMap::from([
        (names::CANONICAL_NAME.to_owned(), name),
        (names::CANONICAL_REVISION.to_owned(), revision),
    ])
}

fn annotations(context: &Context<'_>) -> BTreeMap<String, String> {
    let revision = match context.settings.revision() {
        "" => "default",
        revision => revision,
    };
    let mut added = BTreeMap::from([(names::REVISION.to_owned(), revision.to_owned())]);
    if let Some(first) = context.application_containers().into_iter().next() {
        for key in [names::DEFAULT_LOGS_CONTAINER, names::DEFAULT_CONTAINER] {
            if context.pod.annotation(key).is_none() {
                added.insert(key.to_owned(), first.clone());
            }
        }
    }
    added
}

/// What the CNI plugin reads instead of the init container's arguments.
fn cni(context: &Context<'_>, added: &mut BTreeMap<String, String>) {
    let proxy = &context.settings.values.global.proxy;
    let mut set = |key: &str, value: String| added.insert(key.to_owned(), value);
    if context.settings.values.pilot.cni.provider == "multus" {
        set(
            names::MULTUS_NETWORKS,
            with_multus_network(
                context
                    .pod
                    .annotation(names::MULTUS_NETWORKS)
                    .unwrap_or_default(),
            ),
        );
    }
    set(names::INTERCEPTION_MODE, context.interception_mode());
    set(
        names::INCLUDE_INBOUND_PORTS,
        context.annotation_or(names::INCLUDE_INBOUND_PORTS, &proxy.include_inbound_ports),
    );
    set(
        names::EXCLUDE_INBOUND_PORTS,
        excluded_inbound_ports(context),
    );
    for (key, default) in [
        (
            names::INCLUDE_OUTBOUND_RANGES,
            proxy.include_ip_ranges.as_str(),
        ),
        (names::EXCLUDE_OUTBOUND_RANGES, &proxy.exclude_ip_ranges),
        (names::KUBEVIRT_INTERFACES, ""),
        (names::REROUTE_INTERFACES, ""),
        (names::EXCLUDE_INTERFACES, ""),
    ] {
        let value = context.annotation_or(key, default);
        if !value.is_empty() {
            set(key, value);
        }
    }
    for (key, default) in [
        (
            names::INCLUDE_OUTBOUND_PORTS,
            proxy.include_outbound_ports.as_str(),
        ),
        (names::EXCLUDE_OUTBOUND_PORTS, &proxy.exclude_outbound_ports),
    ] {
        if context.pod.annotation(key).is_some() || !default.is_empty() {
            set(key, context.annotation_or(key, default));
        }
    }
}

/// The pod's networks with the plugin's own one: a list of names, or a JSON list.
fn with_multus_network(given: &str) -> String {
    const OWN: &str = "default/istio-cni";
    if given.is_empty() {
        return OWN.to_owned();
    }
    if given.trim_start().starts_with('[') {
        let Ok(Value::Array(networks)) = serde_json::from_str::<Value>(given) else {
            return given.to_owned();
        };
        let own = |network: &Value| {
            network.get("name").and_then(Value::as_str) == Some("istio-cni")
                && network.get("namespace").and_then(Value::as_str) == Some("default")
        };
        let Some(end) = given.rfind(']').filter(|_| !networks.iter().any(own)) else {
            return given.to_owned();
        };
        let (start, rest) = given.split_at(end);
        return format!("{start}, {{\"name\": \"istio-cni\", \"namespace\": \"default\"}}{rest}");
    }
    if given.split(',').any(|network| network.trim() == OWN) {
        return given.to_owned();
    }
    format!("{given}, {OWN}")
}

#[cfg(test)]
mod tests {
    use super::with_multus_network;

    #[test]
    fn the_plugins_network_is_added_once() {
        for (given, expected) in [
            ("", "default/istio-cni"),
            ("a", "a, default/istio-cni"),
            ("a, default/istio-cni", "a, default/istio-cni"),
            (
                "[{\"name\": \"a\"}\n]",
                "[{\"name\": \"a\"}\n, {\"name\": \"istio-cni\", \"namespace\": \"default\"}]",
            ),
            (
                "[{\"name\": \"istio-cni\", \"namespace\": \"default\"}]",
                "[{\"name\": \"istio-cni\", \"namespace\": \"default\"}]",
            ),
            ("[broken", "[broken"),
        ] {
            assert_eq!(with_multus_network(given), expected);
        }
    }
}
