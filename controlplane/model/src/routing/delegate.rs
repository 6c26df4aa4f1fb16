//! Delegation: a root VirtualService keeps hosts and gateways, another one without hosts brings the routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::networking::{
    HttpMatchRequest, HttpRoute, StringMatch, StringMatchKind, VirtualService,
};

use crate::rule::Rule;

/// A route that delegates to something that cannot be used; it is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelegated {
    /// Path of the field in the root, e.g. `spec.http[0].delegate`.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// The root with its delegating routes replaced by those of the delegates that `find(namespace, name)` knows.
pub fn with_delegates(
    root: &Rule<VirtualService>,
    find: impl Fn(&str, &str) -> Option<Arc<Rule<VirtualService>>>,
) -> (Rule<VirtualService>, Vec<Undelegated>) {
    let mut merged = root.clone();
    merged.spec.http.clear();
    let mut problems = Vec::new();
    for (at, route) in root.spec.http.iter().enumerate() {
        let Some(delegate) = &route.delegate else {
            merged.spec.http.push(route.clone());
            continue;
        };
        let namespace = if delegate.namespace.is_empty() {
            &*root.namespace
        } else {
            &delegate.namespace
        };
        let mut refuse = |reason: String| {
            problems.push(Undelegated {
                field: format!("spec.http[{at}].delegate"),
                reason,
            })
        };
        match find(namespace, &delegate.name) {
            None => refuse(format!(
                "VirtualService {namespace}/{} does not exist",
                delegate.name
            )),
            Some(target) if !target.spec.hosts.is_empty() => {
                refuse(format!(
                    "VirtualService {namespace}/{} has hosts, so it is no delegate",
                    delegate.name
                ));
            }
            Some(target) if !target.export_to.admits(&root.namespace) => {
                refuse(format!(
                    "VirtualService {namespace}/{} is not exported to {}",
                    delegate.name, root.namespace
                ));
            }
            Some(target) => {
                for (i, own) in target.spec.http.iter().enumerate() {
                    if own.delegate.is_some() {
                        refuse(format!(
                            "http[{i}] of {namespace}/{} delegates again, only one level is possible",
                            delegate.name
                        ));
                        continue;
                    }
                    match merge_route(route, own) {
                        Some(route) => merged.spec.http.push(route),
                        None => refuse(format!(
                            "the matches of http[{i}] of {namespace}/{} contradict those of the root",
                            delegate.name
                        )),
                    }
                }
            }
        }
    }
    (merged, problems)
}

fn merge_route(root: &HttpRoute, own: &HttpRoute) -> Option<HttpRoute> {
    let mut out = own.clone();
    out.name = joined(&root.name, &own.name);
    out.r#match = merge_matches(&root.r#match, &own.r#match)?;
    inherit(&mut out.rewrite, &root.rewrite);
    inherit(&mut out.direct_response, &root.direct_response);
    inherit(&mut out.timeout, &root.timeout);
    inherit(&mut out.retries, &root.retries);
    inherit(&mut out.fault, &root.fault);
    inherit(&mut out.mirror, &root.mirror);
    inherit(&mut out.mirror_percent, &root.mirror_percent);
    inherit(&mut out.mirror_percentage, &root.mirror_percentage);
    inherit(&mut out.cors_policy, &root.cors_policy);
    inherit(&mut out.headers, &root.headers);
    if out.mirrors.is_empty() {
        out.mirrors.clone_from(&root.mirrors);
    }
    Some(out)
}

fn inherit<T: Clone>(own: &mut Option<T>, root: &Option<T>) {
    if own.is_none() {
        own.clone_from(root);
    }
}

fn joined(root: &str, own: &str) -> String {
    match (root.is_empty(), own.is_empty()) {
        (true, _) => own.to_owned(),
        (_, true) => root.to_owned(),
        _ => format!("{root}-{own}"),
    }
}

/// Every pair that agrees; `None` when a match of the delegate agrees with none of the root.
fn merge_matches(
    root: &[HttpMatchRequest],
    own: &[HttpMatchRequest],
) -> Option<Vec<HttpMatchRequest>> {
    if root.is_empty() || own.is_empty() {
        return Some(if own.is_empty() {
            root.to_vec()
        } else {
            own.to_vec()
        });
    }
    let mut out = Vec::new();
    for narrow in own {
        let before = out.len();
        out.extend(
            root.iter()
                .filter(|wide| !conflict(wide, narrow))
                .map(|wide| merge_match(wide, narrow)),
        );
        if out.len() == before {
            return None;
        }
    }
    Some(out)
}

fn merge_match(root: &HttpMatchRequest, own: &HttpMatchRequest) -> HttpMatchRequest {
    let mut out = own.clone();
    out.name = joined(&root.name, &own.name);
    inherit(&mut out.uri, &root.uri);
    inherit(&mut out.scheme, &root.scheme);
    inherit(&mut out.method, &root.method);
    inherit(&mut out.authority, &root.authority);
    union(&mut out.headers, &root.headers);
    union(&mut out.without_headers, &root.without_headers);
    union(&mut out.query_params, &root.query_params);
    union(&mut out.source_labels, &root.source_labels);
    if out.port == 0 {
        out.port = root.port;
    }
    if out.source_namespace.is_empty() {
        out.source_namespace.clone_from(&root.source_namespace);
    }
    if out.gateways.is_empty() {
        out.gateways.clone_from(&root.gateways);
    }
    if out.stat_prefix.is_empty() {
        out.stat_prefix.clone_from(&root.stat_prefix);
    }
    out
}

