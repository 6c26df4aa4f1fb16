//! DestinationRules whose host is not known or whose subsets select no pod.

use std::collections::BTreeMap;

use lateen_api::labels::{label, selects};
use lateen_api::networking::{DestinationRule, Subset};
use lateen_api::object::{Kind, Object, Spec};

use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::{DESTINATION_RULE_SUBSET_NOT_SELECT_PODS, UNKNOWN_DESTINATION_RULE_HOST};
use crate::hosts::KnownHost;
use crate::message::Messages;
use crate::pods::PodRef;

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

/// Labels that a pod gets from the machine that it runs on.
const OF_NODES: [&str; 4] = [label::REGION, label::ZONE, label::SUBZONE, label::HOSTNAME];

type Labels = BTreeMap<String, String>;

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
    let of_nodes: Labels = OF_NODES
        .iter()
        .filter_map(|key| labels.remove_entry(*key))
        .collect();
    if of_nodes.is_empty() {
        return cluster.pods().any_match(None, &labels);
    }
    if of_nodes.values().any(String::is_empty) {
        return false;
    }
    cluster
        .pods()
        .any(None, &labels, |pod| runs_on(cluster, pod, &of_nodes))
}

/// Whether a pod has labels once those of its machine are added. A template's pods may run on any machine.
fn runs_on(cluster: &Cluster, pod: &PodRef<'_>, wanted: &Labels) -> bool {
    let fits = |node: Option<&Object>| {
        wanted.iter().all(|(key, value)| {
            node.and_then(|node| node.meta.labels.get(key))
                .filter(|label| !label.is_empty())
                .or_else(|| pod.labels.get(key))
                == Some(value)
        })
    };
    if pod.is_template {
        return !cluster.has(Kind::Node) || cluster.of(Kind::Node).any(|node| fits(Some(node)));
    }
    let name = pod.spec.and_then(|spec| spec.node_name.as_deref());
    fits(name.and_then(|name| cluster.find(Kind::Node, "", name)))
}
