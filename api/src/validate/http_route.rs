//! Rules on HTTP routes.

use super::report::Report;
use super::scope::{Scope, gateways};
use super::{http_actions, values};
use crate::host::is_any_case_label;
use crate::networking::{HttpMatchRequest, HttpRoute, StringMatch, StringMatchKind};

pub(super) fn check(report: &mut Report<'_>, field: &str, route: &HttpRoute, scope: Scope) {
    for (i, condition) in route.r#match.iter().enumerate() {
        matches(report, &format!("{field}.match[{i}]"), condition, scope);
    }
    outcome(report, field, route, scope);
    destinations(report, field, route);
    values::duration(report, &format!("{field}.timeout"), route.timeout);
    http_actions::check(report, field, route);
}

/// What becomes of a request: exactly one thing.
fn outcome(report: &mut Report<'_>, field: &str, route: &HttpRoute, scope: Scope) {
    if route.delegate.is_some() {
        report.require(
            !scope.delegate,
            &format!("{field}.delegate"),
            "a delegate cannot delegate again",
        );
        report.require(
            route.route.is_empty(),
            &format!("{field}.route"),
            "a route that delegates has no destinations",
        );
        report.require(
            route.redirect.is_none(),
            &format!("{field}.redirect"),
            "a route that delegates has no redirect",
        );
        return;
    }
    let others = [
        ("route", !route.route.is_empty()),
        ("fault", route.fault.is_some()),
        ("rewrite", route.rewrite.is_some()),
    ];
    for (name, set) in [
        ("redirect", route.redirect.is_some()),
        ("directResponse", route.direct_response.is_some()),
    ] {
        for (other, _) in others.iter().filter(|(_, other_set)| set && *other_set) {
            report.error(
                &format!("{field}.{other}"),
                format_args!("a route with {name} has no {other}"),
            );
        }
    }
    let answers = route.redirect.is_some() || route.direct_response.is_some();
    if route.redirect.is_some() && route.direct_response.is_some() {
        report.error(
            &format!("{field}.directResponse"),
            "a route with redirect has no directResponse",
        );
    }
    report.require(
        answers || !route.route.is_empty(),
        field,
        "a route needs one of route, redirect, directResponse and delegate",
    );
}

fn destinations(report: &mut Report<'_>, field: &str, route: &HttpRoute) {
    let weights: Vec<i32> = route.route.iter().map(|to| to.weight).collect();
    values::weights(report, &format!("{field}.route"), &weights);
    for (i, to) in route.route.iter().enumerate() {
        let at = format!("{field}.route[{i}]");
        values::destination(
            report,
            &format!("{at}.destination"),
            to.destination.as_ref(),
        );
        http_actions::headers(report, &format!("{at}.headers"), to.headers.as_ref());
    }
    if route.mirror.is_some() {
        report.require(
            route.mirrors.is_empty(),
            &format!("{field}.mirrors"),
            "only one of mirror and mirrors may be set",
        );
        values::destination(report, &format!("{field}.mirror"), route.mirror.as_ref());
    }
    for (i, mirror) in route.mirrors.iter().enumerate() {
        let at = format!("{field}.mirrors[{i}]");
        values::destination(
            report,
            &format!("{at}.destination"),
            mirror.destination.as_ref(),
        );
        values::percent(
            report,
            &format!("{at}.percentage"),
            mirror.percentage.as_ref(),
        );
    }
    values::percent(
        report,
        &format!("{field}.mirrorPercentage"),
        route.mirror_percentage.as_ref(),
    );
    if let Some(percent) = route.mirror_percent {
        report.require(
            percent <= 100,
            &format!("{field}.mirrorPercent"),
            format_args!("{percent} is more than 100 percent"),
        );
    }
}

fn matches(report: &mut Report<'_>, field: &str, condition: &HttpMatchRequest, scope: Scope) {
    if let Some(StringMatchKind::Regex(expression)) =
        condition.uri.as_ref().and_then(|uri| uri.kind.as_ref())
    {
        report.regex(&format!("{field}.uri.regex"), expression);
    }
    for (name, text) in [
        ("scheme", &condition.scheme),
        ("method", &condition.method),
        ("authority", &condition.authority),
    ] {
        if let Some(text) = text {
            values::string_match(report, &format!("{field}.{name}"), text);
        }
    }
    for (name, text) in &condition.headers {
        header(report, &format!("{field}.headers"), name, text, scope);
    }
    for (name, text) in &condition.without_headers {
        // A lone star means that the header must be absent.
        let absent = text.kind == Some(StringMatchKind::Regex("*".to_owned()));
        let text = if absent {
            &StringMatch::default()
        } else {
            text
        };
        header(
            report,
            &format!("{field}.withoutHeaders"),
            name,
            text,
            scope,
        );
    }
    for (name, text) in &condition.query_params {
        values::string_match(
            report,
            &format!("{field}.queryParams{}", crate::yaml::key_step(name)),
            text,
        );
    }
    if condition.port != 0 {
        values::port(report, &format!("{field}.port"), condition.port);
    }
    values::label_map(
        report,
        &format!("{field}.sourceLabels"),
        &condition.source_labels,
    );
    gateways(report, &format!("{field}.gateways"), &condition.gateways);
    let namespace = &condition.source_namespace;
    if !namespace.is_empty() && !is_any_case_label(namespace) {
        report.error(
            &format!("{field}.sourceNamespace"),
            format_args!("`{namespace}` is not a namespace"),
        );
    }
}

fn header(report: &mut Report<'_>, field: &str, name: &str, text: &StringMatch, scope: Scope) {
    let at = format!("{field}{}", crate::yaml::key_step(name));
    if name
        .to_ascii_lowercase()
        .starts_with("@request.auth.claims")
    {
        report.require(
            !scope.mesh,
            &at,
            "claims of a token can be matched at gateways only, not at sidecars",
        );
    } else {
        let pseudo = [":method", ":scheme", ":authority", ":path", ":status"].contains(&name);
        report.require(
            pseudo || values::is_header_name(name),
            &at,
            format_args!("`{name}` is not a header's name"),
        );
    }
    values::string_match(report, &at, text);
}
