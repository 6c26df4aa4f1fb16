//! Analyzers of routing: destinations, gateways and their certificates, ServiceEntries, EnvoyFilters, and of single objects.

mod client_certificates;
mod destination_hosts;
mod destination_subsets;
mod envoy_filters;
mod gateway_certificates;
mod gateway_conflicts;
mod gateway_ports;
mod gateway_secrets;
mod jwt_claims;
mod mesh_hosts;
mod route_gateways;
mod schema;
mod service_entries;
mod subset_pods;

use std::collections::BTreeMap;

use lateen_api::object::Object;
use lateen_api::yaml::key_step;

use super::Analyzer;
use crate::code::REFERENCED_RESOURCE_NOT_FOUND;
use crate::message::Messages;
use crate::pods::selector_text;

/// The analyzers of this module.
pub(super) fn all() -> Vec<Analyzer> {
    let mut all = vec![
        client_certificates::ANALYZER,
        destination_hosts::ANALYZER,
        destination_subsets::ANALYZER,
        envoy_filters::ANALYZER,
        gateway_certificates::ANALYZER,
        gateway_conflicts::ANALYZER,
        gateway_ports::ANALYZER,
        gateway_secrets::ANALYZER,
        jwt_claims::ANALYZER,
        mesh_hosts::ANALYZER,
        route_gateways::ANALYZER,
        service_entries::ADDRESSES,
        service_entries::PROTOCOLS,
        subset_pods::ANALYZER,
    ];
    all.extend(schema::ANALYZERS);
    all
}

/// The text of a message about something that is referred to and not there.
fn not_found(what: &str, name: &str, advice: &str) -> String {
    format!("{what} {name:?} does not exist; {advice}")
}

/// A message about a Gateway's selector that selects no pod.
fn selector_without_pods(
    messages: &mut Messages,
    object: &Object,
    selector: &BTreeMap<String, String>,
) {
    let text = not_found(
        "selector",
        &selector_text(selector),
        "no pod has these labels: correct them or deploy the gateway's pods",
    );
    let field = selector_field(selector);
    messages.scalar(REFERENCED_RESOURCE_NOT_FOUND, object, &field, text);
}

/// The path of the first label of a Gateway's selector.
fn selector_field(selector: &BTreeMap<String, String>) -> String {
    let label = selector.keys().next();
    format!(
        "spec.selector{}",
        label.map(|label| key_step(label)).unwrap_or_default()
    )
}

/// `namespace/name` of an object.
fn full_name(object: &Object) -> String {
    format!("{}/{}", object.key.namespace, object.key.name)
}
