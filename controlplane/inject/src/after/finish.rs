//! The last steps: what the cluster is called, what was injected, and the order of containers.

use serde_json::json;

use super::status::Status;
use crate::context::Context;
use crate::names;
use crate::pod::{List, PodObject, array, name_of};

/// Moves what is known about cluster and network to the end of the proxy's environment, and labels the pod with its network.
pub(crate) fn cluster(pod: &mut PodObject, context: &Context<'_>) {
    let cluster = context
        .settings
        .values
        .global
        .multi_cluster
        .cluster_name
        .as_str();
    let network = context.network().map(str::to_owned);
    let known = [
        (
            "ISTIO_META_CLUSTER_ID",
            Some(cluster).filter(|name| !name.is_empty()),
        ),
        ("ISTIO_META_NETWORK", network.as_deref()),
    ];
    if let Some(proxy) = pod.sidecar_mut() {
        let env = array(proxy, "env");
        for (name, value) in known
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
        {
            env.retain(|var| name_of(var) != name);
            env.push(json!({"name": name, "value": value}));
        }
    }
}

/// Labels the pod with its network and records what the templates gave.
pub(crate) fn metadata(pod: &mut PodObject, rendered: &PodObject, context: &Context<'_>) {
    if let Some(network) = context.network() {
        let network = network.to_owned();
        pod.set_label(names::NETWORK, network);
    }
    pod.set_annotation(
        names::STATUS,
        Status::new(rendered, context.settings.revision()).text(),
    );
}

/// Puts the proxy last, or first when the application waits for it, and init containers in the order in which traffic still passes.
pub(crate) fn order(pod: &mut PodObject, context: &Context<'_>) {
    move_to(
        pod,
        List::Containers,
        names::PROXY,
        context.holds_application(),
    );
    if pod.container(List::InitContainers, names::PROXY).is_some() {
        for name in [
            names::CORE_DUMP,
            names::PROXY,
            names::VALIDATION,
            names::INIT,
        ] {
            move_to(pod, List::InitContainers, name, true);
        }
    } else {
        move_to(pod, List::InitContainers, names::VALIDATION, true);
        move_to(pod, List::InitContainers, names::INIT, false);
        move_to(pod, List::InitContainers, names::CORE_DUMP, false);
    }
}

fn move_to(pod: &mut PodObject, list: List, name: &str, first: bool) {
    if pod.container(list, name).is_none() {
        return;
    }
    let containers = pod.containers_mut(list);
    let (moved, rest): (Vec<_>, Vec<_>) = std::mem::take(containers)
        .into_iter()
        .partition(|container| name_of(container) == name);
    containers.extend(
        if first { [moved, rest] } else { [rest, moved] }
            .into_iter()
            .flatten(),
    );
}
