//! Forwarding routes.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use envoy_types::pb::envoy::config::route::v3 as wire;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy,
};
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::{
    RandomValueSpecifier, cluster_weight,
};
use http::{HeaderValue, StatusCode};
use lateen_proxy_model::{
    ClusterChoice, ConnectEnd, CorsPolicy, GrpcStream, HashPolicy, HashSubject, HostRewrite,
    Mirror, NamedCluster, PathRewrite, Percentage, RateLimits, RawUpstream, Rewrite, RouteForward,
    RouteRateLimits, SubsetRef, WeightedCluster, WeightedDraw,
};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, limit, number, runtime_fraction};
use super::context::Context;
use super::matcher::{header_name, substitution};
use super::mutation::{both_mutations, listed};
use super::rate_limit::{Place, rate_limits};
use super::{internal_redirect, per_filter, retry, socket, subset, template};

const TIMEOUT: Duration = Duration::from_secs(15);

/// Builds a forwarding action, and the cross-origin policy of its older field.
pub(super) fn forward(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::RouteAction,
    (host_limits, host_hedge): (Option<&RateLimits>, bool),
) -> Result<(RouteForward, Option<CorsPolicy>), Refused> {
    let cluster_not_found = match message.cluster_not_found_response_code() {
        ClusterNotFoundResponseCode::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ClusterNotFoundResponseCode::NotFound => StatusCode::NOT_FOUND,
        ClusterNotFoundResponseCode::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
    };
    message.cluster_not_found_response_code = 0;
    let place = at.field("timeout");
    let timeout = limit(&place, message.timeout.take(), Some(TIMEOUT))?;
    let place = at.field("max_grpc_timeout");
    let grpc_timeout_max = duration(&place, message.max_grpc_timeout.take())?;
    let place = at.field("grpc_timeout_offset");
    let grpc_timeout_offset = duration(&place, message.grpc_timeout_offset.take())?;
    let stream = match message.max_stream_duration.take() {
        Some(stream) => stream_duration(&at.field("max_stream_duration"), stream)?,
        None => (None, None),
    };
    let place = at.field("cors");
    let cors = message
        .cors
        .take()
        .map(|policy| per_filter::older_cors(&place, policy))
        .transpose()?;
    let subset = subset::criteria(message.metadata_match.take());
    let high = message.priority() == RoutingPriority::High;
    message.priority = 0;
    let specifier = message.cluster_specifier.take();
    let (upgrades, connect) = upgrades(
        &at.field("upgrade_configs"),
        take(&mut message.upgrade_configs),
    )?;
    let place = at.field("hedge_policy");
    let hedge = message.hedge_policy.take();
    let hedge = hedge.map(|it| retry::hedge(&place, it)).transpose()?;
    let made = RouteForward {
        stats: None,
        cluster: cluster(context, at, specifier, subset.as_ref())?,
        subset,
        high,
        cluster_not_found,
        timeout,
        grpc_timeout_max,
        grpc_timeout_offset: grpc_timeout_offset.unwrap_or_default(),
        max_stream: stream.0,
        grpc_stream: stream.1,
        buffer_limit: None,
        hedge: hedge.unwrap_or(host_hedge),
        internal_redirect: internal_redirect::policy(at, &mut message)?,
        append_forwarded_host: take(&mut message.append_x_forwarded_host),
        idle_timeout: duration(&at.field("idle_timeout"), message.idle_timeout.take())?,
        retry: retry::policy(&at.field("retry_policy"), message.retry_policy.take())?,
        path_rewrite: path_rewrite(at, &mut message)?,
        host_rewrite: host_rewrite(at, message.host_rewrite_specifier.take())?,
        mirrors: mirrors(
            context,
            &at.field("request_mirror_policies"),
            take(&mut message.request_mirror_policies),
        )?,
        hash: hashes(&at.field("hash_policy"), take(&mut message.hash_policy))?,
        rate_limits: limits(at, &mut message, host_limits)?,
        upgrades,
        connect,
    };
    nothing_left(at, &message)?;
    Ok((made, cors))
}

