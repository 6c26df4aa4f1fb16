//! Rules on the namespaces that see an object.

use std::collections::HashSet;

use super::report::Report;
use crate::host::is_any_case_label;

const FIELD: &str = "spec.exportTo";

/// The namespaces that see an object. `hidden` says whether `~`, nobody, is allowed.
pub(super) fn export_to(report: &mut Report<'_>, namespaces: &[String], hidden: bool) {
    let own = report.namespace();
    let mut seen = HashSet::new();
    for (i, name) in namespaces.iter().map(String::as_str).enumerate() {
        let at = format_args!("{FIELD}[{i}]");
        if !seen.insert(if name == "." { own } else { name }) {
            report.error(at, format_args!("`{name}` is given twice"));
            continue;
        }
        match name {
            "." => {}
            "*" => report.require(
                namespaces.len() == 1,
                at,
                "`*` means all namespaces: take the others out",
            ),
            "~" if hidden => report.require(
                namespaces.len() == 1,
                at,
                "`~` means no namespace: take the others out",
            ),
            "~" => report.error(at, "only a ServiceEntry can be hidden from all namespaces"),
            name => report.require(
                is_any_case_label(name),
                at,
                format_args!("`{name}` is not a namespace, `.` or `*`"),
            ),
        }
    }
}

/// The namespaces that see an object that counts for some workloads of its own namespace only.
pub(super) fn own_namespace_only(report: &mut Report<'_>, namespaces: &[String]) {
    let own = report.namespace();
    if let Some(i) = namespaces
        .iter()
        .position(|name| name != "." && name != own)
    {
        report.error(
            format_args!("{FIELD}[{i}]"),
            "with a workloadSelector the object counts in its own namespace: leave exportTo out or write `.`",
        );
    }
}
