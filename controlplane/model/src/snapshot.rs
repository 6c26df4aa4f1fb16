//! Everything the control plane knows at one moment, immutable; a change makes a new snapshot that shares what did not change.

use std::sync::Arc;

use bytes::Bytes;
use lateen_api::mesh::MeshConfig;
use lateen_api::networking::{Gateway, OutboundTrafficPolicyMode};

use crate::destination::Destinations;
use crate::endpoint::Endpoints;
use crate::generate::Rejection;
use crate::peer::PeerPolicies;
use crate::routing::VirtualServices;
use crate::rule::Rule;
use crate::service::Service;
use crate::sidecar::Sidecars;
use crate::table::Table;

/// Settings of the whole mesh.
#[derive(Debug, Clone)]
pub struct Mesh {
    /// MeshConfig in effect.
    pub config: MeshConfig,
    /// DNS domain of Kubernetes services, usually `cluster.local`.
    pub domain: Arc<str>,
}

/// Contents of a Kubernetes Secret that proxies may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretData {
    /// Certificate chain, PEM.
    pub certificate: Option<Bytes>,
    /// Private key, PEM.
    pub key: Option<Bytes>,
    /// Certificates of authorities, PEM.
    pub authorities: Option<Bytes>,
    /// Revocation list, PEM.
    pub revocations: Option<Bytes>,
    /// Stapled OCSP response, DER.
    pub ocsp: Option<Bytes>,
}

/// One consistent state.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// `<time>/<counter>`.
    pub version: Arc<str>,
    /// Settings of the mesh.
    pub mesh: Arc<Mesh>,
    /// Services by namespace and host.
    pub services: Table<Service>,
    /// Endpoints by their service's namespace and host.
    pub endpoints: Table<Endpoints>,
    /// VirtualServices with names in full and delegates merged.
    pub virtual_services: Arc<VirtualServices>,
    /// DestinationRules, merged.
    pub destinations: Destinations,
    /// Gateways, oldest first.
    pub gateways: Arc<[Arc<Rule<Gateway>>]>,
    /// Sidecar resources.
    pub sidecars: Arc<Sidecars>,
    /// PeerAuthentication.
    pub peers: Arc<PeerPolicies>,
    /// TLS and generic Secrets by namespace and name.
    pub secrets: Table<SecretData>,
    /// Objects and fields that had to be left out while joining.
    pub rejections: Arc<[Rejection]>,
}

impl Mesh {
    /// Namespace whose policies are mesh-wide.
    #[must_use]
    pub fn root_namespace(&self) -> &str {
        &self.config.root_namespace
    }

    /// What happens to traffic for unknown hosts where no Sidecar says otherwise.
    #[must_use]
    pub fn outbound_mode(&self) -> OutboundTrafficPolicyMode {
        self.config
            .outbound_traffic_policy
            .as_ref()
            .map_or(OutboundTrafficPolicyMode::AllowAny, |policy| policy.mode)
    }

    /// Trust domain for SPIFFE identities; `@` becomes `.`.
    #[must_use]
    pub fn trust_domain(&self) -> String {
        self.config.trust_domain.replace('@', ".")
    }

    /// The trust domain and its aliases.
    #[must_use]
    pub fn trust_domains(&self) -> Vec<String> {
        let aliases = self
            .config
            .trust_domain_aliases
            .iter()
            .map(|alias| alias.replace('@', "."));
        let mut all = vec![self.trust_domain()];
        for alias in aliases {
            if !all.contains(&alias) {
                all.push(alias);
            }
        }
        all
    }
}

impl Snapshot {
    /// The endpoints of a service; none when nothing backs it.
    #[must_use]
    pub fn endpoints_of(&self, service: &Service) -> Option<&Arc<Endpoints>> {
        self.endpoints.value(&service.namespace, &service.host)
    }
}
