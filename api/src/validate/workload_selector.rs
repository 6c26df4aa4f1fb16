//! Rules on the workloads that a DestinationRule, ServiceEntry or Sidecar is for.

use std::collections::BTreeMap;

use super::report::Report;
use super::values;

const FIELD: &str = "spec.workloadSelector";

/// Labels that select workloads, held by the field `name`; says whether they can be used.
pub(super) fn workload_selector(
    report: &mut Report<'_>,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    if labels.is_empty() {
        report.warning(
            FIELD,
            "has no labels and so selects every workload of the namespace: give labels, or take it out",
        );
    }
    report.passes(|report| values::selector(report, format_args!("{FIELD}.{name}"), labels))
}
