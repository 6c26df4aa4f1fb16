//! The client's side of the state-of-the-world protocol: what is asked and what is answered, without a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use lateen_proxy_state::ResourceKind;

use crate::delta::{ORDER, refusal, type_of};

/// Subscriptions of one stream after the other.
#[derive(Debug)]
pub(crate) struct SotwState {
    node: Arc<Node>,
    node_once: bool,
    node_sent: bool,
    wildcards: BTreeSet<ResourceKind>,
    kinds: BTreeMap<ResourceKind, Subscription>,
}

#[derive(Debug, Default)]
struct Subscription {
    names: BTreeSet<Arc<str>>,
    asked: bool,
    /// Version of the last answer that was accepted; kept over streams.
    version: String,
    /// Nonce of the last answer on this stream.
    nonce: String,
}

impl SotwState {
    pub(crate) fn new(node: Arc<Node>, node_once: bool, wildcards: BTreeSet<ResourceKind>) -> Self {
        Self {
            node,
            node_once,
            node_sent: false,
            wildcards,
            kinds: BTreeMap::new(),
        }
    }

    /// Requests that open a new stream.
    pub(crate) fn connected(&mut self) -> Vec<DiscoveryRequest> {
        self.node_sent = false;
        for subscription in self.kinds.values_mut() {
            subscription.asked = false;
            subscription.nonce.clear();
        }
        ORDER
            .into_iter()
            .filter_map(|kind| {
                let names = self.kinds.get(&kind).map(|one| one.names.clone());
                self.subscribe(kind, names.unwrap_or_default())
            })
            .collect()
    }

    /// The request that makes `names` the names asked for, when they are not.
    pub(crate) fn subscribe(
        &mut self,
        kind: ResourceKind,
        names: BTreeSet<Arc<str>>,
    ) -> Option<DiscoveryRequest> {
        let wildcard = self.wildcards.contains(&kind);
        let subscription = self.kinds.entry(kind).or_default();
        let first = !subscription.asked;
        let same = subscription.names == names;
        subscription.names = names;
        let needed = if first {
            wildcard || !subscription.names.is_empty()
        } else {
            !wildcard && !same
        };
        if !needed {
            return None;
        }
        subscription.asked = true;
        Some(self.request(kind))
    }

    /// Accepts the answer `nonce`, or refuses it when there are errors: then the version from before is told.
    pub(crate) fn acknowledge(
        &mut self,
        kind: ResourceKind,
        nonce: String,
        version: &str,
        errors: &[String],
    ) -> DiscoveryRequest {
        let subscription = self.kinds.entry(kind).or_default();
        subscription.nonce = nonce;
        if errors.is_empty() {
            version.clone_into(&mut subscription.version);
        }
        let mut request = self.request(kind);
        request.error_detail = refusal(errors);
        request
    }

    fn request(&mut self, kind: ResourceKind) -> DiscoveryRequest {
        let said = std::mem::replace(&mut self.node_sent, true);
        let node = (!said || !self.node_once).then(|| (*self.node).clone());
        let subscription = self.kinds.entry(kind).or_default();
        DiscoveryRequest {
            node,
            type_url: type_of(kind).type_url().to_owned(),
            version_info: subscription.version.clone(),
            response_nonce: subscription.nonce.clone(),
            resource_names: subscription.names.iter().map(ToString::to_string).collect(),
            ..DiscoveryRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<Arc<str>> {
        list.iter().map(|name| Arc::from(*name)).collect()
    }

    fn state(node_once: bool) -> SotwState {
        let wildcards = [ResourceKind::Cluster, ResourceKind::Listener];
        SotwState::new(Arc::default(), node_once, wildcards.into())
    }

    #[test]
    fn every_request_has_all_names_and_the_last_nonce() {
        let mut sotw = state(true);
        let first = sotw.connected();
        assert_eq!(first.len(), 2);
        assert!(first[0].node.is_some() && first[1].node.is_none());
        let kind = ResourceKind::Endpoint;
        assert!(sotw.subscribe(kind, names(&[])).is_none());
        let one = sotw.subscribe(kind, names(&["a"])).expect("asked");
        assert_eq!(one.resource_names, ["a"]);
        let ack = sotw.acknowledge(kind, "n1".into(), "v1", &[]);
        assert_eq!((&*ack.version_info, &*ack.response_nonce), ("v1", "n1"));
        let two = sotw.subscribe(kind, names(&["a", "b"])).expect("asked");
        assert_eq!(two.resource_names, ["a", "b"]);
        assert_eq!((&*two.version_info, &*two.response_nonce), ("v1", "n1"));
        assert!(sotw.subscribe(kind, names(&["a", "b"])).is_none());
    }

    #[test]
    fn a_refusal_tells_the_version_in_use() {
        let mut sotw = state(false);
        let kind = ResourceKind::Cluster;
        assert!(sotw.connected().iter().all(|one| one.node.is_some()));
        sotw.acknowledge(kind, "n1".into(), "v1", &[]);
        let nack = sotw.acknowledge(kind, "n2".into(), "v2", &["bad".into()]);
        assert_eq!((&*nack.version_info, &*nack.response_nonce), ("v1", "n2"));
        assert_eq!(nack.error_detail.map(|status| status.code), Some(3));
        let again = sotw.connected();
        assert_eq!(
            (&*again[0].version_info, &*again[0].response_nonce),
            ("v1", "")
        );
    }
}
