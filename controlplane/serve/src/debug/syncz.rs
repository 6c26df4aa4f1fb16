//! What was sent to each proxy, and what it said to it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::admin::v3::UpdateFailureState;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use envoy_types::pb::google::protobuf::Timestamp;
use lateen_controlplane_model::proxy::Proxy;
use lateen_xds::structs;
use serde_json::{Value, json};

use crate::hub::Client;
use crate::session::{State, Status};

/// The page `connections`: who is connected from where since when.
pub(super) fn connections(clients: &[Arc<Client>]) -> Value {
    let rows = clients.iter().filter_map(|client| {
        let proxy = client.proxy.get()?;
        let since = client
            .since
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        Some(json!({
            "connectionId": &*proxy.name,
            "address": client.connection.remote.to_string(),
            "connectedAt": since,
            "identity": client.caller.as_ref().map(ToString::to_string),
            "watches": client.session.lock().types(),
        }))
    });
    let rows: Vec<Value> = rows.collect();
    json!({ "totalClients": rows.len(), "clients": rows })
}

/// What was sent to each proxy and what became of it: a `ClientConfig` a proxy.
pub(super) fn client_configs(clients: &[Arc<Client>], cluster: &str) -> Vec<ClientConfig> {
    let configs = clients.iter().filter_map(|client| {
        let proxy = client.proxy.get()?;
        let status = client.session.lock().status();
        let generic_xds_configs = status.iter().map(generic).collect();
        Some(ClientConfig {
            node: Some(node(proxy, cluster)),
            generic_xds_configs,
            ..ClientConfig::default()
        })
    });
    configs.collect()
}

fn node(proxy: &Proxy, cluster: &str) -> Node {
    let cluster = if proxy.cluster.is_empty() {
        cluster
    } else {
        &proxy.cluster
    };
    let metadata = json!({
        "CLUSTER_ID": cluster, "NAMESPACE": &*proxy.namespace, "ISTIO_VERSION": proxy.istio_version.as_deref().unwrap_or_default(),
    });
    Node {
        id: proxy.name.to_string(),
        metadata: structs::from_json(&metadata).ok(),
        ..Node::default()
    }
}

fn generic(status: &Status) -> GenericXdsConfig {
    let config_status = match status.state {
        State::NotSent => ConfigStatus::NotSent,
        State::Synced => ConfigStatus::Synced,
        State::Stale => ConfigStatus::Stale,
        State::Error => ConfigStatus::Error,
    };
    let failure = |details: &String| UpdateFailureState {
        details: details.clone(),
        ..UpdateFailureState::default()
    };
    GenericXdsConfig {
        type_url: status.type_url.clone(),
        version_info: status.sent.clone(),
        config_status: config_status.into(),
        last_updated: status.at.map(timestamp),
        error_state: status.error.as_ref().map(failure),
        ..GenericXdsConfig::default()
    }
}

/// A point in time on the wire.
pub(super) fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}
