//! Bootstrap files of `lateen-proxy envoy -c FILE`: Envoy's own format, as far as the proxy's features reach.

use std::collections::BTreeMap;
use std::mem::take;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::bootstrap::v3 as wire;
use envoy_types::pb::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use envoy_types::pb::envoy::config::core::v3::{ConfigSource, Node};
use envoy_types::pb::google::protobuf::Struct;
use envoy_types::pb::google::protobuf::value::Kind;
use lateen_proxy_model::{Locality, OverloadPlan, StringMatcher};
use lateen_proxy_state::{ResourceKind, Runtime, State};
use lateen_proxy_telemetry::StatsConfig;
use lateen_xds::json;
use prost::Message;

use crate::apply::Incoming;
use crate::source::{ApiSource, Source, Target};
use crate::static_parts::{self, Parts};
use crate::wire::at::{At, Refused, nothing_left};
use crate::wire::common::socket_address;
use crate::wire::config_source::{api_source, config_source};
use crate::wire::{matcher, overload, statistics as wire_statistics};

/// The runtime key of S1.
const REJECT_FRAGMENT: &str = "envoy.reloadable_features.http_reject_path_with_fragment";

/// The runtime key of the limit of downstream connections.
const MAX_CONNECTIONS: &str = "overload.global_downstream_max_connections";

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
    /// Paths, with queries, that the admin pages answer; empty is all.
    pub admin_paths: Vec<StringMatcher>,
    /// `#` in a path is answered 400 (S1; Envoy's default).
    pub reject_fragment: bool,
    /// Which of Envoy's own statistics are kept.
    pub stats: StatsConfig,
    /// Layers of runtime keys, the strongest last.
    pub runtime: Vec<Layer>,
    /// Where other resources come from.
    pub dynamic: Dynamic,
    /// What is done when the process runs short of something.
    pub overload: Option<OverloadPlan>,
    /// Cluster of proxies like this one, for zone-aware routing; may be empty.
    pub local_cluster: String,
    /// Resources, for [`Client::apply_static`](crate::Client::apply_static).
    pub resources: StaticResources,
}

/// Resources of a bootstrap, in the order they are applied.
#[derive(Debug)]
pub struct StaticResources {
    pub(crate) by_kind: [(ResourceKind, Vec<Incoming>); 3],
}

impl Default for StaticResources {
    fn default() -> Self {
        let kinds = [
            ResourceKind::Secret,
            ResourceKind::Cluster,
            ResourceKind::Listener,
        ];
        Self {
            by_kind: kinds.map(|kind| (kind, Vec::new())),
        }
    }
}

impl StaticResources {
    /// Those of one kind; other kinds are with the listeners.
    pub(crate) fn of(&mut self, kind: ResourceKind) -> &mut Vec<Incoming> {
        let [secrets, clusters, listeners] = &mut self.by_kind;
        match kind {
            ResourceKind::Secret => &mut secrets.1,
            ResourceKind::Cluster => &mut clusters.1,
            _ => &mut listeners.1,
        }
    }

    fn has_cluster(&self, name: &str) -> bool {
        let [_, (_, clusters), _] = &self.by_kind;
        clusters.iter().any(|one| *one.name == *name)
    }
}

/// Where resources come from that a bootstrap does not hold itself.
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    pub(crate) ads: Option<ApiSource>,
    pub(crate) clusters: Option<TopSource>,
    pub(crate) listeners: Option<TopSource>,
}

/// A source that is asked for all it has, and how long its first answer is waited for (`None` is for ever).
pub(crate) type TopSource = (Source, Option<Duration>);

/// One layer of runtime keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// The admin pages may change it.
    pub is_admin: bool,
    /// Keys, nested ones joined by dots, and values as text.
    pub values: BTreeMap<String, String>,
}

impl Dynamic {
    /// A pod's proxy: clusters and listeners over the aggregated stream, waited for as long as it takes.
    pub(crate) fn of_pod() -> Self {
        Self {
            ads: None,
            clusters: Some((Source::Ads, None)),
            listeners: Some((Source::Ads, None)),
        }
    }

