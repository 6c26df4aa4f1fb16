//! Which connections pods take, by the PeerAuthentications that count for them.

use std::collections::{BTreeMap, HashMap};

use lateen_api::object::{Kind, Object};
use lateen_api::security::{MutualTlsMode, PeerAuthentication};

use crate::cluster::Cluster;
use crate::selectors::SelectorIndex;

type Policy<'a> = (&'a Object, &'a PeerAuthentication);

/// PeerAuthentications by what they are for. Of those at one level the oldest counts.
pub(crate) struct PeerModes<'a> {
    mesh: Option<Policy<'a>>,
    namespaces: HashMap<&'a str, Policy<'a>>,
    workloads: SelectorIndex<'a, Policy<'a>>,
}

impl<'a> PeerModes<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        let root = cluster.mesh.root_namespace.as_str();
        let policies = || {
            cluster
                .of(Kind::PeerAuthentication)
                .filter_map(|object| Some((object, &**object.spec.as_peer_authentication()?)))
        };
        let mut namespaces: HashMap<&str, Policy<'_>> = HashMap::new();
        for policy in policies().filter(|(_, policy)| selector(policy).is_none()) {
            let known = namespaces.entry(&policy.0.key.namespace).or_insert(policy);
            *known = older(*known, policy);
        }
        let mesh = namespaces.remove(root);
        // In the root namespace a PeerAuthentication with a selector counts for nothing.
        let selecting = policies().filter_map(|policy| {
            let namespace = policy.0.key.namespace.as_str();
            (namespace != root).then_some((namespace, selector(policy.1)?, policy))
        });
        Self {
            mesh,
            namespaces,
            workloads: SelectorIndex::new(selecting),
        }
    }

    /// The mode of a port of pods with labels, and the object that says so; `None` if none does.
    pub(crate) fn of(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        port: u32,
    ) -> Option<(MutualTlsMode, &'a Object)> {
        let workload = self.workloads.selecting(namespace, labels).reduce(older);
        let of_port = workload.and_then(|(object, policy)| {
            Some((policy.port_level_mtls.as_ref()?.get(&port)?.mode, object))
        });
        let whole = |(object, policy): Policy<'a>| Some((policy.mtls.as_ref()?.mode, object));
        let levels = [
            of_port,
            workload.and_then(whole),
            self.namespaces.get(namespace).copied().and_then(whole),
            self.mesh.and_then(whole),
        ];
        levels
            .into_iter()
            .flatten()
            .find(|(mode, _)| *mode != MutualTlsMode::Unset)
    }
}

fn selector(policy: &PeerAuthentication) -> Option<&BTreeMap<String, String>> {
    let labels = &policy.selector.as_ref()?.match_labels;
    (!labels.is_empty()).then_some(labels)
}

fn older<'a>(one: Policy<'a>, two: Policy<'a>) -> Policy<'a> {
    let age = |(object, _): Policy<'a>| {
        let made = object.meta.creation_timestamp;
        (made.is_none(), made, &object.key.name)
    };
    if age(two) < age(one) { two } else { one }
}