/// The rate limits of a route, with those of its virtual host.
fn limits(
    at: &At<'_>,
    message: &mut wire::RouteAction,
    host: Option<&RateLimits>,
) -> Result<Option<Box<RouteRateLimits>>, Refused> {
    let own = take(&mut message.rate_limits);
    let include_host = flag(message.include_vh_rate_limits.take(), false);
    let limits = RouteRateLimits {
        route: rate_limits(&at.field("rate_limits"), own, Place::Route)?,
        host: host.cloned(),
        include_host,
    };
    Ok((!limits.is_empty()).then(|| Box::new(limits)))
}

/// Istio's inbound routes say `max_stream_duration {0s, grpc_timeout_header_max 0s}`: no limit, any `grpc-timeout`.
fn stream_duration(
    at: &At<'_>,
    message: wire::route_action::MaxStreamDuration,
) -> Result<(Option<Duration>, Option<GrpcStream>), Refused> {
    let place = at.field("max_stream_duration");
    let longest = duration(&place, message.max_stream_duration)?;
    let place = at.field("grpc_timeout_header_max");
    let max = duration(&place, message.grpc_timeout_header_max)?;
    let place = at.field("grpc_timeout_header_offset");
    let offset = duration(&place, message.grpc_timeout_header_offset)?.unwrap_or_default();
    Ok((longest, max.map(|max| GrpcStream { max, offset })))
}

fn cluster(
    context: &Context<'_>,
    at: &At<'_>,
    specifier: Option<ClusterSpecifier>,
    subset: Option<&SubsetRef>,
) -> Result<ClusterChoice, Refused> {
    match specifier {
        Some(ClusterSpecifier::Cluster(name)) => Ok(ClusterChoice::One(context.cluster(&name))),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted_clusters(context, &at.field("weighted_clusters"), weighted, subset)
        }
        Some(ClusterSpecifier::ClusterHeader(name)) => {
            header_name(&at.field("cluster_header"), &name).map(ClusterChoice::Header)
        }
        Some(ClusterSpecifier::ClusterSpecifierPlugin(_)) => {
            Err(at.field("cluster_specifier_plugin").unsupported())
        }
        Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
            Err(at.field("inline_cluster_specifier_plugin").unsupported())
        }
        None => Err(at.field("cluster").refuse("missing")),
    }
}

fn weighted_clusters(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::WeightedCluster,
    subset: Option<&SubsetRef>,
) -> Result<ClusterChoice, Refused> {
    // Without a runtime there is nothing its prefix could name.
    message.runtime_key_prefix.clear();
    let draw = match message.random_value_specifier.take() {
        Some(RandomValueSpecifier::UseHashPolicy(on)) if on.value => WeightedDraw::Hash,
        None | Some(RandomValueSpecifier::UseHashPolicy(_)) => WeightedDraw::Random,
        Some(RandomValueSpecifier::HeaderName(name)) => {
            WeightedDraw::Header(header_name(&at.field("header_name"), &name)?)
        }
    };
    let list = at.field("clusters");
    let mut clusters = Vec::with_capacity(message.clusters.len());
    let mut total: u32 = 0;
    for (index, one) in take(&mut message.clusters).into_iter().enumerate() {
        let at = list.item(index);
        let candidate = weighted_cluster(context, &at, one, subset)?;
        total = total
            .checked_add(candidate.weight)
            .ok_or_else(|| at.field("weight").refuse("the sum of weights is too large"))?;
        clusters.push(candidate);
    }
    if total == 0 {
        return Err(list.refuse("the sum of weights must be above 0"));
    }
    message.total_weight.take_if(|value| value.value == total);
    nothing_left(at, &message)?;
    Ok(ClusterChoice::Weighted {
        clusters,
        total,
        draw,
    })
}