fn union<V: Clone>(own: &mut BTreeMap<String, V>, root: &BTreeMap<String, V>) {
    for (key, value) in root {
        own.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn conflict(root: &HttpMatchRequest, own: &HttpMatchRequest) -> bool {
    let differ = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
    text_conflict(root.uri.as_ref(), own.uri.as_ref())
        || text_conflict(root.scheme.as_ref(), own.scheme.as_ref())
        || text_conflict(root.method.as_ref(), own.method.as_ref())
        || text_conflict(root.authority.as_ref(), own.authority.as_ref())
        || map_conflict(&root.headers, &own.headers)
        || map_conflict(&root.without_headers, &own.without_headers)
        || map_conflict(&root.query_params, &own.query_params)
        || root.source_labels.iter().any(|(key, value)| {
            own.source_labels
                .get(key)
                .is_some_and(|other| other != value)
        })
        || (root.port != 0 && own.port != 0 && root.port != own.port)
        || differ(&root.source_namespace, &own.source_namespace)
        || (!root.gateways.is_empty()
            && own
                .gateways
                .iter()
                .any(|gateway| !root.gateways.contains(gateway)))
        || root.ignore_uri_case != own.ignore_uri_case
}

fn map_conflict(root: &BTreeMap<String, StringMatch>, own: &BTreeMap<String, StringMatch>) -> bool {
    root.iter()
        .any(|(key, value)| text_conflict(Some(value), own.get(key)))
}

fn text_conflict(root: Option<&StringMatch>, own: Option<&StringMatch>) -> bool {
    use StringMatchKind::{Exact, Prefix, Regex};
    let (Some(Some(root)), Some(Some(own))) = (root.map(|m| &m.kind), own.map(|m| &m.kind)) else {
        return false;
    };
    match (root, own) {
        (Regex(_), _) | (_, Regex(_)) | (Exact(_), Prefix(_)) => true,
        (Exact(root), Exact(own)) => root != own,
        (Prefix(root), Prefix(own) | Exact(own)) => !own.starts_with(root.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use lateen_api::networking::Delegate;

    use super::*;
    use crate::service::Visibility;

    fn rule(name: &str, hosts: &[&str], http: Vec<HttpRoute>) -> Rule<VirtualService> {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        let spec = VirtualService {
            hosts,
            http,
            ..Default::default()
        };
        Rule {
            namespace: "shop".into(),
            name: name.into(),
            created: 0,
            export_to: Visibility::Public,
            spec,
        }
    }

    fn route(name: &str, uris: &[StringMatch]) -> HttpRoute {
        let r#match = uris
            .iter()
            .map(|uri| HttpMatchRequest {
                uri: Some(uri.clone()),
                ..Default::default()
            })
            .collect();
        HttpRoute {
            name: name.into(),
            r#match,
            ..Default::default()
        }
    }

    #[test]
    fn routes_are_joined_and_contradictions_dropped() {
        let mut delegating = route("root", &[StringMatch::prefix("/api")]);
        delegating.delegate = Some(Delegate {
            name: "own".into(),
            namespace: String::new(),
        });
        delegating.timeout = Some(lateen_api::proto::Duration::from_secs(3));
        let root = rule("root", &["a.com"], vec![delegating, route("last", &[])]);
        let own = Arc::new(rule(
            "own",
            &[],
            vec![
                route(
                    "v1",
                    &[StringMatch::prefix("/api/v1"), StringMatch::exact("/api")],
                ),
                route("", &[]),
                route("bad", &[StringMatch::prefix("/other")]),
            ],
        ));
        let (merged, problems) = with_delegates(&root, |ns, name| {
            (ns == "shop" && name == "own").then(|| Arc::clone(&own))
        });
        let names: Vec<&str> = merged.spec.http.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["root-v1", "root", "last"]);
        assert_eq!(merged.spec.http[0].r#match.len(), 2);
        assert_eq!(
            merged.spec.http[1].r#match[0].uri,
            Some(StringMatch::prefix("/api"))
        );
        assert_eq!(
            merged.spec.http[0].timeout,
            Some(lateen_api::proto::Duration::from_secs(3))
        );
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].field, "spec.http[0].delegate");
    }

    #[test]
    fn text_conflicts() {
        let (e, p, r) = (StringMatch::exact, StringMatch::prefix, StringMatch::regex);
        let table = [
            (e("/a"), e("/a"), false),
            (e("/a"), e("/b"), true),
            (e("/a"), p("/a"), true),
            (p("/a"), p("/ab"), false),
            (p("/ab"), p("/a"), true),
            (p("/a"), e("/ab"), false),
            (r(".*"), p("/a"), true),
            (p("/a"), r(".*"), true),
        ];
        for (root, own, expected) in table {
            assert_eq!(
                text_conflict(Some(&root), Some(&own)),
                expected,
                "{root:?} {own:?}"
            );
        }
        assert!(!text_conflict(None, Some(&e("/a"))));
    }
}
