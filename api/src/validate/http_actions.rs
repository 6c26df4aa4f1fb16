//! Rules on what a route does with an HTTP request besides forwarding it.

use super::report::Report;
use super::values;
use crate::networking::{
    CorsPolicy, HeaderOperations, Headers, HttpAbort, HttpAbortError, HttpDelay, HttpDelayDuration,
    HttpDirectResponse, HttpFaultInjection, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute,
    RedirectPort, StringMatchKind,
};

/// Names of gRPC statuses.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Conditions on which a request is tried again.
const RETRY_CONDITIONS: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
];

pub(super) fn check(report: &mut Report<'_>, field: &str, route: &HttpRoute) {
    headers(report, &format!("{field}.headers"), route.headers.as_ref());
    if let Some(retries) = &route.retries {
        retry(report, &format!("{field}.retries"), retries);
    }
    if let Some(fault) = &route.fault {
        fault_injection(report, &format!("{field}.fault"), fault);
    }
    if let Some(redirect) = &route.redirect {
        redirection(report, &format!("{field}.redirect"), redirect, route);
    }
    if let Some(response) = &route.direct_response {
        direct_response(report, &format!("{field}.directResponse"), response);
    }
    if let Some(rewrite) = &route.rewrite {
        rewriting(report, &format!("{field}.rewrite"), rewrite);
    }
    if let Some(cors) = &route.cors_policy {
        cors_policy(report, &format!("{field}.corsPolicy"), cors);
    }
}

/// Changes of headers.
pub(super) fn headers(report: &mut Report<'_>, field: &str, headers: Option<&Headers>) {
    let Some(headers) = headers else { return };
    for (side, operations) in [
        ("request", &headers.request),
        ("response", &headers.response),
    ] {
        if let Some(operations) = operations {
            header_operations(
                report,
                &format!("{field}.{side}"),
                operations,
                side == "request",
            );
        }
    }
}

fn header_operations(
    report: &mut Report<'_>,
    field: &str,
    operations: &HeaderOperations,
    request: bool,
) {
    for (name, map) in [("set", &operations.set), ("add", &operations.add)] {
        for (header, value) in map {
            let at = format!("{field}.{name}{}", crate::yaml::key_step(header));
            let authority = request && header.eq_ignore_ascii_case(":authority");
            let host = header.eq_ignore_ascii_case("host") && !request;
            let fits = authority || (!host && values::is_header_name(header));
            report.require(
                fits,
                &at,
                format_args!("the header `{header}` cannot be changed here"),
            );
            let control = |c: char| c.is_ascii_control() && c != '\t';
            report.require(
                !value.contains(control),
                &at,
                "a header's value cannot have control characters",
            );
        }
    }
    for (i, header) in operations.remove.iter().enumerate() {
        let fits = values::is_header_name(header) && !header.eq_ignore_ascii_case("host");
        report.require(
            fits,
            &format!("{field}.remove[{i}]"),
            format_args!("the header `{header}` cannot be removed"),
        );
    }
}

fn retry(report: &mut Report<'_>, field: &str, retries: &HttpRetry) {
    values::not_negative(report, &format!("{field}.attempts"), retries.attempts);
    values::duration(
        report,
        &format!("{field}.perTryTimeout"),
        retries.per_try_timeout,
    );
    values::duration(report, &format!("{field}.backoff"), retries.backoff);
    let described = retries.per_try_timeout.is_some()
        || !retries.retry_on.is_empty()
        || retries.retry_remote_localities.is_some();
    if retries.attempts == 0 && described {
        report.error(
            &format!("{field}.attempts"),
            "0 attempts turn retries off: take the other settings out, or set attempts",
        );
    }
    for condition in retries
        .retry_on
        .split(',')
        .filter(|condition| !condition.is_empty())
    {
        let status = condition
            .parse::<u16>()
            .is_ok_and(|status| (100..=599).contains(&status));
        let known = status || RETRY_CONDITIONS.contains(&condition);
        report.require(
            known,
            &format!("{field}.retryOn"),
            format_args!("`{condition}` is not a condition for a retry"),
        );
    }
}

fn fault_injection(report: &mut Report<'_>, field: &str, fault: &HttpFaultInjection) {
    report.require(
        fault.delay.is_some() || fault.abort.is_some(),
        field,
        "a fault needs a delay or an abort",
    );
    if let Some(delay) = &fault.delay {
        fault_delay(report, &format!("{field}.delay"), delay);
    }
    if let Some(abort) = &fault.abort {
        fault_abort(report, &format!("{field}.abort"), abort);
    }
}

fn fault_delay(report: &mut Report<'_>, field: &str, delay: &HttpDelay) {
    values::percent(
        report,
        &format!("{field}.percentage"),
        delay.percentage.as_ref(),
    );
    values::int_percent(report, &format!("{field}.percent"), delay.percent);
    match delay.http_delay_type {
        Some(HttpDelayDuration::Fixed(time)) => {
            values::duration(report, &format!("{field}.fixedDelay"), Some(time))
        }
        Some(HttpDelayDuration::Exponential(_)) => {
            report.error(
                &format!("{field}.exponentialDelay"),
                "is not supported: use fixedDelay",
            );
        }
        None => report.error(field, "a delay needs a fixedDelay"),
    }
}

