//! The `istio.stats` filter.

use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::protobuf::value::Kind;
use lateen_proxy_model::StatsFilter;
use lateen_xds::any;
use lateen_xds::pb::stats::PluginConfig;
use prost::Name;

use super::at::{At, Refused, nothing_left};
use super::common::unpack;
use super::metadata_exchange::{only, structured};

/// The filter, for HTTP and TCP alike; `None` when the message is something else.
pub(super) fn filter(at: &At<'_>, packed: &Any) -> Result<Option<StatsFilter>, Refused> {
    if let Some((name, fields)) = structured(at, packed)? {
        if name != PluginConfig::full_name() {
            return Ok(None);
        }
        let keys = ["disable_host_header_fallback", "disableHostHeaderFallback"];
        only(at, &fields, &keys)?;
        let disabled = fields
            .fields
            .values()
            .any(|value| matches!(value.kind, Some(Kind::BoolValue(true))));
        return Ok(Some(StatsFilter {
            host_header_fallback: !disabled,
        }));
    }
    if !any::holds::<PluginConfig>(packed) {
        return Ok(None);
    }
    let mut config: PluginConfig = unpack(at, packed)?;
    let disabled = std::mem::take(&mut config.disable_host_header_fallback);
    nothing_left(at, &config)?;
    Ok(Some(StatsFilter {
        host_header_fallback: !disabled,
    }))
}
