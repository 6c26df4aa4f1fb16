//! Whether objects make sense, by themselves and together, before anything is built of them.
//!
//! The rules are those that the translation relies on: what passes can be translated. They follow Istio's validation where they
//! overlap with it, but are fewer.

mod destination_rule;
mod gateway;
mod http_actions;
mod http_route;
mod l4_route;
mod options;
mod peer_authentication;
mod references;
mod report;
mod scope;
mod service_entry;
mod sidecar;
mod tls;
mod values;
mod virtual_service;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::object::{Object, ObjectKey, Problem, Severity, Spec};
use report::Report;

pub use options::{CheckOptions, RegexCheck};

/// All that is wrong with a set of objects: each by itself, two of the same key, and references that lead nowhere.
#[must_use]
pub fn check_all<'o>(
    objects: impl IntoIterator<Item = &'o Object>,
    options: CheckOptions<'_>,
) -> Vec<Problem> {
    let objects: Vec<&Object> = objects.into_iter().collect();
    let mut problems: Vec<Problem> = objects
        .iter()
        .flat_map(|object| check_object(object, options.regex))
        .collect();
    problems.extend(check_duplicates(&objects));
    problems.extend(check_references(&objects, options));
    problems
}

/// What is wrong with one object by itself.
#[must_use]
pub fn check_object(object: &Object, regex: Option<RegexCheck<'_>>) -> Vec<Problem> {
    let mut report = Report::new(object, regex);
    match &object.spec {
        Spec::VirtualService(spec) => virtual_service::check(&mut report, spec),
        Spec::DestinationRule(spec) => destination_rule::check(&mut report, spec),
        Spec::Gateway(spec) => gateway::check(&mut report, spec),
        Spec::ServiceEntry(spec) => service_entry::check(&mut report, spec),
        Spec::WorkloadEntry(spec) => service_entry::check_workload_entry(&mut report, spec),
        Spec::Sidecar(spec) => sidecar::check(&mut report, spec),
        Spec::PeerAuthentication(spec) => peer_authentication::check(&mut report, spec),
        _ => {}
    }
    if object.key.kind.is_istio() {
        check_annotations(&mut report, object);
    }
    report.finish()
}

fn check_annotations(report: &mut Report<'_>, object: &Object) {
    use crate::labels::annotation::{DRY_RUN, INTERNAL};
    for name in INTERNAL.iter().chain(std::iter::once(&DRY_RUN)) {
        if object.meta.annotations.contains_key(*name) {
            report.error(
                &format!("metadata.annotations[\"{name}\"]"),
                format!("a {} cannot have this annotation", object.key.kind),
            );
        }
    }
}

/// Objects that are there twice; each problem names both places.
#[must_use]
pub fn check_duplicates(objects: &[&Object]) -> Vec<Problem> {
    let mut first: HashMap<&ObjectKey, &Object> = HashMap::new();
    let mut problems = Vec::new();
    for object in objects {
        match first.get(&object.key) {
            Some(earlier) => problems.push(duplicate(earlier, object)),
            None => {
                first.insert(&object.key, object);
            }
        }
    }
    problems
}

/// The problem of an object that another file (or another place of the same file) has already given.
#[must_use]
pub fn duplicate(first: &Object, second: &Object) -> Problem {
    let place = first.source.as_ref().map_or_else(
        || "elsewhere".to_owned(),
        |source| format!("{}:{}", source.file, source.line),
    );
    second.problem(
        Severity::Error,
        "",
        format!("is given twice, first at {place}: take one out"),
    )
}

/// References that lead nowhere: routes to subsets, hosts, ports and delegates that are not there, and gateways that are not there.
#[must_use]
pub fn check_references(objects: &[&Object], options: CheckOptions<'_>) -> Vec<Problem> {
    references::check(objects, options)
}