    /// Whether anything comes from elsewhere.
    pub fn is_empty(&self) -> bool {
        self.ads.is_none() && self.clusters.is_none() && self.listeners.is_none()
    }
}

impl Bootstrap {
    /// The runtime keys of all layers, the strongest value of each.
    pub fn runtime_keys(&self) -> Runtime {
        let mut keys = Runtime::default();
        for (key, value) in self.runtime.iter().flat_map(|layer| &layer.values) {
            keys.set(key, value);
        }
        keys
    }

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
    /// The first field that is not supported.
    pub fn from_message(message: wire::Bootstrap) -> Result<Self, StaticError> {
        let (made, faults) = Self::read(&message)?;
        match faults.into_iter().next() {
            Some(first) => Err(first.into()),
            None => Ok(made),
        }
    }

    /// The same, giving every part that is not supported; what is returned then lacks those parts.
    ///
    /// # Errors
    /// When the message does not encode and decode, which it does.
    pub fn read(message: &wire::Bootstrap) -> Result<(Self, Vec<Refused>), StaticError> {
        Self::read_encoded(message.encode_to_vec().into())
    }

    /// The same from an encoded message, whose buffer the resources keep.
    ///
    /// # Errors
    /// When the bytes are no bootstrap.
    pub fn read_encoded(bytes: Bytes) -> Result<(Self, Vec<Refused>), StaticError> {
        let parts = static_parts::parts(bytes)
            .map_err(|error| StaticError::Syntax(format!("not a bootstrap: {error}")))?;
        Ok(Self::of_parts(parts))
    }

    fn of_parts(parts: Parts) -> (Self, Vec<Refused>) {
        let Parts {
            mut message,
            resources,
        } = parts;
        let at = At::ROOT;
        let mut faults = Vec::new();
        let place = at.field("stats_config");
        let stats = wire_statistics::read(&place, message.stats_config.take());
        let stats = kept(stats, &mut faults);
        forget_statistics(&mut message);
        let admin = admin(&at.field("admin"), message.admin.take());
        let (admin, admin_paths) = kept(admin, &mut faults);
        let place = at.field("layered_runtime");
        let runtime = kept(layers(&place, message.layered_runtime.take()), &mut faults);
        let place = at.field("dynamic_resources");
        let dynamic = dynamic(
            &place,
            message.dynamic_resources.take(),
            &resources,
            &mut faults,
        );
        let place = at.field("overload_manager");
        let plan = message.overload_manager.take();
        let plan = plan.map(|plan| overload::read(&place, plan)).transpose();
        let overload = overload::with_runtime(kept(plan, &mut faults), max_connections(&runtime));
        let place = at.field("static_resources");
        let rest = message.static_resources.take().unwrap_or_default();
        kept(nothing_left(&place, &rest), &mut faults);
        let node = message.node.take().unwrap_or_default();
        let local_cluster = local_cluster(&at.field("cluster_manager"), &mut message);
        let local_cluster = kept(local_cluster, &mut faults);
        kept(nothing_left(&at, &message), &mut faults);
        let made = Self {
            node,
            stats,
            admin,
            admin_paths,
            reject_fragment: reject_fragment(&runtime),
            runtime,
            dynamic,
            overload,
            local_cluster,
            resources,
        };
        (made, faults)
    }
}

fn local_cluster(at: &At<'_>, message: &mut wire::Bootstrap) -> Result<String, Refused> {
    let mut manager = message.cluster_manager.take().unwrap_or_default();
    let name = take(&mut manager.local_cluster_name);
    nothing_left(at, &manager)?;
    Ok(name)
}

impl Bootstrap {
    /// Tells the state where the proxy runs. Before resources are applied.
    pub fn place(&self, state: &State) {
        if self.local_cluster.is_empty() {
            return;
        }
        let place = self.node.locality.clone().unwrap_or_default();
        let locality = Locality {
            region: place.region.into(),
            zone: place.zone.into(),
            sub_zone: place.sub_zone.into(),
        };
        state.set_local(locality, &self.local_cluster);
    }
}

