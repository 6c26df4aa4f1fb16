//! The network filters of a chain.

use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as wire;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::extensions::filters::network::connection_limit::v3 as connection_limit;
use envoy_types::pb::envoy::extensions::filters::network::direct_response::v3 as direct_response;
use envoy_types::pb::envoy::extensions::filters::network::echo::v3::Echo;
use envoy_types::pb::envoy::extensions::filters::network::ext_authz::v3::ExtAuthz;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::network::mongo_proxy::v3::MongoProxy;
use envoy_types::pb::envoy::extensions::filters::network::ratelimit::v3::RateLimit;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as network_rbac;
use envoy_types::pb::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use envoy_types::pb::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3::FilterConfig as SniForwardProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::google::protobuf::Any;
use lateen_proxy_model::{
    ConnectionFilter, ConnectionLimit, NetworkFilter, NetworkFilterEntry, StatsFilter,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{data, duration, unpack};
use super::context::Context;
use super::{
    connection_manager, forward_proxy, global_rate_limit, local_rate_limit, metadata_exchange,
    mongo, network_authz, rbac, stats, tcp_proxy,
};

/// Most bytes of a direct response, as in Envoy.
const MAX_RESPONSE: usize = 4096;

/// The filters of a chain.
pub(super) struct Filters {
    /// Before the terminal one, in order.
    pub(super) entries: Vec<NetworkFilterEntry>,
    /// The terminal one.
    pub(super) terminal: NetworkFilter,
    /// Metrics of a TCP chain.
    pub(super) stats: Option<StatsFilter>,
    /// TCP metadata exchange.
    pub(super) metadata_exchange: bool,
}

/// Reads the filters of a chain.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    filters: Vec<wire::Filter>,
) -> Result<Filters, Refused> {
    let mut terminal = None;
    let mut entries = Vec::new();
    let (mut stats, mut metadata_exchange) = (None, false);
    for (index, filter) in filters.into_iter().enumerate() {
        let at = at.item(index);
        if terminal.is_some() {
            return Err(at.refuse("stands behind the terminal filter"));
        }
        let packed = match filter.config_type {
            Some(ConfigType::TypedConfig(packed)) => packed,
            Some(ConfigType::ConfigDiscovery(_)) => {
                return Err(at.field("config_discovery").unsupported());
            }
            None => return Err(at.field("typed_config").refuse("missing")),
        };
        let at = at.field("typed_config");
        if let Some(found) = stats::filter(&at, &packed)? {
            stats = Some(found);
        } else if metadata_exchange::is_network(&at, &packed)? {
            metadata_exchange = true;
        } else if let Some(found) = connection_filter(context, &at, &packed)? {
            entries.push(NetworkFilterEntry {
                name: filter.name.into(),
                filter: found,
            });
        } else {
            terminal = Some(terminal_filter(context, &at, &filter.name, &packed)?);
        }
    }
    Ok(Filters {
        entries,
        terminal: terminal.ok_or_else(|| at.refuse("no terminal filter"))?,
        stats,
        metadata_exchange,
    })
}

/// A filter that stands before the terminal one; `None` when the message is something else.
fn connection_filter(
    context: &Context<'_>,
    at: &At<'_>,
    packed: &Any,
) -> Result<Option<ConnectionFilter>, Refused> {
    Ok(Some(if any::holds::<SniCluster>(packed) {
        ConnectionFilter::SniCluster
    } else if any::holds::<MongoProxy>(packed) {
        ConnectionFilter::Mongo(Arc::new(mongo::read(at, unpack(at, packed)?)?))
    } else if any::holds::<SniForwardProxy>(packed) {
        let filter = forward_proxy::by_server_name(context, at, unpack(at, packed)?)?;
        ConnectionFilter::ForwardProxy(filter)
    } else if any::holds::<connection_limit::ConnectionLimit>(packed) {
        limit(at, unpack(at, packed)?)?
    } else if any::holds::<network_rbac::Rbac>(packed) {
        ConnectionFilter::Rbac(Arc::new(rbac::network(at, unpack(at, packed)?)?))
    } else if any::holds::<RateLimit>(packed) {
        let limit = global_rate_limit::connections(context, at, unpack(at, packed)?)?;
        ConnectionFilter::RateLimit(Arc::new(limit))
    } else if any::holds::<ExtAuthz>(packed) {
        let authz = network_authz::read(context, at, unpack(at, packed)?)?;
        ConnectionFilter::Authz(Arc::new(authz))
    } else if any::holds::<LocalRateLimit>(packed) {
        let limit = local_rate_limit::connections(at, unpack(at, packed)?)?;
        ConnectionFilter::LocalRateLimit(Arc::new(limit))
    } else {
        return Ok(None);
    }))
}

fn limit(
    at: &At<'_>,
    mut message: connection_limit::ConnectionLimit,
) -> Result<ConnectionFilter, Refused> {
    let max = message.max_connections.take();
    let max = max.ok_or_else(|| at.field("max_connections").refuse("missing"))?;
    if max.value == 0 {
        return Err(at.field("max_connections").refuse("must be at least 1"));
    }
    let delay = duration(&at.field("delay"), message.delay.take())?;
    let enabled = message.runtime_enabled.take();
    let stat_prefix = take(&mut message.stat_prefix);
    nothing_left(at, &message)?;
    // There is no runtime that could change the default.
    let enabled = enabled
        .and_then(|flag| flag.default_value)
        .is_none_or(|flag| flag.value);
    let max = if enabled { max.value } else { u64::MAX };
    let delay = delay.filter(|delay| !delay.is_zero());
    Ok(ConnectionFilter::ConnectionLimit(Arc::new(
        ConnectionLimit::new(stat_prefix.into(), max, delay),
    )))
}

fn terminal_filter(
    context: &Context<'_>,
    at: &At<'_>,
    name: &str,
    packed: &Any,
) -> Result<NetworkFilter, Refused> {
    if any::holds::<HttpConnectionManager>(packed) {
        let manager = connection_manager::read(context, at, unpack(at, packed)?)?;
        return Ok(NetworkFilter::Http(Arc::new(manager)));
    }
    if any::holds::<TcpProxy>(packed) {
        let proxy = tcp_proxy::read(context, at, unpack(at, packed)?)?;
        return Ok(NetworkFilter::Tcp(Arc::new(proxy)));
    }
    if any::holds::<Echo>(packed) {
        return Ok(NetworkFilter::Echo);
    }
    if any::holds::<direct_response::Config>(packed) {
        let mut config: direct_response::Config = unpack(at, packed)?;
        let response = config.response.take();
        nothing_left(at, &config)?;
        return response_bytes(&at.field("response"), response).map(NetworkFilter::DirectResponse);
    }
    let kind = any::full_name(&packed.type_url);
    Err(at.refuse(format!("filter {name:?} ({kind}) is not supported")))
}

fn response_bytes(at: &At<'_>, source: Option<core::DataSource>) -> Result<Bytes, Refused> {
    let Some(source) = source else {
        return Ok(Bytes::new());
    };
    let bytes = data(at, &source)?;
    if bytes.len() > MAX_RESPONSE {
        return Err(at.refuse(format!("longer than {MAX_RESPONSE} bytes")));
    }
    Ok(bytes.into())
}
