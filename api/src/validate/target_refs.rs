//! What a policy is attached to: workloads by their labels, or objects by name.

use std::fmt::Display;

use super::report::Report;
use super::values;
use crate::networking::{MatchLabelsSelector, PolicyTargetReference};

/// Group and kind of the objects that a policy can be attached to.
const TARGETS: [(&str, &str); 5] = [
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
];

/// What a policy is attached to.
pub(super) struct Attachment<'a> {
    pub(super) selector: Option<&'a MatchLabelsSelector>,
    /// The old field with a single reference; kinds without it have none.
    pub(super) target_ref: Option<&'a PolicyTargetReference>,
    pub(super) target_refs: &'a [PolicyTargetReference],
}

/// At most one way to attach a policy, and each reference by itself.
pub(super) fn attachment(report: &mut Report<'_>, attachment: &Attachment<'_>) {
    let Attachment {
        selector: labels,
        target_ref,
        target_refs,
    } = attachment;
    let ways = [
        labels.is_some(),
        target_ref.is_some(),
        !target_refs.is_empty(),
    ];
    report.require(
        ways.iter().filter(|way| **way).count() <= 1,
        "spec.targetRefs",
        "only one of selector, targetRef and targetRefs may be set: keep the one that is meant",
    );
    selector(report, *labels);
    if let Some(target) = target_ref {
        reference(report, "spec.targetRef", target);
    }
    for (i, target) in target_refs.iter().enumerate() {
        reference(report, format_args!("spec.targetRefs[{i}]"), target);
    }
}

/// Labels of workloads.
pub(super) fn selector(report: &mut Report<'_>, selector: Option<&MatchLabelsSelector>) {
    let Some(selector) = selector else { return };
    if selector.match_labels.is_empty() {
        report.warning(
            "spec.selector",
            "has no labels and so selects every workload of the namespace: give labels, or leave the selector out",
        );
    }
    values::selector(report, "spec.selector.matchLabels", &selector.match_labels);
}

fn reference(report: &mut Report<'_>, field: impl Display, target: &PolicyTargetReference) {
    report.require(
        !target.name.is_empty(),
        format_args!("{field}.name"),
        "the name of the object is needed",
    );
    report.require(
        target.namespace.is_empty(),
        format_args!("{field}.namespace"),
        "a policy is attached within its own namespace: leave the namespace out",
    );
    report.require(
        TARGETS.contains(&(target.group.as_str(), target.kind.as_str())),
        format_args!("{field}.kind"),
        format_args!(
            "`{}` of the group `{}` is nothing to attach a policy to: Gateway and GatewayClass (gateway.networking.k8s.io), Service (core) \
             and ServiceEntry (networking.istio.io) are",
            target.kind, target.group
        ),
    );
}
