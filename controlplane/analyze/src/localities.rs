//! Labels that pods get from the machines they run on, by which subsets may select them.

use std::collections::BTreeMap;

use lateen_api::labels::label;
use lateen_api::object::{Kind, Object};

use crate::cluster::Cluster;
use crate::pods::PodRef;

/// Labels that a pod gets from its machine.
const OF_NODES: [&str; 4] = [label::REGION, label::ZONE, label::SUBZONE, label::HOSTNAME];

type Labels = BTreeMap<String, String>;

/// Whether any pod or, on files, any template of any namespace has labels, once those of its machine are added.
pub(crate) fn any_pod(cluster: &Cluster, labels: &Labels) -> bool {
    let (own, of_nodes) = split(labels);
    let pods = cluster.pods();
    pods.any(None, &own, |pod| runs_on(cluster, pod, &of_nodes))
}

/// A pod's own labels, and those that its machine may give it.
pub(crate) fn split(labels: &Labels) -> (Labels, Labels) {
    let mut own = labels.clone();
    let of_nodes = OF_NODES
        .iter()
        .filter_map(|key| own.remove_entry(*key))
        .collect();
    (own, of_nodes)
}

/// Whether a pod has labels once those of its machine are added. A template's pods may run on any machine; an empty value is none.
pub(crate) fn runs_on(cluster: &Cluster, pod: &PodRef<'_>, wanted: &Labels) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let fits = |node: Option<&Object>| {
        wanted.iter().all(|(key, value)| {
            let of_node = node
                .and_then(|node| node.meta.labels.get(key))
                .filter(|label| !label.is_empty());
            !value.is_empty() && of_node.or_else(|| pod.labels.get(key)) == Some(value)
        })
    };
    if pod.is_template {
        return !cluster.has(Kind::Node) || cluster.of(Kind::Node).any(|node| fits(Some(node)));
    }
    let name = pod.spec.and_then(|spec| spec.node_name.as_deref());
    fits(name.and_then(|name| cluster.find(Kind::Node, "", name)))
}
