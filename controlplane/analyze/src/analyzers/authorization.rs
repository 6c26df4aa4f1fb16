//! Policies of authentication and authorization against what they apply to.

use std::collections::{BTreeMap, HashMap, HashSet};

use lateen_api::networking::MatchLabelsSelector;
use lateen_api::object::{Kind, Object};
use lateen_api::security::{AuthorizationPolicy, AuthorizationSource};

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;
use crate::pods::{pod_template, selector_text};

pub(super) const POLICIES: Analyzer = Analyzer {
    name: "auth.AuthorizationPoliciesAnalyzer",
    description: "Authorization policies that apply to nothing or name namespaces that do not exist",
    inputs: &[
        Input::MeshConfig,
        Input::Kind(Kind::AuthorizationPolicy),
        Input::Kind(Kind::Namespace),
        Input::Kind(Kind::Pod),
    ],
    run: |cluster, _, messages| policies(cluster, messages),
};

pub(super) const BLOCKED_CIDRS: Analyzer = Analyzer {
    name: "authn.BlockedCIDRsAnalyzer",
    description: "Control planes that fetch signing keys from any address",
    inputs: &[
        Input::Kind(Kind::RequestAuthentication),
        Input::Kind(Kind::Deployment),
    ],
    run: |cluster, _, messages| blocked_cidrs(cluster, messages),
};

fn policies(cluster: &Cluster, messages: &mut Messages) {
    let mut namespaces = Namespaces::of(cluster);
    let mut workloads = Workloads {
        cluster,
        known: HashMap::new(),
    };
    for object in cluster.given(Kind::AuthorizationPolicy) {
        let Some(policy) = object.spec.as_authorization_policy() else {
            continue;
        };
        check_workloads(object, policy, &mut workloads, messages);
        check_namespaces(object, policy, &mut namespaces, messages);
    }
}

/// Which selectors select a workload of the mesh.
struct Workloads<'a> {
    cluster: &'a Cluster,
    /// Many policies ask the same.
    known: HashMap<(Option<&'a str>, &'a BTreeMap<String, String>), bool>,
}

static ALL: BTreeMap<String, String> = BTreeMap::new();

impl<'a> Workloads<'a> {
    fn any(
        &mut self,
        namespace: Option<&'a str>,
        selector: Option<&'a MatchLabelsSelector>,
    ) -> bool {
        let cluster = self.cluster;
        let selector = selector.map_or(&ALL, |selector| &selector.match_labels);
        *self.known.entry((namespace, selector)).or_insert_with(|| {
            cluster.pods().any(namespace, selector, |pod| {
                pod.is_in_mesh() || pod.is_ambient()
            })
        })
    }
}

fn check_workloads<'a>(
    object: &'a Object,
    policy: &'a AuthorizationPolicy,
    workloads: &mut Workloads<'a>,
    messages: &mut Messages,
) {
    let cluster = workloads.cluster;
    if cluster.files_only && !cluster.pods().are_given() {
        return;
    }
    let selector = policy.selector.as_ref();
    let namespace = object.key.namespace.as_str();
    let mesh_wide = namespace == cluster.mesh.root_namespace;
    let found = match (mesh_wide, selector) {
        (true, None) => true,
        (true, Some(_)) => workloads.any(None, selector),
        (false, _) => workloads.any(Some(namespace), selector),
    };
    if found {
        return;
    }
    let labels = selector.map_or_else(String::new, |selector| {
        selector_text(&selector.match_labels)
    });
    let what = if labels.is_empty() {
        "no workload of the mesh is in this namespace".to_owned()
    } else {
        format!("no workload of the mesh has the labels `{labels}`")
    };
    messages.field(
        code::NO_MATCHING_WORKLOADS_FOUND,
        object,
        if selector.is_some() { "spec.selector" } else { "" },
        format!("this policy applies to nothing, for {what}: correct its selector or its namespace, or add the workload to the mesh"),
    );
}

