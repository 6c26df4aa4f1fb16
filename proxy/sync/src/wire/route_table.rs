//! Route configurations: virtual hosts and their routes.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3 as wire;
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use http::StatusCode;
use http::uri::Scheme;
use lateen_proxy_model::{
    ClusterChoice, DirectResponse, Overrides, PathMatcher, RateLimits, Redirect, RequireTls, Route,
    RouteAction, RouteMatch, RouteTable, VirtualHost,
};

use super::at::{At, Refused, nothing_left};
use super::common::{flag, must_be_off, number, port, runtime_fraction};
use super::context::Context;
use super::matcher::{full_regex, headers, queries};
use super::mutation::mutations;
use super::per_filter;
use super::rate_limit::{Place, rate_limits};
use super::route_action;
use super::{ignored, retry, tracing};

/// Largest body of a direct response, unless the table says otherwise.
const MAX_BODY: u32 = 4096;
/// Larger limits than this are not granted.
const MAX_BODY_LIMIT: u32 = 1 << 20;

/// Builds a route table.
pub(crate) fn route_table(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::RouteConfiguration,
) -> Result<RouteTable, Refused> {
    ignored::route_table(&mut message);
    let max_body = number(message.max_direct_response_body_size_bytes.take()).unwrap_or(MAX_BODY);
    let defaults = Defaults {
        max_body: max_body.min(MAX_BODY_LIMIT) as usize,
        overrides: per_filter::read(
            context,
            &at.field("typed_per_filter_config"),
            take(&mut message.typed_per_filter_config),
        )?,
        rate_limits: None,
    };
    let mut table = RouteTable {
        name: take(&mut message.name).into(),
        ignore_port: take(&mut message.ignore_port_in_host_matching),
        request_headers: mutations(
            at,
            (
                "request_headers_to_add",
                take(&mut message.request_headers_to_add),
            ),
            (
                "request_headers_to_remove",
                take(&mut message.request_headers_to_remove),
            ),
        )?,
        response_headers: mutations(
            at,
            (
                "response_headers_to_add",
                take(&mut message.response_headers_to_add),
            ),
            (
                "response_headers_to_remove",
                take(&mut message.response_headers_to_remove),
            ),
        )?,
        ..RouteTable::default()
    };
    let list = at.field("virtual_hosts");
    for (index, host) in take(&mut message.virtual_hosts).into_iter().enumerate() {
        let at = list.item(index);
        let (domains, host) = virtual_host(context, &at, host, &defaults)?;
        domains_of(&at.field("domains"), domains, index, &mut table)?;
        table.hosts.push(Arc::new(host));
    }
    table.suffix.sort_by_key(|(text, _)| Reverse(text.len()));
    table.prefix.sort_by_key(|(text, _)| Reverse(text.len()));
    nothing_left(at, &message)?;
    Ok(table)
}

/// What a table or virtual host gives its routes.
struct Defaults {
    max_body: usize,
    overrides: Overrides,
    rate_limits: Option<RateLimits>,
}

fn domains_of(
    at: &At<'_>,
    domains: Vec<String>,
    index: usize,
    table: &mut RouteTable,
) -> Result<(), Refused> {
    if domains.is_empty() {
        return Err(at.refuse("missing"));
    }
    for (position, domain) in domains.into_iter().enumerate() {
        let domain = domain.to_ascii_lowercase();
        let twice = if domain == "*" {
            table.any.replace(index).is_some()
        } else if let Some(tail) = domain.strip_prefix('*') {
            push_new(&mut table.suffix, tail, index)
        } else if let Some(head) = domain.strip_suffix('*') {
            push_new(&mut table.prefix, head, index)
        } else {
            insert_new(&mut table.exact, &domain, index)
        };
        if twice {
            let text = format!("{domain:?} stands in two virtual hosts of the table");
            return Err(at.item(position).refuse(text));
        }
    }
    Ok(())
}

fn push_new(list: &mut Vec<(Box<str>, usize)>, text: &str, index: usize) -> bool {
    let twice = list.iter().any(|(known, _)| **known == *text);
    list.push((text.into(), index));
    twice
}

fn insert_new(map: &mut HashMap<Box<str>, usize, RandomState>, text: &str, index: usize) -> bool {
    map.insert(text.into(), index).is_some()
}

