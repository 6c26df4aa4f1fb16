//! The configuration of one proxy in the form of Envoy's `config_dump`, keys left out.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::admin::v3::clusters_config_dump::DynamicCluster;
use envoy_types::pb::envoy::admin::v3::endpoints_config_dump::DynamicEndpointConfig;
use envoy_types::pb::envoy::admin::v3::listeners_config_dump::{
    DynamicListener, DynamicListenerState,
};
use envoy_types::pb::envoy::admin::v3::routes_config_dump::DynamicRouteConfig;
use envoy_types::pb::envoy::admin::v3::secrets_config_dump::DynamicSecret;
use envoy_types::pb::envoy::admin::v3::{
    BootstrapConfigDump, ClustersConfigDump, EndpointsConfigDump, ListenersConfigDump,
    RoutesConfigDump, SecretsConfigDump,
};
use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret;
use envoy_types::pb::google::protobuf::{Any, Timestamp};
use lateen_xds::any;
use lateen_xds::names::type_url;
use prost::Message;

use super::error::DebugError;
use super::syncz::timestamp;
use crate::hub::{Client, Hub};

/// What stands for a private key.
const REDACTED: &[u8] = b"[redacted]";

struct Resources {
    version: String,
    last_updated: Option<Timestamp>,
    list: Vec<(String, Any)>,
}

/// One `Any` a part: bootstrap (empty), clusters, listeners, routes, endpoints, secrets.
pub(super) fn parts(hub: &Hub, client: &Client) -> Result<Vec<Any>, DebugError> {
    let mut by_type = subscribed(hub, client)?;
    let mut take = |url: &str| {
        by_type.remove(url).unwrap_or(Resources {
            version: String::new(),
            last_updated: None,
            list: Vec::new(),
        })
    };
    Ok(vec![
        any::pack(&BootstrapConfigDump::default()),
        any::pack(&clusters(take(type_url::CLUSTER))),
        any::pack(&listeners(take(type_url::LISTENER))),
        any::pack(&routes(take(type_url::ROUTE))),
        any::pack(&endpoints(take(type_url::ENDPOINT))),
        any::pack(&secrets(take(type_url::SECRET))),
    ])
}

/// What the configuration served now gives to the proxy's subscriptions.
fn subscribed(hub: &Hub, client: &Client) -> Result<BTreeMap<String, Resources>, DebugError> {
    let (Some(config), Some(proxy)) = (hub.current(), client.proxy.get()) else {
        return Ok(BTreeMap::new());
    };
    let session = client.session.lock();
    let wanted: Vec<_> = session
        .status()
        .into_iter()
        .filter_map(|s| Some((session.names(&s.type_url)?, s)))
        .collect();
    drop(session);
    let mut by_type = BTreeMap::new();
    for (names, status) in wanted {
        let mut list = Vec::new();
        for resource in config.generate(proxy, &status.type_url, &names) {
            let body = Any::decode(resource.body.as_ref())
                .map_err(|error| DebugError::Internal(error.to_string()))?;
            list.push((resource.name.to_string(), body));
        }
        let last_updated = status.at.map(timestamp);
        by_type.insert(
            status.type_url,
            Resources {
                version: config.version().to_owned(),
                last_updated,
                list,
            },
        );
    }
    Ok(by_type)
}

fn clusters(resources: Resources) -> ClustersConfigDump {
    let (version, last_updated) = (resources.version, resources.last_updated);
    let dynamic = resources
        .list
        .into_iter()
        .map(|(_, cluster)| DynamicCluster {
            version_info: version.clone(),
            cluster: Some(cluster),
            last_updated,
            ..DynamicCluster::default()
        });
    ClustersConfigDump {
        dynamic_active_clusters: dynamic.collect(),
        version_info: version,
        ..ClustersConfigDump::default()
    }
}

