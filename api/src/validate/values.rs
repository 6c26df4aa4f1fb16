//! Rules on single values.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr};

use super::report::{Key, Report};
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

/// A share in percent without a least one: 0 to 100.
pub(super) fn share(report: &mut Report<'_>, field: impl Display, percent: Option<&Percent>) {
    let Some(percent) = percent else { return };
    report.require(
        (0.0..=100.0).contains(&percent.value),
        format_args!("{field}.value"),
        format_args!("{} is not a share in percent: 0 to 100", percent.value),
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

/// Where a route sends traffic; of one that was `translated` from another it is only known to be there.
pub(super) fn route_destination(
    report: &mut Report<'_>,
    field: impl Display,
    to: Option<&Destination>,
    translated: bool,
) {
    if !translated || to.is_none() {
        destination(report, field, to);
    }
}

/// The weights of destinations: none negative, and of several not all 0.
pub(super) fn weights(
    report: &mut Report<'_>,
    field: impl Display,
    weights: impl Iterator<Item = i32>,
) {
    let (mut count, mut total) = (0, 0);
    for weight in weights {
        not_negative(report, format_args!("{field}[{count}].weight"), weight);
        count += 1;
        total += i64::from(weight);
    }
    report.require(
        count < 2 || total != 0,
        field,
        "of several destinations at least one needs a weight above 0",
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
            format_args!("{field}{}", Key(key)),
            format_args!(
                "`{key}` is not a label: [prefix/]name, of letters, digits, `-`, `_` and `.`"
            ),
        );
        report.require(
            labels::is_value(value),
            format_args!("{field}{}", Key(key)),
            format_args!("`{value}` is not a label's value: letters, digits, `-`, `_` and `.`, with a letter or digit at each end"),
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
    let mut seen = HashSet::new();
    for (i, name) in namespaces.iter().enumerate() {
        let at = format_args!("spec.exportTo[{i}]");
        let meant = match name.as_str() {
            "." => report.namespace(),
            name => name,
        };
        if !seen.insert(meant) {
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

/// An address without a port: IPv4 without leading zeros, or IPv6, perhaps with a zone.
pub(super) fn is_ip(text: &str) -> bool {
    match text.split_once('%') {
        None => text.parse::<IpAddr>().is_ok(),
        Some((address, zone)) => !zone.is_empty() && address.parse::<Ipv6Addr>().is_ok(),
    }
}

/// An address or a range `address/length`, which may have bits beyond its length but no zone.
pub(super) fn is_ip_or_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return is_ip(text);
    };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    let plain = length.bytes().all(|byte| byte.is_ascii_digit())
        && (length.len() == 1 || !length.starts_with('0'));
    plain && length.parse::<u8>().is_ok_and(|length| length <= longest)
}

/// An absolute path to a socket behind `unix://`, or an abstract socket.
pub(super) fn is_unix(text: &str) -> bool {
    text.strip_prefix("unix://").is_some_and(|path| {
        path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/'))
    })
}

/// The host part of a Gateway's or Sidecar's entry: `*`, `*.x`, or a name.
pub(super) fn scoped_host(host: &str) -> bool {
    host == "*"
        || (is_wildcard_domain(host)
            && host.contains('.')
            && (!is_wildcard(host) || host.starts_with("*.")))
}
