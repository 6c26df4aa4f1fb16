//! DestinationRules whose host is not known or whose subsets select no pod.

use lateen_api::labels::selects;
use lateen_api::networking::{DestinationRule, Subset};
use lateen_api::object::{Kind, Object, Spec};

use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::{DESTINATION_RULE_SUBSET_NOT_SELECT_PODS, UNKNOWN_DESTINATION_RULE_HOST};
use crate::hosts::KnownHost;
use crate::localities;
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "destinationrule.SubsetSelectPodAnalyzer",
    description: "Finds DestinationRules of unknown hosts, and subsets that select no pod",
    inputs: &[
        Input::Kind(Kind::DestinationRule),
        Input::Kind(Kind::Pod),
        Input::Kind(Kind::Service),
        Input::Kind(Kind::ServiceEntry),
        Input::Kind(Kind::Node),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

fn run(cluster: &Cluster, messages: &mut Messages) {
    for object in cluster.of(Kind::DestinationRule) {
        let Some(rule) = object.spec.as_destination_rule() else {
            continue;
        };
        let namespace = &object.key.namespace;
        match cluster.hosts().find(&rule.host, namespace, &rule.export_to) {
            Some(host) => check_subsets(cluster, object, rule, host, messages),
            None => {
                let text = format!(
                    "no Service or ServiceEntry that namespace {namespace} sees has the host {}; correct it, or the rule has no effect",
                    rule.host
                );
                messages.field(UNKNOWN_DESTINATION_RULE_HOST, object, "spec.host", text);
            }
        }
    }
}

fn check_subsets(
    cluster: &Cluster,
    object: &Object,
    rule: &DestinationRule,
    host: KnownHost<'_>,
    messages: &mut Messages,
) {
    // With files alone a ServiceEntry's workloads, and what is behind the default gateway, are kept elsewhere.
    let elsewhere = host.object.key.kind != Kind::Service || cluster.is_default(host.object);
    if cluster.files_only && elsewhere {
        return;
    }
    for (index, subset) in rule.subsets.iter().enumerate() {
        if selects_pods(cluster, subset, host) {
            continue;
        }
        let text = format!(
            "subset {} of {} selects no pod; correct its labels or deploy pods that have them",
            subset.name, rule.host
        );
        let field = format!("spec.subsets[{index}].labels");
        messages.field(
            DESTINATION_RULE_SUBSET_NOT_SELECT_PODS,
            object,
            &field,
            text,
        );
    }
}

/// Whether a subset selects a pod of any namespace, by its own labels and those of its machine.
fn selects_pods(cluster: &Cluster, subset: &Subset, host: KnownHost<'_>) -> bool {
    let mut labels = subset.labels.clone();
    if let Spec::ServiceEntry(entry) = &host.object.spec {
        if entry
            .endpoints
            .iter()
            .any(|endpoint| selects(&subset.labels, &endpoint.labels))
        {
            return true;
        }
        for (key, value) in entry
            .workload_selector
            .iter()
            .flat_map(|selector| &selector.labels)
        {
            if labels
                .insert(key.clone(), value.clone())
                .is_some_and(|other| other != *value)
            {
                return false;
            }
        }
    }
    localities::any_pod(cluster, &labels)
}
