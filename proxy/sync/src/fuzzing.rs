//! What fuzz targets call, which control planes, name servers and bootstrap files reach by themselves.

use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use hickory_proto::op::Message as DnsMessage;
use lateen_proxy_model::AccessLogRef;
use lateen_proxy_state::{ResourceKind, State};
use lateen_xds::json::Codec;
use prost::Message;
use tokio::sync::Notify;

use crate::apply::{Applier, Incoming};
use crate::bootstrap::{Bootstrap, StaticResources};
use crate::dns::Resolvers;
use crate::source::Sources;
use crate::take_up::Named;
use crate::{AccessLogSpec, query, wire};

/// What a state is and what was refused after resources have come, as from a control plane. Within a runtime.
pub fn resources(found: &[(ResourceKind, &[u8])]) -> (Arc<State>, Vec<String>) {
    let (state, mut applier) = applier();
    let mut errors = Vec::new();
    for (kind, body) in found {
        let name = Named::decode(*body).unwrap_or_default().name;
        let one = Incoming {
            name: name.into(),
            version: "1".into(),
            body: body.to_vec().into(),
            is_static: false,
            time_to_live: None,
        };
        errors.extend(applier.apply(*kind, vec![one], &[], false, Instant::now()));
    }
    (state, errors)
}

/// The same of a bootstrap's text.
pub fn bootstrap(text: &str) -> Option<(Arc<State>, Vec<String>)> {
    thread_local! {
        /// Descriptors take longer to read than a bootstrap.
        static CODEC: Codec = Codec::new().expect("descriptors");
    }
    let documents = lateen_api::yaml::parse(text).ok()?;
    let value = lateen_api::yaml::read(&documents.first()?.root).ok()?;
    let message = CODEC.with(|codec| codec.read_message(&value)).ok()?;
    let (bootstrap, _) = Bootstrap::read(&message).ok()?;
    let (state, mut applier) = applier();
    bootstrap.place(&state);
    let StaticResources { by_kind } = bootstrap.resources;
    let now = Instant::now();
    let faults = by_kind
        .into_iter()
        .flat_map(|(kind, resources)| applier.apply(kind, resources, &[], false, now))
        .collect();
    Some((state, faults))
}

/// The resources of a bootstrap's text as inputs of [`resources`]: kind and message.
pub fn seeds(text: &str) -> Vec<(ResourceKind, Vec<u8>)> {
    let Ok(message) = Bootstrap::message(text) else {
        return Vec::new();
    };
    let held = message.static_resources.unwrap_or_default();
    let mut seeds = Vec::new();
    for one in &held.secrets {
        seeds.push((ResourceKind::Secret, one.encode_to_vec()));
    }
    for one in &held.clusters {
        seeds.push((ResourceKind::Cluster, one.encode_to_vec()));
        let endpoints = one.load_assignment.iter();
        seeds.extend(endpoints.map(|one| (ResourceKind::Endpoint, one.encode_to_vec())));
    }
    for one in &held.listeners {
        seeds.push((ResourceKind::Listener, one.encode_to_vec()));
        seeds.extend(tables(one).map(|table| (ResourceKind::Route, table)));
    }
    seeds
}

/// The route tables that a listener holds itself.
fn tables(listener: &Listener) -> impl Iterator<Item = Vec<u8>> {
    let chains = listener.filter_chains.iter();
    let filters = chains
        .chain(&listener.default_filter_chain)
        .flat_map(|chain| &chain.filters);
    filters.filter_map(|filter| {
        let Some(ConfigType::TypedConfig(packed)) = &filter.config_type else {
            return None;
        };
        let manager = HttpConnectionManager::decode(&*packed.value).ok()?;
        match manager.route_specifier? {
            RouteSpecifier::RouteConfig(table) => Some(table.encode_to_vec()),
            _ => None,
        }
    })
}

/// A name server's answer.
pub fn name_server(bytes: &[u8]) -> Option<usize> {
    let message = DnsMessage::from_vec(bytes).ok()?;
    Some(query::read(&message).0.len())
}

/// What a pattern and its replacement make of a text: `kind` says which language they are in.
pub fn rewrite(kind: u8, pattern: &str, replacement: &str, text: &str) -> Option<String> {
    wire::fuzzing::rewrite(kind, pattern, replacement, text)
}

fn applier() -> (Arc<State>, Applier) {
    let state = State::new();
    let logs = |_: AccessLogSpec| Ok(AccessLogRef(0));
    let resolvers = Resolvers::new(Arc::new(Notify::new()));
    let known = (resolvers, Arc::new(Sources::new(true, true)));
    let applier = Applier::new(Arc::clone(&state), Arc::new(logs), false, known);
    (state, applier)
}
