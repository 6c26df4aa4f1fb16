//! Telemetry against the pods that it selects and the providers that there are.

use std::collections::{BTreeMap, HashSet};

use lateen_api::mesh::Provider;
use lateen_api::object::{Kind, Object};

use super::Analyzer;
use super::selections::{Selecting, names, report_missing, several_by_namespace};
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;

pub(super) const PROVIDER: Analyzer = Analyzer {
    name: "telemetry.ProviderAnalyzer",
    description: "Access logs without a provider to go to",
    inputs: &[Input::Kind(Kind::Telemetry), Input::MeshConfig],
    run: |cluster, _, messages| providers(cluster, messages),
};

pub(super) const SELECTOR: Analyzer = Analyzer {
    name: "telemetry.SelectorAnalyzer",
    description: "Telemetry that selects nothing, or the same pods",
    inputs: &[Input::Kind(Kind::Telemetry), Input::Kind(Kind::Pod)],
    run: |cluster, _, messages| selectors(cluster, messages),
};

pub(super) const DEFAULT_SELECTOR: Analyzer = Analyzer {
    name: "telemetry.DefaultSelectorAnalyzer",
    description: "Namespaces with several Telemetry objects for all of their pods",
    inputs: &[Input::Kind(Kind::Telemetry)],
    run: |cluster, _, messages| without_selector(cluster, messages),
};

pub(super) const LIGHTSTEP: Analyzer = Analyzer {
    name: "telemetry.LightstepAnalyzer",
    description: "Traces that go to the deprecated Lightstep provider",
    inputs: &[Input::Kind(Kind::Telemetry), Input::MeshConfig],
    run: |cluster, _, messages| lightstep(cluster, messages),
};

fn providers(cluster: &Cluster, messages: &mut Messages) {
    let default = cluster.mesh.default_providers.as_ref();
    if default.is_some_and(|default| !default.access_logging.is_empty()) {
        return;
    }
    for object in cluster.given(Kind::Telemetry) {
        let logs = object
            .spec
            .as_telemetry()
            .map(|spec| spec.access_logging.as_slice());
        let place = logs
            .unwrap_or_default()
            .iter()
            .position(|log| log.providers.is_empty() && log.disabled != Some(true));
        if let Some(place) = place {
            messages.field(
                code::INVALID_TELEMETRY_PROVIDER,
                object,
                &format!("spec.accessLogging[{place}]"),
                format!(
                    "the Telemetry {} of the namespace \"{}\" names no provider for its access log, and the mesh has none by default: name one, such as envoy",
                    object.key.name, object.key.namespace
                ),
            );
        }
    }
}

fn selectors(cluster: &Cluster, messages: &mut Messages) {
    let mut selecting = Selecting::default();
    for object in cluster.given(Kind::Telemetry) {
        let Some(labels) = labels(object) else {
            continue;
        };
        if !selecting.add(cluster, object, labels).any {
            report_missing(object, "spec.selector.matchLabels", labels, messages);
        }
    }
    selecting.for_each_pod(cluster, |object, all, (namespace, pod)| {
        messages.scalar(
            code::CONFLICTING_TELEMETRY_WORKLOAD_SELECTORS,
            object,
            "metadata.name",
            format!(
                "the Telemetry objects {} all select the pod {pod} of the namespace {namespace}, and only one of them holds: make their selectors differ",
                names(all)
            ),
        );
    });
}

/// The labels by which a Telemetry object selects; `None` if it selects by none.
fn labels(object: &Object) -> Option<&BTreeMap<String, String>> {
    let selector = object.spec.as_telemetry()?.selector.as_ref()?;
    (!selector.match_labels.is_empty()).then_some(&selector.match_labels)
}

fn without_selector(cluster: &Cluster, messages: &mut Messages) {
    let plain: Vec<&Object> = cluster
        .given(Kind::Telemetry)
        .filter(|object| {
            // One that names its targets holds for them alone.
            object.spec.as_telemetry().is_some_and(|spec| {
                spec.selector.is_none() && spec.target_ref.is_none() && spec.target_refs.is_empty()
            })
        })
        .collect();
    for (namespace, all) in several_by_namespace(&plain) {
        for object in &all {
            messages.object(
                code::MULTIPLE_TELEMETRIES_WITHOUT_WORKLOAD_SELECTORS,
                object,
                format!(
                    "the Telemetry objects {} of the namespace {namespace} have no selector, and only one of them holds: leave one without, and give the others a selector",
                    names(&all)
                ),
            );
        }
    }
}

fn lightstep(cluster: &Cluster, messages: &mut Messages) {
    let deprecated: HashSet<&str> = cluster
        .mesh
        .extension_providers
        .iter()
        .filter(|provider| matches!(provider.provider, Some(Provider::Lightstep(_))))
        .map(|provider| provider.name.as_str())
        .collect();
    if deprecated.is_empty() {
        return;
    }
    for object in cluster.given(Kind::Telemetry) {
        let tracing = object
            .spec
            .as_telemetry()
            .map(|spec| spec.tracing.as_slice());
        for (number, tracing) in tracing.unwrap_or_default().iter().enumerate() {
            for (place, provider) in tracing.providers.iter().enumerate() {
                let name = provider.name.as_str();
                if deprecated.contains(name) {
                    messages.field(
                        code::DEPRECATED,
                        object,
                        &format!("spec.tracing[{number}].providers[{place}].name"),
                        format!("The Lightstep provider {name} is deprecated, please migrate to OpenTelemetry provider."),
                    );
                }
            }
        }
    }
}
