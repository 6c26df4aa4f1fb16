//! The client's side of the delta protocol: what is asked and what is answered, without a connection.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::google::rpc::Status;
use lateen_proxy_state::{ResourceKind, State};
use lateen_xds::names::ResourceType;

use crate::source::{SourceId, parts};

/// gRPC's INVALID_ARGUMENT, the code of a NACK.
const INVALID_ARGUMENT: i32 = 3;
/// Bytes of error text that are sent at most.
const MAX_ERROR: usize = 4096;

/// Order in which kinds are asked for on a new stream.
pub(crate) const ORDER: [ResourceKind; 6] = [
    ResourceKind::Cluster,
    ResourceKind::Endpoint,
    ResourceKind::Listener,
    ResourceKind::Route,
    ResourceKind::Secret,
    ResourceKind::Extension,
];

/// Subscriptions of one stream after the other.
#[derive(Debug)]
pub(crate) struct DeltaState {
    node: Arc<Node>,
    node_once: bool,
    node_sent: bool,
    source: SourceId,
    wildcards: BTreeSet<ResourceKind>,
    kinds: HashMap<ResourceKind, Subscription>,
}

#[derive(Debug, Default)]
struct Subscription {
    /// Names asked for; unused for wildcards.
    names: BTreeSet<Arc<str>>,
    /// Asked for on this stream.
    asked: bool,
    /// The control plane has answered at least once in the life of this process; until then what is known comes from
    /// disk and is not told as known.
    answered: bool,
}

impl DeltaState {
    /// For the streams of one source; `wildcards` are asked for without names.
    pub(crate) fn new(
        node: Arc<Node>,
        node_once: bool,
        source: SourceId,
        wildcards: BTreeSet<ResourceKind>,
    ) -> Self {
        Self {
            node,
            node_once,
            node_sent: false,
            source,
            wildcards,
            kinds: HashMap::new(),
        }
    }

    /// Requests that open a new stream: what was subscribed to, with the versions that are known.
    pub(crate) fn connected(&mut self, state: &State) -> Vec<DeltaDiscoveryRequest> {
        self.node_sent = false;
        for subscription in self.kinds.values_mut() {
            subscription.asked = false;
        }
        ORDER
            .into_iter()
            .filter_map(|kind| {
                let names = match self.kinds.get(&kind) {
                    Some(subscription) => subscription.names.clone(),
                    None => BTreeSet::new(),
                };
                self.subscribe(kind, names, state)
            })
            .collect()
    }

    /// The request that makes `names` the names asked for, when they are not. Wildcard kinds are asked for once.
    pub(crate) fn subscribe(
        &mut self,
        kind: ResourceKind,
        names: BTreeSet<Arc<str>>,
        state: &State,
    ) -> Option<DeltaDiscoveryRequest> {
        let wildcard = self.wildcards.contains(&kind);
        let subscription = self.kinds.entry(kind).or_default();
        let first = !subscription.asked;
        let before = std::mem::replace(&mut subscription.names, names);
        let names = &subscription.names;
        if first && (wildcard || !names.is_empty()) {
            subscription.asked = true;
            let versions = if subscription.answered {
                known_versions(kind, (!wildcard).then_some(names), self.source, state)
            } else {
                HashMap::new()
            };
            let subscribe = names.iter().map(ToString::to_string).collect();
            let mut request = self.request(kind);
            request.resource_names_subscribe = subscribe;
            request.initial_resource_versions = versions;
            return Some(request);
        }
        if first || wildcard || before == *names {
            return None;
        }
        let added = names.difference(&before).map(ToString::to_string).collect();
        let dropped = before.difference(names).map(ToString::to_string).collect();
        let mut request = self.request(kind);
        request.resource_names_subscribe = added;
        request.resource_names_unsubscribe = dropped;
        Some(request)
    }

    /// Notes an answer; true for the first one of a wildcard kind in the life of this process, which holds all there is.
    pub(crate) fn answered(&mut self, kind: ResourceKind) -> bool {
        let subscription = self.kinds.entry(kind).or_default();
        let first = !std::mem::replace(&mut subscription.answered, true);
        first && self.wildcards.contains(&kind)
    }

    /// Accepts a response, or refuses it when there are errors.
    pub(crate) fn acknowledge(
        &mut self,
        kind: ResourceKind,
        nonce: String,
        errors: &[String],
    ) -> DeltaDiscoveryRequest {
        let mut request = self.request(kind);
        request.response_nonce = nonce;
        request.error_detail = refusal(errors);
        request
    }

