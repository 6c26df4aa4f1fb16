//! What a route does with a request: forward, redirect, answer.

use lateen_api::networking::{
    Destination, HeaderOperations, Headers, HttpBodyContent, HttpDirectResponse, HttpMirrorPolicy,
    HttpRedirect, HttpRewrite, HttpRoute, HttpRouteDestination, RedirectPort,
    RedirectPortSelection,
};

use super::policy;
use crate::listener::cluster_of;
use crate::pb::core::{
    DataSource, HeaderValue, HeaderValueOption, data_source, header_value_option,
};
use crate::pb::route::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use crate::pb::route::route::Action;
use crate::pb::route::route_action::{ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy};
use crate::pb::route::weighted_cluster::{ClusterWeight, cluster_weight};
use crate::pb::route::{DirectResponseAction, RedirectAction, Route, RouteAction, WeightedCluster};
use crate::pb::{core, matcher};
use crate::view::View;
use crate::wire::{flag, number, per_million, regex, seconds, span};

/// Sets action and headers of a route. `false` when nothing can be done, so that the route has to be left out.
pub(super) fn apply(view: &View, wanted: &HttpRoute, listen_port: u16, route: &mut Route) -> bool {
    let shared = HeaderEdits::of(wanted.headers.as_ref());
    if let Some(redirect) = &wanted.redirect {
        route.action = Some(Action::Redirect(redirect_action(redirect, listen_port)));
    } else if let Some(direct) = &wanted.direct_response {
        if !(200..600).contains(&direct.status) {
            return false;
        }
        route.action = Some(Action::DirectResponse(direct_response(direct)));
    } else {
        let Some(action) = forward(view, wanted, listen_port, route, &shared) else {
            return false;
        };
        route.action = Some(Action::Route(action));
    }
    route.request_headers_to_add.extend(shared.request_add);
    route
        .request_headers_to_remove
        .extend(shared.request_remove);
    route.response_headers_to_add.extend(shared.response_add);
    route
        .response_headers_to_remove
        .extend(shared.response_remove);
    true
}

fn forward(
    view: &View,
    wanted: &HttpRoute,
    port: u16,
    route: &mut Route,
    shared: &HeaderEdits,
) -> Option<RouteAction> {
    let mut action = base(view, wanted);
    if let Some(host) = &shared.host {
        action.host_rewrite_specifier =
            Some(HostRewriteSpecifier::HostRewriteLiteral(host.clone()));
    }
    if let Some(rewrite) = &wanted.rewrite {
        apply_rewrite(&mut action, rewrite);
    }
    action.request_mirror_policies = mirrors(view, wanted, port);
    let targets: Vec<&Destination> = wanted
        .route
        .iter()
        .filter_map(|to| to.destination.as_ref())
        .collect();
    for target in &targets {
        if let Some(hash) = policy::hash(view, target, port)
            && !action.hash_policy.contains(&hash)
        {
            action.hash_policy.push(hash);
        }
    }
    match wanted.route.as_slice() {
        [] => return None,
        [only] => {
            let destination = only.destination.as_ref()?;
            action.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster_of(
                view,
                destination,
                port,
            )));
            let own = HeaderEdits::of(only.headers.as_ref());
            if let Some(host) = own.host {
                action.host_rewrite_specifier =
                    Some(HostRewriteSpecifier::HostRewriteLiteral(host));
            }
            route.request_headers_to_add.extend(own.request_add);
            route.request_headers_to_remove.extend(own.request_remove);
            route.response_headers_to_add.extend(own.response_add);
            route.response_headers_to_remove.extend(own.response_remove);
        }
        many => {
            let clusters: Vec<ClusterWeight> = many
                .iter()
                .filter_map(|to| weighted(view, to, port))
                .collect();
            if clusters.is_empty() {
                return None;
            }
            action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters,
                ..Default::default()
            }));
        }
    }
    Some(action)
}

/// Timeouts and retries.
#[allow(deprecated)] // The gRPC timeout of a route is bounded like every other one.
fn base(view: &View, wanted: &HttpRoute) -> RouteAction {
    let timeout = wanted.timeout.map_or(seconds(0), span);
    RouteAction {
        timeout,
        max_grpc_timeout: timeout,
        retry_policy: policy::retry(view, wanted.retries.as_ref()),
        ..Default::default()
    }
}

/// The route of a service without rules of its own.
pub(super) fn default_action(view: &View, destination: &Destination, port: u16) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster_of(
            view,
            destination,
            port,
        ))),
        hash_policy: policy::hash(view, destination, port).into_iter().collect(),
        ..base(view, &HttpRoute::default())
    }
}

fn weighted(view: &View, to: &HttpRouteDestination, port: u16) -> Option<ClusterWeight> {
    let weight = u32::try_from(to.weight).ok().filter(|weight| *weight > 0)?;
    let own = HeaderEdits::of(to.headers.as_ref());
    Some(ClusterWeight {
        name: cluster_of(view, to.destination.as_ref()?, port),
        weight: number(weight),
        request_headers_to_add: own.request_add,
        request_headers_to_remove: own.request_remove,
        response_headers_to_add: own.response_add,
        response_headers_to_remove: own.response_remove,
        host_rewrite_specifier: own
            .host
            .map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
        ..Default::default()
    })
}

