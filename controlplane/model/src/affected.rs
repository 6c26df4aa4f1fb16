//! What a change of configuration touches: which proxies, and which of their resource types.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::service::Visibility;

/// A set of xDS resource types that this control plane generates.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct TypeSet(u16);

/// Type URLs with their bit, short name and order of pushing (CDS, EDS, LDS, RDS, then the others).
const TYPES: [(&str, TypeSet, &str); 6] = [
    (TypeSet::CLUSTER_URL, TypeSet::CLUSTERS, "cds"),
    (TypeSet::ENDPOINT_URL, TypeSet::ENDPOINTS, "eds"),
    (TypeSet::LISTENER_URL, TypeSet::LISTENERS, "lds"),
    (TypeSet::ROUTE_URL, TypeSet::ROUTES, "rds"),
    (TypeSet::SECRET_URL, TypeSet::SECRETS, "sds"),
    (TypeSet::NAMES_URL, TypeSet::NAMES, "nds"),
];

impl TypeSet {
    /// Type URL of clusters.
    pub const CLUSTER_URL: &'static str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// Type URL of endpoint assignments.
    pub const ENDPOINT_URL: &'static str =
        "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// Type URL of listeners.
    pub const LISTENER_URL: &'static str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// Type URL of route configurations.
    pub const ROUTE_URL: &'static str =
        "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    /// Type URL of secrets.
    pub const SECRET_URL: &'static str =
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    /// Type URL of the DNS name table that the proxy's agent serves.
    pub const NAMES_URL: &'static str = "type.googleapis.com/istio.networking.nds.v1.NameTable";

    /// No type.
    pub const NONE: Self = Self(0);
    /// Clusters (CDS).
    pub const CLUSTERS: Self = Self(1);
    /// Endpoint assignments (EDS).
    pub const ENDPOINTS: Self = Self(2);
    /// Listeners (LDS).
    pub const LISTENERS: Self = Self(4);
    /// Route configurations (RDS).
    pub const ROUTES: Self = Self(8);
    /// Secrets (SDS).
    pub const SECRETS: Self = Self(16);
    /// Name table (NDS).
    pub const NAMES: Self = Self(32);
    /// Every type.
    pub const ALL: Self = Self(63);

    /// Every type URL in push order.
    pub fn urls() -> impl Iterator<Item = &'static str> {
        TYPES.iter().map(|(url, _, _)| *url)
    }

    /// The set that holds the type of this URL alone; empty for a type that is not generated here.
    #[must_use]
    pub fn of(type_url: &str) -> Self {
        TYPES
            .iter()
            .find(|(url, _, _)| *url == type_url)
            .map_or(Self::NONE, |(_, set, _)| *set)
    }

    /// The usual short name of a type (`cds`), `None` for a type that is not generated here.
    #[must_use]
    pub fn short_name(type_url: &str) -> Option<&'static str> {
        TYPES
            .iter()
            .find(|(url, _, _)| *url == type_url)
            .map(|(_, _, name)| *name)
    }

    /// True when every type of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when some type of `other` is in this set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Types in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Types in this set and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True when the set holds nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for TypeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = TYPES
            .iter()
            .filter(|(_, set, _)| self.contains(*set))
            .map(|(_, _, name)| name);
        f.debug_set().entries(names).finish()
    }
}

/// Which proxies a cause reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Every proxy.
    All,
    /// Proxies of one namespace.
    Namespace(Arc<str>),
    /// The proxies that have one of these addresses (their own pod or services changed).
    Addresses(BTreeSet<std::net::IpAddr>),
    /// Proxies that may see at least one of these.
    Importers(Vec<Import>),
    /// The same, but only proxies whose Sidecar resource limits what they import: for them a new destination may pull in a service.
    RestrictedImporters(Vec<Import>),
    /// Gateway proxies only.
    Routers,
}

/// Something that proxies may import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Namespace it is declared in; `None` when it concerns hosts of any namespace.
    pub namespace: Option<Arc<str>>,
    /// Host name or wildcard.
    pub host: Arc<str>,
    /// Who may see it, before or after the change.
    pub visible: Visibility,
}

/// One reason to push: types and the proxies they matter to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Proxies reached.
    pub reach: Reach,
    /// Types that may differ for them. Endpoints here mean all endpoint assignments.
    pub types: TypeSet,
    /// Hosts whose endpoint assignments alone may differ; used together with `types` that do not contain endpoints.
    pub endpoints: BTreeSet<Arc<str>>,
}

/// Everything one step from a snapshot to the next touches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Affected {
    /// The reasons; empty when nothing visible changed.
    pub causes: Vec<Cause>,
}

