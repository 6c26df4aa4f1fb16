//! Options of a connection manager about the heads of requests and answers.

use std::mem::take;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::scheme_header_transformation::Transformation;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    PathWithEscapedSlashesAction, StripPortMode,
};
use envoy_types::pb::envoy::extensions::http::early_header_mutation::header_mutation::v3::HeaderMutation;
use envoy_types::pb::envoy::extensions::http::original_ip_detection::custom_header::v3::CustomHeaderConfig;
use envoy_types::pb::envoy::extensions::http::original_ip_detection::xff::v3::XffConfig;
use http::{HeaderValue, StatusCode};
use ipnet::IpNet;
use lateen_proxy_model::{
    ClientSource, EscapedSlashes, HeadOptions, HeaderMutations, StripPort,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{flag, must_be_off, unpack};
use super::local_reply;
use super::matcher::header_name;
use super::mutation::listed;

/// Takes the options out of the message.
pub(super) fn options(
    at: &At<'_>,
    message: &mut wire::HttpConnectionManager,
) -> Result<HeadOptions, Refused> {
    let place = at.field("via");
    let via = match take(&mut message.via) {
        text if text.is_empty() => None,
        text => Some(
            HeaderValue::try_from(&text)
                .map_err(|_| place.refuse(format!("{text:?} is no header value")))?,
        ),
    };
    let place = at.field("local_reply_config");
    let local_replies = message
        .local_reply_config
        .take()
        .map(|config| local_reply::replies(&place, config))
        .transpose()?;
    let made = HeadOptions {
        strip_port: strip_port(message),
        strip_dot: take(&mut message.strip_trailing_host_dot),
        escaped_slashes: escaped_slashes(message),
        via,
        scheme: scheme(at, message)?,
        early: early(at, message)?,
        client_sources: client_sources(at, message)?,
        skip_xff_append: take(&mut message.skip_xff_append),
        internal: internal(at, message)?,
        request_id_in_response: take(&mut message.always_set_request_id_in_response),
        server_if_absent: false,
        append_port: take(&mut message.append_x_forwarded_port),
        add_user_agent: flag(message.add_user_agent.take(), false),
        local_replies,
    };
    if made
        .client_sources
        .iter()
        .any(|_| message.xff_num_trusted_hops > 0)
    {
        return Err(at
            .field("xff_num_trusted_hops")
            .refuse("cannot stand beside original_ip_detection_extensions"));
    }
    Ok(made)
}

fn strip_port(message: &mut wire::HttpConnectionManager) -> StripPort {
    let any = message.strip_port_mode.take();
    match (any, take(&mut message.strip_matching_host_port)) {
        (Some(StripPortMode::StripAnyHostPort(true)), _) => StripPort::Any,
        (_, true) => StripPort::Matching,
        (_, false) => StripPort::None,
    }
}

/// Actions beyond keeping and unescaping, which the path's normalisation reads itself.
fn escaped_slashes(message: &mut wire::HttpConnectionManager) -> EscapedSlashes {
    match message.path_with_escaped_slashes_action() {
        PathWithEscapedSlashesAction::RejectRequest => EscapedSlashes::Reject,
        PathWithEscapedSlashesAction::UnescapeAndRedirect => EscapedSlashes::Redirect,
        _ => EscapedSlashes::Normalize,
    }
}

fn scheme(
    at: &At<'_>,
    message: &mut wire::HttpConnectionManager,
) -> Result<Option<&'static str>, Refused> {
    let Some(rule) = message.scheme_header_transformation.take() else {
        return Ok(None);
    };
    let at = at.field("scheme_header_transformation");
    must_be_off(&at.field("match_upstream"), rule.match_upstream)?;
    match rule.transformation {
        None => Ok(None),
        Some(Transformation::SchemeToOverwrite(text)) => match &*text {
            "http" => Ok(Some("http")),
            "https" => Ok(Some("https")),
            _ => Err(at
                .field("scheme_to_overwrite")
                .refuse("neither http nor https")),
        },
    }
}

