//! AuthorizationPolicies: rules that never match, rules that other rules make moot, and paths that a denial misses.

mod never_matches;
mod open_paths;
mod patterns;
mod ports;
mod shadowed;
mod traits;

pub(super) use never_matches::ANALYZER as NEVER_MATCHES;
pub(super) use open_paths::ANALYZER as OPEN_PATHS;
pub(super) use shadowed::ANALYZER as SHADOWED;

use std::collections::{BTreeMap, HashMap};

use lateen_api::labels::{annotation::DRY_RUN, selects};
use lateen_api::networking::PolicyTargetReference;
use lateen_api::object::{Kind, Object};
use lateen_api::security::AuthorizationPolicy;

use crate::cluster::Cluster;

static NONE: BTreeMap<String, String> = BTreeMap::new();

/// A policy and what it is for.
#[derive(Debug, Clone, Copy)]
struct Policy<'a> {
    object: &'a Object,
    spec: &'a AuthorizationPolicy,
    /// The namespace; `None` for the whole mesh.
    namespace: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
}

impl<'a> Policy<'a> {
    /// The objects that the policy is attached to.
    fn targets(&self) -> impl Iterator<Item = &'a PolicyTargetReference> + use<'a> {
        self.spec.target_ref.iter().chain(&self.spec.target_refs)
    }

    /// Whether the policy counts for all workloads for which another one counts.
    fn covers(&self, other: &Self) -> bool {
        let attached = self.targets().next().is_some() || other.targets().next().is_some();
        if attached {
            return self.object.key.namespace == other.object.key.namespace
                && self.targets().eq(other.targets());
        }
        (self.namespace.is_none() || self.namespace == other.namespace)
            && selects(self.labels, other.labels)
    }

    /// `namespace/name`.
    fn name(&self) -> String {
        format!("{}/{}", self.object.key.namespace, self.object.key.name)
    }
}

/// A namespace, or all, and the first label of a selector, or none.
type Scope<'a> = (Option<&'a str>, Option<(&'a str, &'a str)>);

/// The policies that are in force, in the order of namespace and name; those that are only tried are not.
struct Policies<'a> {
    all: Vec<Policy<'a>>,
    /// Numbers of policies by namespace and by the first label of their selector.
    by_scope: HashMap<Scope<'a>, Vec<usize>>,
}

impl<'a> Policies<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let root = cluster.mesh.root_namespace.as_str();
        let mut policies = Self {
            all: Vec::new(),
            by_scope: HashMap::new(),
        };
        for object in cluster.of(Kind::AuthorizationPolicy) {
            let Some(spec) = object.spec.as_authorization_policy() else {
                continue;
            };
            if is_tried(object) {
                continue;
            }
            let selector = spec.selector.as_ref();
            let namespace = object.key.namespace.as_str();
            let policy = Policy {
                object,
                spec,
                namespace: (namespace != root).then_some(namespace),
                labels: selector.map_or(&NONE, |selector| &selector.match_labels),
            };
            let label = policy.labels.iter().next();
            let label = label.map(|(key, value)| (key.as_str(), value.as_str()));
            let number = policies.all.len();
            let scope = policies.by_scope.entry((policy.namespace, label));
            scope.or_default().push(number);
            policies.all.push(policy);
        }
        policies
    }

    /// The policies that count for all workloads for which a policy counts, itself among them.
    fn covering<'p>(
        &'p self,
        policy: &'p Policy<'a>,
    ) -> impl Iterator<Item = (usize, &'p Policy<'a>)> {
        let own = policy.namespace.map(Some);
        let namespaces = std::iter::once(None).chain(own);
        let keys = namespaces.flat_map(move |namespace| {
            let labels = policy.labels.iter();
            let labels = labels.map(|(key, value)| Some((key.as_str(), value.as_str())));
            std::iter::once(None)
                .chain(labels)
                .map(move |label| (namespace, label))
        });
        keys.filter_map(|key| self.by_scope.get(&key))
            .flatten()
            .filter_map(|number| Some((*number, self.all.get(*number)?)))
            .filter(|(_, other)| other.covers(policy))
    }
}

/// Whether a policy is only tried and decides nothing.
fn is_tried(object: &Object) -> bool {
    let said = object.meta.annotations.get(DRY_RUN);
    said.is_some_and(|said| matches!(said.as_str(), "1" | "t" | "T" | "TRUE" | "true" | "True"))
}