fn kept<T: Default>(part: Result<T, Refused>, faults: &mut Vec<Refused>) -> T {
    part.unwrap_or_else(|refused| {
        faults.push(refused);
        T::default()
    })
}

/// Settings of Envoy's watchdog and of where its statistics go, which this proxy does not have.
fn forget_statistics(message: &mut wire::Bootstrap) {
    message.stats_flush_interval = None;
    message.stats_flush = None;
    message.deferred_stat_options = None;
    message.enable_dispatcher_stats = false;
    message.stats_server_version_override = None;
    message.watchdogs = None;
    #[allow(deprecated, reason = "older bootstrap files use it")]
    {
        message.watchdog = None;
    }
}

/// The address of the admin pages, and the paths that they answer.
type AdminPages = (Option<SocketAddr>, Vec<StringMatcher>);

fn admin(at: &At<'_>, message: Option<wire::Admin>) -> Result<AdminPages, Refused> {
    let Some(mut message) = message else {
        return Ok(AdminPages::default());
    };
    // Requests to the admin pages are not logged, and nothing is profiled.
    message.access_log.clear();
    #[allow(deprecated, reason = "older bootstrap files use it")]
    message.access_log_path.clear();
    message.profile_path.clear();
    message.ignore_global_conn_limit = false;
    let address = message.address.take();
    let place = at.field("allow_paths");
    let paths = take(&mut message.allow_paths);
    let paths = paths.iter().enumerate();
    let paths = paths.map(|(index, path)| matcher::string(&place.item(index), path));
    let paths = paths.collect::<Result<_, _>>()?;
    nothing_left(at, &message)?;
    let address = address.map(|address| socket_address(&at.field("address"), Some(address)));
    Ok((address.transpose()?, paths))
}

fn dynamic(
    at: &At<'_>,
    message: Option<wire::bootstrap::DynamicResources>,
    held: &StaticResources,
    faults: &mut Vec<Refused>,
) -> Dynamic {
    let mut message = message.unwrap_or_default();
    let place = at.field("ads_config");
    let ads = message.ads_config.take().map(|ads| {
        let source = api_source(&place, ads, true)?;
        known_servers(&place, &source, held)?;
        Ok(source)
    });
    let ads = kept(ads.transpose(), faults);
    let mut top = |name: &str, value: Option<ConfigSource>| {
        let place = at.field(name);
        let read = value.map(|value| {
            let (source, wait) = config_source(&place, Some(value))?;
            match &source {
                Source::Ads if ads.is_none() => Err(place.refuse("there is no ads_config")),
                Source::Api(api) => {
                    known_servers(&place.field("api_config_source"), api, held)?;
                    Ok((source, wait))
                }
                Source::Path(file) if !file.path.exists() => {
                    let text = format!("{} does not exist", file.path.display());
                    Err(place.refuse(text))
                }
                _ => Ok((source, wait)),
            }
        });
        kept(read.transpose(), faults)
    };
    let clusters = top("cds_config", message.cds_config.take());
    let listeners = top("lds_config", message.lds_config.take());
    kept(nothing_left(at, &message), faults);
    Dynamic {
        ads,
        clusters,
        listeners,
    }
}

/// Streams begin before any cluster has come, so their servers are clusters of the bootstrap.
fn known_servers(at: &At<'_>, source: &ApiSource, held: &StaticResources) -> Result<(), Refused> {
    let list = at.field("grpc_services");
    for (index, server) in source.servers.iter().enumerate() {
        if let Target::Cluster { name, .. } = &server.target
            && !held.has_cluster(name)
        {
            let text = format!("{name:?} is no cluster of static_resources");
            let at = list.item(index);
            let at = at.field("envoy_grpc");
            return Err(at.field("cluster_name").refuse(text));
        }
    }
    Ok(())
}

/// Keys that have a meaning here.
fn is_known(key: &str) -> bool {
    key == REJECT_FRAGMENT || key == MAX_CONNECTIONS || is_limit(key)
}

/// Limits on the connections of a listener.
fn is_limit(key: &str) -> bool {
    key.starts_with("envoy.resource_limits.listener.") && key.ends_with(".connection_limit")
}