fn weighted_cluster(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::weighted_cluster::ClusterWeight,
    subset: Option<&SubsetRef>,
) -> Result<WeightedCluster, Refused> {
    let name = take(&mut message.name);
    let header = take(&mut message.cluster_header);
    let cluster = named_cluster(context, at, ("name", name), header)?;
    let host_rewrite = match message.host_rewrite_specifier.take() {
        None => None,
        Some(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(text)) => {
            Some(literal_host(&at.field("host_rewrite_literal"), text)?)
        }
    };
    let overrides = per_filter::read(
        context,
        &at.field("typed_per_filter_config"),
        take(&mut message.typed_per_filter_config),
    )?;
    let (request_headers, response_headers) = both_mutations!(at, &mut message);
    let made = WeightedCluster {
        cluster,
        weight: number(message.weight.take()).unwrap_or(0),
        subset: subset::merged(subset, subset::criteria(message.metadata_match.take())),
        request_headers,
        response_headers,
        host_rewrite,
        overrides: (!overrides.is_empty()).then_some(overrides),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// A cluster by its name, or by a header that names it.
fn named_cluster(
    context: &Context<'_>,
    at: &At<'_>,
    (field, name): (&str, String),
    header: String,
) -> Result<NamedCluster, Refused> {
    match (name.is_empty(), header.is_empty()) {
        (false, true) => Ok(NamedCluster::Fixed(context.cluster(&name))),
        (true, false) => {
            header_name(&at.field("cluster_header"), &header).map(NamedCluster::Header)
        }
        (true, true) => Err(at.field(field).refuse("missing")),
        (false, false) => Err(at
            .field("cluster_header")
            .refuse("cannot stand beside a name")),
    }
}

fn path_rewrite(
    at: &At<'_>,
    message: &mut wire::RouteAction,
) -> Result<Option<PathRewrite>, Refused> {
    let prefix = take(&mut message.prefix_rewrite);
    let regex = message.regex_rewrite.take();
    let text = take(&mut message.path_rewrite);
    match (prefix.is_empty(), regex, text.is_empty()) {
        (true, None, true) => Ok(None),
        (false, None, true) => Ok(Some(PathRewrite::Prefix(prefix.into()))),
        (true, Some(rewrite), true) => {
            let (pattern, replacement) = substitution(&at.field("regex_rewrite"), &rewrite)?;
            Ok(Some(PathRewrite::Regex {
                pattern,
                replacement,
            }))
        }
        (true, None, false) => {
            let template = template::template(&at.field("path_rewrite"), &text, true)?;
            Ok(Some(PathRewrite::Template(template)))
        }
        _ => Err(at.refuse("only one rewrite of the path may be given")),
    }
}

fn host_rewrite(
    at: &At<'_>,
    specifier: Option<HostRewriteSpecifier>,
) -> Result<Option<HostRewrite>, Refused> {
    match specifier {
        None => Ok(None),
        Some(HostRewriteSpecifier::HostRewriteLiteral(text)) => {
            literal_host(&at.field("host_rewrite_literal"), text).map(Some)
        }
        Some(HostRewriteSpecifier::AutoHostRewrite(on)) => {
            Ok(on.value.then_some(HostRewrite::Auto))
        }
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            let name = header_name(&at.field("host_rewrite_header"), &name)?;
            Ok(Some(HostRewrite::Header(name)))
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(value)) => {
            let (pattern, replacement) =
                substitution(&at.field("host_rewrite_path_regex"), &value)?;
            Ok(Some(HostRewrite::Path(Rewrite {
                pattern,
                replacement,
            })))
        }
        Some(HostRewriteSpecifier::HostRewrite(text)) => {
            let template = template::template(&at.field("host_rewrite"), &text, false)?;
            Ok(Some(HostRewrite::Template(template)))
        }
    }
}

fn literal_host(at: &At<'_>, text: String) -> Result<HostRewrite, Refused> {
    HeaderValue::try_from(&text)
        .map(HostRewrite::Literal)
        .map_err(|_| at.refuse(format!("{text:?} is no host")))
}

pub(super) fn mirrors(
    context: &Context<'_>,
    at: &At<'_>,
    policies: Vec<RequestMirrorPolicy>,
) -> Result<Vec<Mirror>, Refused> {
    policies
        .into_iter()
        .enumerate()
        .map(|(index, mut message)| {
            let at = at.item(index);
            let name = take(&mut message.cluster);
            let header = take(&mut message.cluster_header);
            let cluster = named_cluster(context, &at, ("cluster", name), header)?;
            let place = at.field("request_headers_mutations");
            let headers = listed(&place, take(&mut message.request_headers_mutations))?;
            let place = at.field("host_rewrite_literal");
            let host = match take(&mut message.host_rewrite_literal) {
                text if text.is_empty() => None,
                text => Some(
                    HeaderValue::try_from(&text)
                        .map_err(|_| place.refuse(format!("{text:?} is no host")))?,
                ),
            };
            // Spans are not made, so there is nothing to sample.
            message.trace_sampled = None;
            let fraction = match message.runtime_fraction.take() {
                Some(value) => runtime_fraction(&at.field("runtime_fraction"), value)?,
                None => Percentage::ALL,
            };
            let shadow_suffix = !take(&mut message.disable_shadow_host_suffix_append);
            nothing_left(&at, &message)?;
            Ok(Mirror {
                cluster,
                fraction,
                shadow_suffix,
                host,
                headers,
            })
        })
        .collect()
}

fn hashes(
    at: &At<'_>,
    policies: Vec<wire::route_action::HashPolicy>,
) -> Result<Vec<HashPolicy>, Refused> {
    policies
        .into_iter()
        .enumerate()
        .map(|(index, message)| {
            Ok(HashPolicy {
                subject: hash(&at.item(index), message.policy_specifier)?,
                terminal: message.terminal,
            })
        })
        .collect()
}

fn hash(at: &At<'_>, specifier: Option<PolicySpecifier>) -> Result<HashSubject, Refused> {
    match specifier {
        Some(PolicySpecifier::Header(header)) => {
            let at = at.field("header");
            let place = at.field("regex_rewrite");
            let rewrite = header.regex_rewrite.as_ref();
            let rewrite = rewrite
                .map(|value| substitution(&place, value))
                .transpose()?;
            Ok(HashSubject::Header {
                name: header_name(&at.field("header_name"), &header.header_name)?,
                rewrite: rewrite.map(|(pattern, replacement)| Rewrite {
                    pattern,
                    replacement,
                }),
            })
        }
        Some(PolicySpecifier::Cookie(cookie)) => hashed_cookie(&at.field("cookie"), cookie),
        Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
            Ok(HashSubject::SourceIp)
        }
        Some(PolicySpecifier::QueryParameter(query)) => Ok(HashSubject::Query(query.name.into())),
        Some(PolicySpecifier::ConnectionProperties(_)) | None => Err(at.refuse("empty")),
        Some(PolicySpecifier::FilterState(_)) => Err(at.field("filter_state").unsupported()),
    }
}

