//! The HTTP routes of a VirtualService, for one gateway or the mesh and one port.

use lateen_api::networking::{HttpMatchRequest, HttpRoute, StringMatchKind, VirtualService};
use lateen_controlplane_model::rule::Rule;
use lateen_controlplane_model::service::covers;

use super::{action, everything, fault, matches, valid_regex};
use crate::listener::destination_port;
use crate::pb::route::route_match::PathSpecifier;
use crate::pb::route::{Decorator, Route, RouteMatch};
use crate::view::View;
use crate::wire::made_from;

/// Who asks for routes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) view: &'a View,
    /// `mesh`, or the names of the gateways that the routes are for.
    pub(super) gateways: &'a [&'a str],
    /// Port that clients connect to.
    pub(super) port: u16,
}

/// The routes of a rule in order, up to the first that takes everything.
pub(super) fn routes(asker: &Asker<'_>, rule: &Rule<VirtualService>) -> Vec<Route> {
    let mut out = Vec::new();
    for wanted in &rule.spec.http {
        if wanted.r#match.is_empty() {
            out.extend(route(asker, rule, wanted, None));
            if out.last().is_some_and(takes_all) {
                return out;
            }
            continue;
        }
        for condition in wanted
            .r#match
            .iter()
            .filter(|condition| applies(asker, condition))
        {
            out.extend(route(asker, rule, wanted, Some(condition)));
            if out.last().is_some_and(takes_all) {
                return out;
            }
        }
    }
    out
}

/// True when a route takes every request.
pub(super) fn takes_all(route: &Route) -> bool {
    route.r#match.as_ref().is_some_and(|m| {
        let path = match &m.path_specifier {
            Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
            Some(PathSpecifier::SafeRegex(regex)) => regex.regex == ".*" || regex.regex == "*",
            _ => false,
        };
        path && m.headers.is_empty() && m.query_parameters.is_empty()
    })
}

fn applies(asker: &Asker<'_>, wanted: &HttpMatchRequest) -> bool {
    let traits = &asker.view.traits;
    (wanted.port == 0 || wanted.port == u32::from(asker.port))
        && (wanted.gateways.is_empty()
            || wanted
                .gateways
                .iter()
                .any(|own| asker.gateways.contains(&own.as_str())))
        && covers(&traits.labels, &wanted.source_labels)
        && (wanted.source_namespace.is_empty() || wanted.source_namespace == *traits.namespace)
}

fn route(
    asker: &Asker<'_>,
    rule: &Rule<VirtualService>,
    wanted: &HttpRoute,
    condition: Option<&HttpMatchRequest>,
) -> Option<Route> {
    let regex_rewrite = wanted
        .rewrite
        .as_ref()
        .and_then(|rewrite| rewrite.uri_regex_rewrite.as_ref());
    if regex_rewrite.is_some_and(|own| !valid_regex(&own.r#match)) {
        return None;
    }
    let r#match = match condition {
        Some(condition) => matches::route_match(condition)?,
        None => everything(),
    };
    let name = match condition
        .map(|condition| condition.name.as_str())
        .filter(|name| !name.is_empty())
    {
        Some(name) if wanted.name.is_empty() => name.to_owned(),
        Some(name) => format!("{}.{name}", wanted.name),
        None => wanted.name.clone(),
    };
    let mut route = Route {
        name,
        decorator: Some(Decorator {
            operation: operation(asker, rule, wanted, &r#match),
            propagate: None,
        }),
        r#match: Some(r#match),
        metadata: Some(made_from("virtual-service", &rule.namespace, &rule.name)),
        typed_per_filter_config: fault::per_filter(wanted),
        stat_prefix: condition
            .map(|condition| condition.stat_prefix.clone())
            .unwrap_or_default(),
        ..Default::default()
    };
    action::apply(asker.view, wanted, asker.port, &mut route).then_some(route)
}

/// The name spans give the request: the destination when there is one, otherwise the rule.
fn operation(
    asker: &Asker<'_>,
    rule: &Rule<VirtualService>,
    wanted: &HttpRoute,
    condition: &RouteMatch,
) -> String {
    let path = match &condition.path_specifier {
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex.clone(),
        _ => "/*".to_owned(),
    };
    let only = match wanted.route.as_slice() {
        [only] if wanted.redirect.is_none() && wanted.direct_response.is_none() => {
            only.destination.as_ref()
        }
        _ => None,
    };
    match only {
        Some(to) => format!(
            "{}:{}{path}",
            to.host,
            destination_port(asker.view, to, asker.port)
        ),
        None => format!("{}:{}{path}", rule.name, asker.port),
    }
}

/// True when a condition uses something that cannot be matched.
pub(crate) fn has_bad_regex(value: &lateen_api::networking::StringMatch) -> bool {
    matches!(&value.kind, Some(StringMatchKind::Regex(pattern)) if pattern != "*" && !valid_regex(pattern))
}
