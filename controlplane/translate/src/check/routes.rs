//! VirtualServices.

use std::collections::BTreeSet;

use lateen_api::networking::{
    Destination, HttpAbortError, HttpDelayDuration, HttpMatchRequest, HttpRoute, StringMatch,
    VirtualService,
};
use lateen_controlplane_model::generate::Rejection;
use lateen_controlplane_model::rule::Rule;
use lateen_controlplane_model::snapshot::Snapshot;

use super::Findings;
use crate::route::{grpc_code, has_bad_regex, http_status, valid_domain, valid_regex};

const REGEX: &str = "the regular expression does not compile; the route is left out";

pub(super) fn check(snapshot: &Snapshot, out: &mut BTreeSet<Rejection>) {
    for rule in snapshot.virtual_services.iter() {
        let mut findings = Findings {
            kind: "VirtualService",
            object: rule.full_name(),
            out: &mut *out,
        };
        virtual_service(snapshot, rule, &mut findings);
    }
}

fn virtual_service(snapshot: &Snapshot, rule: &Rule<VirtualService>, findings: &mut Findings<'_>) {
    let spec = &rule.spec;
    for (i, name) in spec.hosts.iter().enumerate() {
        findings.when(
            !valid_domain(name),
            &format!("spec.hosts[{i}]"),
            "this is no host name: a `*` may stand at its beginning only",
        );
    }
    for (i, route) in spec.http.iter().enumerate() {
        let path = format!("spec.http[{i}]");
        http_route(route, &path, findings);
        for (j, to) in route.route.iter().enumerate() {
            destination(
                snapshot,
                rule,
                to.destination.as_ref(),
                &format!("{path}.route[{j}].destination"),
                findings,
            );
            findings.when(
                to.weight < 0,
                &format!("{path}.route[{j}].weight"),
                "a weight is not negative",
            );
        }
        if let Some(mirror) = &route.mirror {
            destination(
                snapshot,
                rule,
                Some(mirror),
                &format!("{path}.mirror"),
                findings,
            );
        }
        for (j, mirror) in route.mirrors.iter().enumerate() {
            destination(
                snapshot,
                rule,
                mirror.destination.as_ref(),
                &format!("{path}.mirrors[{j}].destination"),
                findings,
            );
        }
    }
    for (i, route) in spec.tls.iter().enumerate() {
        for (j, to) in route.route.iter().enumerate() {
            destination(
                snapshot,
                rule,
                to.destination.as_ref(),
                &format!("spec.tls[{i}].route[{j}].destination"),
                findings,
            );
        }
        for (j, wanted) in route.r#match.iter().enumerate() {
            for (k, name) in wanted.sni_hosts.iter().enumerate() {
                let partial = name.starts_with('*') && name != "*" && !name.starts_with("*.");
                let field = format!("spec.tls[{i}].match[{j}].sniHosts[{k}]");
                findings.when(
                    partial,
                    &field,
                    "a `*` stands for whole labels: write *.example.com",
                );
            }
        }
    }
    for (i, route) in spec.tcp.iter().enumerate() {
        for (j, to) in route.route.iter().enumerate() {
            destination(
                snapshot,
                rule,
                to.destination.as_ref(),
                &format!("spec.tcp[{i}].route[{j}].destination"),
                findings,
            );
        }
    }
}

/// A destination must name a host, and a subset that some rule of the host defines.
fn destination(
    snapshot: &Snapshot,
    rule: &Rule<VirtualService>,
    to: Option<&Destination>,
    path: &str,
    findings: &mut Findings<'_>,
) {
    let Some(to) = to.filter(|to| !to.host.is_empty()) else {
        findings.add(path, "a destination names a host");
        return;
    };
    if to.subset.is_empty() {
        return;
    }
    let rules = snapshot.destinations.iter();
    let covering =
        rules.filter(|own| lateen_api::host::is_subset_of(&to.host, &own.rule.spec.host));
    let known = covering
        .flat_map(|own| &own.rule.spec.subsets)
        .any(|subset| subset.name == to.subset);
    if !known {
        let reason = format!(
            "subset `{}` is in no DestinationRule of {}: requests fail until one defines it (rule in namespace {})",
            to.subset, to.host, rule.namespace
        );
        findings.add(format!("{path}.subset"), reason);
    }
}