fn apply_rewrite(action: &mut RouteAction, rewrite: &HttpRewrite) {
    if let Some(own) = &rewrite.uri_regex_rewrite {
        action.regex_rewrite = Some(matcher::RegexMatchAndSubstitute {
            pattern: Some(regex(&own.r#match)),
            substitution: own.rewrite.clone(),
        });
    } else {
        action.prefix_rewrite.clone_from(&rewrite.uri);
    }
    if !rewrite.authority.is_empty() {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(
            rewrite.authority.clone(),
        ));
    }
}

fn mirrors(view: &View, wanted: &HttpRoute, port: u16) -> Vec<RequestMirrorPolicy> {
    let single = wanted.mirror.as_ref().map(|destination| {
        let percent = wanted
            .mirror_percentage
            .as_ref()
            .map(|percent| percent.value);
        let percent = percent
            .or(wanted.mirror_percent.map(f64::from))
            .unwrap_or(100.0);
        (destination, percent)
    });
    let several = wanted
        .mirrors
        .iter()
        .filter_map(|mirror: &HttpMirrorPolicy| {
            Some((
                mirror.destination.as_ref()?,
                mirror
                    .percentage
                    .as_ref()
                    .map_or(100.0, |percent| percent.value),
            ))
        });
    single
        .into_iter()
        .chain(several)
        .filter(|(_, percent)| *percent > 0.0)
        .map(|(destination, percent)| RequestMirrorPolicy {
            cluster: cluster_of(view, destination, port),
            runtime_fraction: Some(core::RuntimeFractionalPercent {
                default_value: Some(per_million(percent)),
                runtime_key: String::new(),
            }),
            trace_sampled: flag(false),
            disable_shadow_host_suffix_append: true,
            ..Default::default()
        })
        .collect()
}

fn redirect_action(wanted: &HttpRedirect, listen_port: u16) -> RedirectAction {
    let path = if !wanted.uri.is_empty() {
        Some(PathRewriteSpecifier::PathRedirect(wanted.uri.clone()))
    } else if !wanted.prefix_rewrite.is_empty() {
        Some(PathRewriteSpecifier::PrefixRewrite(
            wanted.prefix_rewrite.clone(),
        ))
    } else {
        None
    };
    let code = match wanted.redirect_code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    let port_redirect = match &wanted.redirect_port {
        Some(RedirectPort::Port(port)) => *port,
        Some(RedirectPort::DerivePort(RedirectPortSelection::RequestPort)) => listen_port.into(),
        _ => 0,
    };
    RedirectAction {
        host_redirect: wanted.authority.clone(),
        port_redirect,
        response_code: code as i32,
        path_rewrite_specifier: path,
        scheme_rewrite_specifier: (!wanted.scheme.is_empty())
            .then(|| SchemeRewriteSpecifier::SchemeRedirect(wanted.scheme.clone())),
        ..Default::default()
    }
}

fn direct_response(wanted: &HttpDirectResponse) -> DirectResponseAction {
    let body = wanted
        .body
        .as_ref()
        .and_then(|body| body.specifier.as_ref())
        .map(|content| match content {
            HttpBodyContent::Text(text) => data_source::Specifier::InlineString(text.clone()),
            HttpBodyContent::Bytes(bytes) => data_source::Specifier::InlineBytes(bytes.0.clone()),
        });
    DirectResponseAction {
        status: wanted.status,
        body: body.map(|specifier| DataSource {
            specifier: Some(specifier),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Header changes of a route or destination, with a rewritten host taken apart.
#[derive(Debug, Default)]
struct HeaderEdits {
    request_add: Vec<HeaderValueOption>,
    request_remove: Vec<String>,
    response_add: Vec<HeaderValueOption>,
    response_remove: Vec<String>,
    host: Option<String>,
}

impl HeaderEdits {
    fn of(wanted: Option<&Headers>) -> Self {
        let Some(wanted) = wanted else {
            return Self::default();
        };
        let request = wanted.request.as_ref();
        let host = request.and_then(|request| {
            let is_host = |name: &str| name.eq_ignore_ascii_case("host") || name == ":authority";
            request
                .set
                .iter()
                .find(|(name, _)| is_host(name))
                .map(|(_, value)| value.clone())
        });
        Self {
            request_add: additions(request),
            request_remove: request
                .map(|request| request.remove.clone())
                .unwrap_or_default(),
            response_add: additions(wanted.response.as_ref()),
            response_remove: wanted
                .response
                .as_ref()
                .map(|response| response.remove.clone())
                .unwrap_or_default(),
            host,
        }
    }
}

fn additions(wanted: Option<&HeaderOperations>) -> Vec<HeaderValueOption> {
    use header_value_option::HeaderAppendAction::{AppendIfExistsOrAdd, OverwriteIfExistsOrAdd};
    let Some(wanted) = wanted else {
        return Vec::new();
    };
    let option = |name: &String, value: &String, action| HeaderValueOption {
        header: Some(HeaderValue {
            key: name.clone(),
            value: value.clone(),
            ..Default::default()
        }),
        append_action: action as i32,
        ..Default::default()
    };
    let special = |name: &str| name.starts_with(':') || name.eq_ignore_ascii_case("host");
    let set = wanted
        .set
        .iter()
        .filter(|(name, _)| !special(name))
        .map(|(name, value)| option(name, value, OverwriteIfExistsOrAdd));
    let add = wanted
        .add
        .iter()
        .filter(|(name, _)| !special(name))
        .map(|(name, value)| option(name, value, AppendIfExistsOrAdd));
    set.chain(add).collect()
}