/// Which patterns of namespaces fit any.
struct Namespaces<'a> {
    names: Vec<&'a str>,
    folded: HashSet<String>,
    known: HashMap<&'a str, bool>,
}

impl<'a> Namespaces<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let names: Vec<&str> = cluster
            .of(Kind::Namespace)
            .map(|object| object.key.name.as_str())
            .collect();
        Self {
            folded: names.iter().map(|name| name.to_lowercase()).collect(),
            names,
            known: HashMap::new(),
        }
    }

    fn fit(&mut self, pattern: &'a str) -> bool {
        let Self {
            names,
            folded,
            known,
        } = self;
        *known.entry(pattern).or_insert_with(|| {
            if let Some(end) = pattern.strip_prefix('*') {
                end.is_empty() || names.iter().any(|name| name.ends_with(end))
            } else if let Some(start) = pattern.strip_suffix('*') {
                names.iter().any(|name| name.starts_with(start))
            } else {
                folded.contains(&pattern.to_lowercase())
            }
        })
    }
}

fn check_namespaces<'a>(
    object: &Object,
    policy: &'a AuthorizationPolicy,
    namespaces: &mut Namespaces<'a>,
    messages: &mut Messages,
) {
    for (rule_number, rule) in policy.rules.iter().enumerate() {
        for (number, from) in rule.from.iter().enumerate() {
            let Some(source) = &from.source else {
                continue;
            };
            for (list, place, pattern) in named_namespaces(source) {
                if namespaces.fit(pattern) {
                    continue;
                }
                let field =
                    format!("spec.rules[{rule_number}].from[{number}].source.{list}[{place}]");
                messages.scalar(
                    code::REFERENCED_RESOURCE_NOT_FOUND,
                    object,
                    &field,
                    format!("there is no namespace \"{pattern}\": correct the name, or create the namespace"),
                );
            }
        }
    }
}

fn named_namespaces(
    source: &AuthorizationSource,
) -> impl Iterator<Item = (&'static str, usize, &String)> {
    let some = source.namespaces.iter().enumerate();
    let others = source.not_namespaces.iter().enumerate();
    some.map(|(place, value)| ("namespaces", place, value))
        .chain(others.map(|(place, value)| ("notNamespaces", place, value)))
}

/// The setting of the control plane that keeps it from fetching keys from some addresses.
const SETTING: &str = "BLOCKED_CIDRS_IN_JWKS_URIS";
/// More names than these are only counted.
const NAMES: usize = 5;

fn blocked_cidrs(cluster: &Cluster, messages: &mut Messages) {
    let count = cluster.given(Kind::RequestAuthentication).count();
    if count == 0 {
        return;
    }
    let names: Vec<String> = cluster
        .given(Kind::RequestAuthentication)
        .take(NAMES)
        .map(|object| format!("{}/{}", object.key.namespace, object.key.name))
        .collect();
    let mut names = names.join(", ");
    if count > NAMES {
        names.push_str(&format!(", and {} more", count - NAMES));
    }
    for object in cluster.given(Kind::Deployment) {
        let is_control_plane = object
            .meta
            .labels
            .get("app")
            .is_some_and(|app| app == "istiod");
        if is_control_plane && !is_restricted(object) {
            messages.object(
                code::JWKS_URI_FETCH_UNRESTRICTED,
                object,
                format!("the control plane fetches the keys of {count} RequestAuthentication object(s) ({names}) from any address, also inside of the cluster: set {SETTING} in its environment"),
            );
        }
    }
}

fn is_restricted(deployment: &Object) -> bool {
    let spec = pod_template(deployment).and_then(|template| template.spec.as_ref());
    spec.into_iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.env.iter().flatten())
        .any(|variable| {
            variable.name == SETTING
                && variable
                    .value
                    .as_deref()
                    .is_some_and(|value| !value.is_empty())
        })
}
