//! Listener filters.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::proxy_protocol_config::Version;
use envoy_types::pb::envoy::config::listener::v3 as wire;
use envoy_types::pb::envoy::config::listener::v3::listener_filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::listener_filter_chain_match_predicate::{
    MatchSet, Rule,
};
use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use envoy_types::pb::envoy::extensions::filters::listener::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::original_src::v3 as original_src;
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3 as proxy_protocol;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::google::protobuf::Any;
use lateen_proxy_model::{
    ConnectionRate, ListenerFilter, ListenerFilterEntry, ListenerFilters, ListenerPredicate,
    ProxyProtocolRules, TlvRule,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, limit, must_be_off, must_be_unset, number, unpack};

/// Envoy's wait for first bytes.
const FIRST_BYTES: Duration = Duration::from_secs(15);
/// Envoy's limit on a ClientHello.
const MAX_HELLO: u32 = 16 * 1024;
/// Predicates nest no deeper.
const MAX_DEPTH: usize = 16;

/// The filters of a listener and their waiting time.
pub(super) fn read(at: &At<'_>, message: &mut wire::Listener) -> Result<ListenerFilters, Refused> {
    let list = at.field("listener_filters");
    let entries = take(&mut message.listener_filters)
        .into_iter()
        .enumerate()
        .map(|(index, filter)| entry(&list.item(index), filter))
        .collect::<Result<_, _>>()?;
    let place = at.field("listener_filters_timeout");
    let timeout = message.listener_filters_timeout.take();
    Ok(ListenerFilters {
        entries,
        timeout: limit(&place, timeout, Some(FIRST_BYTES))?,
        continue_on_timeout: take(&mut message.continue_on_listener_filters_timeout),
    })
}

fn entry(at: &At<'_>, filter: wire::ListenerFilter) -> Result<ListenerFilterEntry, Refused> {
    let place = at.field("filter_disabled");
    let disabled = filter
        .filter_disabled
        .map(|one| predicate(&place, one, 0))
        .transpose()?;
    let packed = match filter.config_type {
        Some(ConfigType::TypedConfig(packed)) => packed,
        Some(ConfigType::ConfigDiscovery(_)) => {
            return Err(at.field("config_discovery").unsupported());
        }
        None => return Err(at.field("typed_config").refuse("missing")),
    };
    let filter = kind(&at.field("typed_config"), &filter.name, &packed)?;
    Ok(ListenerFilterEntry { disabled, filter })
}

fn kind(at: &At<'_>, name: &str, packed: &Any) -> Result<ListenerFilter, Refused> {
    if any::holds::<TlsInspector>(packed) {
        return tls_inspector(at, unpack(at, packed)?);
    }
    if any::holds::<HttpInspector>(packed) {
        return Ok(ListenerFilter::HttpInspector);
    }
    if any::holds::<OriginalDst>(packed) {
        return Ok(ListenerFilter::OriginalDst);
    }
    if any::holds::<original_src::OriginalSrc>(packed) {
        let mut message: original_src::OriginalSrc = unpack(at, packed)?;
        must_be_off(&at.field("bind_port"), take(&mut message.bind_port))?;
        return Ok(ListenerFilter::OriginalSrc(message.mark));
    }
    if any::holds::<proxy_protocol::ProxyProtocol>(packed) {
        let rules = proxy_rules(at, unpack(at, packed)?)?;
        return Ok(ListenerFilter::ProxyProtocol(Arc::new(rules)));
    }
    if any::holds::<LocalRateLimit>(packed) {
        let rate = rate(at, unpack(at, packed)?)?;
        return Ok(ListenerFilter::LocalRateLimit(Arc::new(rate)));
    }
    let kind = any::full_name(&packed.type_url);
    Err(at.refuse(format!(
        "listener filter {name:?} ({kind}) is not supported"
    )))
}

fn tls_inspector(at: &At<'_>, mut message: TlsInspector) -> Result<ListenerFilter, Refused> {
    let ja3 = message.enable_ja3_fingerprinting.take();
    must_be_unset(&at.field("enable_ja3_fingerprinting"), ja3)?;
    let ja4 = message.enable_ja4_fingerprinting.take();
    must_be_unset(&at.field("enable_ja4_fingerprinting"), ja4)?;
    // The buffer grows with what comes; its first size changes nothing.
    message.initial_read_buffer_size = None;
    let max = number(message.max_client_hello_size.take()).unwrap_or(MAX_HELLO);
    if max > MAX_HELLO {
        let text = format!("more than {MAX_HELLO}");
        return Err(at.field("max_client_hello_size").refuse(text));
    }
    let close_on_error = take(&mut message.close_connection_on_client_hello_parsing_errors);
    nothing_left(at, &message)?;
    Ok(ListenerFilter::TlsInspector {
        max_hello: max as usize,
        close_on_error,
    })
}