fn hashed_cookie(
    at: &At<'_>,
    cookie: wire::route_action::hash_policy::Cookie,
) -> Result<HashSubject, Refused> {
    let mut attributes = String::new();
    for one in &cookie.attributes {
        attributes.push_str("; ");
        attributes.push_str(&one.name);
        if !one.value.is_empty() {
            attributes.push('=');
            attributes.push_str(&one.value);
        }
    }
    Ok(HashSubject::Cookie {
        ttl: duration(&at.field("ttl"), cookie.ttl)?,
        name: cookie.name.into(),
        path: cookie.path.into(),
        attributes: attributes.into(),
    })
}

/// Upgrades that are allowed or not, and whether CONNECT ends here.
type Upgrades = (Vec<(Box<str>, bool)>, Option<ConnectEnd>);

fn upgrades(
    at: &At<'_>,
    configs: Vec<wire::route_action::UpgradeConfig>,
) -> Result<Upgrades, Refused> {
    let (mut allowed, mut end) = (Vec::new(), None);
    for (index, config) in configs.into_iter().enumerate() {
        let at = at.item(index);
        let name = config.upgrade_type.to_ascii_lowercase();
        if let Some(config) = config.connect_config {
            let at = at.field("connect_config");
            if name != "connect" {
                return Err(at.refuse("is for CONNECT alone"));
            }
            let place = at.field("proxy_protocol_config");
            let version = config.proxy_protocol_config;
            let version = version.map(|it| socket::proxy_protocol(&place, it));
            end = Some(ConnectEnd {
                upstream: RawUpstream {
                    proxy_protocol: version.transpose()?,
                },
                post: config.allow_post,
            });
        }
        allowed.push((name.into(), flag(config.enabled, true)));
    }
    Ok((allowed, end))
}