fn layers(at: &At<'_>, message: Option<wire::LayeredRuntime>) -> Result<Vec<Layer>, Refused> {
    let list = at.field("layers");
    let layers = message.unwrap_or_default().layers;
    let mut made = Vec::with_capacity(layers.len());
    for (index, layer) in layers.into_iter().enumerate() {
        let at = list.item(index);
        let mut values = BTreeMap::new();
        let is_admin = match layer.layer_specifier {
            Some(LayerSpecifier::StaticLayer(fields)) => {
                flatten("", fields, &mut values);
                false
            }
            Some(LayerSpecifier::AdminLayer(_)) => true,
            Some(LayerSpecifier::DiskLayer(_)) => return Err(at.field("disk_layer").unsupported()),
            Some(LayerSpecifier::RtdsLayer(_)) => return Err(at.field("rtds_layer").unsupported()),
            None => return Err(at.refuse("no layer is given")),
        };
        for key in values.keys().filter(|key| !is_known(key)) {
            tracing::warn!("{at}: runtime key {key:?} has no effect");
        }
        made.push(Layer {
            name: layer.name,
            is_admin,
            values,
        });
    }
    Ok(made)
}

/// Keys of a layer: fields of fields are joined by dots.
fn flatten(prefix: &str, fields: Struct, into: &mut BTreeMap<String, String>) {
    for (key, value) in fields.fields {
        let key = if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        };
        let text = match value.kind {
            Some(Kind::StructValue(inner)) if !is_fraction(&inner) => {
                flatten(&key, inner, into);
                continue;
            }
            Some(Kind::BoolValue(on)) => on.to_string(),
            Some(Kind::NumberValue(number)) => number.to_string(),
            Some(Kind::StringValue(text)) => text,
            other => format!("{other:?}"),
        };
        into.insert(key, text);
    }
}

/// A percentage stands as a message of its own.
fn is_fraction(fields: &Struct) -> bool {
    fields.fields.contains_key("numerator") || fields.fields.contains_key("denominator")
}

/// The limit of downstream connections, when a layer sets one.
fn max_connections(layers: &[Layer]) -> Option<u64> {
    let values = layers.iter().rev();
    let mut values = values.filter_map(|layer| layer.values.get(MAX_CONNECTIONS));
    values.next()?.parse().ok()
}

/// Of all runtime keys one has a meaning here. Others tune Envoy's inside and are reported.
fn reject_fragment(layers: &[Layer]) -> bool {
    let values = layers.iter().rev();
    let mut values = values.filter_map(|layer| layer.values.get(REJECT_FRAGMENT));
    values.next().is_none_or(|value| value != "false")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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

    fn client(state: &Arc<State>) -> crate::Client {
        let logs = |_: crate::AccessLogSpec| Ok(lateen_proxy_model::AccessLogRef(0));
        let config = crate::ClientConfig {
            node: Node::default(),
            last_good: None,
            reject_fragment: true,
            dynamic: Some(Dynamic::default()),
        };
        crate::Client::new(Arc::clone(state), Arc::new(logs), config)
    }

    #[test]
    fn a_static_bootstrap_serves() {
        let bootstrap = Bootstrap::parse(FILE).expect("supported");
        assert_eq!(bootstrap.admin, "127.0.0.1:9901".parse().ok());
        assert!(bootstrap.reject_fragment);
        let state = State::new();
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
                "overload_manager: {actions: [{name: x}]}\nadmin:",
                "bootstrap: overload_manager.actions[0].name",
            ),
            (
                "admin:",
                "dynamic_resources: {ads_config: {}}\nadmin:",
                "bootstrap: dynamic_resources.ads_config.api_type: DEPRECATED_AND_UNAVAILABLE_DO_NOT_USE",
            ),
            ("admin:", "nope: 1\nadmin:", "nope"),
            (
                "prefix: /",
                "prefix: /, filter_state: [{key: a, string_match: {exact: b}}]",
                "match.filter_state",
            ),
            ("admin:", "admin: [", "4:1: not YAML"),
        ] {
            let text_of = |error: StaticError| error.to_string();
            let state = State::new();
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