fn early(
    at: &At<'_>,
    message: &mut wire::HttpConnectionManager,
) -> Result<Vec<HeaderMutations>, Refused> {
    let list = at.field("early_header_mutation_extensions");
    let mut all = Vec::new();
    for (index, one) in take(&mut message.early_header_mutation_extensions)
        .into_iter()
        .enumerate()
    {
        let at = list.item(index);
        let at = at.field("typed_config");
        let config: HeaderMutation = unpack(&at, &one.typed_config.unwrap_or_default())?;
        all.extend(listed(&at.field("mutations"), config.mutations)?);
    }
    Ok(all)
}

fn client_sources(
    at: &At<'_>,
    message: &mut wire::HttpConnectionManager,
) -> Result<Vec<ClientSource>, Refused> {
    let list = at.field("original_ip_detection_extensions");
    let mut all = Vec::new();
    for (index, one) in take(&mut message.original_ip_detection_extensions)
        .into_iter()
        .enumerate()
    {
        let at = list.item(index);
        let at = at.field("typed_config");
        let packed = one.typed_config.unwrap_or_default();
        if any::holds::<CustomHeaderConfig>(&packed) {
            all.push(custom_header(&at, unpack(&at, &packed)?)?);
        } else if any::holds::<XffConfig>(&packed) {
            all.push(xff(&at, unpack(&at, &packed)?, message)?);
        } else {
            let kind = any::full_name(&packed.type_url);
            return Err(at.refuse(format!("{kind} is not supported")));
        }
    }
    if !all.is_empty() && flag(message.use_remote_address, false) {
        return Err(list.refuse("cannot stand beside use_remote_address"));
    }
    Ok(all)
}

fn custom_header(at: &At<'_>, config: CustomHeaderConfig) -> Result<ClientSource, Refused> {
    let reject = config.reject_with_status.map(|status| {
        let code = u16::try_from(status.code).ok();
        code.and_then(|code| StatusCode::from_u16(code).ok())
            .filter(|code| code.as_u16() >= 400)
            .unwrap_or(StatusCode::FORBIDDEN)
    });
    Ok(ClientSource::Header {
        name: header_name(&at.field("header_name"), &config.header_name)?,
        trusted: config.allow_extension_to_set_address_as_trusted,
        reject,
    })
}

fn xff(
    at: &At<'_>,
    config: XffConfig,
    message: &mut wire::HttpConnectionManager,
) -> Result<ClientSource, Refused> {
    let place = at.field("xff_trusted_cidrs");
    let cidrs = config.xff_trusted_cidrs.unwrap_or_default().cidrs;
    // The extension leaves the header alone unless it is told otherwise.
    message.skip_xff_append |= flag(config.skip_xff_append, true);
    Ok(ClientSource::Xff {
        hops: config.xff_num_trusted_hops,
        trusted: nets(&place.field("cidrs"), cidrs)?,
    })
}

fn internal(at: &At<'_>, message: &mut wire::HttpConnectionManager) -> Result<Vec<IpNet>, Refused> {
    let Some(mut config) = message.internal_address_config.take() else {
        return Ok(Vec::new());
    };
    let at = at.field("internal_address_config");
    let found = nets(&at.field("cidr_ranges"), take(&mut config.cidr_ranges))?;
    // Connections over Unix sockets are none of a listener's here.
    config.unix_sockets = false;
    nothing_left(&at, &config)?;
    Ok(found)
}

fn nets(at: &At<'_>, ranges: Vec<core::CidrRange>) -> Result<Vec<IpNet>, Refused> {
    ranges
        .into_iter()
        .enumerate()
        .map(|(index, range)| {
            let at = at.item(index);
            let bad = || at.refuse("no range of addresses");
            let address = range.address_prefix.parse().map_err(|_| bad())?;
            let length = range.prefix_len.map_or(0, |it| it.value);
            let length = u8::try_from(length).map_err(|_| bad())?;
            IpNet::new(address, length).map_err(|_| bad())
        })
        .collect()
}