fn listeners(resources: Resources) -> ListenersConfigDump {
    let (version, last_updated) = (resources.version, resources.last_updated);
    let dynamic = resources.list.into_iter().map(|(name, listener)| {
        let state = DynamicListenerState {
            version_info: version.clone(),
            listener: Some(listener),
            last_updated,
        };
        DynamicListener {
            name,
            active_state: Some(state),
            ..DynamicListener::default()
        }
    });
    ListenersConfigDump {
        dynamic_listeners: dynamic.collect(),
        version_info: version,
        ..ListenersConfigDump::default()
    }
}

fn routes(resources: Resources) -> RoutesConfigDump {
    let (version, last_updated) = (resources.version, resources.last_updated);
    let dynamic = resources
        .list
        .into_iter()
        .map(|(_, route)| DynamicRouteConfig {
            version_info: version.clone(),
            route_config: Some(route),
            last_updated,
            ..DynamicRouteConfig::default()
        });
    RoutesConfigDump {
        dynamic_route_configs: dynamic.collect(),
        ..RoutesConfigDump::default()
    }
}

fn endpoints(resources: Resources) -> EndpointsConfigDump {
    let (version, last_updated) = (resources.version, resources.last_updated);
    let dynamic = resources
        .list
        .into_iter()
        .map(|(_, assignment)| DynamicEndpointConfig {
            version_info: version.clone(),
            endpoint_config: Some(assignment),
            last_updated,
            ..DynamicEndpointConfig::default()
        });
    EndpointsConfigDump {
        dynamic_endpoint_configs: dynamic.collect(),
        ..EndpointsConfigDump::default()
    }
}

fn secrets(resources: Resources) -> SecretsConfigDump {
    let (version, last_updated) = (resources.version, resources.last_updated);
    let dynamic = resources
        .list
        .into_iter()
        .map(|(name, body)| DynamicSecret {
            name: name.clone(),
            version_info: version.clone(),
            last_updated,
            secret: redact(&body).or(Some(Any {
                type_url: type_url::SECRET.to_owned(),
                value: Vec::new(),
            })),
            ..DynamicSecret::default()
        });
    SecretsConfigDump {
        dynamic_active_secrets: dynamic.collect(),
        ..SecretsConfigDump::default()
    }
}

/// The secret without its key; `None` when it does not read, so that nothing slips through.
fn redact(body: &Any) -> Option<Any> {
    let mut secret: Secret = any::unpack(body).ok()?;
    match &mut secret.r#type {
        Some(secret::Type::TlsCertificate(certificate)) => {
            let hidden = || {
                Some(DataSource {
                    specifier: Some(Specifier::InlineBytes(REDACTED.to_vec())),
                    ..DataSource::default()
                })
            };
            certificate.private_key = certificate.private_key.take().and_then(|_| hidden());
            certificate.password = certificate.password.take().and_then(|_| hidden());
            certificate.private_key_provider = None;
            certificate.pkcs12 = None;
        }
        Some(secret::Type::ValidationContext(_)) | None => {}
        Some(_) => secret.r#type = None,
    }
    Some(any::pack(&secret))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::TlsCertificate;

    use super::*;

    #[test]
    fn keys_are_left_out() {
        let source = |bytes: &[u8]| {
            Some(DataSource {
                specifier: Some(Specifier::InlineBytes(bytes.to_vec())),
                ..DataSource::default()
            })
        };
        let certificate = TlsCertificate {
            certificate_chain: source(b"public"),
            private_key: source(b"s3cret"),
            ..TlsCertificate::default()
        };
        let body = any::pack(&Secret {
            name: "x".into(),
            r#type: Some(secret::Type::TlsCertificate(certificate)),
        });
        let resources = Resources {
            version: "v".into(),
            last_updated: None,
            list: vec![("x".into(), body)],
        };
        let dump = any::pack(&secrets(resources));
        let holds = |text: &[u8]| dump.value.windows(text.len()).any(|window| window == text);
        assert!(holds(b"public") && holds(REDACTED) && !holds(b"s3cret"));
    }
}
