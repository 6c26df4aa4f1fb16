//! Who is on the other side: workload metadata as peers exchange it, and the service that was asked for.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Workload metadata as it arrives from peer exchange, discovery or endpoint metadata; empty means not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerFields {
    /// Name of the workload (`reviews-v1`).
    pub workload: String,
    /// Namespace of the workload.
    pub namespace: String,
    /// Value of the label `service.istio.io/canonical-name`.
    pub canonical_name: String,
    /// Value of the label `service.istio.io/canonical-revision`.
    pub canonical_revision: String,
    /// Value of the label `app`.
    pub app: String,
    /// Value of the label `version`.
    pub version: String,
    /// Cluster the workload runs in (`Kubernetes`).
    pub cluster: String,
}

/// A known peer, with the fallbacks of the standard metrics applied. Hashing costs one word: it is done here, once.
///
/// Share one `Arc` between requests of the same peer (cache by the peer's id or header): equal pointers compare fastest.
#[derive(Debug)]
pub struct Peer {
    fields: PeerFields,
    hash: u64,
}

/// The service a request was for, from the cluster's metadata `istio.services[0]`; empty parts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Service {
    /// FQDN of the service.
    pub host: Arc<str>,
    /// Short name; `PassthroughCluster` and its siblings for traffic without a service.
    pub name: Arc<str>,
    /// Namespace of the service.
    pub namespace: Arc<str>,
}

impl Peer {
    /// Applies the fallbacks: canonical name ← workload, canonical revision ← `latest`, app ← canonical name,
    /// version ← canonical revision (contract/telemetry.md §1). Unknown workload, namespace and cluster become `unknown`.
    #[must_use]
    pub fn new(mut fields: PeerFields) -> Self {
        for field in [
            &mut fields.workload,
            &mut fields.namespace,
            &mut fields.cluster,
        ] {
            default_to(field, "unknown");
        }
        let workload = fields.workload.clone();
        default_to(&mut fields.canonical_name, &workload);
        default_to(&mut fields.canonical_revision, "latest");
        let (name, revision) = (
            fields.canonical_name.clone(),
            fields.canonical_revision.clone(),
        );
        default_to(&mut fields.app, &name);
        default_to(&mut fields.version, &revision);
        let hash = hash_of(&fields);
        Self { fields, hash }
    }

    /// Metadata from an endpoint's `istio.workload`: `workload;namespace;canonical name;canonical revision;cluster`.
    /// `None` when it has fewer than two parts.
    #[must_use]
    pub fn from_endpoint_metadata(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let workload = parts.next()?.to_owned();
        let namespace = parts.next()?.to_owned();
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let (canonical_name, canonical_revision, cluster) = (next(), next(), next());
        Some(Self::new(PeerFields {
            workload,
            namespace,
            canonical_name,
            canonical_revision,
            cluster,
            ..PeerFields::default()
        }))
    }

    /// The metadata with fallbacks applied.
    #[must_use]
    pub fn fields(&self) -> &PeerFields {
        &self.fields
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.fields == other.fields
    }
}

impl Eq for Peer {}

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

fn default_to(field: &mut String, fallback: &str) {
    if field.is_empty() {
        field.push_str(fallback);
    }
}

fn hash_of(fields: &PeerFields) -> u64 {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    for field in [
        &fields.workload,
        &fields.namespace,
        &fields.canonical_name,
        &fields.canonical_revision,
        &fields.app,
        &fields.version,
        &fields.cluster,
    ] {
        field.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::{Peer, PeerFields};

    #[test]
    fn fallbacks_follow_the_contract() {
        let peer = Peer::new(PeerFields {
            workload: "reviews-v2".into(),
            namespace: "shop".into(),
            ..Default::default()
        });
        let fields = peer.fields();
        assert_eq!(
            (
                fields.canonical_name.as_str(),
                fields.canonical_revision.as_str()
            ),
            ("reviews-v2", "latest")
        );
        assert_eq!(
            (fields.app.as_str(), fields.version.as_str()),
            ("reviews-v2", "latest")
        );
        assert_eq!(fields.cluster, "unknown");
    }

    #[test]
    fn endpoint_metadata_is_read() {
        let peer = Peer::from_endpoint_metadata("reviews-v2;shop;reviews;v2;Kubernetes")
            .expect("five parts");
        assert_eq!(peer.fields().app, "reviews");
        assert_eq!(peer.fields().version, "v2");
        assert!(Peer::from_endpoint_metadata("reviews").is_none());
    }
}
