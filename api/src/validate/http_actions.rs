//! Rules on what a route does with an HTTP request besides forwarding it.

use std::fmt::Arguments;

use super::http_answers::{direct_response, redirection, status_in_range};
use super::report::{Key, Report};
use super::{headers as names, values};
use crate::networking::{
    CorsPolicy, HeaderOperations, Headers, HttpAbort, HttpAbortError, HttpDelay, HttpDelayDuration,
    HttpFaultInjection, HttpRetry, HttpRewrite, HttpRoute, StringMatchKind,
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

pub(super) fn check(report: &mut Report<'_>, field: Arguments<'_>, route: &HttpRoute) {
    let at = format_args!("{field}.headers");
    headers(report, at, route.headers.as_ref());
    authority(report, field, route);
    if let Some(retries) = &route.retries {
        retry(report, format_args!("{field}.retries"), retries);
    }
    if let Some(fault) = &route.fault {
        let at = format_args!("{field}.fault");
        report.errors_only(|report| fault_injection(report, at, fault));
    }
    if let Some(redirect) = &route.redirect {
        let at = format_args!("{field}.redirect");
        redirection(report, at, redirect, route);
    }
    if let Some(response) = &route.direct_response {
        let at = format_args!("{field}.directResponse");
        direct_response(report, at, response);
    }
    if let Some(rewrite) = &route.rewrite {
        rewriting(report, format_args!("{field}.rewrite"), rewrite);
    }
    if let Some(cors) = &route.cors_policy {
        cors_policy(report, format_args!("{field}.corsPolicy"), cors);
    }
}

/// Changes of headers.
pub(super) fn headers(report: &mut Report<'_>, field: Arguments<'_>, headers: Option<&Headers>) {
    let Some(headers) = headers else { return };
    if let Some(request) = &headers.request {
        let at = format_args!("{field}.request");
        header_operations(report, at, request, names::unsettable);
    }
    if let Some(response) = &headers.response {
        let at = format_args!("{field}.response");
        header_operations(report, at, response, names::unchangeable);
    }
}

/// Changes of headers; `wrong` says why a header cannot be set or added to.
fn header_operations(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    operations: &HeaderOperations,
    wrong: fn(&str) -> Option<&'static str>,
) {
    for (name, map) in [("set", &operations.set), ("add", &operations.add)] {
        for (header, value) in map {
            let at = format_args!("{field}.{name}{}", Key(header));
            if let Some(reason) = wrong(header) {
                report.error(at, format_args!("`{header}`: {reason}"));
            }
            if let Err(reason) = names::check_value(value) {
                report.error(
                    at,
                    format_args!("`{value}` is not a header's value: {reason}"),
                );
            }
        }
    }
    for (i, header) in operations.remove.iter().enumerate() {
        if let Some(reason) = names::unchangeable(header) {
            let at = format_args!("{field}.remove[{i}]");
            report.error(at, format_args!("`{header}`: {reason}"));
        }
    }
}

/// A request's authority is changed in one place only.
fn authority(report: &mut Report<'_>, field: Arguments<'_>, route: &HttpRoute) {
    let request = route.headers.as_ref().and_then(|all| all.request.as_ref());
    let Some(request) = request else { return };
    let rewritten = route.rewrite.as_ref().map(|rewrite| &rewrite.authority);
    let mut changed = rewritten.is_some_and(|authority| !authority.is_empty());
    for (name, map) in [("set", &request.set), ("add", &request.add)] {
        for (header, value) in map.iter().filter(|(header, _)| names::is_authority(header)) {
            report.require(
                !changed,
                format_args!("{field}.headers.request.{name}{}", Key(header)),
                "the authority is changed already, by a rewrite or another header: keep one of them",
            );
            changed |= !value.is_empty();
        }
    }
}

pub(super) fn retry(report: &mut Report<'_>, field: Arguments<'_>, retries: &HttpRetry) {
    let at = format_args!("{field}.attempts");
    values::not_negative(report, at, retries.attempts);
    let described = retries.per_try_timeout.is_some()
        || !retries.retry_on.is_empty()
        || retries.retry_remote_localities.is_some();
    report.require(
        retries.attempts != 0 || !described,
        at,
        "0 attempts turn retries off: take the other settings out, or set attempts",
    );
    let at = format_args!("{field}.perTryTimeout");
    values::duration(report, at, retries.per_try_timeout);
    let at = format_args!("{field}.backoff");
    values::duration(report, at, retries.backoff);
    retry_conditions(report, format_args!("{field}.retryOn"), &retries.retry_on);
}

/// The conditions of a retry: known names and statuses, separated by commas without spaces.
pub(super) fn retry_conditions(report: &mut Report<'_>, field: Arguments<'_>, conditions: &str) {
    if conditions.is_empty() {
        return;
    }
    for condition in conditions.split(',') {
        let known =
            RETRY_CONDITIONS.contains(&condition) || condition.parse().is_ok_and(has_reason_phrase);
        report.require(
            known,
            field,
            format_args!("`{condition}` is not a condition for a retry: names and statuses are, separated by commas without spaces"),
        );
    }
}

/// Whether an HTTP status has a standard name.
const fn has_reason_phrase(status: i64) -> bool {
    matches!(
        status,
        100..=103
            | 200..=208
            | 226
            | 300..=305
            | 307
            | 308
            | 400..=418
            | 421..=426
            | 428
            | 429
            | 431
            | 451
            | 500..=508
            | 510
            | 511
    )
}

fn fault_injection(report: &mut Report<'_>, field: Arguments<'_>, fault: &HttpFaultInjection) {
    report.require(
        fault.delay.is_some() || fault.abort.is_some(),
        field,
        "a fault needs a delay or an abort",
    );
    if let Some(delay) = &fault.delay {
        fault_delay(report, format_args!("{field}.delay"), delay);
    }
    if let Some(abort) = &fault.abort {
        fault_abort(report, format_args!("{field}.abort"), abort);
    }
}

fn fault_delay(report: &mut Report<'_>, field: Arguments<'_>, delay: &HttpDelay) {
    let at = format_args!("{field}.percentage");
    values::percent(report, at, delay.percentage.as_ref());
    match delay.http_delay_type {
        Some(HttpDelayDuration::Fixed(time)) => {
            values::duration(report, format_args!("{field}.fixedDelay"), Some(time));
        }
        Some(HttpDelayDuration::Exponential(_)) => {
            report.error(
                format_args!("{field}.exponentialDelay"),
                "exponential delays are not supported: use fixedDelay",
            );
        }
        None => {}
    }
}

fn fault_abort(report: &mut Report<'_>, field: Arguments<'_>, abort: &HttpAbort) {
    let at = format_args!("{field}.percentage");
    values::percent(report, at, abort.percentage.as_ref());
    match &abort.error_type {
        Some(HttpAbortError::HttpStatus(status)) => {
            let at = format_args!("{field}.httpStatus");
            status_in_range(report, at, i64::from(*status));
        }
        Some(HttpAbortError::GrpcStatus(name)) => {
            report.require(
                GRPC_STATUSES.contains(&name.as_str()),
                format_args!("{field}.grpcStatus"),
                format_args!("`{name}` is not the name of a gRPC status, such as NOT_FOUND"),
            );
        }
        Some(HttpAbortError::Http2Error(_)) => {
            report.error(
                format_args!("{field}.http2Error"),
                "HTTP/2 errors are not supported: use httpStatus or grpcStatus",
            );
        }
        None => {}
    }
}

fn rewriting(report: &mut Report<'_>, field: Arguments<'_>, rewrite: &HttpRewrite) {
    let regex = rewrite.uri_regex_rewrite.as_ref();
    let empty = rewrite.uri.is_empty() && rewrite.authority.is_empty() && regex.is_none();
    report.require(
        !empty,
        field,
        "a rewrite needs one of uri, uriRegexRewrite and authority",
    );
    let Some(regex) = regex else { return };
    let at = format_args!("{field}.uriRegexRewrite");
    report.require(
        rewrite.uri.is_empty(),
        at,
        "only one of uri and uriRegexRewrite may be set",
    );
    report.regex(format_args!("{at}.match"), &regex.r#match);
    report.require(
        !regex.rewrite.is_empty(),
        format_args!("{at}.rewrite"),
        "a replacement is needed",
    );
}

fn cors_policy(report: &mut Report<'_>, field: Arguments<'_>, cors: &CorsPolicy) {
    for (i, origin) in cors.allow_origins.iter().enumerate() {
        let at = format_args!("{field}.allowOrigins[{i}]");
        match &origin.kind {
            Some(StringMatchKind::Regex(expression)) => {
                report.regex(format_args!("{at}.regex"), expression);
            }
            Some(StringMatchKind::Exact(text) | StringMatchKind::Prefix(text))
                if !text.is_empty() => {}
            _ => report.error(
                at,
                "an origin needs one of exact, prefix and regex, not empty",
            ),
        }
    }
    for (i, method) in cors.allow_methods.iter().enumerate() {
        report.require(
            METHODS.contains(&method.as_str()),
            format_args!("{field}.allowMethods[{i}]"),
            format_args!("`{method}` is not a method: GET, HEAD, POST, PUT, PATCH, DELETE, CONNECT, OPTIONS, TRACE and `*` are"),
        );
    }
    for (name, list) in [
        ("allowHeaders", &cors.allow_headers),
        ("exposeHeaders", &cors.expose_headers),
    ] {
        for (i, header) in list.iter().enumerate() {
            // A star alone is a header's name as well.
            report.require(
                names::is_header_name(header),
                format_args!("{field}.{name}[{i}]"),
                format_args!("`{header}` is not a header's name or `*`"),
            );
        }
    }
    let at = format_args!("{field}.maxAge");
    let whole = cors.max_age.is_none_or(|age| age.subsec_nanos() <= 0);
    if report.passes(|report| values::duration(report, at, cors.max_age)) {
        report.require(whole, at, "the age must be in whole seconds");
    }
}
