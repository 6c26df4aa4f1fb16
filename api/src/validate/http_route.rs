//! Rules on HTTP routes.

use std::fmt::Arguments;

use super::report::{Key, Report};
use super::scope::{Scope, gateways};
use super::{headers, http_actions, values};
use crate::host::is_any_case_label;
use crate::networking::{HttpMatchRequest, HttpRoute, StringMatch, StringMatchKind};

pub(super) fn check(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    route: &HttpRoute,
    scope: Scope,
) {
    for (i, condition) in route.r#match.iter().enumerate() {
        matches(report, format_args!("{field}.match[{i}]"), condition, scope);
    }
    outcome(report, field, route, scope);
    destinations(report, field, route, scope);
    values::duration(report, format_args!("{field}.timeout"), route.timeout);
    http_actions::check(report, field, route);
}

/// What becomes of a request: exactly one thing.
fn outcome(report: &mut Report<'_>, field: Arguments<'_>, route: &HttpRoute, scope: Scope) {
    if route.delegate.is_some() && !scope.delegate {
        report.require(
            route.redirect.is_none(),
            format_args!("{field}.redirect"),
            "a route that delegates has no redirect",
        );
        return report.require(
            route.route.is_empty(),
            format_args!("{field}.route"),
            "a route that delegates has no destinations",
        );
    }
    report.require(
        route.delegate.is_none(),
        format_args!("{field}.delegate"),
        "a delegate cannot delegate again",
    );
    report.require(
        route.mirror.is_none() || route.mirrors.is_empty(),
        format_args!("{field}.mirrors"),
        "only one of mirror and mirrors may be set",
    );
    let answer = match (&route.redirect, &route.direct_response) {
        (Some(_), _) => "redirect",
        (None, Some(_)) => "directResponse",
        (None, None) => {
            let message = "a route needs one of route, redirect, directResponse and delegate";
            return report.require(!route.route.is_empty(), field, message);
        }
    };
    for (name, set) in [
        ("route", !route.route.is_empty()),
        ("fault", route.fault.is_some()),
        ("rewrite", route.rewrite.is_some()),
        (
            "directResponse",
            route.direct_response.is_some() && route.redirect.is_some(),
        ),
    ] {
        report.require(
            !set,
            format_args!("{field}.{name}"),
            format_args!("a route with {answer} has no {name}"),
        );
    }
}

fn destinations(report: &mut Report<'_>, field: Arguments<'_>, route: &HttpRoute, scope: Scope) {
    let weights = route.route.iter().map(|to| to.weight);
    values::weights(report, format_args!("{field}.route"), weights);
    for (i, to) in route.route.iter().enumerate() {
        let at = format_args!("{field}.route[{i}]");
        let destination = to.destination.as_ref();
        let to_destination = format_args!("{at}.destination");
        values::route_destination(report, to_destination, destination, scope.translated);
        let to_headers = format_args!("{at}.headers");
        http_actions::headers(report, to_headers, to.headers.as_ref());
    }
    if route.mirror.is_some() {
        let at = format_args!("{field}.mirror");
        values::destination(report, at, route.mirror.as_ref());
    }
    for (i, mirror) in route.mirrors.iter().enumerate() {
        let at = format_args!("{field}.mirrors[{i}].destination");
        values::destination(report, at, mirror.destination.as_ref());
        let at = format_args!("{field}.mirrors[{i}].percentage");
        values::share(report, at, mirror.percentage.as_ref());
    }
    let at = format_args!("{field}.mirrorPercentage");
    values::share(report, at, route.mirror_percentage.as_ref());
    if let Some(percent) = route.mirror_percent {
        let at = format_args!("{field}.mirrorPercent");
        report.require(
            percent <= 100,
            at,
            format_args!("{percent} is more than 100 percent"),
        );
        report.warning(
            at,
            "mirrorPercent is deprecated: use mirrorPercentage instead",
        );
    }
}

fn matches(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    condition: &HttpMatchRequest,
    scope: Scope,
) {
    if let Some(StringMatchKind::Regex(expression)) =
        condition.uri.as_ref().and_then(|uri| uri.kind.as_ref())
    {
        report.regex(format_args!("{field}.uri.regex"), expression);
    }
    for (name, text) in [
        ("scheme", &condition.scheme),
        ("method", &condition.method),
        ("authority", &condition.authority),
    ] {
        if let Some(text) = text {
            values::string_match(report, format_args!("{field}.{name}"), text);
        }
    }
    for (name, text) in &condition.headers {
        let at = format_args!("{field}.headers{}", Key(name));
        header_name(report, at, name, scope);
        values::string_match(report, at, text);
    }
    for (name, text) in &condition.without_headers {
        let at = format_args!("{field}.withoutHeaders{}", Key(name));
        header_name(report, at, name, scope);
        if !is_star(text) {
            values::string_match(report, at, text);
        }
    }
    for (name, text) in &condition.query_params {
        let at = format_args!("{field}.queryParams{}", Key(name));
        values::string_match(report, at, text);
    }
    if condition.port != 0 {
        values::port(report, format_args!("{field}.port"), condition.port);
    }
    let at = format_args!("{field}.sourceLabels");
    values::label_map(report, at, &condition.source_labels);
    let at = format_args!("{field}.gateways");
    report.errors_only(|report| gateways(report, at, &condition.gateways, false));
    let namespace = &condition.source_namespace;
    report.require(
        namespace.is_empty() || is_any_case_label(namespace),
        format_args!("{field}.sourceNamespace"),
        format_args!("`{namespace}` is not a namespace"),
    );
}

/// Whether the condition is a lone star, which is no expression but says that the header must be absent.
fn is_star(text: &StringMatch) -> bool {
    matches!(&text.kind, Some(StringMatchKind::Regex(expression)) if expression == "*")
}

fn header_name(report: &mut Report<'_>, field: Arguments<'_>, name: &str, scope: Scope) {
    if scope.mesh && headers::is_claim(name) {
        return report.error(
            field,
            "claims of a token can be matched at gateways only: name gateways, without `mesh`",
        );
    }
    report.require(
        headers::is_matched(name),
        field,
        format_args!("`{name}` is not a header's name"),
    );
}