fn fault_abort(report: &mut Report<'_>, field: &str, abort: &HttpAbort) {
    values::percent(
        report,
        &format!("{field}.percentage"),
        abort.percentage.as_ref(),
    );
    match &abort.error_type {
        Some(HttpAbortError::HttpStatus(status)) => {
            let fits = (200..600).contains(status);
            report.require(
                fits,
                &format!("{field}.httpStatus"),
                format_args!("{status} is not a status: 200 to 599 are"),
            );
        }
        Some(HttpAbortError::GrpcStatus(name)) => {
            let known = GRPC_STATUSES.contains(&name.as_str());
            report.require(
                known,
                &format!("{field}.grpcStatus"),
                format_args!("`{name}` is not the name of a gRPC status"),
            );
        }
        Some(HttpAbortError::Http2Error(_)) => {
            report.error(
                &format!("{field}.http2Error"),
                "is not supported: use httpStatus or grpcStatus",
            );
        }
        None => {}
    }
}

fn redirection(report: &mut Report<'_>, field: &str, redirect: &HttpRedirect, route: &HttpRoute) {
    let texts = [
        &redirect.uri,
        &redirect.prefix_rewrite,
        &redirect.authority,
        &redirect.scheme,
    ];
    let empty = texts.iter().all(|text| text.is_empty()) && redirect.redirect_port.is_none();
    report.require(
        !empty,
        field,
        "a redirect needs one of uri, prefixRewrite, authority, port, derivePort and scheme",
    );
    let code = redirect.redirect_code;
    report.require(
        code == 0 || (300..400).contains(&code),
        &format!("{field}.redirectCode"),
        format_args!("{code} is not the status of a redirect"),
    );
    let scheme = &redirect.scheme;
    let known = ["", "http", "https"].contains(&scheme.as_str());
    report.require(
        known,
        &format!("{field}.scheme"),
        format_args!("`{scheme}` is not a scheme: http and https are"),
    );
    if let Some(RedirectPort::Port(number)) = redirect.redirect_port {
        report.require(
            number <= 65535,
            &format!("{field}.port"),
            format_args!("{number} is not a port"),
        );
    }
    if !redirect.prefix_rewrite.is_empty() {
        let at = format!("{field}.prefixRewrite");
        report.require(
            redirect.uri.is_empty(),
            &at,
            "only one of uri and prefixRewrite may be set",
        );
        let uris = route
            .r#match
            .iter()
            .filter_map(|condition| condition.uri.as_ref());
        let prefixes = uris
            .into_iter()
            .all(|uri| matches!(uri.kind, Some(StringMatchKind::Prefix(_))));
        report.require(prefixes, &at, "every match of the path must be a prefix");
    }
}

fn direct_response(report: &mut Report<'_>, field: &str, response: &HttpDirectResponse) {
    let fits = (200..600).contains(&response.status);
    report.require(
        fits,
        &format!("{field}.status"),
        format_args!("{} is not a status: 200 to 599 are", response.status),
    );
    let length = match response
        .body
        .as_ref()
        .and_then(|body| body.specifier.as_ref())
    {
        Some(crate::networking::HttpBodyContent::Text(text)) => text.len(),
        Some(crate::networking::HttpBodyContent::Bytes(bytes)) => bytes.0.len(),
        None => 0,
    };
    report.require(
        length <= 1 << 20,
        &format!("{field}.body"),
        "a body can have 1 MiB at most",
    );
}

fn rewriting(report: &mut Report<'_>, field: &str, rewrite: &HttpRewrite) {
    let regex = rewrite.uri_regex_rewrite.as_ref();
    let empty = rewrite.uri.is_empty() && rewrite.authority.is_empty() && regex.is_none();
    report.require(
        !empty,
        field,
        "a rewrite needs one of uri, uriRegexRewrite and authority",
    );
    if let Some(regex) = regex {
        let at = format!("{field}.uriRegexRewrite");
        report.require(
            rewrite.uri.is_empty(),
            &at,
            "only one of uri and uriRegexRewrite may be set",
        );
        report.regex(&format!("{at}.match"), &regex.r#match);
        report.require(
            !regex.rewrite.is_empty(),
            &format!("{at}.rewrite"),
            "a replacement is needed",
        );
    }
}

fn cors_policy(report: &mut Report<'_>, field: &str, cors: &CorsPolicy) {
    for (i, origin) in cors.allow_origins.iter().enumerate() {
        let at = format!("{field}.allowOrigins[{i}]");
        report.require(
            origin.kind.is_some(),
            &at,
            "an origin needs one of exact, prefix and regex",
        );
        values::string_match(report, &at, origin);
    }
    for (i, method) in cors.allow_methods.iter().enumerate() {
        let known = METHODS.contains(&method.as_str());
        report.require(
            known,
            &format!("{field}.allowMethods[{i}]"),
            format_args!("unknown method `{method}`"),
        );
    }
    for (name, list) in [
        ("allowHeaders", &cors.allow_headers),
        ("exposeHeaders", &cors.expose_headers),
    ] {
        for (i, header) in list.iter().enumerate() {
            let fits = header == "*" || values::is_header_name(header);
            report.require(
                fits,
                &format!("{field}.{name}[{i}]"),
                format_args!("`{header}` is not a header's name"),
            );
        }
    }
    values::duration(report, &format!("{field}.maxAge"), cors.max_age);
    let whole = cors.max_age.is_none_or(|age| age.subsec_nanos() == 0);
    report.require(
        whole,
        &format!("{field}.maxAge"),
        "must be in whole seconds",
    );
}
