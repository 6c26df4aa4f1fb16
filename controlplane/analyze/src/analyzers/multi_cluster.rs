//! Services that are one across clusters, yet differ.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use lateen_api::object::{Kind, Object};

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "services.MultiClusterServiceAnalyzer",
    description: "Services that differ between clusters",
    inputs: &[Input::Kind(Kind::Service)],
    run,
};

fn run(cluster: &Cluster, others: &[Cluster], messages: &mut Messages) {
    if others.is_empty() {
        return;
    }
    for object in cluster.given(Kind::Service) {
        let twins: Vec<(&str, &Object)> = others
            .iter()
            .filter_map(|other| {
                let twin = other.find(Kind::Service, &object.key.namespace, &object.key.name)?;
                (!other.is_default(twin)).then_some((other.id.as_str(), twin))
            })
            .collect();
        // Every cluster comes first once, and one message is enough.
        if twins.iter().all(|(id, _)| cluster.id.as_str() < *id) {
            compare(object, (&cluster.id, &twins), messages);
        }
    }
}

fn compare(object: &Object, (id, twins): (&str, &[(&str, &Object)]), messages: &mut Messages) {
    let Some(first) = spec(object) else {
        return;
    };
    let mut clusters: BTreeSet<&str> = BTreeSet::new();
    let mut reasons: BTreeSet<&str> = BTreeSet::new();
    for (other, twin) in twins {
        let Some(second) = spec(twin) else {
            continue;
        };
        if is_headless(first) != is_headless(second) {
            clusters.extend(twins.iter().map(|(id, _)| *id));
            reasons.insert("it is headless in some and not in others");
        }
        if type_of(first) != type_of(second) {
            clusters.insert(other);
            reasons.insert("its type differs");
        }
        if ports(first) != ports(second) {
            clusters.insert(other);
            reasons.insert("its ports differ");
        }
    }
    if clusters.is_empty() {
        return;
    }
    clusters.insert(id);
    let clusters: Vec<&str> = clusters.into_iter().collect();
    let reasons: Vec<&str> = reasons.into_iter().collect();
    messages.object(
        code::MULTI_CLUSTER_INCONSISTENT_SERVICE,
        object,
        format!(
            "the Service {} of the namespace {} is not the same in the clusters {}: {}; make them alike, for traffic is spread over all of them",
            object.key.name,
            object.key.namespace,
            clusters.join(", "),
            reasons.join("; ")
        ),
    );
}

fn spec(object: &Object) -> Option<&ServiceSpec> {
    object.spec.as_service()?.spec.as_ref()
}

fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

fn type_of(spec: &ServiceSpec) -> &str {
    match spec.type_.as_deref() {
        None | Some("") => "ClusterIP",
        Some(name) => name,
    }
}

/// The ports by name, without the numbers that each cluster gives for itself.
fn ports(spec: &ServiceSpec) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = spec.ports.clone().unwrap_or_default();
    for port in &mut ports {
        port.node_port = None;
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
        port.target_port.get_or_insert(
            k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(port.port),
        );
    }
    ports.sort_by(|one, two| one.name.cmp(&two.name));
    ports
}
