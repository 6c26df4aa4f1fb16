//! Route configurations: virtual hosts and their routes.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;

use ahash::RandomState;
use envoy_types::pb::envoy::config::core::v3::{Metadata, TypedExtensionConfig};
use envoy_types::pb::envoy::config::route::v3 as wire;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use envoy_types::pb::google::protobuf as wkt;
use http::StatusCode;
use lateen_proxy_model::{
    ClusterChoice, CorsPolicy, DirectResponse, DynamicMetadata, HostStats, Mirror, Overrides,
    PathMatcher, PathRewrite, RateLimits, RequireTls, RetryPolicy, Route, RouteAction, RouteMatch,
    RouteStats, RouteTable, TlsCondition, VirtualCluster, VirtualHost,
};

use lateen_xds::structs;
use serde_json::Value;

use super::at::{At, Refused, nothing_left};
use super::common::{flag, number, runtime_fraction};
use super::context::Context;
use super::matcher::{cookies, full_regex, header_name, headers, queries};
use super::mutation::both_mutations;
use super::rate_limit::{Place, rate_limits};
use super::redirect::redirect;
use super::{
    ignored, metadata_matcher, path_template, per_filter, retry, route_action, template, tracing,
};

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
    let place = at.field("request_mirror_policies");
    let mirrors = take(&mut message.request_mirror_policies);
    let (request_headers, response_headers) = both_mutations!(at, &mut message);
    let place_of_names = at.field("internal_only_headers");
    let defaults = Defaults {
        max_body: max_body.min(MAX_BODY_LIMIT) as usize,
        overrides: per_filter::read(
            context,
            &at.field("typed_per_filter_config"),
            take(&mut message.typed_per_filter_config),
        )?,
        mirrors: route_action::mirrors(context, &place, mirrors)?,
        ..Defaults::default()
    };
    let mut table = RouteTable {
        name: take(&mut message.name).into(),
        ignore_port: take(&mut message.ignore_port_in_host_matching),
        most_specific_last: take(&mut message.most_specific_header_mutations_wins),
        ignore_path_parameters: take(&mut message.ignore_path_parameters_in_path_matching),
        internal_only: take(&mut message.internal_only_headers)
            .iter()
            .enumerate()
            .map(|(index, name)| header_name(&place_of_names.item(index), name))
            .collect::<Result<_, _>>()?,
        request_headers,
        response_headers,
        ..RouteTable::default()
    };
    let list = at.field("virtual_hosts");
    for (index, host) in take(&mut message.virtual_hosts).into_iter().enumerate() {
        let at = list.item(index);
        let (domains, host) = virtual_host(context, &at, host, &defaults)?;
        domains_of(&at.field("domains"), domains, index, &mut table)?;
        let stats = host.routes.iter().filter_map(|route| match &route.action {
            RouteAction::Forward(forward) => forward.stats.clone(),
            RouteAction::Redirect(_) | RouteAction::Direct(_) => None,
        });
        table.counted.extend(stats);
        table.hosts.push(Arc::new(host));
    }
    nothing_left(at, &message)?;
    Ok(table)
}