fn virtual_host(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::VirtualHost,
    defaults: &Defaults,
) -> Result<(Vec<String>, VirtualHost), Refused> {
    ignored::virtual_host(&mut message);
    let own = per_filter::read(
        context,
        &at.field("typed_per_filter_config"),
        take(&mut message.typed_per_filter_config),
    )?;
    let defaults = Defaults {
        max_body: defaults.max_body,
        overrides: own.over(&defaults.overrides),
        rate_limits: rate_limits(
            &at.field("rate_limits"),
            take(&mut message.rate_limits),
            Place::Route,
        )?,
    };
    let mut host = VirtualHost {
        name: take(&mut message.name).into(),
        include_attempt_count: take(&mut message.include_request_attempt_count),
        require_tls: require_tls(at, &mut message)?,
        request_headers: mutations(
            at,
            (
                "request_headers_to_add",
                take(&mut message.request_headers_to_add),
            ),
            (
                "request_headers_to_remove",
                take(&mut message.request_headers_to_remove),
            ),
        )?,
        response_headers: mutations(
            at,
            (
                "response_headers_to_add",
                take(&mut message.response_headers_to_add),
            ),
            (
                "response_headers_to_remove",
                take(&mut message.response_headers_to_remove),
            ),
        )?,
        retry: retry::policy(&at.field("retry_policy"), message.retry_policy.take())?,
        routes: Vec::with_capacity(message.routes.len()),
    };
    let list = at.field("routes");
    for (index, one) in take(&mut message.routes).into_iter().enumerate() {
        let made = route(context, &list.item(index), one, &defaults)?;
        host.routes.push(Arc::new(made));
    }
    let domains = take(&mut message.domains);
    nothing_left(at, &message)?;
    Ok((domains, host))
}

fn require_tls(at: &At<'_>, message: &mut wire::VirtualHost) -> Result<RequireTls, Refused> {
    let wanted = message.require_tls();
    message.require_tls = 0;
    match wanted {
        TlsRequirementType::None => Ok(RequireTls::None),
        TlsRequirementType::All => Ok(RequireTls::All),
        TlsRequirementType::ExternalOnly => Err(at
            .field("require_tls")
            .refuse("EXTERNAL_ONLY is not supported: no address counts as internal")),
    }
}