fn http_route(route: &HttpRoute, path: &str, findings: &mut Findings<'_>) {
    let acts =
        !route.route.is_empty() || route.redirect.is_some() || route.direct_response.is_some();
    findings.when(
        !acts,
        path,
        "a route needs a destination, a redirect, a direct response or a delegate; it is left out",
    );
    for (i, wanted) in route.r#match.iter().enumerate() {
        condition(wanted, &format!("{path}.match[{i}]"), findings);
    }
    let rewrite = route
        .rewrite
        .as_ref()
        .and_then(|rewrite| rewrite.uri_regex_rewrite.as_ref());
    let bad = rewrite.is_some_and(|own| !valid_regex(&own.r#match));
    findings.when(bad, &format!("{path}.rewrite.uriRegexRewrite.match"), REGEX);
    if let Some(redirect) = &route.redirect {
        let known = matches!(redirect.redirect_code, 0 | 301 | 302 | 303 | 307 | 308);
        findings.when(
            !known,
            &format!("{path}.redirect.redirectCode"),
            "use 301, 302, 303, 307 or 308; 301 is sent",
        );
    }
    if let Some(direct) = &route.direct_response {
        let known = (200..600).contains(&direct.status);
        findings.when(
            !known,
            &format!("{path}.directResponse.status"),
            "a status is between 200 and 599; the route is left out",
        );
    }
    fault(route, path, findings);
    let origins = route
        .cors_policy
        .iter()
        .flat_map(|cors| &cors.allow_origins)
        .enumerate();
    for (i, origin) in origins {
        findings.when(
            has_bad_regex(origin),
            &format!("{path}.corsPolicy.allowOrigins[{i}].regex"),
            REGEX,
        );
    }
}

fn fault(route: &HttpRoute, path: &str, findings: &mut Findings<'_>) {
    let Some(fault) = &route.fault else { return };
    match fault.delay.as_ref().map(|delay| &delay.http_delay_type) {
        Some(Some(HttpDelayDuration::Exponential(_))) => {
            findings.add(
                format!("{path}.fault.delay.exponentialDelay"),
                "not supported: use fixedDelay",
            );
        }
        Some(None) => findings.add(format!("{path}.fault.delay"), "a delay needs fixedDelay"),
        _ => {}
    }
    match fault.abort.as_ref().map(|abort| &abort.error_type) {
        Some(Some(HttpAbortError::Http2Error(_))) => {
            findings.add(
                format!("{path}.fault.abort.http2Error"),
                "not supported: use httpStatus or grpcStatus",
            );
        }
        Some(Some(HttpAbortError::GrpcStatus(status))) => {
            findings.when(
                grpc_code(status).is_none(),
                &format!("{path}.fault.abort.grpcStatus"),
                "this is no gRPC status",
            );
        }
        Some(Some(HttpAbortError::HttpStatus(status))) => {
            let bad = http_status(*status).is_none();
            findings.when(
                bad,
                &format!("{path}.fault.abort.httpStatus"),
                "a status is between 200 and 599",
            );
        }
        Some(None) => findings.add(
            format!("{path}.fault.abort"),
            "an abort needs httpStatus or grpcStatus",
        ),
        None => {}
    }
}

fn condition(wanted: &HttpMatchRequest, path: &str, findings: &mut Findings<'_>) {
    let parts: [(&str, &Option<StringMatch>); 4] = [
        ("uri", &wanted.uri),
        ("scheme", &wanted.scheme),
        ("method", &wanted.method),
        ("authority", &wanted.authority),
    ];
    for (name, value) in parts {
        let bad = value.as_ref().is_some_and(has_bad_regex);
        findings.when(bad, &format!("{path}.{name}.regex"), REGEX);
    }
    let maps = [
        ("headers", &wanted.headers),
        ("withoutHeaders", &wanted.without_headers),
        ("queryParams", &wanted.query_params),
    ];
    for (name, map) in maps {
        for (key, value) in map {
            findings.when(
                has_bad_regex(value),
                &format!("{path}.{name}.{key}.regex"),
                REGEX,
            );
            let claim = name != "queryParams" && key.starts_with('@');
            findings.when(
                claim,
                &format!("{path}.{name}.{key}"),
                "routing on token claims is not supported; the route is left out",
            );
        }
    }
}
