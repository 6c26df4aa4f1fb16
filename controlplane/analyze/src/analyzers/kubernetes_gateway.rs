//! The Gateway API: policies that its gateways do not heed, and definitions that are too old.

use std::collections::HashMap;

use lateen_api::labels::{label, selects};
use lateen_api::networking::{MatchLabelsSelector, PolicyTargetReference};
use lateen_api::object::{Kind, Object, Spec};

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;

pub(super) const SELECTOR: Analyzer = Analyzer {
    name: "k8sgateway.SelectorAnalyzer",
    description: "Policies that select the pods of a Gateway by labels, which has no effect",
    inputs: &[
        Input::Kind(Kind::AuthorizationPolicy),
        Input::Kind(Kind::RequestAuthentication),
        Input::Kind(Kind::Telemetry),
        Input::Kind(Kind::WasmPlugin),
        Input::Kind(Kind::Pod),
    ],
    run: |cluster, _, messages| selectors(cluster, messages),
};

pub(super) const CRD_VERSION: Analyzer = Analyzer {
    name: "k8sgateway.CRDVersionAnalyzer",
    description: "Definitions of the Gateway API that are too old to be read",
    inputs: &[Input::Kind(Kind::CustomResourceDefinition)],
    run: |cluster, _, messages| crd_versions(cluster, messages),
};

fn selectors(cluster: &Cluster, messages: &mut Messages) {
    let mut gateways: HashMap<&str, Vec<(&str, &Object)>> = HashMap::new();
    for object in cluster.given(Kind::Pod) {
        if let Some(gateway) = object.meta.labels.get(label::GATEWAY_NAME) {
            let namespace = object.key.namespace.as_str();
            gateways
                .entry(namespace)
                .or_default()
                .push((gateway, object));
        }
    }
    let kinds = [
        Kind::AuthorizationPolicy,
        Kind::RequestAuthentication,
        Kind::Telemetry,
        Kind::WasmPlugin,
    ];
    for object in kinds.into_iter().flat_map(|kind| cluster.given(kind)) {
        let (Some(pods), Some(selector)) = (
            gateways.get(object.key.namespace.as_str()),
            selector(object),
        ) else {
            continue;
        };
        let mut reported: Vec<&str> = Vec::new();
        for (gateway, pod) in pods {
            if selects(&selector.match_labels, &pod.meta.labels) && !reported.contains(gateway) {
                reported.push(gateway);
                messages.field(
                    code::INEFFECTIVE_SELECTOR,
                    object,
                    "spec.selector",
                    format!("the selector selects pods of the Gateway {gateway}, which heeds no selectors: name the Gateway in targetRefs instead"),
                );
            }
        }
    }
}

/// The selector of a policy that names no targets.
fn selector(object: &Object) -> Option<&MatchLabelsSelector> {
    type Parts<'a> = (
        &'a Option<MatchLabelsSelector>,
        &'a Option<PolicyTargetReference>,
        &'a Vec<PolicyTargetReference>,
    );
    let (selector, target, targets): Parts<'_> = match &object.spec {
        Spec::AuthorizationPolicy(spec) => (&spec.selector, &spec.target_ref, &spec.target_refs),
        Spec::RequestAuthentication(spec) => (&spec.selector, &spec.target_ref, &spec.target_refs),
        Spec::Telemetry(spec) => (&spec.selector, &spec.target_ref, &spec.target_refs),
        Spec::WasmPlugin(spec) => (&spec.selector, &spec.target_ref, &spec.target_refs),
        _ => return None,
    };
    let names_targets = target.is_some() || !targets.is_empty();
    selector.as_ref().filter(|_| !names_targets)
}

/// The oldest release of the Gateway API whose definition of a kind can be read.
const OLDEST: [(&str, [u64; 3]); 4] = [
    ("grpcroutes.gateway.networking.k8s.io", [1, 1, 0]),
    ("backendtlspolicies.gateway.networking.k8s.io", [1, 4, 0]),
    ("tlsroutes.gateway.networking.k8s.io", [1, 5, 0]),
    ("tcproutes.gateway.networking.k8s.io", [1, 6, 0]),
];

const RELEASE: &str = "gateway.networking.k8s.io/bundle-version";

fn crd_versions(cluster: &Cluster, messages: &mut Messages) {
    for (name, oldest) in OLDEST {
        let Some(object) = cluster.find(Kind::CustomResourceDefinition, "", name) else {
            continue;
        };
        let Some(text) = object.meta.annotations.get(RELEASE) else {
            continue;
        };
        let text = text.strip_prefix('v').unwrap_or(text);
        if release(text).is_some_and(|release| release < oldest) {
            let oldest = oldest.map(|number| number.to_string()).join(".");
            messages.field(
                code::GATEWAY_API_CRD_VERSION_BELOW_MINIMUM,
                object,
                &format!("metadata.annotations[\"{RELEASE}\"]"),
                format!("the definition \"{name}\" is of release {text} of the Gateway API, and its objects are not read: install {oldest} or later"),
            );
        }
    }
}

/// The three numbers of a release; numbers that are left out are 0, and what follows them does not count.
fn release(text: &str) -> Option<[u64; 3]> {
    let numbers = text.split(['-', '+']).next().unwrap_or(text);
    let mut release = [0; 3];
    let mut parts = numbers.split('.');
    for (place, part) in release.iter_mut().zip(parts.by_ref()) {
        *place = part.parse().ok()?;
    }
    parts.next().is_none().then_some(release)
}