fn proxy_rules(
    at: &At<'_>,
    mut message: proxy_protocol::ProxyProtocol,
) -> Result<ProxyProtocolRules, Refused> {
    let mut made = ProxyProtocolRules {
        optional: take(&mut message.allow_requests_without_proxy_protocol),
        stat_prefix: take(&mut message.stat_prefix).into(),
        ..ProxyProtocolRules::default()
    };
    let place = at.field("pass_through_tlvs");
    must_be_off(&place, message.pass_through_tlvs.take().is_some())?;
    let list = at.field("disallowed_versions");
    for (index, version) in take(&mut message.disallowed_versions)
        .into_iter()
        .enumerate()
    {
        match Version::try_from(version) {
            Ok(Version::V1) => made.refuse_v1 = true,
            Ok(Version::V2) => made.refuse_v2 = true,
            Err(_) => return Err(list.item(index).refuse("no such version")),
        }
    }
    let list = at.field("rules");
    for (index, rule) in take(&mut message.rules).into_iter().enumerate() {
        let at = list.item(index);
        let place = at.field("tlv_type");
        let kind = u8::try_from(rule.tlv_type).map_err(|_| place.refuse("above 255"))?;
        let key = rule.on_tlv_present;
        let key = key.ok_or_else(|| at.field("on_tlv_present").refuse("missing"))?;
        let namespace = match &*key.metadata_namespace {
            "" => "envoy.filters.listener.proxy_protocol",
            own => own,
        };
        made.rules.push(TlvRule {
            kind,
            namespace: namespace.into(),
            key: key.key.into(),
        });
    }
    nothing_left(at, &message)?;
    Ok(made)
}

fn rate(at: &At<'_>, mut message: LocalRateLimit) -> Result<ConnectionRate, Refused> {
    let enabled = message.runtime_enabled.take();
    let prefix = take(&mut message.stat_prefix);
    let bucket = message.token_bucket.take();
    nothing_left(at, &message)?;
    let at = at.field("token_bucket");
    let bucket = bucket.ok_or_else(|| at.refuse("missing"))?;
    let interval = duration(&at.field("fill_interval"), bucket.fill_interval)?;
    let interval = interval
        .filter(|interval| !interval.is_zero())
        .ok_or_else(|| at.field("fill_interval").refuse("must be above 0"))?;
    let fill = number(bucket.tokens_per_fill).unwrap_or(1);
    // There is no runtime that could change the default.
    let enabled = enabled
        .and_then(|flag| flag.default_value)
        .is_none_or(|flag| flag.value);
    let max = if enabled {
        u64::from(bucket.max_tokens)
    } else {
        u64::MAX
    };
    Ok(ConnectionRate::new(
        prefix.into(),
        max,
        u64::from(fill),
        interval,
    ))
}

fn predicate(
    at: &At<'_>,
    message: wire::ListenerFilterChainMatchPredicate,
    depth: usize,
) -> Result<ListenerPredicate, Refused> {
    if depth > MAX_DEPTH {
        return Err(at.refuse("nests too deep"));
    }
    Ok(match message.rule {
        Some(Rule::AnyMatch(true)) => ListenerPredicate::Any,
        Some(Rule::AnyMatch(false)) => ListenerPredicate::Or(Vec::new()),
        Some(Rule::NotMatch(inner)) => {
            let at = at.field("not_match");
            ListenerPredicate::Not(Box::new(predicate(&at, *inner, depth + 1)?))
        }
        Some(Rule::AndMatch(set)) => {
            ListenerPredicate::And(predicates(&at.field("and_match"), set, depth)?)
        }
        Some(Rule::OrMatch(set)) => {
            ListenerPredicate::Or(predicates(&at.field("or_match"), set, depth)?)
        }
        Some(Rule::DestinationPortRange(range)) => {
            let place = at.field("destination_port_range");
            let bound = |value| u32::try_from(value).map_err(|_| place.refuse("negative"));
            ListenerPredicate::Port(bound(range.start)?, bound(range.end)?)
        }
        None => return Err(at.refuse("empty")),
    })
}

fn predicates(at: &At<'_>, set: MatchSet, depth: usize) -> Result<Vec<ListenerPredicate>, Refused> {
    let list = at.field("rules");
    set.rules
        .into_iter()
        .enumerate()
        .map(|(index, rule)| predicate(&list.item(index), rule, depth + 1))
        .collect()
}
