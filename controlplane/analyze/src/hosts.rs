//! The hosts of a cluster, by name and by who sees them: Services and ServiceEntries.

use std::collections::{BTreeSet, HashMap};

use lateen_api::host::expand;
use lateen_api::labels::annotation::EXPORT_TO;
use lateen_api::object::{Kind, Object, Spec};

use crate::cluster::Cluster;

/// The domain of Kubernetes' services, which analysis takes for granted.
pub const DOMAIN: &str = "cluster.local";

/// The scope that all namespaces see.
const EVERYBODY: &str = "*";

/// The hosts of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Hosts<'a> {
    cluster: &'a Cluster,
    index: &'a HostIndex,
}

/// A host that is known.
#[derive(Debug, Clone, Copy)]
pub struct KnownHost<'a> {
    /// The Service or ServiceEntry.
    pub object: &'a Object,
}

/// Hosts by scope and name, built once for a cluster.
#[derive(Debug, Default)]
pub(crate) struct HostIndex {
    /// Numbers of names, both of hosts and of scopes; a wildcard's name is what follows its `*`.
    names: HashMap<Box<str>, u32>,
    /// Objects by host and scope.
    exact: HashMap<(u32, u32), u32>,
    /// Objects by wildcard and scope.
    wildcards: HashMap<(u32, u32), u32>,
    /// The lengths that wildcards have, so that a lookup tries only these.
    lengths: BTreeSet<usize>,
    given: bool,
}

impl HostIndex {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let mut index = Self::default();
        for number in cluster.numbers_of(Kind::ServiceEntry) {
            if let Some(object) = cluster.object(number) {
                index.add_service_entry(number, object);
            }
        }
        // Of a Service and a ServiceEntry of the same name the Service counts.
        for number in cluster.numbers_of(Kind::Service) {
            if let Some(object) = cluster.object(number) {
                index.add_service(number, object);
            }
        }
        index.given = cluster.has(Kind::Service) || cluster.has(Kind::ServiceEntry);
        index
    }

    fn add_service_entry(&mut self, number: u32, object: &Object) {
        let Spec::ServiceEntry(entry) = &object.spec else {
            return;
        };
        let namespace = &object.key.namespace;
        for host in &entry.hosts {
            let host = expand(host, namespace, DOMAIN);
            for scope in scopes(&entry.export_to, namespace) {
                let scope = self.number(scope);
                match host.strip_prefix('*') {
                    Some(suffix) => {
                        self.lengths.insert(suffix.len());
                        let suffix = self.number(suffix);
                        self.wildcards.insert((suffix, scope), number);
                    }
                    None => {
                        let host = self.number(&host);
                        self.exact.insert((host, scope), number);
                    }
                }
            }
        }
    }

    fn add_service(&mut self, number: u32, object: &Object) {
        let namespace = &object.key.namespace;
        let host = expand(&object.key.name, namespace, DOMAIN);
        let host = self.number(&host);
        let Some(said) = object.meta.annotations.get(EXPORT_TO) else {
            let scope = self.number(EVERYBODY);
            self.exact.insert((host, scope), number);
            return;
        };
        for scope in said.split(',').map(str::trim) {
            let scope = if scope == "." { namespace } else { scope };
            let scope = self.number(scope);
            self.exact.insert((host, scope), number);
        }
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.insert(name.into(), number);
        number
    }

    /// The object behind a full name. The scope of all comes first, then the namespace or, where the asking object is itself exported,
    /// those that see it; at last wildcards, the longest first.
    fn find(&self, host: &str, namespace: &str, export_to: &[String]) -> Option<u32> {
        let scope = |name: &str| self.names.get(name).copied();
        let everybody = scope(EVERYBODY);
        if let Some(host) = self.names.get(host).copied() {
            let own = scope(namespace);
            let further = export_to
                .iter()
                .map(|name| if name == "." { own } else { scope(name) });
            let own = export_to.is_empty().then_some(own);
            let mut seen = std::iter::once(everybody).chain(own).chain(further);
            if let Some(number) = seen.find_map(|scope| self.exact.get(&(host, scope?))) {
                return Some(*number);
            }
        }
        let stem = host.strip_prefix('*').unwrap_or(host);
        self.lengths.range(..=stem.len()).rev().find_map(|length| {
            let suffix = scope(stem.get(stem.len() - length..)?)?;
            [everybody, scope(namespace)]
                .into_iter()
                .flatten()
                .find_map(|scope| self.wildcards.get(&(suffix, scope)).copied())
        })
    }
}

impl<'a> Hosts<'a> {
    pub(crate) const fn new(cluster: &'a Cluster, index: &'a HostIndex) -> Self {
        Self { cluster, index }
    }

