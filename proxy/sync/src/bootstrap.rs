//! Bootstrap files of `lateen-proxy envoy -c FILE`: Envoy's own format, as far as the proxy's features reach.

use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::bootstrap::v3 as wire;
use envoy_types::pb::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::value::Kind;
use lateen_proxy_state::ResourceKind;
use lateen_xds::json;
use prost::Message;

use crate::apply::Incoming;
use crate::wire::at::{At, Refused, nothing_left};
use crate::wire::common::socket_address;

/// The runtime key of S1.
const REJECT_FRAGMENT: &str = "envoy.reloadable_features.http_reject_path_with_fragment";

/// Why a bootstrap cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StaticError {
    /// The text is neither YAML nor JSON.
    #[error("{0}")]
    Syntax(String),
    /// A field that the format does not know, or a value that does not fit.
    #[error("{0}")]
    Format(#[from] json::JsonError),
    /// A field that the proxy does not support.
    #[error("bootstrap: {0}")]
    Field(#[from] Refused),
    /// A resource that the proxy does not support; the text names resource and field.
    #[error("{0}")]
    Refused(String),
}

/// What a bootstrap says.
#[derive(Debug)]
pub struct Bootstrap {
    /// Who the proxy is.
    pub node: Node,
    /// Address of the admin pages; `None` has none.
    pub admin: Option<SocketAddr>,
    /// `#` in a path is answered 400 (S1; Envoy's default).
    pub reject_fragment: bool,
    /// Resources, for [`Client::apply_static`](crate::Client::apply_static).
    pub resources: StaticResources,
}

/// Resources of a bootstrap, in the order they are applied.
#[derive(Debug, Default)]
pub struct StaticResources {
    pub(crate) by_kind: Vec<(ResourceKind, Vec<Incoming>)>,
}

impl Bootstrap {
    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// See [`StaticError`]; the file's name is for the caller to add.
    pub fn parse(text: &str) -> Result<Self, StaticError> {
        Self::from_message(Self::message(text)?)
    }

    /// Reads YAML or JSON into the message alone. This half takes the descriptors of all messages, the other none.
    ///
    /// # Errors
    /// When the text is malformed, or has fields that the format does not know.
    pub fn message(text: &str) -> Result<wire::Bootstrap, StaticError> {
        let documents = lateen_api::yaml::parse(text)
            .map_err(|error| StaticError::Syntax(error.to_string()))?;
        let [document] = &documents[..] else {
            return Err(StaticError::Syntax(format!(
                "a bootstrap is one document, not {}",
                documents.len()
            )));
        };
        let value = lateen_api::yaml::read(&document.root)
            .map_err(|error| StaticError::Syntax(error.to_string()))?;
        Ok(json::message_from_json(&value)?)
    }

    /// Takes a bootstrap message apart.
    ///
    /// # Errors
    /// When a field is not supported.
    pub fn from_message(mut message: wire::Bootstrap) -> Result<Self, StaticError> {
        let at = At::ROOT;
        forget_statistics(&mut message);
        let admin = admin(&at.field("admin"), message.admin.take())?;
        let place = at.field("layered_runtime");
        let reject_fragment = runtime(&place, message.layered_runtime.take())?;
        let place = at.field("static_resources");
        let resources = resources(&place, message.static_resources.take())?;
        let node = message.node.take().unwrap_or_default();
        nothing_left(&at, &message)?;
        Ok(Self {
            node,
            admin,
            reject_fragment,
            resources,
        })
    }
}

/// Settings of Envoy's statistics and of its own watchdog, which this proxy does not have.
fn forget_statistics(message: &mut wire::Bootstrap) {
    message.stats_config = None;
    message.stats_flush_interval = None;
    message.stats_flush = None;
    message.deferred_stat_options = None;
    message.enable_dispatcher_stats = false;
    message.stats_server_version_override = None;
    message.watchdogs = None;
}

fn admin(at: &At<'_>, message: Option<wire::Admin>) -> Result<Option<SocketAddr>, Refused> {
    let Some(mut message) = message else {
        return Ok(None);
    };
    // Requests to the admin pages are not logged, and nothing is profiled.
    message.access_log.clear();
    #[allow(deprecated, reason = "older bootstrap files use it")]
    message.access_log_path.clear();
    message.profile_path.clear();
    message.ignore_global_conn_limit = false;
    let address = message.address.take();
    nothing_left(at, &message)?;
    address
        .map(|address| socket_address(&at.field("address"), Some(address)))
        .transpose()
}

/// Of all runtime keys one has a meaning here. Others tune Envoy's inside and are reported.
fn runtime(at: &At<'_>, message: Option<wire::LayeredRuntime>) -> Result<bool, Refused> {
    let mut reject_fragment = true;
    let list = at.field("layers");
    let layers = message.unwrap_or_default().layers;
    for (index, layer) in layers.into_iter().enumerate() {
        let at = list.item(index);
        let fields = match layer.layer_specifier {
            Some(LayerSpecifier::StaticLayer(fields)) => fields.fields,
            Some(LayerSpecifier::AdminLayer(_)) | None => continue,
            Some(LayerSpecifier::DiskLayer(_)) => return Err(at.field("disk_layer").unsupported()),
            Some(LayerSpecifier::RtdsLayer(_)) => return Err(at.field("rtds_layer").unsupported()),
        };
        for (key, value) in fields {
            match (&*key, value.kind) {
                (REJECT_FRAGMENT, Some(Kind::BoolValue(on))) => reject_fragment = on,
                (REJECT_FRAGMENT, Some(Kind::StringValue(text))) => {
                    reject_fragment = text != "false"
                }
                _ => tracing::warn!("{at}: runtime key {key:?} has no effect"),
            }
        }
    }
    Ok(reject_fragment)
}

fn resources(
    at: &At<'_>,
    message: Option<wire::bootstrap::StaticResources>,
) -> Result<StaticResources, Refused> {
    let mut message = message.unwrap_or_default();
    let secrets = take(&mut message.secrets);
    let clusters = take(&mut message.clusters);
    let mut listeners = take(&mut message.listeners);
    nothing_left(at, &message)?;
    for (index, listener) in listeners.iter_mut().enumerate() {
        if listener.name.is_empty() {
            listener.name = format!("listener_{index}");
        }
    }
    let by_kind = vec![
        (
            ResourceKind::Secret,
            secrets.iter().map(|one| packed(&one.name, one)).collect(),
        ),
        (
            ResourceKind::Cluster,
            clusters.iter().map(|one| packed(&one.name, one)).collect(),
        ),
        (
            ResourceKind::Listener,
            listeners.iter().map(|one| packed(&one.name, one)).collect(),
        ),
    ];
    Ok(StaticResources { by_kind })
}

fn packed(name: &str, message: &impl Message) -> Incoming {
    Incoming {
        name: Arc::from(name),
        version: Box::default(),
        body: message.encode_to_vec().into(),
        is_static: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 9901}}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: 10000}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: backend}}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: backend
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8080}}}
"#;

    fn client(state: &Arc<lateen_proxy_state::State>) -> crate::Client {
        let logs = |_: crate::AccessLogSpec| Ok(lateen_proxy_model::AccessLogRef(0));
        let config = crate::ClientConfig {
            node: Node::default(),
            last_good: None,
            reject_fragment: true,
        };
        crate::Client::new(Arc::clone(state), Arc::new(logs), config)
    }

    #[test]
    fn a_static_bootstrap_serves() {
        let bootstrap = Bootstrap::parse(FILE).expect("supported");
        assert_eq!(bootstrap.admin, "127.0.0.1:9901".parse().ok());
        assert!(bootstrap.reject_fragment);
        let state = lateen_proxy_state::State::new();
        client(&state)
            .apply_static(bootstrap.resources)
            .expect("supported");
        let cluster = state.clusters().value("backend").expect("visible");
        let endpoints = cluster.endpoints().and_then(|slot| slot.load_full());
        assert_eq!(endpoints.expect("inline").iter().count(), 1);
        assert!(state.listeners().named("listener_0").is_some());
        assert!(state.readiness().facts().listeners);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, text) in [
            (
                "admin:",
                "overload_manager: {}\nadmin:",
                "bootstrap: overload_manager",
            ),
            (
                "admin:",
                "dynamic_resources: {ads_config: {}}\nadmin:",
                "bootstrap: dynamic_resources",
            ),
            ("admin:", "nope: 1\nadmin:", "nope"),
            (
                "prefix: /",
                "prefix: /, tls_context: {presented: true}",
                "match.tls_context",
            ),
            ("admin:", "admin: [", "4:1: not YAML"),
        ] {
            let text_of = |error: StaticError| error.to_string();
            let state = lateen_proxy_state::State::new();
            let error = match Bootstrap::parse(&FILE.replacen(from, to, 1)) {
                Err(error) => text_of(error),
                Ok(bootstrap) => client(&state)
                    .apply_static(bootstrap.resources)
                    .map_err(text_of)
                    .expect_err("refused"),
            };
            assert!(error.contains(text), "{error}");
        }
    }
}
