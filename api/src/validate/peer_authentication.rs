//! Rules on PeerAuthentications.

use super::report::Report;
use super::values;
use crate::security::PeerAuthentication;

pub(super) fn check(report: &mut Report<'_>, spec: &PeerAuthentication) {
    let labels = spec
        .selector
        .as_ref()
        .map(|selector| &selector.match_labels);
    if let Some(labels) = labels {
        values::selector(report, "spec.selector.matchLabels", labels);
    }
    if !spec.port_level_mtls.is_empty() && labels.is_none_or(std::collections::BTreeMap::is_empty) {
        report.error(
            "spec.portLevelMtls",
            "ports can be set only with a selector that has labels",
        );
    }
    for port in spec.port_level_mtls.keys() {
        values::port(report, &format!("spec.portLevelMtls.{port}"), *port);
    }
}
