//! Paths that a denial means and does not match as they may be written, so that an ALLOW policy lets them through.
//!
//! Which spellings reach the application as another path than the policy saw follows from the mesh's `pathNormalization`.

use std::collections::BTreeSet;

use lateen_api::mesh::{MeshConfig, NormalizationType};
use lateen_api::object::Kind;
use lateen_api::security::{AuthorizationAction, AuthorizationOperation, AuthorizationRule};

use super::patterns::{Compare, is_template};
use super::traits::{may_meet, operations, sources};
use super::{Policies, Policy};
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::PATH_NORMALIZATION_BYPASS;
use crate::message::Messages;

pub(in super::super) const ANALYZER: Analyzer = Analyzer {
    name: "lateen.PathNormalizationAnalyzer",
    description: "Finds denied paths that another spelling of the path slips past",
    inputs: &[Input::Kind(Kind::AuthorizationPolicy), Input::MeshConfig],
    run: |cluster, _, messages| run(cluster, messages),
};

/// The most policies with which one policy is compared.
const LIMIT: usize = 64;

fn run(cluster: &Cluster, messages: &mut Messages) {
    let normalization = normalization(&cluster.mesh);
    let policies = Policies::new(cluster);
    let mut reported = BTreeSet::new();
    for policy in &policies.all {
        check_own_exceptions(policy, normalization, messages);
        for (_, other) in policies.covering(policy).take(LIMIT) {
            let (deny, allow) = match (policy.spec.action, other.spec.action) {
                (AuthorizationAction::Deny, AuthorizationAction::Allow) => (policy, other),
                (AuthorizationAction::Allow, AuthorizationAction::Deny) => (other, policy),
                _ => continue,
            };
            if !names_paths(deny) {
                continue;
            }
            let denials: Vec<&AuthorizationRule> = policies
                .covering(deny)
                .chain(policies.covering(allow))
                .filter(|(_, other)| other.spec.action == AuthorizationAction::Deny)
                .take(LIMIT)
                .flat_map(|(_, other)| &other.spec.rules)
                .collect();
            for hole in holes(deny, allow, &denials, normalization) {
                if reported.insert((&deny.object.key, hole.field.clone())) {
                    hole.report(deny, &format!("ALLOW policy {}", allow.name()), messages);
                }
            }
        }
    }
}

fn names_paths(policy: &Policy<'_>) -> bool {
    let operations = policy.spec.rules.iter().flat_map(|rule| &rule.to);
    operations
        .filter_map(|to| to.operation.as_ref())
        .any(|operation| !operation.paths.is_empty())
}

fn normalization(mesh: &MeshConfig) -> NormalizationType {
    match mesh.path_normalization.as_ref().map(|it| it.normalization) {
        None | Some(NormalizationType::Default) => NormalizationType::Base,
        Some(normalization) => normalization,
    }
}

/// A spelling of a path that is let through.
struct Hole<'a> {
    field: String,
    path: &'a str,
    spelling: String,
    cure: String,
}

impl Hole<'_> {
    fn report(&self, policy: &Policy<'_>, admitted: &str, messages: &mut Messages) {
        let Self {
            path,
            spelling,
            cure,
            ..
        } = self;
        let text = format!(
            "{path} is denied but {spelling} is not, which {admitted} lets through and many applications take for the same; {cure}"
        );
        messages.field(PATH_NORMALIZATION_BYPASS, policy.object, &self.field, text);
    }
}

/// The paths of a DENY policy that an ALLOW policy admits in another spelling.
fn holes<'a>(
    deny: &Policy<'a>,
    allow: &Policy<'_>,
    denials: &[&AuthorizationRule],
    normalization: NormalizationType,
) -> Vec<Hole<'a>> {
    let mut holes = Vec::new();
    for (index, rule) in deny.spec.rules.iter().enumerate() {
        let admitting: Vec<&AuthorizationRule> = allow
            .spec
            .rules
            .iter()
            .filter(|other| {
                let from = may_meet(&sources(rule), &sources(other), |_| true);
                let others = |one: &super::traits::Trait<'_>| one.name != "paths";
                from && may_meet(&operations(rule), &operations(other), others)
            })
            .collect();
        if admitting.is_empty() {
            continue;
        }
        for (place, to) in rule.to.iter().enumerate() {
            let Some(operation) = &to.operation else {
                continue;
            };
            for (number, path) in operation.paths.iter().enumerate() {
                let slips = |spelling: &str| {
                    admitting.iter().any(|rule| admits(rule, spelling))
                        && !denials.iter().any(|rule| denies(rule, spelling))
                };
                let found = spellings(path, normalization)
                    .into_iter()
                    .find(|(spelling, _)| slips(spelling));
                if let Some((spelling, cure)) = found {
                    holes.push(Hole {
                        field: format!("spec.rules[{index}].to[{place}].operation.paths[{number}]"),
                        path,
                        spelling,
                        cure,
                    });
                }
            }
        }
    }
    holes
}

