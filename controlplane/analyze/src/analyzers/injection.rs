//! Which namespaces inject sidecars, and which of their pods have none all the same.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::ConfigMap;
use lateen_api::labels::{annotation, label};
use lateen_api::object::{Kind, Object};
use serde_json::Value;

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;
use crate::pods::{DATAPLANE_MODE, PodRef, has_proxy};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "injection.Analyzer",
    description: "Namespaces without injection, with contradicting labels, and pods without their sidecar",
    inputs: &[
        Input::Kind(Kind::Namespace),
        Input::Kind(Kind::Pod),
        Input::Kind(Kind::ConfigMap),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// The ConfigMap with an injector's values; with `-` and a revision for one that is not the default.
const INJECTOR: &str = "istio-sidecar-injector";

/// The values of the injectors of a cluster, by their ConfigMaps' names.
pub(super) struct Injectors(HashMap<String, Value>);

impl Injectors {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let mut found = HashMap::new();
        for object in cluster.of(Kind::ConfigMap) {
            let name = object.key.name.as_str();
            if !name.starts_with(INJECTOR) {
                continue;
            }
            let values = object.spec.as_config_map().map(|map| values(map));
            // Of two with one name that of the mesh's own namespace counts.
            let own = object.key.namespace == cluster.istio_namespace;
            if own || !found.contains_key(name) {
                found.insert(name.to_owned(), values.unwrap_or_default());
            }
        }
        Self(found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of a revision's injector; `None` if there is no such injector.
    pub(super) fn of_revision(&self, revision: &str) -> Option<&Value> {
        match revision {
            "" | "default" => self.0.get(INJECTOR),
            _ => self.0.get(&format!("{INJECTOR}-{revision}")),
        }
    }
}

/// The values of an injector; null where they make no sense.
fn values(map: &ConfigMap) -> Value {
    let text = map.data.as_ref().and_then(|data| data.get("values"));
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn run(cluster: &Cluster, messages: &mut Messages) {
    let by_default = Injectors::of(cluster)
        .of_revision("")
        .and_then(|values| values.pointer("/sidecarInjectorWebhook/enableNamespacesByDefault"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    for object in cluster.given(Kind::Namespace) {
        let name = object.key.name.as_str();
        if name != "istio-system" && injects(object, by_default, messages) {
            for pod in cluster.pods().matching(Some(name), &Default::default()) {
                check_pod(cluster, &pod, messages);
            }
        }
    }
}

/// Checks a namespace's labels; true if its pods are to be checked too.
fn injects(object: &Object, by_default: bool, messages: &mut Messages) -> bool {
    let label = |key: &str| object.meta.labels.get(key).map(String::as_str);
    let injection = label(label::INJECTION);
    let revision = label(label::REVISION);
    let mode = label(DATAPLANE_MODE);
    let mut asked: Vec<String> = Vec::new();
    asked.extend(injection.map(|value| format!("{}={value}", label::INJECTION)));
    if injection.is_none_or(|value| value == "enabled") {
        asked.extend(revision.map(|value| format!("{}={value}", label::REVISION)));
        asked.extend(mode.map(|value| format!("{DATAPLANE_MODE}={value}")));
    }
    if asked.len() > 1 {
        messages.field(
            code::NAMESPACE_MULTIPLE_INJECTION_LABELS,
            object,
            "metadata.labels",
            format!(
                "only one of the labels {} can hold for a namespace: take the others out",
                asked.join(", ")
            ),
        );
        return false;
    }
    if mode == Some("ambient") {
        return false;
    }
    if injection.is_none_or(str::is_empty) && revision.is_none() {
        report_not_injected(object, by_default, messages);
        return false;
    }
    injection == Some("enabled")
}

fn report_not_injected(object: &Object, by_default: bool, messages: &mut Messages) {
    let name = &object.key.name;
    if by_default {
        messages.object(
            code::NAMESPACE_INJECTION_ENABLED_BY_DEFAULT,
            object,
            "the injector injects into namespaces without a label: label this one istio-injection=disabled if it is not part of the mesh",
        );
    } else {
        messages.scalar(
            code::NAMESPACE_NOT_INJECTED,
            object,
            "metadata.name",
            format!("pods of the namespace {name} get no sidecar: label it istio-injection=enabled to make it part of the mesh, or istio-injection=disabled to say that it is not"),
        );
    }
}

fn check_pod(cluster: &Cluster, pod: &PodRef<'_>, messages: &mut Messages) {
    let said = pod
        .labels
        .get(label::INJECT)
        .or_else(|| pod.annotations.get(annotation::INJECT));
    let opted_out = said.is_some_and(|said| said.eq_ignore_ascii_case("false"));
    let on_host = pod.spec.and_then(|spec| spec.host_network).unwrap_or(false);
    if opted_out || on_host || cluster.is_default(pod.object) || has_proxy(pod.all_containers()) {
        return;
    }
    messages.object(
        code::POD_MISSING_PROXY,
        pod.object,
        format!(
            "the pod {}/{} has no sidecar although its namespace injects: make the pod anew, for which restarting its workload is enough",
            pod.namespace(),
            pod.name()
        ),
    );
}
