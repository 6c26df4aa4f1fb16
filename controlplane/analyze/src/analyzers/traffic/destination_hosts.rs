//! Destinations of routes that are not there, leave their port open, or miss the subsets that another VirtualService chooses.

use std::collections::{BTreeSet, HashMap};

use lateen_api::networking::{Destination, VirtualService};
use lateen_api::object::{Kind, Object};

use super::{full_name, not_found};
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::{
    INGRESS_ROUTE_RULES_NOT_AFFECTED, REFERENCED_RESOURCE_NOT_FOUND,
    VIRTUAL_SERVICE_DESTINATION_PORT_SELECTOR_REQUIRED,
};
use crate::hosts::Hosts;
use crate::message::Messages;
use crate::routes::{Spot, destinations};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "virtualservice.DestinationHostAnalyzer",
    description: "Finds destinations of VirtualServices whose host or port does not exist or is not clear",
    inputs: &[
        Input::Kind(Kind::ServiceEntry),
        Input::Kind(Kind::VirtualService),
        Input::Kind(Kind::Service),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

fn run(cluster: &Cluster, messages: &mut Messages) {
    let hosts = cluster.hosts();
    let subsets = subsets_by_host(cluster);
    // With files alone the services may all be kept elsewhere.
    let hosts_are_told = !cluster.files_only || hosts.are_given();
    let nowhere = Destination::default();
    for object in cluster.of(Kind::VirtualService) {
        let Some(routes) = object.spec.as_virtual_service() else {
            continue;
        };
        for (spot, destination) in destinations(routes) {
            let destination = destination.unwrap_or(&nowhere);
            check(
                hosts,
                object,
                routes,
                (spot, destination),
                hosts_are_told,
                messages,
            );
        }
        if !routes.gateways.is_empty() {
            check_subsets(&subsets, object, routes, messages);
        }
    }
}

fn check(
    hosts: Hosts<'_>,
    object: &Object,
    routes: &VirtualService,
    (spot, destination): (Spot, &Destination),
    hosts_are_told: bool,
    messages: &mut Messages,
) {
    let host = &destination.host;
    let namespace = &object.key.namespace;
    let Some(known) = hosts.find(host, namespace, &routes.export_to) else {
        if hosts_are_told {
            let what = if spot.is_mirror() {
                "mirror host"
            } else {
                "host"
            };
            let advice = "correct the name, or add the Service or a ServiceEntry for it";
            let text = not_found(what, host, advice);
            messages.scalar(
                REFERENCED_RESOURCE_NOT_FOUND,
                object,
                &spot.host_field(),
                text,
            );
        }
        return;
    };
    let ports = known.ports();
    let Some(port) = &destination.port else {
        if ports.len() > 1 {
            let text = format!(
                "destination {host} has the ports {ports:?} and the route chooses none; set destination.port.number to one of them"
            );
            let code = VIRTUAL_SERVICE_DESTINATION_PORT_SELECTOR_REQUIRED;
            messages.scalar(code, object, &spot.host_field(), text);
        }
        return;
    };
    if !ports.contains(&port.number) {
        let name = format!("{host}:{}", port.number);
        let advice = format!("the ports of the host are {ports:?}: choose one of them");
        let text = not_found("host:port", &name, &advice);
        messages.scalar(
            REFERENCED_RESOURCE_NOT_FOUND,
            object,
            &spot.host_field(),
            text,
        );
    }
}

/// For each host the VirtualServices of the host that choose a subset of it.
fn subsets_by_host(cluster: &Cluster) -> HashMap<&str, BTreeSet<String>> {
    let mut subsets: HashMap<&str, BTreeSet<String>> = HashMap::new();
    for object in cluster.of(Kind::VirtualService) {
        let Some(routes) = object.spec.as_virtual_service() else {
            continue;
        };
        let entries = routes.http.iter().flat_map(|rule| &rule.route);
        for destination in entries.filter_map(|entry| entry.destination.as_ref()) {
            if !destination.subset.is_empty() && routes.hosts.contains(&destination.host) {
                let names = subsets.entry(&destination.host).or_default();
                names.insert(full_name(object));
            }
        }
    }
    subsets
}

/// A route of a gateway to a host does not pass the VirtualService of that host.
fn check_subsets(
    subsets: &HashMap<&str, BTreeSet<String>>,
    object: &Object,
    routes: &VirtualService,
    messages: &mut Messages,
) {
    let own = full_name(object);
    for (index, rule) in routes.http.iter().enumerate() {
        for (entry, to) in rule.route.iter().enumerate() {
            let (host, subset) = to
                .destination
                .as_ref()
                .map_or(("", ""), |to| (to.host.as_str(), to.subset.as_str()));
            if !subset.is_empty() {
                continue;
            }
            for other in subsets
                .get(host)
                .into_iter()
                .flatten()
                .filter(|other| **other != own)
            {
                let text = format!(
                    "the subset that VirtualService {other} chooses for {host} does not count for requests that VirtualService {own} \
                     takes from its gateways; choose a subset in {own} as well"
                );
                let field = format!("spec.http[{index}].route[{entry}].destination");
                messages.field(INGRESS_ROUTE_RULES_NOT_AFFECTED, object, &field, text);
            }
        }
    }
}
