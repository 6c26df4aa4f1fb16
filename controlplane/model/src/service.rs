//! Services: Kubernetes Services and ServiceEntry hosts in one shape.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::proxy::Labels;
use lateen_api::protocol::Protocol;

/// Seconds since the Unix epoch, for "oldest first".
pub type Created = i64;

/// Where a service was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Registry {
    /// A Kubernetes Service.
    Kubernetes,
    /// A host of a ServiceEntry.
    ServiceEntry,
}

/// How endpoints of a service are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// Known addresses, sent by EDS.
    Static,
    /// Every address a name resolves to.
    Dns,
    /// One address of a name, new ones as it resolves anew.
    DnsRoundRobin,
    /// The request's own host is resolved.
    DynamicDns,
    /// The address the client asked for (ServiceEntry NONE, headless Service).
    OriginalDestination,
}

/// Who may see an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visibility {
    /// Every namespace.
    Public,
    /// These namespaces only; empty for nobody.
    Namespaces(BTreeSet<Arc<str>>),
}

/// Port of a pod that a service port leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By the name of a container port.
    Name(Arc<str>),
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; may be empty when it is the only port.
    pub name: Arc<str>,
    /// Number clients use.
    pub number: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Port of the endpoints.
    pub target: TargetPort,
}

/// Where clients of a service are kept near (`trafficDistribution` and its annotation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distribution {
    /// No preference.
    #[default]
    Any,
    /// Same zone first.
    SameZone,
    /// Same node first.
    SameNode,
}

/// A service as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Fully qualified host name; may be a wildcard for a ServiceEntry.
    pub host: Arc<str>,
    /// Name of the Service or, for a ServiceEntry, its host.
    pub name: Arc<str>,
    /// Namespace of the declaring object.
    pub namespace: Arc<str>,
    /// Which kind of object declares it.
    pub registry: Registry,
    /// Name of the declaring object.
    pub object: Arc<str>,
    /// Virtual addresses; a whole network for a ServiceEntry with CIDR addresses.
    pub addresses: Vec<IpNet>,
    /// Ports in declared order.
    pub ports: Vec<ServicePort>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// True for a Kubernetes Service with `clusterIP: None`.
    pub headless: bool,
    /// True when outside the mesh (ServiceEntry MESH_EXTERNAL, ExternalName).
    pub mesh_external: bool,
    /// Who may see it.
    pub export_to: Visibility,
    /// Labels its pods carry; empty without selector.
    pub selector: Labels,
    /// Labels of the service itself.
    pub labels: Labels,
    /// Creation of the declaring object.
    pub created: Created,
    /// Names its servers' certificates carry (ServiceEntry `subjectAltNames`).
    pub subject_alt_names: Vec<String>,
    /// Endpoints that are not ready count too (`publishNotReadyAddresses`).
    pub publish_not_ready: bool,
    /// Only endpoints of the client's node (`internalTrafficPolicy: Local`).
    pub node_local: bool,
    /// Preference for near endpoints.
    pub distribution: Distribution,
    /// Address that the mesh itself allotted, usable only where the proxy captures DNS.
    pub auto_address: Option<IpAddr>,
}

impl Visibility {
    /// True when objects exported like this may be seen from `namespace`.
    #[must_use]
    pub fn admits(&self, namespace: &str) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(set) => set.contains(namespace),
        }
    }

    /// True when only `namespace` may see it.
    #[must_use]
    pub fn is_private_to(&self, namespace: &str) -> bool {
        matches!(self, Self::Namespaces(set) if set.len() == 1 && set.contains(namespace))
    }

    /// True when everybody who sees `other` sees this too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Public, _) => true,
            (Self::Namespaces(_), Self::Public) => false,
            (Self::Namespaces(mine), Self::Namespaces(theirs)) => mine.is_superset(theirs),
        }
    }

    /// Reads an `exportTo` list of an object in `namespace`: `.` own, `*` all, `~` nobody, otherwise names. An empty list
    /// takes `default`, which is read the same way and means all when it is empty too.
    #[must_use]
    pub fn parse(export_to: &[String], default: &[String], namespace: &str) -> Self {
        let list = if export_to.is_empty() {
            default
        } else {
            export_to
        };
        if list.is_empty() || list.iter().any(|entry| entry == "*") {
            return Self::Public;
        }
        let names = list
            .iter()
            .filter(|entry| *entry != "~")
            .map(|entry| match entry.as_str() {
                "." => Arc::from(namespace),
                other => Arc::from(other),
            });
        Self::Namespaces(names.collect())
    }
}

impl Service {
    /// The port with this number.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// True when the service has a selector and a pod with these labels matches it.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        !self.selector.is_empty() && covers(labels, &self.selector)
    }

    /// Oldest first, then by name and namespace.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let key = |s: &Self| (s.created, s.name.clone(), s.namespace.clone());
        key(self).cmp(&key(other))
    }
}

impl TargetPort {
    /// The number, looking a name up among the named ports of a pod.
    #[must_use]
    pub fn resolve(&self, named: &std::collections::BTreeMap<String, u16>) -> Option<u16> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Name(name) => named.get(&**name).copied(),
        }
    }
}

/// True when `labels` hold every pair of `wanted`; an empty `wanted` is always held.
#[must_use]
pub fn covers(labels: &Labels, wanted: &Labels) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_lists() {
        let parse = |list: &[&str], default: &[&str]| {
            let own = |l: &[&str]| l.iter().map(ToString::to_string).collect::<Vec<_>>();
            Visibility::parse(&own(list), &own(default), "shop")
        };
        assert_eq!(parse(&[], &[]), Visibility::Public);
        assert!(parse(&["."], &[]).is_private_to("shop"));
        assert!(parse(&[], &["."]).is_private_to("shop"));
        assert!(!parse(&["~"], &[]).admits("shop"));
        assert!(parse(&[".", "web"], &["*"]).admits("web"));
        assert_eq!(parse(&["web", "*"], &[]), Visibility::Public);
    }
}
