//! Listener filters.

use std::mem::take;

use envoy_types::pb::envoy::config::listener::v3 as wire;
use envoy_types::pb::envoy::config::listener::v3::listener_filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::listener_filter_chain_match_predicate::Rule;
use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use lateen_proxy_model::Inspectors;
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{limit, unpack};
use super::ignored;
use super::listener::FIRST_BYTES;

type Ports = Vec<(u32, u32)>;

/// The inspectors of a listener and their waiting time.
pub(super) fn read(at: &At<'_>, message: &mut wire::Listener) -> Result<Inspectors, Refused> {
    let mut found = Inspectors::default();
    let list = at.field("listener_filters");
    for (index, filter) in take(&mut message.listener_filters).into_iter().enumerate() {
        add(&list.item(index), filter, &mut found)?;
    }
    let place = at.field("listener_filters_timeout");
    found.timeout = limit(
        &place,
        message.listener_filters_timeout.take(),
        Some(FIRST_BYTES),
    )?;
    found.continue_on_timeout = take(&mut message.continue_on_listener_filters_timeout);
    Ok(found)
}

fn add(at: &At<'_>, filter: wire::ListenerFilter, found: &mut Inspectors) -> Result<(), Refused> {
    let place = at.field("filter_disabled");
    let mut disabled = Ports::new();
    if let Some(predicate) = filter.filter_disabled {
        ports(&place, predicate, &mut disabled)?;
    }
    let everywhere = disabled.is_empty();
    let packed = match filter.config_type {
        Some(ConfigType::TypedConfig(packed)) => packed,
        Some(ConfigType::ConfigDiscovery(_)) => {
            return Err(at.field("config_discovery").unsupported());
        }
        None => return Err(at.field("typed_config").refuse("missing")),
    };
    let at = at.field("typed_config");
    if any::holds::<TlsInspector>(&packed) {
        let mut config: TlsInspector = unpack(&at, &packed)?;
        ignored::tls_inspector(&mut config);
        nothing_left(&at, &config)?;
        found.tls = Some(disabled);
    } else if any::holds::<HttpInspector>(&packed) {
        found.http = Some(disabled);
    } else if any::holds::<OriginalDst>(&packed) && everywhere {
        found.original_dst = true;
    } else if any::holds::<ProxyProtocol>(&packed) && everywhere {
        nothing_left(&at, &unpack::<ProxyProtocol>(&at, &packed)?)?;
        found.proxy_protocol = true;
    } else if everywhere {
        let kind = any::full_name(&packed.type_url);
        let name = filter.name;
        return Err(at.refuse(format!(
            "listener filter {name:?} ({kind}) is not supported"
        )));
    } else {
        return Err(place.refuse("only supported for the TLS and HTTP inspectors"));
    }
    Ok(())
}

/// Destination ports joined by `or`; deeper predicates are refused.
fn ports(
    at: &At<'_>,
    predicate: wire::ListenerFilterChainMatchPredicate,
    found: &mut Ports,
) -> Result<(), Refused> {
    match predicate.rule {
        Some(Rule::DestinationPortRange(range)) => {
            let bounds = u32::try_from(range.start)
                .ok()
                .zip(u32::try_from(range.end).ok());
            let place = at.field("destination_port_range");
            found.push(bounds.ok_or_else(|| place.refuse("negative"))?);
            Ok(())
        }
        Some(Rule::OrMatch(set)) => {
            let at = at.field("or_match");
            let list = at.field("rules");
            for (index, rule) in set.rules.into_iter().enumerate() {
                let at = list.item(index);
                if matches!(rule.rule, Some(Rule::OrMatch(_))) {
                    return Err(at.field("or_match").refuse("nested"));
                }
                ports(&at, rule, found)?;
            }
            Ok(())
        }
        Some(Rule::AnyMatch(true)) => {
            found.push((0, 65536));
            Ok(())
        }
        Some(Rule::AnyMatch(false)) => Ok(()),
        Some(Rule::AndMatch(_)) => Err(at.field("and_match").unsupported()),
        Some(Rule::NotMatch(_)) => Err(at.field("not_match").unsupported()),
        None => Err(at.refuse("empty")),
    }
}
