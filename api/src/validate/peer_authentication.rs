//! Rules on PeerAuthentications.

use super::report::Report;
use super::{target_refs, values};
use crate::security::PeerAuthentication;

pub(super) fn check(report: &mut Report<'_>, spec: &PeerAuthentication) {
    target_refs::selector(report, spec.selector.as_ref());
    let Some(ports) = &spec.port_level_mtls else {
        return;
    };
    let field = "spec.portLevelMtls";
    if ports.is_empty() {
        report.error(field, "has no ports: give some, or leave the field out");
    }
    let selects = spec
        .selector
        .as_ref()
        .is_some_and(|selector| !selector.match_labels.is_empty());
    report.require(
        selects,
        field,
        "ports belong to single workloads: give a selector with labels",
    );
    for port in ports.keys() {
        values::port(report, format_args!("{field}.{port}"), *port);
    }
}