/// An ALLOW rule for all paths but some is such a pair by itself.
fn check_own_exceptions(
    policy: &Policy<'_>,
    normalization: NormalizationType,
    messages: &mut Messages,
) {
    if policy.spec.action != AuthorizationAction::Allow {
        return;
    }
    for (index, rule) in policy.spec.rules.iter().enumerate() {
        for (place, to) in rule.to.iter().enumerate() {
            let Some(operation) = &to.operation else {
                continue;
            };
            for (number, path) in operation.not_paths.iter().enumerate() {
                let found = spellings(path, normalization)
                    .into_iter()
                    .find(|(spelling, _)| operation_admits(operation, spelling));
                if let Some((spelling, cure)) = found {
                    let hole = Hole {
                        field: format!(
                            "spec.rules[{index}].to[{place}].operation.notPaths[{number}]"
                        ),
                        path,
                        spelling,
                        cure,
                    };
                    hole.report(policy, "the rule itself", messages);
                }
            }
        }
    }
}

fn admits(rule: &AuthorizationRule, path: &str) -> bool {
    let mut operations = rule.to.iter().filter_map(|to| to.operation.as_ref());
    rule.to.is_empty() || operations.any(|operation| operation_admits(operation, path))
}

/// Whether an operation takes a path; of templates only those that take all below them.
fn operation_admits(operation: &AuthorizationOperation, path: &str) -> bool {
    let paths = &operation.paths;
    let matches = |pattern: &String| match pattern.split_once('{') {
        Some((start, rest)) if is_template(pattern) => rest == "**}" && path.starts_with(start),
        _ => Compare::Text.covers(pattern, path),
    };
    (paths.is_empty() || paths.iter().any(matches))
        && !operation.not_paths.iter().any(|not| may_match(not, path))
}

/// Whether a DENY rule stops a path for somebody.
fn denies(rule: &AuthorizationRule, path: &str) -> bool {
    let mut operations = rule.to.iter().filter_map(|to| to.operation.as_ref());
    rule.to.is_empty()
        || operations.any(|operation| {
            (operation.paths.is_empty() || operation.paths.iter().any(|one| may_match(one, path)))
                && !operation
                    .not_paths
                    .iter()
                    .any(|not| Compare::Text.covers(not, path))
        })
}

fn may_match(pattern: &str, path: &str) -> bool {
    match pattern.split_once('{') {
        Some((start, _)) if is_template(pattern) => path.starts_with(start),
        _ => Compare::Text.covers(pattern, path),
    }
}

/// Other spellings of a path that stay what they are, each with its cure. Templates and patterns by suffix are left alone.
fn spellings(path: &str, normalization: NormalizationType) -> Vec<(String, String)> {
    if !path.starts_with('/') || is_template(path) || path.len() < 2 {
        return Vec::new();
    }
    let (stem, is_prefix) = path
        .strip_suffix('*')
        .map_or((path, false), |stem| (stem, true));
    if stem.len() < 2 || stem.contains('*') {
        return Vec::new();
    }
    let set = |wanted: NormalizationType| format!("set the mesh's pathNormalization to {wanted}");
    let mut spellings = Vec::new();
    if !is_prefix
        && !stem.ends_with('/')
        && !stem
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains('.'))
    {
        spellings.push((format!("{stem}/"), format!("add {stem}/ or {stem}/*")));
    }
    if normalization == NormalizationType::None {
        spellings.push((format!("/.{stem}"), set(NormalizationType::MergeSlashes)));
    }
    let merges = matches!(
        normalization,
        NormalizationType::MergeSlashes | NormalizationType::DecodeAndMergeSlashes
    );
    if !merges {
        spellings.push((format!("/{stem}"), set(NormalizationType::MergeSlashes)));
    }
    let inner = stem.trim_end_matches('/').rfind('/').filter(|at| *at > 0);
    if normalization != NormalizationType::DecodeAndMergeSlashes
        && let Some((before, after)) =
            inner.and_then(|at| Some((stem.get(..at)?, stem.get(at + 1..)?)))
    {
        let spelling = format!("{before}%2F{after}");
        spellings.push((spelling, set(NormalizationType::DecodeAndMergeSlashes)));
    }
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_follow_from_the_normalization() {
        use NormalizationType::{Base, DecodeAndMergeSlashes, MergeSlashes, None};
        for (path, normalization, expected) in [
            ("/admin", None, &["/admin/", "/./admin", "//admin"][..]),
            ("/admin", Base, &["/admin/", "//admin"]),
            ("/admin", MergeSlashes, &["/admin/"]),
            ("/admin/*", MergeSlashes, &[]),
            ("/admin*", Base, &["//admin"]),
            ("/a/b*", Base, &["//a/b", "/a%2Fb"]),
            ("/a/b*", MergeSlashes, &["/a%2Fb"]),
            ("/a/b.html", DecodeAndMergeSlashes, &[]),
            ("/*", None, &[]),
            ("/", None, &[]),
            ("*.html", None, &[]),
            ("/a/{*}", None, &[]),
        ] {
            let found = spellings(path, normalization);
            let found: Vec<&str> = found
                .iter()
                .map(|(spelling, _)| spelling.as_str())
                .collect();
            assert_eq!(found, expected, "{path} {normalization}");
        }
    }
}