fn route(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::Route,
    defaults: &Defaults,
) -> Result<Route, Refused> {
    ignored::route(&mut message);
    let own = per_filter::read(
        context,
        &at.field("typed_per_filter_config"),
        take(&mut message.typed_per_filter_config),
    )?;
    let overrides = own.over(&defaults.overrides);
    let mut older_cors = None;
    let place = at.field("match");
    let condition = message.r#match.take();
    let condition = condition.ok_or_else(|| place.refuse("missing"))?;
    let action = match message.action.take() {
        Some(Action::Route(action)) => {
            let at = at.field("route");
            let host_limits = defaults.rate_limits.as_ref();
            let (mut forward, cors) = route_action::forward(context, &at, action, host_limits)?;
            if let ClusterChoice::Weighted { clusters, .. } = &mut forward.cluster {
                for own in clusters.iter_mut().filter_map(|it| it.overrides.as_mut()) {
                    *own = own.over(&overrides);
                }
            }
            older_cors = cors;
            RouteAction::Forward(Box::new(forward))
        }
        Some(Action::Redirect(action)) => {
            RouteAction::Redirect(redirect(&at.field("redirect"), action)?)
        }
        Some(Action::DirectResponse(action)) => {
            let at = at.field("direct_response");
            RouteAction::Direct(direct(&at, action, defaults.max_body)?)
        }
        Some(Action::FilterAction(_)) => return Err(at.field("filter_action").unsupported()),
        Some(Action::NonForwardingAction(_)) => {
            return Err(at.field("non_forwarding_action").unsupported());
        }
        None => return Err(at.refuse("no action")),
    };
    let (decorator, block) = (message.decorator.take(), message.tracing.take());
    let made = Route {
        name: take(&mut message.name).into(),
        tracing: tracing::route(at, decorator, block)?,
        matches: matches(&place, condition)?,
        action,
        request_headers: mutations(
            at,
            (
                "request_headers_to_add",
                take(&mut message.request_headers_to_add),
            ),
            (
                "request_headers_to_remove",
                take(&mut message.request_headers_to_remove),
            ),
        )?,
        response_headers: mutations(
            at,
            (
                "response_headers_to_add",
                take(&mut message.response_headers_to_add),
            ),
            (
                "response_headers_to_remove",
                take(&mut message.response_headers_to_remove),
            ),
        )?,
        overrides,
        cors: older_cors,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// The condition of a route, which filters have too.
pub(super) fn matches(at: &At<'_>, mut message: wire::RouteMatch) -> Result<RouteMatch, Refused> {
    let ignore_case = !flag(message.case_sensitive.take(), true);
    let text = |value: String| value.into_boxed_str();
    let path = match message.path_specifier.take() {
        Some(PathSpecifier::Prefix(value)) => PathMatcher::Prefix {
            value: text(value),
            ignore_case,
        },
        Some(PathSpecifier::Path(value)) => PathMatcher::Exact {
            value: text(value),
            ignore_case,
        },
        Some(PathSpecifier::PathSeparatedPrefix(value)) => PathMatcher::SegmentPrefix {
            value: text(value),
            ignore_case,
        },
        Some(PathSpecifier::SafeRegex(value)) => {
            PathMatcher::Regex(full_regex(&at.field("safe_regex"), &value)?)
        }
        Some(PathSpecifier::ConnectMatcher(_)) => {
            return Err(at.field("connect_matcher").unsupported());
        }
        Some(PathSpecifier::PathMatchPolicy(_)) => {
            return Err(at.field("path_match_policy").unsupported());
        }
        None => return Err(at.refuse("no path condition")),
    };
    let fraction = message
        .runtime_fraction
        .take()
        .map(|value| runtime_fraction(&at.field("runtime_fraction"), value))
        .transpose()?;
    let made = RouteMatch {
        path,
        headers: headers(&at.field("headers"), &take(&mut message.headers))?,
        query: queries(
            &at.field("query_parameters"),
            &take(&mut message.query_parameters),
        )?,
        fraction,
        grpc: message.grpc.take().is_some(),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn redirect(at: &At<'_>, mut message: wire::RedirectAction) -> Result<Redirect, Refused> {
    let status = match message.response_code() {
        RedirectResponseCode::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
        RedirectResponseCode::Found => StatusCode::FOUND,
        RedirectResponseCode::SeeOther => StatusCode::SEE_OTHER,
        RedirectResponseCode::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
        RedirectResponseCode::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
    };
    message.response_code = 0;
    let (scheme, https) = match message.scheme_rewrite_specifier.take() {
        None => (None, false),
        Some(SchemeRewriteSpecifier::HttpsRedirect(on)) => (None, on),
        Some(SchemeRewriteSpecifier::SchemeRedirect(text)) => {
            let place = at.field("scheme_redirect");
            let scheme = Scheme::try_from(&*text.to_ascii_lowercase())
                .map_err(|_| place.refuse(format!("{text:?} is no scheme")))?;
            (Some(scheme), false)
        }
    };
    let (path, prefix) = match message.path_rewrite_specifier.take() {
        None => (None, None),
        Some(PathRewriteSpecifier::PathRedirect(path)) => (Some(path.into()), None),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => (None, Some(prefix.into())),
        Some(PathRewriteSpecifier::RegexRewrite(_)) => {
            return Err(at.field("regex_rewrite").unsupported());
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(at.field("path_rewrite").unsupported());
        }
    };
    let host = take(&mut message.host_redirect);
    let new_port = port(&at.field("port_redirect"), take(&mut message.port_redirect))?;
    let strip_query = take(&mut message.strip_query);
    nothing_left(at, &message)?;
    Ok(Redirect {
        host: (!host.is_empty()).then(|| host.into()),
        port: (new_port != 0).then_some(new_port),
        scheme,
        https,
        path,
        prefix,
        strip_query,
        status,
    })
}

fn direct(
    at: &At<'_>,
    message: wire::DirectResponseAction,
    max_body: usize,
) -> Result<DirectResponse, Refused> {
    use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
    must_be_off(&at.field("body_format"), message.body_format.is_some())?;
    let status = u16::try_from(message.status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or_else(|| {
            at.field("status")
                .refuse(format!("{} is no HTTP status", message.status))
        })?;
    let place = at.field("body");
    let body: Bytes = match message.body.and_then(|body| body.specifier) {
        None => Bytes::new(),
        Some(Specifier::InlineString(text)) => text.into(),
        Some(Specifier::InlineBytes(bytes)) => bytes.into(),
        Some(_) => return Err(place.refuse("only inline bodies are supported")),
    };
    if body.len() > max_body {
        return Err(place.refuse(format!("larger than {max_body} bytes")));
    }
    Ok(DirectResponse { status, body })
}
