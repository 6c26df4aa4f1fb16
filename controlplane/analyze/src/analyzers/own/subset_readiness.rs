//! Routes that send traffic to a subset with no ready pod.

use std::collections::{BTreeMap, HashMap};

use lateen_api::labels::selects;
use lateen_api::networking::{Destination, ServiceEntry, Subset, VirtualService};
use lateen_api::object::{Kind, Object, Spec};

use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::ROUTE_TO_SUBSET_WITHOUT_READY_PODS;
use crate::hosts::service_of;
use crate::localities;
use crate::message::Messages;
use crate::pods::PodRef;
use crate::services::ServiceRef;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "lateen.SubsetReadinessAnalyzer",
    description: "Finds routes that send traffic to a subset with no ready pod",
    inputs: &[
        Input::Kind(Kind::VirtualService),
        Input::Kind(Kind::DestinationRule),
        Input::Kind(Kind::Service),
        Input::Kind(Kind::ServiceEntry),
        Input::Kind(Kind::Pod),
        Input::Kind(Kind::Node),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// Subsets by namespace and name of the service, and name.
type Subsets<'a> = HashMap<((&'a str, &'a str), &'a str), Vec<&'a Subset>>;

fn run(cluster: &Cluster, messages: &mut Messages) {
    let subsets = subsets(cluster);
    for object in cluster.of(Kind::VirtualService) {
        let Some(routes) = object.spec.as_virtual_service() else {
            continue;
        };
        for (list, index, entries) in rules(routes) {
            let total: i64 = entries.iter().map(|(weight, _)| i64::from(*weight)).sum();
            for (entry, (weight, destination)) in entries.iter().enumerate() {
                let share = if entries.len() == 1 {
                    100
                } else {
                    i64::from(*weight) * 100 / total.max(1)
                };
                if entries.len() > 1 && *weight == 0 {
                    continue;
                }
                let Some(destination) = destination.filter(|to| !to.subset.is_empty()) else {
                    continue;
                };
                if let Some(reason) = without_pods(cluster, &subsets, object, routes, destination) {
                    let text = format!(
                        "rule {list}[{index}] sends {share}% of its traffic to subset {} of {}, but {reason}; deploy its pods first or \
                         take the weight away",
                        destination.subset, destination.host
                    );
                    let field = format!("spec.{list}[{index}].route[{entry}].destination.subset");
                    messages.field(ROUTE_TO_SUBSET_WITHOUT_READY_PODS, object, &field, text);
                }
            }
        }
    }
}

/// Weights, negative ones as none, and destinations of a rule.
type Entries<'a> = Vec<(i32, Option<&'a Destination>)>;

fn rules(routes: &VirtualService) -> impl Iterator<Item = (&'static str, usize, Entries<'_>)> {
    let http = routes.http.iter().enumerate().map(|(index, rule)| {
        let entries = rule.route.iter();
        let entries = entries.map(|to| (to.weight.max(0), to.destination.as_ref()));
        ("http", index, entries.collect())
    });
    let tls = routes.tls.iter().enumerate().map(|(index, rule)| {
        let entries = rule.route.iter();
        let entries = entries.map(|to| (to.weight.max(0), to.destination.as_ref()));
        ("tls", index, entries.collect())
    });
    let tcp = routes.tcp.iter().enumerate().map(|(index, rule)| {
        let entries = rule.route.iter();
        let entries = entries.map(|to| (to.weight.max(0), to.destination.as_ref()));
        ("tcp", index, entries.collect())
    });
    http.chain(tls).chain(tcp)
}

fn subsets(cluster: &Cluster) -> Subsets<'_> {
    let mut subsets = Subsets::new();
    for object in cluster.of(Kind::DestinationRule) {
        let Some(rule) = object.spec.as_destination_rule() else {
            continue;
        };
        let host = service_of(&rule.host, &object.key.namespace);
        for subset in &rule.subsets {
            subsets
                .entry((host, &subset.name))
                .or_default()
                .push(subset);
        }
    }
    subsets
}

