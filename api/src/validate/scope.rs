//! What routes share with the VirtualService that holds them.

use std::fmt::Display;

use super::report::Report;
use crate::host::{is_any_case_label, is_fqdn};

/// What routes need to know of their VirtualService.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    /// Whether it holds routes for another one and has no hosts.
    pub(super) delegate: bool,
    /// Whether sidecars apply it.
    pub(super) mesh: bool,
}

/// Names of gateways: `mesh`, `name`, `namespace/name`, or the old dotted form.
pub(super) fn gateways(report: &mut Report<'_>, field: impl Display, gateways: &[String]) {
    for (i, gateway) in gateways.iter().enumerate() {
        let fits = match gateway.split_once('/') {
            Some((namespace, name)) => {
                (namespace == "." || is_any_case_label(namespace)) && is_any_case_label(name)
            }
            None => is_fqdn(gateway),
        };
        report.require(
            fits,
            format_args!("{field}[{i}]"),
            format_args!("`{gateway}` is not a gateway's name: [namespace/]name"),
        );
    }
}
