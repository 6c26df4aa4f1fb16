//! Sidecars against the pods that they select.

use std::collections::{BTreeMap, HashMap};

use lateen_api::object::{Kind, Object};

use super::Analyzer;
use super::selections::{Selecting, names, report_missing, several_by_namespace};
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;
use crate::pods::is_ambient_namespace;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "sidecar.SelectorAnalyzer",
    description: "Sidecars that select nothing, the same pods, or what has no sidecar",
    inputs: &[
        Input::Kind(Kind::Sidecar),
        Input::Kind(Kind::Pod),
        Input::Kind(Kind::Namespace),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

fn run(cluster: &Cluster, messages: &mut Messages) {
    let mut selecting = Selecting::default();
    let mut plain: Vec<&Object> = Vec::new();
    let mut ambient: HashMap<&str, bool> = HashMap::new();
    for object in cluster.given(Kind::Sidecar) {
        let namespace = object.key.namespace.as_str();
        if let Some(labels) = labels(object) {
            let found = selecting.add(cluster, object, labels);
            if found.ambient {
                report_ineffective(object, "selected workload", messages);
            } else if !found.any {
                report_missing(object, "spec.workloadSelector.labels", labels, messages);
            }
        } else if *ambient
            .entry(namespace)
            .or_insert_with(|| is_ambient_namespace(cluster, namespace))
        {
            report_ineffective(object, "namespace", messages);
        } else {
            plain.push(object);
        }
    }
    selecting.for_each_pod(cluster, |object, all, (namespace, pod)| {
        messages.scalar(
            code::CONFLICTING_SIDECAR_WORKLOAD_SELECTORS,
            object,
            "metadata.name",
            format!(
                "the Sidecars {} all select the pod {pod} of the namespace {namespace}, and only one of them holds: make their selectors differ",
                names(all)
            ),
        );
    });
    for (namespace, all) in several_by_namespace(&plain) {
        for object in &all {
            messages.object(
                code::MULTIPLE_SIDECARS_WITHOUT_WORKLOAD_SELECTORS,
                object,
                format!(
                    "the Sidecars {} of the namespace {namespace} have no workloadSelector, and only one of them holds: leave one without, and give the others a selector",
                    names(&all)
                ),
            );
        }
    }
}

/// The labels by which a Sidecar selects; `None` if it holds for its whole namespace.
fn labels(object: &Object) -> Option<&BTreeMap<String, String>> {
    let selector = object.spec.as_sidecar()?.workload_selector.as_ref()?;
    (!selector.labels.is_empty()).then_some(&selector.labels)
}

fn report_ineffective(object: &Object, what: &str, messages: &mut Messages) {
    messages.object(
        code::INEFFECTIVE_POLICY,
        object,
        format!("take this Sidecar out: {what} is in ambient mode, the policy has no impact"),
    );
}
