//! What the admission webhook says of one object by itself: refused or not, and the warnings that go with it.
//!
//! The verdicts are Istio's, so that a manifest that one accepts the other accepts too. What only the schema or the CEL rules of a
//! CRD refuse stands in [`crate::crd`]; an EnvoyFilter's values need Envoy's descriptors and are checked in `lateen-xds`.

mod authorization_policy;
mod authorization_values;
mod client_tls;
mod connection_pool;
mod destination_rule;
mod envoy_filter;
mod gateway;
mod headers;
mod host_set;
mod http_actions;
mod http_answers;
mod http_route;
mod jwks;
mod l4_route;
mod load_balancer;
mod locality;
mod mesh_config;
mod mesh_networks;
mod mesh_proxy_config;
mod peer_authentication;
mod prefix_overlap;
mod proxy_config;
mod reachability;
mod regex;
mod regex_classes;
mod report;
mod request_authentication;
mod request_conditions;
mod scope;
mod service_entry;
mod sidecar;
mod target_refs;
mod telemetry;
mod tls;
mod traffic_extension;
mod url;
mod values;
mod virtual_service;
mod wasm_plugin;
mod workload_entry;
mod workload_group;
mod workload_selector;

#[cfg(test)]
mod tests;

pub use envoy_filter::patches_to_check;
pub use mesh_config::validate_mesh_config;
pub use mesh_networks::validate_mesh_networks;

use crate::object::{Kind, Object, Problem, Severity, Spec};
use report::Report;

/// What is wrong with one field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field's path from the object's root, such as `spec.http[0].timeout`.
    pub field: String,
    /// What is wrong, and what to do where that is not plain.
    pub message: String,
    /// What follows from it.
    pub verdict: Verdict,
}

/// What follows from a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The object is refused.
    Refused,
    /// The object is accepted with a warning.
    Warned,
    /// A warning: a whole route rule of a VirtualService can never be reached.
    UnreachableRule {
        /// The rule: `#` and its index from 0, or its name in quotes.
        rule: String,
        /// Why.
        reason: String,
    },
    /// A warning: a match of a VirtualService's rule has no effect.
    IneffectiveMatch {
        /// The rule: `#` and its index from 0, or its name in quotes.
        rule: String,
        /// The match: `#` and its index, or its name in quotes; for prefixes with ` of prefix <p>` behind it.
        matched: String,
        /// What takes its traffic: the earlier rule; for prefixes the earlier match in the same form, with ` on ` and its rule.
        duplicate: String,
    },
}

impl Fault {
    /// Whether the object is refused because of it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.verdict == Verdict::Refused
    }

    /// The fault as a problem of an object, with file and line.
    #[must_use]
    pub fn problem(&self, object: &Object) -> Problem {
        let severity = if self.is_refusal() {
            Severity::Error
        } else {
            Severity::Warning
        };
        object.problem(severity, &self.field, self.message.clone())
    }
}

/// The faults of an object, in the order of its fields. Kinds that are not Istio's have none.
#[must_use]
pub fn validate(object: &Object) -> Vec<Fault> {
    let mut report = Report::new(object);
    match &object.spec {
        Spec::VirtualService(spec) => virtual_service::check(&mut report, spec),
        Spec::DestinationRule(spec) => destination_rule::check(&mut report, spec),
        Spec::Gateway(spec) => gateway::check(&mut report, spec),
        Spec::ServiceEntry(spec) => service_entry::check(&mut report, spec),
        Spec::WorkloadEntry(spec) => workload_entry::check(&mut report, spec),
        Spec::WorkloadGroup(spec) => workload_group::check(&mut report, spec),
        Spec::Sidecar(spec) => sidecar::check(&mut report, spec),
        Spec::EnvoyFilter(spec) => envoy_filter::check(&mut report, spec),
        Spec::ProxyConfig(spec) => proxy_config::check(&mut report, spec),
        Spec::AuthorizationPolicy(spec) => authorization_policy::check(&mut report, spec),
        Spec::PeerAuthentication(spec) => peer_authentication::check(&mut report, spec),
        Spec::RequestAuthentication(spec) => request_authentication::check(&mut report, spec),
        Spec::Telemetry(spec) => telemetry::check(&mut report, spec),
        Spec::WasmPlugin(spec) => wasm_plugin::check(&mut report, spec),
        Spec::TrafficExtension(spec) => traffic_extension::check(&mut report, spec),
        _ => {}
    }
    if object.key.kind.is_istio() {
        check_annotations(&mut report, object);
    }
    report.finish()
}

fn check_annotations(report: &mut Report<'_>, object: &Object) {
    use crate::labels::annotation::{DRY_RUN, INTERNAL};
    let dry_run = (object.key.kind != Kind::AuthorizationPolicy).then_some(&DRY_RUN);
    for name in INTERNAL.iter().chain(dry_run) {
        if object.meta.annotations.contains_key(*name) {
            report.error(
                format_args!("metadata.annotations[\"{name}\"]"),
                format_args!(
                    "a {} cannot have this annotation: take it out",
                    object.key.kind
                ),
            );
        }
    }
}
