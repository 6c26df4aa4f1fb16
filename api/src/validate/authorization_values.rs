//! Rules on the values and attributes of an AuthorizationPolicy's rules.

use std::fmt::Display;

use super::report::Report;
use super::values;

/// What the values of a condition are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// Any text.
    Text,
    /// Addresses or ranges.
    Address,
    /// Ports.
    Port,
    /// Service accounts, perhaps with their namespace.
    ServiceAccount,
    /// Trust domains.
    TrustDomain,
}

/// What the values of an attribute are, or why it is none.
pub(super) fn condition(key: &str) -> Result<Condition, &'static str> {
    const MAPS: [&str; 3] = [
        "request.headers",
        "request.auth.claims",
        "experimental.envoy.filters.",
    ];
    if MAPS.iter().any(|prefix| key.starts_with(prefix)) {
        let named = key
            .strip_suffix(']')
            .and_then(|key| key.split_once('['))
            .is_some_and(|(_, name)| !name.is_empty());
        return if named {
            Ok(Condition::Text)
        } else {
            Err("names no entry: write it as `a[b]`")
        };
    }
    match key {
        "source.ip" | "remote.ip" | "destination.ip" => Ok(Condition::Address),
        "destination.port" => Ok(Condition::Port),
        "source.serviceAccount" => Ok(Condition::ServiceAccount),
        "source.trustDomain" => Ok(Condition::TrustDomain),
        "source.namespace"
        | "source.principal"
        | "request.auth.principal"
        | "request.auth.audiences"
        | "request.auth.presenter"
        | "connection.sni" => Ok(Condition::Text),
        "destination.namespace" => {
            Err("is not an attribute: a policy counts in its own namespace, so put it there")
        }
        "destination.name" | "destination.user" => {
            Err("is not an attribute any more: name the workloads with the policy's selector")
        }
        key if key.starts_with("destination.labels") => {
            Err("is not an attribute: name the workloads with the policy's selector")
        }
        _ => Err("is not a known attribute"),
    }
}

/// Whether an attribute says nothing of who sends a request, so that CUSTOM can use it.
pub(super) fn asks_no_identity(key: &str) -> bool {
    !key.starts_with("request.auth.")
        && !matches!(
            key,
            "source.namespace"
                | "source.serviceAccount"
                | "source.trustDomain"
                | "source.principal"
        )
}

/// No empty text.
pub(super) fn not_empty(report: &mut Report<'_>, field: impl Display, list: &[String]) {
    for (i, text) in list.iter().enumerate() {
        report.require(
            !text.is_empty(),
            format_args!("{field}[{i}]"),
            "is empty: give a value (`*` for any that is there), or take it out",
        );
    }
}

/// Texts with their indexes, without the empty ones, which are faults of their own.
fn filled(list: &[String]) -> impl Iterator<Item = (usize, &str)> {
    list.iter()
        .map(String::as_str)
        .enumerate()
        .filter(|(_, text)| !text.is_empty())
}

/// Addresses or ranges.
pub(super) fn addresses(report: &mut Report<'_>, field: impl Display, list: &[String]) {
    for (i, text) in filled(list) {
        report.require(
            values::is_ip_or_range(text),
            format_args!("{field}[{i}]"),
            format_args!("`{text}` is neither an address nor a range such as 10.0.0.0/8"),
        );
    }
}

/// Ports as text; 0 is one here.
pub(super) fn ports(report: &mut Report<'_>, field: impl Display, list: &[String]) {
    for (i, text) in filled(list) {
        let number = text
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse::<u16>().is_ok());
        report.require(
            number == Some(true),
            format_args!("{field}[{i}]"),
            format_args!("`{text}` is not a port: 0 to 65535 are"),
        );
    }
}

/// Service accounts, with their namespace or without.
pub(super) fn service_accounts(report: &mut Report<'_>, field: impl Display, list: &[String]) {
    report.require(
        list.len() <= 16,
        &field,
        format_args!("has {} service accounts, 16 are allowed", list.len()),
    );
    for (i, text) in filled(list) {
        let at = format_args!("{field}[{i}]");
        report.require(
            text.chars().count() <= 320,
            at,
            "is longer than 320 characters",
        );
        if text.contains('*') {
            report.error(
                at,
                format_args!("`{text}` has a `*`, which has no meaning here"),
            );
            continue;
        }
        let parts = text.split('/').count();
        let fits = parts <= 2 && text.split('/').all(|part| !part.is_empty());
        report.require(
            fits,
            at,
            format_args!("`{text}` is neither `account` nor `namespace/account`"),
        );
    }
}

/// Trust domains, at most one `*` at one end.
pub(super) fn trust_domains(report: &mut Report<'_>, field: impl Display, list: &[String]) {
    for (i, text) in filled(list) {
        let at = format_args!("{field}[{i}]");
        report.require(
            !text.contains('/'),
            at,
            format_args!("`{text}` has a `/`: give the trust domain alone"),
        );
        let inside = text
            .strip_prefix('*')
            .or(text.strip_suffix('*'))
            .unwrap_or(text);
        report.require(
            !inside.contains('*'),
            at,
            format_args!("`{text}`: one `*` is allowed, at the beginning or the end"),
        );
    }
}

/// Paths, which may be templates.
pub(super) fn paths(report: &mut Report<'_>, field: impl Display, list: &[String]) {
    for (i, text) in filled(list) {
        if let Err(reason) = path(text) {
            report.error(
                format_args!("{field}[{i}]"),
                format_args!("`{text}` {reason}"),
            );
        }
    }
}

const ONE: &str = "{*}";
const REST: &str = "{**}";

fn path(text: &str) -> Result<(), &'static str> {
    let segments = || text.trim_matches('/').split('/');
    let mut rest_before = false;
    for segment in segments() {
        if segment == ONE || segment == REST {
            if rest_before {
                return Err("has a template after `{**}`: only fixed text may follow it");
            }
            rest_before = segment == REST;
        } else if segment.contains(['{', '}']) {
            return Err(
                "has a brace that belongs to no template: only `{*}` and `{**}` as whole segments are known",
            );
        }
    }
    let is_template = segments().any(|segment| segment == ONE || segment == REST);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte);
    let fits = segments().all(|segment| {
        segment == ONE || segment == REST || (!segment.is_empty() && segment.bytes().all(plain))
    });
    if is_template && !fits {
        return Err("is a template, in which each other segment is fixed text without `*`");
    }
    Ok(())
}
