//! External processing.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::common::mutation_rules::v3::HeaderMutationRules;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::ext_proc_per_route::Override;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::external_processor;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::metadata_options::MetadataNamespaces;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::{
    BodySendMode, HeaderSendMode,
};
use envoy_types::pb::envoy::r#type::matcher::v3::ListStringMatcher;
use http::StatusCode;
use lateen_proxy_model::{
    BodyMode, ExtProc, ExtProcOverride, ExtProcRoute, MutationRules, ProcessingModes,
    RouteCacheAction, StringMatcher,
};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, must_be_off};
use super::context::Context;
use super::matcher::{full_regex, string};
use super::service;

/// Time for an answer to one message.
const TIMEOUT: Duration = Duration::from_millis(200);
/// How long the stream of an observer stays open.
const DEFERRED_CLOSE: Duration = Duration::from_secs(5);

/// The filter.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::ExternalProcessor,
) -> Result<ExtProc, Refused> {
    let service = message.grpc_service.take();
    if service.is_none() && message.http_service.is_some() {
        return Err(at.field("http_service").unsupported());
    }
    let place = at.field("processing_mode");
    let modes = match message.processing_mode.take() {
        Some(modes) => processing_modes(&place, modes)?,
        None => ProcessingModes::default(),
    };
    let list = at.field("allowed_override_modes");
    let mut allowed_modes = Vec::with_capacity(message.allowed_override_modes.len());
    for (index, modes) in take(&mut message.allowed_override_modes)
        .into_iter()
        .enumerate()
    {
        allowed_modes.push(processing_modes(&list.item(index), modes)?);
    }
    let observability = take(&mut message.observability_mode);
    let buffered = |mode| matches!(mode, BodyMode::Buffered | BodyMode::BufferedPartial);
    if observability && (buffered(modes.request_body) || buffered(modes.response_body)) {
        return Err(place.refuse("bodies cannot be buffered in observability_mode"));
    }
    let timeout = duration(&at.field("message_timeout"), message.message_timeout.take())?;
    let longest = message.max_message_timeout.take();
    let longest = duration(&at.field("max_message_timeout"), longest)?;
    let close = message.deferred_close_timeout.take();
    let close = duration(&at.field("deferred_close_timeout"), close)?;
    let rules = mutation_rules(&at.field("mutation_rules"), message.mutation_rules.take())?;
    let mut forward = message.forward_rules.take().unwrap_or_default();
    let place = at.field("forward_rules");
    let allowed = list_of(
        &place.field("allowed_headers"),
        forward.allowed_headers.take(),
    )?;
    let disallowed = forward.disallowed_headers.take();
    let disallowed = list_of(&place.field("disallowed_headers"), disallowed)?;
    let options = message.metadata_options.take();
    let (forwarded, received) = namespaces(&at.field("metadata_options"), options)?;
    let made = ExtProc {
        service: service::grpc(context, &at.field("grpc_service"), service)?,
        modes,
        message_timeout: timeout.unwrap_or(TIMEOUT),
        max_message_timeout: longest.filter(|time| !time.is_zero()),
        failure_mode_allow: take(&mut message.failure_mode_allow),
        status_on_error: status(at, &mut message)?,
        rules,
        allowed_headers: allowed,
        disallowed_headers: disallowed.unwrap_or_default(),
        allow_mode_override: take(&mut message.allow_mode_override),
        allowed_modes,
        disable_immediate_response: take(&mut message.disable_immediate_response),
        observability,
        deferred_close: close.unwrap_or(DEFERRED_CLOSE),
        route_cache: route_cache(at, &mut message)?,
        keep_length: take(&mut message.allow_content_length_header),
        forwarded_namespaces: forwarded.unwrap_or_default(),
        received_namespaces: received.unwrap_or_default(),
        stat_prefix: take(&mut message.stat_prefix).into(),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// What a route says.
pub(super) fn per_route(
    context: &Context<'_>,
    at: &At<'_>,
    message: wire::ExtProcPerRoute,
) -> Result<ExtProcOverride, Refused> {
    let mut own = match message.r#override {
        Some(Override::Disabled(true)) => return Ok(ExtProcOverride::Disabled),
        Some(Override::Disabled(false)) => return Err(at.field("disabled").refuse("must be true")),
        Some(Override::Overrides(own)) => own,
        None => return Err(at.refuse("empty")),
    };
    let at = at.field("overrides");
    let modes = own.processing_mode.take();
    let modes = modes.map(|modes| processing_modes(&at.field("processing_mode"), modes));
    let service = own.grpc_service.take();
    let place = at.field("grpc_service");
    let service = service.map(|service| service::grpc(context, &place, Some(service)));
    let place = at.field("grpc_initial_metadata");
    let metadata = service::metadata(&place, take(&mut own.grpc_initial_metadata))?;
    let options = own.metadata_options.take();
    let (forwarded, received) = namespaces(&at.field("metadata_options"), options)?;
    let made = ExtProcRoute {
        modes: modes.transpose()?,
        service: service.transpose()?,
        metadata,
        failure_mode_allow: own.failure_mode_allow.take().map(|allow| allow.value),
        forwarded_namespaces: forwarded,
        received_namespaces: received,
    };
    nothing_left(&at, &own)?;
    Ok(ExtProcOverride::Route(Arc::new(made)))
}

fn status(at: &At<'_>, message: &mut wire::ExternalProcessor) -> Result<StatusCode, Refused> {
    let Some(status) = message.status_on_error.take() else {
        return Ok(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let code = u16::try_from(status.code).ok();
    let code = code.filter(|code| (200..600).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| at.field("status_on_error").refuse("no HTTP status"))
}

fn route_cache(
    at: &At<'_>,
    message: &mut wire::ExternalProcessor,
) -> Result<RouteCacheAction, Refused> {
    let action = match message.route_cache_action() {
        external_processor::RouteCacheAction::Default => RouteCacheAction::Default,
        external_processor::RouteCacheAction::Clear => RouteCacheAction::Clear,
        external_processor::RouteCacheAction::Retain => RouteCacheAction::Retain,
    };
    message.route_cache_action = 0;
    if !take(&mut message.disable_clear_route_cache) {
        return Ok(action);
    }
    match action {
        RouteCacheAction::Default => Ok(RouteCacheAction::Retain),
        _ => Err(at
            .field("disable_clear_route_cache")
            .refuse("stands beside route_cache_action")),
    }
}

/// The modes as configured or as a service asks for them.
fn processing_modes(at: &At<'_>, modes: wire::ProcessingMode) -> Result<ProcessingModes, Refused> {
    let body = |name, mode| {
        let at = at.field(name);
        Ok(match mode {
            BodySendMode::None => BodyMode::None,
            BodySendMode::Streamed => BodyMode::Streamed,
            BodySendMode::Buffered => BodyMode::Buffered,
            BodySendMode::BufferedPartial => BodyMode::BufferedPartial,
            BodySendMode::FullDuplexStreamed => {
                return Err(at.refuse("FULL_DUPLEX_STREAMED is not supported"));
            }
            BodySendMode::Grpc => return Err(at.refuse("GRPC is not supported")),
        })
    };
    Ok(ProcessingModes {
        request_headers: modes.request_header_mode() != HeaderSendMode::Skip,
        response_headers: modes.response_header_mode() != HeaderSendMode::Skip,
        request_body: body("request_body_mode", modes.request_body_mode())?,
        response_body: body("response_body_mode", modes.response_body_mode())?,
        request_trailers: modes.request_trailer_mode() == HeaderSendMode::Send,
        response_trailers: modes.response_trailer_mode() == HeaderSendMode::Send,
    })
}

fn mutation_rules(
    at: &At<'_>,
    rules: Option<HeaderMutationRules>,
) -> Result<MutationRules, Refused> {
    let rules = rules.unwrap_or_default();
    let allow = rules.allow_expression.as_ref();
    let allow = allow.map(|it| full_regex(&at.field("allow_expression"), it));
    let disallow = rules.disallow_expression.as_ref();
    let disallow = disallow.map(|it| full_regex(&at.field("disallow_expression"), it));
    Ok(MutationRules {
        allow_all_routing: flag(rules.allow_all_routing, false),
        allow_envoy: flag(rules.allow_envoy, false),
        disallow_system: flag(rules.disallow_system, false),
        disallow_all: flag(rules.disallow_all, false),
        allow: allow.transpose()?,
        disallow: disallow.transpose()?,
        disallow_is_error: flag(rules.disallow_is_error, false),
    })
}

fn list_of(
    at: &At<'_>,
    message: Option<ListStringMatcher>,
) -> Result<Option<Vec<StringMatcher>>, Refused> {
    let Some(message) = message else {
        return Ok(None);
    };
    let place = at.field("patterns");
    let patterns = message.patterns.iter().enumerate();
    let patterns = patterns.map(|(index, one)| string(&place.item(index), one));
    patterns.collect::<Result<_, _>>().map(Some)
}

type Names = Option<Vec<Box<str>>>;

/// Namespaces that the service is told, and that it may set.
fn namespaces(
    at: &At<'_>,
    options: Option<wire::MetadataOptions>,
) -> Result<(Names, Names), Refused> {
    let options = options.unwrap_or_default();
    let names = |name, list: Option<MetadataNamespaces>| -> Result<Names, Refused> {
        let Some(list) = list else {
            return Ok(None);
        };
        let typed = at.field(name);
        must_be_off(&typed.field("typed"), !list.typed.is_empty())?;
        Ok(Some(list.untyped.into_iter().map(Into::into).collect()))
    };
    let cluster = options.cluster_metadata_forwarding_namespaces;
    let place = at.field("cluster_metadata_forwarding_namespaces");
    must_be_off(&place, cluster.is_some())?;
    Ok((
        names("forwarding_namespaces", options.forwarding_namespaces)?,
        names("receiving_namespaces", options.receiving_namespaces)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_are_not_supported_are_refused_by_name() {
        let modes = |request: BodySendMode| {
            let mut modes = wire::ProcessingMode::default();
            modes.set_request_body_mode(request);
            modes.set_response_header_mode(HeaderSendMode::Skip);
            processing_modes(&At::ROOT, modes)
        };
        let made = modes(BodySendMode::Buffered).expect("valid");
        assert!(made.request_headers && !made.response_headers && !made.request_trailers);
        assert_eq!(made.request_body, BodyMode::Buffered);
        for mode in [BodySendMode::FullDuplexStreamed, BodySendMode::Grpc] {
            let refused = modes(mode).map_err(|it| it.path);
            assert_eq!(refused.err().as_deref(), Some("request_body_mode"));
        }
    }
}
