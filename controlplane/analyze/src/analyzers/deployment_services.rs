//! Deployments that several Services select in ways that contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lateen_api::object::{Kind, Object};

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;
use crate::pods::{has_proxy, is_injected, pod_template};
use crate::selectors::SelectorIndex;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "deployment.MultiServiceAnalyzer",
    description: "Deployments whose Services contradict each other",
    inputs: &[
        Input::Kind(Kind::Service),
        Input::Kind(Kind::Deployment),
        Input::Kind(Kind::Namespace),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// The label of what a controller made for a Gateway, and its value for waypoints.
pub(super) const MANAGED: &str = "gateway.istio.io/managed";
const WAYPOINT: &str = "istio.io-mesh-controller";

static NONE: BTreeMap<String, String> = BTreeMap::new();

fn run(cluster: &Cluster, messages: &mut Messages) {
    let services = SelectorIndex::new(cluster.given(Kind::Service).filter_map(|object| {
        let selector = object.spec.as_service()?.spec.as_ref()?.selector.as_ref()?;
        Some((object.key.namespace.as_str(), selector, object))
    }));
    for object in cluster.given(Kind::Deployment) {
        let Some(template) = pod_template(object) else {
            continue;
        };
        let meta = template.metadata.as_ref();
        let labels = meta.and_then(|meta| meta.labels.as_ref()).unwrap_or(&NONE);
        let selecting: Vec<&Object> = services.selecting(&object.key.namespace, labels).collect();
        let is_waypoint = object
            .meta
            .labels
            .get(MANAGED)
            .is_some_and(|value| value == WAYPOINT);
        // One port alone contradicts nothing.
        if is_waypoint || ports(&selecting).nth(1).is_none() {
            continue;
        }
        let annotations = meta
            .and_then(|meta| meta.annotations.as_ref())
            .unwrap_or(&NONE);
        let containers = template.spec.iter().flat_map(|spec| &spec.containers);
        if has_proxy(containers) || is_injected(cluster, &object.key.namespace, labels, annotations)
        {
            check_protocols(object, &selecting, messages);
            check_target_ports(object, &selecting, messages);
        }
    }
}

/// The ports of Services, each with its Service.
fn ports<'a>(services: &[&'a Object]) -> impl Iterator<Item = (&'a Object, &'a ServicePort)> {
    services.iter().flat_map(|object| {
        let spec = object
            .spec
            .as_service()
            .and_then(|service| service.spec.as_ref());
        spec.and_then(|spec| spec.ports.as_ref())
            .into_iter()
            .flatten()
            .map(|port| (*object, port))
    })
}

/// The names of Services, in order and each once.
fn joined(services: &[&Object]) -> String {
    let names: BTreeSet<String> = services
        .iter()
        .map(|object| format!("{}/{}", object.key.namespace, object.key.name))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.join(", ")
}

fn check_protocols(object: &Object, services: &[&Object], messages: &mut Messages) {
    let mut protocols: BTreeMap<i32, (BTreeSet<&str>, Vec<&Object>)> = BTreeMap::new();
    for (service, port) in ports(services) {
        let protocol = port
            .protocol
            .as_deref()
            .filter(|protocol| !protocol.is_empty());
        let entry = protocols.entry(port.port).or_default();
        entry.0.insert(protocol.unwrap_or("TCP"));
        entry.1.push(service);
    }
    for (port, (protocols, names)) in protocols {
        if protocols.len() > 1 {
            let protocols: Vec<&str> = protocols.into_iter().collect();
            messages.scalar(
                code::DEPLOYMENT_ASSOCIATED_TO_MULTIPLE_SERVICES,
                object,
                "metadata.name",
                format!(
                    "the Services {} of the Deployment {} have port {port} with different protocols ({}): give them one protocol, or different ports",
                    joined(&names),
                    object.key.name,
                    protocols.join(", ")
                ),
            );
        }
    }
}

fn check_target_ports(object: &Object, services: &[&Object], messages: &mut Messages) {
    let mut targets: BTreeMap<String, BTreeMap<i32, &Object>> = BTreeMap::new();
    for (service, port) in ports(services) {
        targets
            .entry(target(port))
            .or_default()
            .insert(port.port, service);
    }
    for (target, ports) in targets {
        if ports.len() > 1 {
            let numbers: Vec<String> = ports.keys().map(ToString::to_string).collect();
            let names: Vec<&Object> = ports.into_values().collect();
            messages.scalar(
                code::DEPLOYMENT_CONFLICTING_PORTS,
                object,
                "metadata.name",
                format!(
                    "the Services {} reach the target port \"{target}\" of the Deployment {} by different ports ({}): use one port for it",
                    joined(&names),
                    object.key.name,
                    numbers.join(", ")
                ),
            );
        }
    }
}

/// The port of the pods that a Service's port leads to.
pub(super) fn target(port: &ServicePort) -> String {
    match &port.target_port {
        Some(IntOrString::Int(number)) if *number != 0 => number.to_string(),
        Some(IntOrString::String(name)) if !name.is_empty() && name != "0" => name.clone(),
        _ => port.port.to_string(),
    }
}
