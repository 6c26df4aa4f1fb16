//! Rules on answers that a route gives itself.

use std::fmt::Arguments;

use super::report::Report;
use crate::networking::{
    HttpBodyContent, HttpDirectResponse, HttpRedirect, HttpRoute, RedirectPort, StringMatchKind,
};

/// The largest body of a fixed response, and the largest without a warning.
const BODY_LIMIT: usize = 1024 * 1024;
const LARGE_BODY: usize = 100 * 1024;

/// The status of an answer. 600 passes too, as it does elsewhere.
pub(super) fn status_in_range(report: &mut Report<'_>, field: Arguments<'_>, status: i64) {
    report.require(
        (200..=600).contains(&status),
        field,
        format_args!("{status} is not the status of an answer: 200 to 599 are"),
    );
}

/// A redirect as the answer, of a route whose matches it may depend on.
pub(super) fn redirection(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    redirect: &HttpRedirect,
    route: &HttpRoute,
) {
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
        format_args!("{field}.redirectCode"),
        format_args!("{code} is not the status of a redirect: 300 to 399 are"),
    );
    let scheme = &redirect.scheme;
    report.require(
        ["", "http", "https"].contains(&scheme.as_str()),
        format_args!("{field}.scheme"),
        format_args!("`{scheme}` is not a scheme: http and https are"),
    );
    if let Some(RedirectPort::Port(number)) = redirect.redirect_port {
        report.require(
            number <= 65535,
            format_args!("{field}.port"),
            format_args!("{number} is not a port: 1 to 65535 are"),
        );
    }
    if redirect.prefix_rewrite.is_empty() {
        return;
    }
    let at = format_args!("{field}.prefixRewrite");
    report.require(
        redirect.uri.is_empty(),
        at,
        "only one of uri and prefixRewrite may be set",
    );
    let mut uris = route.r#match.iter().filter_map(|all| all.uri.as_ref());
    report.require(
        uris.all(|uri| matches!(uri.kind, Some(StringMatchKind::Prefix(_)))),
        at,
        "each uri that the route matches must be a prefix",
    );
}

/// A fixed response as the answer.
pub(super) fn direct_response(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    response: &HttpDirectResponse,
) {
    let at = format_args!("{field}.status");
    status_in_range(report, at, i64::from(response.status));
    let content = response.body.as_ref().map(|body| &body.specifier);
    let length = match content {
        Some(Some(HttpBodyContent::Text(text))) => text.len(),
        Some(Some(HttpBodyContent::Bytes(bytes))) => bytes.0.len(),
        Some(None) | None => 0,
    };
    let at = format_args!("{field}.body");
    if length > BODY_LIMIT {
        report.error(at, "a body can have 1 MiB at most");
    } else if length > LARGE_BODY {
        report.warning(
            at,
            "a body of more than 100 KiB slows the control plane down",
        );
    }
}
