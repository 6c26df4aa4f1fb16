//! Subsets that routes choose and no DestinationRule defines.

use std::collections::HashSet;

use lateen_api::object::Kind;

use super::not_found;
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::REFERENCED_RESOURCE_NOT_FOUND;
use crate::hosts::service_of;
use crate::message::Messages;
use crate::routes::destinations;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "virtualservice.DestinationRuleAnalyzer",
    description: "Finds subsets that VirtualServices choose and no DestinationRule defines",
    inputs: &[
        Input::Kind(Kind::VirtualService),
        Input::Kind(Kind::DestinationRule),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// Namespace, name and subset.
type Subset<'a> = ((&'a str, &'a str), &'a str);

fn run(cluster: &Cluster, messages: &mut Messages) {
    let known = subsets(cluster);
    for object in cluster.of(Kind::VirtualService) {
        let Some(routes) = object.spec.as_virtual_service() else {
            continue;
        };
        for (spot, destination) in destinations(routes) {
            let Some(to) = destination.filter(|to| !to.subset.is_empty()) else {
                continue;
            };
            let host = service_of(&to.host, &object.key.namespace);
            if known.contains(&(host, to.subset.as_str())) {
                continue;
            }
            let what = if spot.is_mirror() {
                "mirror+subset in destinationrule"
            } else {
                "host+subset in destinationrule"
            };
            let advice = "define the subset in a DestinationRule of the host, or correct its name";
            let text = not_found(what, &format!("{}+{}", to.host, to.subset), advice);
            messages.scalar(
                REFERENCED_RESOURCE_NOT_FOUND,
                object,
                &spot.host_field(),
                text,
            );
        }
    }
}

fn subsets(cluster: &Cluster) -> HashSet<Subset<'_>> {
    cluster
        .of(Kind::DestinationRule)
        .filter_map(|object| Some((object, object.spec.as_destination_rule()?)))
        .flat_map(|(object, rule)| {
            let host = service_of(&rule.host, &object.key.namespace);
            rule.subsets
                .iter()
                .map(move |subset| (host, subset.name.as_str()))
        })
        .collect()
}
