//! The mesh's networks against the clusters that are known.

use std::collections::HashSet;

use lateen_api::mesh::NetworkEndpointsSource;
use lateen_api::object::Kind;

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "meshnetworks.MeshNetworksAnalyzer",
    description: "Networks of clusters that are not known",
    inputs: &[Input::MeshNetworks, Input::Kind(Kind::Secret)],
    run: |cluster, _, messages| run(cluster, messages),
};

/// Registries that exist without a secret.
const BUILT_IN: [&str; 3] = ["Mock", "Kubernetes", "External"];
/// The label of secrets that hold the access to other clusters, under the clusters' names.
const REMOTE: &str = "istio/multiCluster";

fn run(cluster: &Cluster, messages: &mut Messages) {
    let Some((networks, origin)) = &cluster.networks else {
        return;
    };
    let mut known: HashSet<&str> = BUILT_IN.into();
    for object in cluster.of(Kind::Secret) {
        if object
            .meta
            .labels
            .get(REMOTE)
            .is_some_and(|value| value == "true")
        {
            let data = object
                .spec
                .as_secret()
                .and_then(|secret| secret.data.as_ref());
            known.extend(
                data.into_iter()
                    .flat_map(|data| data.keys())
                    .map(String::as_str),
            );
        }
    }
    for (name, network) in &networks.networks {
        for endpoints in &network.endpoints {
            let Some(NetworkEndpointsSource::FromRegistry(registry)) = &endpoints.ne else {
                continue;
            };
            if !known.contains(registry.as_str()) {
                messages.other(
                    code::UNKNOWN_MESH_NETWORKS_SERVICE_REGISTRY,
                    Some(origin.clone()),
                    format!("the network {name} is said to have the endpoints of `{registry}`, but no cluster of this name is known: correct the name, or add the cluster's secret"),
                );
            }
        }
    }
}