    /// The Service or ServiceEntry that an object of a namespace means by a host; `export_to` is the object's own.
    #[must_use]
    pub fn find(self, host: &str, namespace: &str, export_to: &[String]) -> Option<KnownHost<'a>> {
        let name = expand(host, namespace, DOMAIN);
        let number = self.index.find(&name, namespace, export_to)?;
        let object = self.cluster.object(number)?;
        Some(KnownHost { object })
    }

    /// Whether there is a Service or ServiceEntry besides those that a cluster of files has by default.
    #[must_use]
    pub const fn are_given(self) -> bool {
        self.index.given
    }
}

impl KnownHost<'_> {
    /// The numbers of the host's ports.
    #[must_use]
    pub fn ports(self) -> Vec<u32> {
        match &self.object.spec {
            Spec::ServiceEntry(entry) => entry.ports.iter().map(|port| port.number).collect(),
            Spec::Service(service) => service
                .spec
                .iter()
                .flat_map(|spec| spec.ports.iter().flatten())
                .filter_map(|port| u32::try_from(port.port).ok())
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The namespaces that see an object; `*` are all of them.
pub(crate) fn scopes<'a>(
    export_to: &'a [String],
    namespace: &'a str,
) -> impl Iterator<Item = &'a str> {
    let everybody = export_to.is_empty().then_some(EVERYBODY);
    let named = export_to.iter().map(move |name| {
        if name == "." {
            namespace
        } else {
            name.as_str()
        }
    });
    everybody.into_iter().chain(named)
}

/// Namespace and name of the service that a host is the full name of; any other host is a name in the object's own namespace.
pub(crate) fn service_of<'a>(host: &'a str, namespace: &'a str) -> (&'a str, &'a str) {
    host.strip_suffix(".svc.cluster.local")
        .and_then(|service| service.rsplit_once('.'))
        .filter(|(name, namespace)| !name.is_empty() && !namespace.is_empty())
        .map_or((namespace, host), |(name, namespace)| (namespace, name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lateen_api::object::{ReadOptions, read_text};

    use super::*;
    use crate::cluster::ClusterInput;

    const OBJECTS: &str = r"
apiVersion: v1
kind: Service
metadata: {name: open, namespace: a}
spec: {ports: [{port: 80}, {port: 90}]}
---
apiVersion: v1
kind: Service
metadata: {name: shut, namespace: a, annotations: {networking.istio.io/exportTo: '., c'}}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: a}
spec: {hosts: ['*.example.com', '*.x.example.com', one.example.org], exportTo: ['.'], ports: [{number: 443, name: tls}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wide, namespace: b}
spec: {hosts: ['*.wide.com'], ports: [{number: 443, name: tls}]}
";

    #[test]
    fn hosts_are_found_by_those_who_see_them() {
        let options = ReadOptions {
            namespace: "default",
            strict: true,
        };
        let parsed = read_text("a.yaml", &Arc::from(OBJECTS), options);
        assert_eq!(parsed.problems, Vec::new());
        let cluster = Cluster::new(ClusterInput {
            objects: parsed.objects,
            ..Default::default()
        });
        let c = ["c".to_owned()];
        let everybody = ["*".to_owned()];
        for (host, namespace, export_to, name) in [
            ("open", "a", &[][..], Some("open")),
            ("open", "b", &[], None),
            ("open.a.svc.cluster.local", "b", &[], Some("open")),
            ("shut", "a", &[], Some("shut")),
            ("shut.a.svc.cluster.local", "c", &[], Some("shut")),
            ("shut.a.svc.cluster.local", "b", &[], None),
            ("shut.a.svc.cluster.local", "b", &c, Some("shut")),
            ("shut.a.svc.cluster.local", "a", &everybody, None),
            ("one.example.org", "a", &[], Some("web")),
            ("one.example.org", "b", &[], None),
            ("two.example.com", "a", &[], Some("web")),
            ("two.example.com", "b", &[], None),
            ("*.example.com", "a", &[], Some("web")),
            ("example.com", "a", &[], None),
            ("any.wide.com", "a", &[], Some("wide")),
            ("*.any.wide.com", "a", &c, Some("wide")),
            ("", "a", &[], None),
        ] {
            let found = cluster.hosts().find(host, namespace, export_to);
            assert_eq!(
                found.map(|found| found.object.key.name.as_str()),
                name,
                "{host} from {namespace} for {export_to:?}"
            );
        }
        let open = cluster.hosts().find("open", "a", &[]);
        assert_eq!(open.map(KnownHost::ports), Some(vec![80, 90]));
        assert!(cluster.hosts().are_given());
    }

    #[test]
    fn full_names_are_taken_apart() {
        for (host, service) in [
            ("reviews", ("own", "reviews")),
            ("reviews.other", ("own", "reviews.other")),
            ("reviews.other.svc.cluster.local", ("other", "reviews")),
            ("a.b.other.svc.cluster.local", ("other", "a.b")),
            (
                ".other.svc.cluster.local",
                ("own", ".other.svc.cluster.local"),
            ),
            (
                "other.svc.cluster.local",
                ("own", "other.svc.cluster.local"),
            ),
        ] {
            assert_eq!(service_of(host, "own"), service, "{host}");
        }
    }
}
