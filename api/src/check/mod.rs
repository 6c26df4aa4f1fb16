//! Whether objects make sense, by themselves and together, before anything is built of them.
//!
//! One object by itself is judged as [`crate::validate`] does; references between objects are judged here.

mod options;
mod references;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::object::{Kind, Object, ObjectKey, Problem, Severity};
use crate::validate::validate;

pub use options::CheckOptions;

/// All that is wrong with a set of objects: each by itself, two of the same key, and references that lead nowhere.
#[must_use]
pub fn check_all<'o>(
    objects: impl IntoIterator<Item = &'o Object>,
    options: CheckOptions<'_>,
) -> Vec<Problem> {
    let objects: Vec<&Object> = objects.into_iter().collect();
    let mut problems: Vec<Problem> = objects
        .iter()
        .flat_map(|object| check_object(object))
        .collect();
    problems.extend(check_duplicates(&objects));
    problems.extend(check_references(&objects, options));
    problems
}

/// What is wrong with one object by itself, and that a mesh would not act on it where that is so.
#[must_use]
pub fn check_object(object: &Object) -> Vec<Problem> {
    let mut problems: Vec<Problem> = validate(object)
        .iter()
        .map(|fault| fault.problem(object))
        .collect();
    if !acts_on(object.key.kind) {
        let message = "is not supported yet: take it out, since it would have no effect".to_owned();
        problems.push(object.problem(Severity::Error, "kind", message));
    }
    problems
}

/// Whether a mesh of this version acts on objects of a kind.
#[must_use]
pub const fn acts_on(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::WorkloadGroup
            | Kind::EnvoyFilter
            | Kind::ProxyConfig
            | Kind::AuthorizationPolicy
            | Kind::RequestAuthentication
            | Kind::Telemetry
            | Kind::WasmPlugin
            | Kind::TrafficExtension
            | Kind::Ingress
            | Kind::IngressClass
            | Kind::CustomResourceDefinition
            | Kind::MutatingWebhookConfiguration
            | Kind::ValidatingWebhookConfiguration
    ) && !kind.is_gateway_api()
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
