//! Rules on single values.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;

use super::report::Report;
use crate::host::{is_any_case_label, is_wildcard, is_wildcard_domain};
use crate::labels;
use crate::networking::{Destination, Percent, StringMatch, StringMatchKind};
use crate::proto::Duration;
use crate::protocol::Protocol;

/// A port, 1..65535.
pub(super) fn port(report: &mut Report<'_>, field: impl Display, number: u32) {
    report.require(
        (1..=65535).contains(&number),
        field,
        format_args!("{number} is not a port: 1 to 65535 are"),
    );
}

/// A duration of at least a millisecond, in whole milliseconds.
pub(super) fn duration(report: &mut Report<'_>, field: impl Display, duration: Option<Duration>) {
    let Some(duration) = duration else { return };
    if duration.as_nanos() < 1_000_000 {
        report.error(
            field,
            format_args!(
                "{duration} is too short: at least 1ms (leave the field out for the default)"
            ),
        );
    } else if duration.as_nanos() % 1_000_000 != 0 {
        report.error(
            field,
            format_args!("{duration} is not in whole milliseconds"),
        );
    }
}

/// A share in percent.
pub(super) fn percent(report: &mut Report<'_>, field: impl Display, percent: Option<&Percent>) {
    let Some(percent) = percent else { return };
    let fits = percent.value == 0.0 || (0.0001..=100.0).contains(&percent.value);
    report.require(
        fits,
        format_args!("{field}.value"),
        format_args!(
            "{} is not a share in percent: 0, or 0.0001 to 100",
            percent.value
        ),
    );
}

/// A number that is not negative.
pub(super) fn not_negative(report: &mut Report<'_>, field: impl Display, number: i32) {
    report.require(number >= 0, field, format_args!("{number} is negative"));
}

/// A number of percents, 0 to 100.
pub(super) fn int_percent(report: &mut Report<'_>, field: impl Display, number: i32) {
    report.require(
        (0..=100).contains(&number),
        field,
        format_args!("{number} is not a number of percents: 0 to 100 are"),
    );
}

/// A condition on a text.
pub(super) fn string_match(report: &mut Report<'_>, field: impl Display, condition: &StringMatch) {
    match &condition.kind {
        Some(StringMatchKind::Prefix(prefix)) if prefix.is_empty() => {
            report.error(format_args!("{field}.prefix"), "a prefix cannot be empty");
        }
        Some(StringMatchKind::Regex(expression)) => {
            report.regex(format_args!("{field}.regex"), expression)
        }
        _ => {}
    }
}

/// Where traffic goes.
pub(super) fn destination(
    report: &mut Report<'_>,
    field: impl Display,
    destination: Option<&Destination>,
) {
    let Some(destination) = destination else {
        return report.error(field, "a destination is needed");
    };
    let host = format_args!("{field}.host");
    if destination.host.is_empty() {
        report.error(host, "a destination needs a host");
    } else if destination.host == "*" || !is_wildcard_domain(&destination.host) {
        report.error(
            host,
            format_args!("`{}` is not a host to send requests to", destination.host),
        );
    }
    if !destination.subset.is_empty() && !is_any_case_label(&destination.subset) {
        report.error(
            format_args!("{field}.subset"),
            format_args!("`{}` is not a subset's name", destination.subset),
        );
    }
    if let Some(selector) = &destination.port {
        port(report, format_args!("{field}.port.number"), selector.number);
    }
}

/// The weights of destinations: none negative, and of several not all 0.
pub(super) fn weights(report: &mut Report<'_>, field: impl Display, weights: &[i32]) {
    for (i, weight) in weights.iter().enumerate() {
        not_negative(report, format_args!("{field}[{i}].weight"), *weight);
    }
    let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    report.require(
        weights.len() < 2 || total != 0,
        &field,
        "of several destinations at least one needs a weight above 0",
    );
    report.require(
        total <= i64::from(u32::MAX),
        field,
        "the weights are too large together",
    );
}

/// Labels.
pub(super) fn label_map(
    report: &mut Report<'_>,
    field: impl Display,
    map: &BTreeMap<String, String>,
) {
    for (key, value) in map {
        report.require(
            labels::is_key(key),
            &field,
            format_args!("`{key}` is not a label"),
        );
        report.require(
            labels::is_value(value),
            &field,
            format_args!("`{value}` is not a label's value"),
        );
    }
}

/// Labels that select.
pub(super) fn selector(
    report: &mut Report<'_>,
    field: impl Display,
    map: &BTreeMap<String, String>,
) {
    for (key, value) in map {
        let plain = !key.is_empty() && !key.contains('*') && !value.contains('*');
        report.require(
            plain,
            &field,
            format_args!("`{key}: {value}` does not select: no `*` and no empty key here"),
        );
    }
}

/// The namespaces that see an object. `hidden` says whether `~`, nobody, is allowed.
pub(super) fn export_to(report: &mut Report<'_>, namespaces: &[String], hidden: bool) {
    let field = "spec.exportTo";
    for (i, name) in namespaces.iter().enumerate() {
        let at = format_args!("{field}[{i}]");
        let same = |other: &String| other == name || (other == "." && name == report.namespace());
        if namespaces[..i].iter().any(same) {
            report.error(at, format_args!("`{name}` is given twice"));
        }
        match name.as_str() {
            "." => {}
            "*" => report.require(namespaces.len() == 1, at, "`*` stands alone"),
            "~" if hidden => report.require(namespaces.len() == 1, at, "`~` stands alone"),
            name => report.require(
                is_any_case_label(name),
                at,
                format_args!("`{name}` is not a namespace, `.` or `*`"),
            ),
        }
    }
}

/// The protocol of a port, in a place where none (sniffing) may or may not be given.
pub(super) fn protocol(
    report: &mut Report<'_>,
    field: impl Display,
    name: &str,
    may_be_empty: bool,
) -> Protocol {
    let protocol = Protocol::parse(name);
    if name.is_empty() {
        report.require(
            may_be_empty,
            field,
            "a port needs a protocol here, such as HTTP, HTTPS, GRPC, TLS or TCP",
        );
    } else if protocol.is_unsupported() {
        report.error(field, format_args!("unknown protocol `{name}`: HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, UDP, MONGO, REDIS and MYSQL are known"));
    }
    protocol
}

/// An address without a port.
pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// An address or a range.
pub(super) fn is_ip_or_range(text: &str) -> bool {
    is_ip(text) || text.parse::<ipnet::IpNet>().is_ok()
}

/// An absolute path to a socket behind `unix://`, or an abstract socket.
pub(super) fn is_unix(text: &str) -> bool {
    text.strip_prefix("unix://").is_some_and(|path| {
        path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/'))
    })
}

/// The host of a VirtualService or a server: a name, a wildcard or an address.
pub(super) fn host(report: &mut Report<'_>, field: impl Display, host: &str) {
    let fits = is_wildcard_domain(host) || is_ip(host);
    report.require(
        fits,
        field,
        format_args!("`{host}` is not a host name, a wildcard or an address"),
    );
}

/// The host part of a Gateway's or Sidecar's entry: `*`, `*.x`, or a name.
pub(super) fn scoped_host(host: &str) -> bool {
    host == "*"
        || (is_wildcard_domain(host)
            && host.contains('.')
            && (!is_wildcard(host) || host.starts_with("*.")))
}

/// A header's name as matches and changes of headers take it (RFC 9110 token).
pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
