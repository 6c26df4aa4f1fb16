//! What routes share with the VirtualService that holds them.

use std::fmt::Display;

use super::report::Report;
use crate::host::{expand_gateway, is_any_case_label, is_fqdn};

/// What routes need to know of their VirtualService.
#[derive(Clone, Copy)]
pub(super) struct Scope {
    /// Whether it holds routes for another one and has no hosts.
    pub(super) delegate: bool,
    /// Whether sidecars apply it.
    pub(super) mesh: bool,
    /// Whether it was made of a route of the Gateway API, whose destinations are known to be right.
    pub(super) translated: bool,
}

/// Names of gateways: `mesh`, `name`, `namespace/name`, or the old dotted form. Names behind the first one without a namespace are
/// not looked at. `any_name` allows any name behind a namespace.
pub(super) fn gateways(
    report: &mut Report<'_>,
    field: impl Display,
    gateways: &[String],
    any_name: bool,
) {
    for (i, gateway) in gateways.iter().enumerate() {
        let at = format_args!("{field}[{i}]");
        let Some((namespace, name)) = gateway.split_once('/') else {
            return bare(report, at, gateway);
        };
        let named = is_any_case_label(name) || (any_name && !name.is_empty());
        report.require(
            named && is_any_case_label(namespace),
            at,
            format_args!("`{gateway}` is not a gateway's name: [namespace/]name"),
        );
    }
}

/// A gateway's name without a namespace.
fn bare(report: &mut Report<'_>, field: impl Display, gateway: &str) {
    if !is_fqdn(gateway) {
        let message = format_args!("`{gateway}` is not a gateway's name: [namespace/]name");
        return report.error(field, message);
    }
    if gateway.contains('.') {
        report.warning(
            field,
            format_args!(
                "`{gateway}` is the old form of a gateway's name: write `{}`",
                expand_gateway(gateway, "")
            ),
        );
    }
}

/// Whether a text is a server name that gateways between networks make: `outbound_.80_._.reviews.default.svc.cluster.local`.
pub(super) fn is_generated_server_name(text: &str) -> bool {
    let mut parts = text.split('_');
    text.len() <= 255
        && parts.next() == Some("outbound")
        && parts
            .next()
            .is_some_and(|port| port.bytes().any(|byte| byte.is_ascii_digit()))
        && parts.next().is_some()
        && parts
            .next()
            .is_some_and(|host| host.bytes().any(|byte| byte.is_ascii_alphabetic()))
}