/// Why a destination has no ready pod; `None` if it has one, if that cannot be told, or if another analyzer says it.
fn without_pods(
    cluster: &Cluster,
    subsets: &Subsets<'_>,
    object: &Object,
    routes: &VirtualService,
    destination: &Destination,
) -> Option<String> {
    let namespace = &object.key.namespace;
    let service = service_of(&destination.host, namespace);
    let subsets = subsets.get(&(service, destination.subset.as_str()))?;
    let hosts = cluster.hosts();
    let host = hosts.find(&destination.host, namespace, &routes.export_to)?;
    let mut reason = None;
    for subset in subsets {
        reason = Some(match &host.object.spec {
            Spec::Service(_) => {
                service_without_pods(cluster, ServiceRef::of(host.object)?, subset)?
            }
            Spec::ServiceEntry(entry) => entry_without_endpoints(cluster, entry, subset)?,
            _ => return None,
        });
    }
    reason
}

fn service_without_pods(
    cluster: &Cluster,
    service: ServiceRef<'_>,
    subset: &Subset,
) -> Option<String> {
    if service.spec.publish_not_ready_addresses == Some(true)
        || cluster.is_default(service.object)
        || !localities::any_pod(cluster, &subset.labels)
    {
        return None;
    }
    let (own, of_nodes) = localities::split(&subset.labels);
    let mut unready = 0;
    if let Some(labels) = merged(service.selector()?, &own) {
        let pods = cluster.pods();
        for pod in pods.matching_with_templates(Some(service.namespace()), &labels) {
            if localities::runs_on(cluster, &pod, &of_nodes) {
                if is_ready(&pod) {
                    return None;
                }
                unready += 1;
            }
        }
    }
    Some(if unready == 0 {
        "no pod of the Service has the subset's labels".to_owned()
    } else {
        format!("none of its pods is ready ({unready} are not)")
    })
}

/// A ServiceEntry that lists its endpoints has no other ones.
fn entry_without_endpoints(
    cluster: &Cluster,
    entry: &ServiceEntry,
    subset: &Subset,
) -> Option<String> {
    let listed = !entry.endpoints.is_empty() && entry.workload_selector.is_none();
    let matches = entry
        .endpoints
        .iter()
        .any(|endpoint| selects(&subset.labels, &endpoint.labels));
    // In a cluster IST0173 says it where no pod has the labels.
    let said = !cluster.files_only && !localities::any_pod(cluster, &subset.labels);
    (listed && !matches && !said)
        .then(|| "no endpoint of the ServiceEntry has the subset's labels".to_owned())
}

/// The labels of both; `None` if they contradict.
fn merged(
    one: &BTreeMap<String, String>,
    two: &BTreeMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    let mut labels = one.clone();
    for (key, value) in two {
        if labels
            .insert(key.clone(), value.clone())
            .is_some_and(|other| other != *value)
        {
            return None;
        }
    }
    Some(labels)
}

/// Whether a pod serves requests; a pod that does not tell, and a template, do, unless the workload has no replicas.
fn is_ready(pod: &PodRef<'_>) -> bool {
    let object = match &pod.object.spec {
        Spec::Pod(object) => object,
        Spec::Deployment(workload) => {
            return has_replicas(workload.spec.as_ref().and_then(|spec| spec.replicas));
        }
        Spec::StatefulSet(workload) => {
            return has_replicas(workload.spec.as_ref().and_then(|spec| spec.replicas));
        }
        Spec::ReplicaSet(workload) => {
            return has_replicas(workload.spec.as_ref().and_then(|spec| spec.replicas));
        }
        _ => return true,
    };
    let Some(status) = &object.status else {
        return true;
    };
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let condition = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    !ended
        && pod.object.meta.deletion_timestamp.is_none()
        && condition.is_none_or(|condition| condition.status == "True")
}

const fn has_replicas(replicas: Option<i32>) -> bool {
    !matches!(replicas, Some(0))
}