/// What a table or virtual host gives its routes.
#[derive(Default)]
struct Defaults {
    max_body: usize,
    overrides: Overrides,
    rate_limits: Option<RateLimits>,
    stats: Arc<HostStats>,
    cors: Option<CorsPolicy>,
    mirrors: Vec<Mirror>,
    retry: Option<Arc<RetryPolicy>>,
    hedge: bool,
    buffer_limit: Option<usize>,
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
            !table.suffix.insert(tail, index)
        } else if let Some(head) = domain.strip_suffix('*') {
            !table.prefix.insert(head, index)
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
    let place = at.field("request_mirror_policies");
    let mirrors = take(&mut message.request_mirror_policies);
    let own_mirrors = route_action::mirrors(context, &place, mirrors)?;
    let place = at.field("cors");
    let cors = message
        .cors
        .take()
        .map(|policy| per_filter::older_cors(&place, policy))
        .transpose()?;
    let host_name: Arc<str> = take(&mut message.name).into();
    let place = at.field("virtual_clusters");
    let clusters = take(&mut message.virtual_clusters);
    let stats = Arc::new(HostStats {
        host: Arc::clone(&host_name),
        clusters: virtual_clusters(&place, clusters)?,
    });
    let place = at.field("hedge_policy");
    let hedge = message.hedge_policy.take();
    let hedge = hedge.map(|it| retry::hedge(&place, it)).transpose()?;
    let defaults = Defaults {
        stats,
        max_body: defaults.max_body,
        overrides: own.over(&defaults.overrides),
        rate_limits: rate_limits(
            &at.field("rate_limits"),
            take(&mut message.rate_limits),
            Place::Route,
        )?,
        cors,
        mirrors: match own_mirrors.is_empty() {
            true => defaults.mirrors.clone(),
            false => own_mirrors,
        },
        retry: retry::policy(&at.field("retry_policy"), message.retry_policy.take())?,
        hedge: hedge.unwrap_or(false),
        buffer_limit: buffer_limit(
            message.per_request_buffer_limit_bytes.take(),
            message.request_body_buffer_limit.take(),
        ),
    };
    let (request_headers, response_headers) = both_mutations!(at, &mut message);
    let mut host = VirtualHost {
        name: host_name,
        include_attempt_count: take(&mut message.include_request_attempt_count),
        attempt_count_in_response: take(&mut message.include_attempt_count_in_response),
        require_tls: require_tls(&mut message),
        request_headers,
        response_headers,
        retry: defaults.retry.clone(),
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

fn virtual_clusters(
    at: &At<'_>,
    values: Vec<wire::VirtualCluster>,
) -> Result<Vec<VirtualCluster>, Refused> {
    let one = |(index, value): (usize, wire::VirtualCluster)| {
        let at = at.item(index);
        if value.name.is_empty() {
            return Err(at.field("name").refuse("missing"));
        }
        if value.headers.is_empty() {
            return Err(at.field("headers").refuse("missing"));
        }
        Ok(VirtualCluster {
            name: value.name.into(),
            headers: headers(&at.field("headers"), &value.headers)?,
        })
    };
    values.into_iter().enumerate().map(one).collect()
}

/// The newer field counts.
fn buffer_limit(older: Option<wkt::UInt32Value>, newer: Option<wkt::UInt64Value>) -> Option<usize> {
    let newer = newer.map(|it| usize::try_from(it.value).unwrap_or(usize::MAX));
    newer.or(number(older).map(|bytes| bytes as usize))
}

fn require_tls(message: &mut wire::VirtualHost) -> RequireTls {
    let wanted = message.require_tls();
    message.require_tls = 0;
    match wanted {
        TlsRequirementType::None => RequireTls::None,
        TlsRequirementType::All => RequireTls::All,
        TlsRequirementType::ExternalOnly => RequireTls::External,
    }
}

fn route(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::Route,
    defaults: &Defaults,
) -> Result<Route, Refused> {
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
    let conditions = matches(&place, condition)?;
    let buffer_limit = buffer_limit(
        message.per_request_buffer_limit_bytes.take(),
        message.request_body_buffer_limit.take(),
    );
    let stat_prefix: Arc<str> = take(&mut message.stat_prefix).into();
    let action = match message.action.take() {
        Some(Action::Route(mut action)) => {
            let at = at.field("route");
            let above = (defaults.rate_limits.as_ref(), defaults.hedge);
            let rewrite = action.path_rewrite_policy.take();
            let (mut forward, cors) = route_action::forward(context, &at, action, above)?;
            if let Some(rewrite) = rewrite {
                let at = at.field("path_rewrite_policy");
                forward.path_rewrite = Some(template_rewrite(&at, rewrite, &conditions)?);
            }
            if forward.mirrors.is_empty() {
                forward.mirrors.clone_from(&defaults.mirrors);
            }
            forward.buffer_limit = buffer_limit.or(defaults.buffer_limit);
            forward.stats = RouteStats::new(&defaults.stats, stat_prefix);
            if let ClusterChoice::Weighted { clusters, .. } = &mut forward.cluster {
                for own in clusters.iter_mut().filter_map(|it| it.overrides.as_mut()) {
                    *own = own.over(&overrides);
                }
            }
            older_cors = match (cors, &defaults.cors) {
                (Some(own), Some(above)) => Some(Arc::new(own.over(above))),
                (own, above) => own.or_else(|| above.clone()).map(Arc::new),
            };
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
    let (request_headers, response_headers) = both_mutations!(at, &mut message);
    let made = Route {
        name: take(&mut message.name).into(),
        tracing: tracing::route(at, decorator, block)?,
        matches: conditions,
        action,
        request_headers,
        response_headers,
        overrides,
        cors: older_cors,
        metadata: metadata(&at.field("metadata"), message.metadata.take())?,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// What policies may ask of a route; Istio's own words in it are for people.
fn metadata(
    at: &At<'_>,
    message: Option<Metadata>,
) -> Result<Option<Box<DynamicMetadata>>, Refused> {
    let mut made = DynamicMetadata::default();
    let place = at.field("filter_metadata");
    for (namespace, fields) in message.unwrap_or_default().filter_metadata {
        if namespace == "istio" {
            continue;
        }
        let at = place.key(&namespace);
        match structs::to_json(&fields) {
            Ok(Value::Object(fields)) => made.merge(&namespace, fields),
            Ok(_) => {}
            Err(error) => return Err(at.refuse(error.to_string())),
        }
    }
    Ok((!made.is_empty()).then(|| Box::new(made)))
}

fn template_rewrite(
    at: &At<'_>,
    rewrite: TypedExtensionConfig,
    conditions: &RouteMatch,
) -> Result<PathRewrite, Refused> {
    let PathMatcher::Regex(pattern) = &conditions.path else {
        return Err(at.refuse("needs a path_match_policy"));
    };
    Ok(PathRewrite::Regex {
        pattern: pattern.clone(),
        replacement: path_template::rewrite(at, rewrite, pattern)?,
    })
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
        Some(PathSpecifier::ConnectMatcher(_)) => PathMatcher::Connect,
        Some(PathSpecifier::PathMatchPolicy(policy)) => PathMatcher::Regex(
            path_template::condition(&at.field("path_match_policy"), policy)?,
        ),
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
        cookies: cookies(&at.field("cookies"), take(&mut message.cookies))?,
        tls: message.tls_context.take().map(|tls| TlsCondition {
            presented: tls.presented.map(|it| it.value),
            validated: tls.validated.map(|it| it.value),
        }),
        metadata: take(&mut message.dynamic_metadata)
            .iter()
            .enumerate()
            .map(|(index, one)| {
                let list = at.field("dynamic_metadata");
                metadata_matcher::metadata(&list.item(index), one)
            })
            .collect::<Result<_, _>>()?,
        fraction,
        grpc: message.grpc.take().is_some(),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn direct(
    at: &At<'_>,
    message: wire::DirectResponseAction,
    max_body: usize,
) -> Result<DirectResponse, Refused> {
    let status = u16::try_from(message.status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or_else(|| {
            at.field("status")
                .refuse(format!("{} is no HTTP status", message.status))
        })?;
    let place = at.field("body");
    let body = template::data(&place, message.body.unwrap_or_default())?;
    if body.len() > max_body {
        return Err(place.refuse(format!("larger than {max_body} bytes")));
    }
    let format = message
        .body_format
        .map(|format| template::body_format(&at.field("body_format"), format))
        .transpose()?;
    Ok(DirectResponse {
        status,
        body,
        format,
    })
}
