//! Redirects of upstreams that are followed here.

use std::mem::take;

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::route::v3 as wire;
use envoy_types::pb::envoy::config::route::v3::route_action::InternalRedirectAction;
use envoy_types::pb::envoy::extensions::internal_redirect::allow_listed_routes::v3::AllowListedRoutesConfig;
use envoy_types::pb::envoy::extensions::internal_redirect::previous_routes::v3::PreviousRoutesConfig;
use envoy_types::pb::envoy::extensions::internal_redirect::safe_cross_scheme::v3::SafeCrossSchemeConfig;
use http::StatusCode;
use lateen_proxy_model::{InternalRedirect, RedirectTarget};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{number, unpack};
use super::matcher::header_name;

/// What may be followed; other codes are no redirects, and Envoy passes over them.
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// The policy of a route, also where older fields give it.
#[allow(deprecated, reason = "older routes use these fields")]
pub(super) fn policy(
    at: &At<'_>,
    message: &mut wire::RouteAction,
) -> Result<Option<Box<InternalRedirect>>, Refused> {
    let older =
        message.internal_redirect_action() == InternalRedirectAction::HandleInternalRedirect;
    message.internal_redirect_action = 0;
    let max = message.max_internal_redirects.take();
    let policy = match message.internal_redirect_policy.take() {
        Some(policy) => policy,
        None if older => wire::InternalRedirectPolicy {
            max_internal_redirects: max,
            ..wire::InternalRedirectPolicy::default()
        },
        None => return Ok(None),
    };
    read(&at.field("internal_redirect_policy"), policy).map(|made| Some(Box::new(made)))
}

fn read(
    at: &At<'_>,
    mut message: wire::InternalRedirectPolicy,
) -> Result<InternalRedirect, Refused> {
    let codes = take(&mut message.redirect_response_codes);
    let statuses = match codes.is_empty() {
        true => vec![StatusCode::FOUND],
        false => codes
            .iter()
            .filter_map(|code| u16::try_from(*code).ok())
            .filter(|code| STATUSES.contains(code))
            .filter_map(|code| StatusCode::from_u16(code).ok())
            .collect(),
    };
    let list = at.field("response_headers_to_copy");
    let names = take(&mut message.response_headers_to_copy);
    let copied = names.iter().enumerate();
    let copied = copied.map(|(index, name)| header_name(&list.item(index), name));
    let copied = copied.collect::<Result<_, _>>()?;
    let list = at.field("predicates");
    let predicates = take(&mut message.predicates);
    let targets = predicates.into_iter().enumerate();
    let targets = targets.map(|(index, one)| target(&list.item(index), one));
    let made = InternalRedirect {
        max: number(message.max_internal_redirects.take()).unwrap_or(1),
        statuses: statuses.into(),
        cross_scheme: take(&mut message.allow_cross_scheme_redirect),
        copied,
        targets: targets.collect::<Result<_, _>>()?,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn target(at: &At<'_>, message: TypedExtensionConfig) -> Result<RedirectTarget, Refused> {
    let place = at.field("typed_config");
    let packed = message
        .typed_config
        .ok_or_else(|| place.refuse("missing"))?;
    if any::holds::<PreviousRoutesConfig>(&packed) {
        return Ok(RedirectTarget::Fresh);
    }
    if any::holds::<SafeCrossSchemeConfig>(&packed) {
        return Ok(RedirectTarget::SafeScheme);
    }
    if any::holds::<AllowListedRoutesConfig>(&packed) {
        let listed: AllowListedRoutesConfig = unpack(&place, &packed)?;
        let names = listed.allowed_route_names.into_iter().map(Into::into);
        return Ok(RedirectTarget::Listed(names.collect()));
    }
    Err(at.refuse(format!("{} is not supported", packed.type_url)))
}
