//! Endpoints of services and the workloads behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::proxy::Labels;

/// A pod, a WorkloadEntry or an inline endpoint of a ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workload {
    /// Name of the pod or entry.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Name of the owner (Deployment and the like), else the own name.
    pub workload: Arc<str>,
    /// Service account name; empty when unknown.
    pub service_account: Arc<str>,
    /// Labels.
    pub labels: Labels,
    /// Addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Kubernetes node; empty when unknown.
    pub node: Arc<str>,
    /// `region/zone/subzone`; empty when unknown.
    pub locality: Arc<str>,
    /// Network; empty when unknown.
    pub network: Arc<str>,
    /// Cluster; empty when unknown.
    pub cluster: Arc<str>,
    /// Container ports by name.
    pub ports: BTreeMap<String, u16>,
    /// True when a sidecar terminates mTLS for it (label `security.istio.io/tlsMode: istio`).
    pub mtls: bool,
}

/// Where an endpoint is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name.
    Name(Arc<str>),
    /// A Unix domain socket.
    Pipe(Arc<str>),
}

/// What is known about an endpoint's ability to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Serves.
    Healthy,
    /// Exists, does not serve.
    Unhealthy,
    /// Ends; takes no new connections.
    Terminating,
}

/// One address of one port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Port number; 0 for a pipe.
    pub port: u16,
    /// Name of the service port it belongs to.
    pub port_name: Arc<str>,
    /// Whether it serves.
    pub health: Health,
    /// Share of traffic; `None` for the default of 1.
    pub weight: Option<u32>,
    /// What runs there.
    pub workload: Arc<Workload>,
    /// True when its health comes from Kubernetes and is therefore stated, false for ServiceEntry endpoints.
    pub health_known: bool,
}

/// All endpoints of one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// The endpoints, ordered by address and port.
    pub list: Vec<Endpoint>,
    /// Namespace and service account of every workload among them: the identities servers may present.
    pub accounts: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl Workload {
    /// Canonical service name: its label, else `app.kubernetes.io/name`, else `app`, else the workload's name.
    #[must_use]
    pub fn canonical_name(&self) -> &str {
        [
            "service.istio.io/canonical-name",
            "app.kubernetes.io/name",
            "app",
        ]
        .iter()
        .find_map(|key| self.labels.get(*key).filter(|value| !value.is_empty()))
        .map_or(&*self.workload, String::as_str)
    }

    /// Canonical revision: its label, else `app.kubernetes.io/version`, else `version`; `None` means `latest`.
    #[must_use]
    pub fn canonical_revision(&self) -> Option<&str> {
        [
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ]
        .iter()
        .find_map(|key| self.labels.get(*key).filter(|value| !value.is_empty()))
        .map(String::as_str)
        .filter(|revision| *revision != "latest")
    }
}

impl Endpoints {
    /// Collects endpoints and the identities behind them.
    #[must_use]
    pub fn new(mut list: Vec<Endpoint>) -> Self {
        list.sort_by(|a, b| {
            (&a.address, a.port, &a.port_name).cmp(&(&b.address, b.port, &b.port_name))
        });
        list.dedup_by(|a, b| {
            a.address == b.address && a.port == b.port && a.port_name == b.port_name
        });
        let accounts = list
            .iter()
            .filter(|endpoint| !endpoint.workload.service_account.is_empty())
            .map(|endpoint| {
                (
                    endpoint.workload.namespace.clone(),
                    endpoint.workload.service_account.clone(),
                )
            })
            .collect();
        Self { list, accounts }
    }

    /// True when every endpoint terminates mTLS; false without endpoints.
    #[must_use]
    pub fn all_mtls(&self) -> bool {
        !self.list.is_empty() && self.list.iter().all(|endpoint| endpoint.workload.mtls)
    }

    /// What a cluster's own definition takes from its endpoints: identities, and whether all speak mTLS.
    #[must_use]
    pub fn shapes_cluster_like(&self, other: &Self) -> bool {
        self.accounts == other.accounts && self.all_mtls() == other.all_mtls()
    }
}
