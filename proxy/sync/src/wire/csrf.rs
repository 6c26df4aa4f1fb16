//! The filter against requests that other sites forge.

use std::mem::take;

use envoy_types::pb::envoy::extensions::filters::http::csrf::v3 as wire;
use lateen_proxy_model::{CsrfPolicy, Percentage};

use super::at::{At, Refused, nothing_left};
use super::common::runtime_fraction;
use super::matcher::string;

/// A policy of the filter, or of a route.
pub(super) fn policy(at: &At<'_>, mut message: wire::CsrfPolicy) -> Result<CsrfPolicy, Refused> {
    let place = at.field("filter_enabled");
    let enabled = message.filter_enabled.take();
    let enabled = enabled.ok_or_else(|| place.refuse("missing"))?;
    let enabled = runtime_fraction(&place, enabled)?;
    let place = at.field("shadow_enabled");
    let shadow = message.shadow_enabled.take();
    let shadow = shadow.map(|share| runtime_fraction(&place, share));
    let list = at.field("additional_origins");
    let origins = take(&mut message.additional_origins);
    let origins = origins.iter().enumerate();
    let origins = origins.map(|(index, one)| string(&list.item(index), one));
    let made = CsrfPolicy {
        enabled,
        shadow: shadow.transpose()?.unwrap_or(Percentage(0)),
        origins: origins.collect::<Result<_, _>>()?,
    };
    nothing_left(at, &message)?;
    Ok(made)
}