/// Beyond so many causes, asking each proxy about each costs more than generating again.
pub const MAX_CAUSES: usize = 512;

/// What one proxy needs again after a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// Types to generate again. Holds endpoints when any assignment may differ.
    pub types: TypeSet,
    /// Which endpoint assignments may differ.
    pub endpoints: Hosts,
}

/// A selection of hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Hosts {
    /// No host.
    #[default]
    None,
    /// These hosts.
    Some(BTreeSet<Arc<str>>),
    /// Every host.
    All,
}

impl Affected {
    /// A change after which every proxy needs everything (first snapshot, mesh config).
    #[must_use]
    pub fn everything() -> Self {
        Self {
            causes: vec![Cause {
                reach: Reach::All,
                types: TypeSet::ALL,
                endpoints: BTreeSet::new(),
            }],
        }
    }

    /// True when nobody needs anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    /// Adds the causes of a later step, so that two steps can be pushed as one. More than [`MAX_CAUSES`] become "everything".
    pub fn merge(&mut self, later: &Self) {
        if self.causes.len() + later.causes.len() > MAX_CAUSES {
            *self = Self::everything();
            return;
        }
        for cause in &later.causes {
            if !self.causes.contains(cause) {
                self.causes.push(cause.clone());
            }
        }
    }

    /// Types that some proxy may need again; decides which caches stay valid.
    #[must_use]
    pub fn types(&self) -> TypeSet {
        self.causes.iter().fold(TypeSet::NONE, |all, cause| {
            let endpoints = if cause.endpoints.is_empty() {
                TypeSet::NONE
            } else {
                TypeSet::ENDPOINTS
            };
            all.union(cause.types).union(endpoints)
        })
    }
}

impl Touched {
    /// Everything of every type.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            types: TypeSet::ALL,
            endpoints: Hosts::All,
        }
    }

    /// Adds what one cause asks for.
    pub fn add(&mut self, cause: &Cause) {
        self.types = self.types.union(cause.types);
        if cause.types.contains(TypeSet::ENDPOINTS) {
            self.endpoints = Hosts::All;
        } else if !cause.endpoints.is_empty() {
            self.types = self.types.union(TypeSet::ENDPOINTS);
            self.endpoints.extend(&cause.endpoints);
        }
    }

    /// True when this resource of this type may have changed. Cluster names of endpoint assignments are
    /// `outbound|<port>|<subset>|<host>` or `outbound_.<port>_.<subset>_.<host>`.
    #[must_use]
    pub fn covers(&self, type_url: &str, name: &str) -> bool {
        let set = TypeSet::of(type_url);
        if set != TypeSet::ENDPOINTS {
            return !set.is_empty() && self.types.contains(set);
        }
        match &self.endpoints {
            Hosts::None => false,
            Hosts::All => true,
            Hosts::Some(hosts) => cluster_host(name).is_some_and(|host| hosts.contains(host)),
        }
    }
}

impl Hosts {
    fn extend(&mut self, more: &BTreeSet<Arc<str>>) {
        match self {
            Self::All => {}
            Self::None => *self = Self::Some(more.clone()),
            Self::Some(hosts) => hosts.extend(more.iter().cloned()),
        }
    }
}

/// The host part of an outbound cluster's name.
#[must_use]
pub fn cluster_host(name: &str) -> Option<&str> {
    if let Some(rest) = name.strip_prefix("outbound|") {
        return rest.splitn(3, '|').nth(2);
    }
    name.strip_prefix("outbound_.")?.splitn(3, "_.").nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_of_cluster_names() {
        assert_eq!(
            cluster_host("outbound|9080|v1|reviews.default.svc.cluster.local"),
            Some("reviews.default.svc.cluster.local")
        );
        assert_eq!(cluster_host("outbound|9080||a.b"), Some("a.b"));
        assert_eq!(cluster_host("outbound_.9080_._.a.b"), Some("a.b"));
        assert_eq!(cluster_host("inbound|9080||"), None);
    }

    #[test]
    fn endpoint_causes_touch_only_their_hosts() {
        let mut touched = Touched::default();
        let endpoints = BTreeSet::from([Arc::from("a.b")]);
        touched.add(&Cause {
            reach: Reach::All,
            types: TypeSet::NONE,
            endpoints,
        });
        assert!(touched.covers(TypeSet::ENDPOINT_URL, "outbound|80||a.b"));
        assert!(!touched.covers(TypeSet::ENDPOINT_URL, "outbound|80||b.b"));
        assert!(!touched.covers(TypeSet::CLUSTER_URL, "outbound|80||a.b"));
        touched.add(&Affected::everything().causes[0]);
        assert!(touched.covers(TypeSet::ENDPOINT_URL, "outbound|80||b.b"));
    }
}