    fn request(&mut self, kind: ResourceKind) -> DeltaDiscoveryRequest {
        let said = std::mem::replace(&mut self.node_sent, true);
        DeltaDiscoveryRequest {
            node: (!said || !self.node_once).then(|| (*self.node).clone()),
            type_url: type_of(kind).type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

/// The resource type of a kind.
pub(crate) fn type_of(kind: ResourceKind) -> ResourceType {
    match kind {
        ResourceKind::Cluster => ResourceType::Cluster,
        ResourceKind::Endpoint => ResourceType::Endpoint,
        ResourceKind::Listener => ResourceType::Listener,
        ResourceKind::Route => ResourceType::Route,
        ResourceKind::Secret => ResourceType::Secret,
        ResourceKind::Extension => ResourceType::ExtensionConfig,
    }
}

/// The kind of a type URL.
pub(crate) fn kind_of(type_url: &str) -> Option<ResourceKind> {
    ORDER
        .into_iter()
        .find(|kind| type_of(*kind).type_url() == type_url)
}

fn known_versions(
    kind: ResourceKind,
    names: Option<&BTreeSet<Arc<str>>>,
    source: SourceId,
    state: &State,
) -> HashMap<String, String> {
    state
        .resources()
        .all(kind)
        .into_iter()
        .filter(|(_, one)| !one.is_static)
        .filter_map(|(key, one)| {
            let (name, from) = parts(&key);
            let wanted = match names {
                None => true,
                Some(names) => from == source && names.contains(name),
            };
            wanted.then(|| (name.to_owned(), one.version.to_string()))
        })
        .collect()
}

/// What a refusal says; nothing without errors.
pub(crate) fn refusal(errors: &[String]) -> Option<Status> {
    (!errors.is_empty()).then(|| Status {
        code: INVALID_ARGUMENT,
        message: joined(errors),
        details: Vec::new(),
    })
}

fn joined(errors: &[String]) -> String {
    let mut text = errors.join("\n");
    if text.len() > MAX_ERROR {
        let end = (0..=MAX_ERROR)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
        text.push_str("… (cut)");
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lateen_proxy_state::Resource;

    use super::*;

    fn names(list: &[&str]) -> BTreeSet<Arc<str>> {
        list.iter().map(|name| Arc::from(*name)).collect()
    }

    fn delta() -> DeltaState {
        let node = Node {
            id: "n".into(),
            ..Node::default()
        };
        let wildcards = [ResourceKind::Cluster, ResourceKind::Listener];
        DeltaState::new(Arc::new(node), true, crate::source::ADS, wildcards.into())
    }

    fn short(request: &DeltaDiscoveryRequest) -> &str {
        request.type_url.rsplit('.').next().unwrap_or_default()
    }

    #[test]
    fn a_stream_begins_with_clusters_and_listeners_and_says_who_asks_once() {
        let state = State::new();
        let mut delta = delta();
        let first = delta.connected(&state);
        let kinds: Vec<_> = first.iter().map(short).collect();
        assert_eq!(kinds, ["Cluster", "Listener"]);
        assert_eq!(first[0].node.as_ref().map(|node| &*node.id), Some("n"));
        assert!(first[1].node.is_none());
        assert!(
            first
                .iter()
                .all(|one| one.resource_names_subscribe.is_empty())
        );
    }

    #[test]
    fn only_differences_are_asked_for() {
        let state = State::new();
        let mut delta = delta();
        delta.connected(&state);
        let kind = ResourceKind::Endpoint;
        assert!(delta.subscribe(kind, names(&[]), &state).is_none());
        let one = delta
            .subscribe(kind, names(&["a", "b"]), &state)
            .expect("asked");
        assert_eq!(one.resource_names_subscribe, ["a", "b"]);
        assert!(delta.subscribe(kind, names(&["a", "b"]), &state).is_none());
        let two = delta
            .subscribe(kind, names(&["b", "c"]), &state)
            .expect("asked");
        assert_eq!(two.resource_names_subscribe, ["c"]);
        assert_eq!(two.resource_names_unsubscribe, ["a"]);
        assert!(two.response_nonce.is_empty());
    }

    #[test]
    fn a_new_stream_tells_known_versions_once_the_control_plane_has_answered() {
        let state = State::new();
        let mut delta = delta();
        delta.connected(&state);
        let known = Resource {
            version: "7".into(),
            body: Bytes::new(),
            updated: std::time::SystemTime::now(),
            is_static: false,
        };
        state.resources().accept(ResourceKind::Cluster, "c", known);
        assert!(
            delta.connected(&state)[0]
                .initial_resource_versions
                .is_empty()
        );
        assert!(delta.answered(ResourceKind::Cluster));
        assert!(!delta.answered(ResourceKind::Cluster));
        let again = delta.connected(&state);
        assert_eq!(again[0].initial_resource_versions["c"], "7");
        assert!(again[0].node.is_some());
    }

    #[test]
    fn a_refusal_says_why_and_is_bounded() {
        let mut delta = delta();
        let kind = ResourceKind::Route;
        let good = delta.acknowledge(kind, "1".into(), &[]);
        assert!(good.error_detail.is_none() && good.response_nonce == "1");
        let errors = vec!["é".repeat(5000)];
        let bad = delta.acknowledge(kind, "2".into(), &errors);
        let detail = bad.error_detail.expect("refused");
        assert_eq!(detail.code, 3);
        assert!(detail.message.len() < MAX_ERROR + 20);
    }
}
