//! What annotations may say (contract/inject.md §3, Validation). Only pods that are to be injected are checked.

use std::fmt;

use ipnet::IpNet;

use crate::names;
use crate::pod::PodObject;
use crate::quantity;

/// An annotation whose value is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The annotation.
    pub key: String,
    /// Its value as given.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "invalid value '{}' for annotation '{}': {}",
            self.value, self.key, self.reason
        )
    }
}

type Check = fn(&str) -> Result<(), String>;

const CHECKS: [(&str, Check); 19] = [
    (names::INTERCEPTION_MODE, interception_mode),
    (names::INCLUDE_OUTBOUND_RANGES, |text| {
        if text == "*" {
            Ok(())
        } else {
            ranges("includeIPRanges", text)
        }
    }),
    (names::EXCLUDE_OUTBOUND_RANGES, |text| {
        ranges("excludeIPRanges", text)
    }),
    (names::INCLUDE_INBOUND_PORTS, |text| {
        if text == "*" {
            Ok(())
        } else {
            ports("includeInboundPorts", text)
        }
    }),
    (names::EXCLUDE_INBOUND_PORTS, |text| {
        ports("excludeInboundPorts", text)
    }),
    (names::EXCLUDE_OUTBOUND_PORTS, |text| {
        ports("excludeOutboundPorts", text)
    }),
    (names::STATUS_PORT, |text| {
        port(text).map_err(|reason| format!("excludeInboundPorts invalid: {reason}"))
    }),
    (names::READINESS_INITIAL_DELAY, count),
    (names::READINESS_PERIOD, count),
    (names::READINESS_FAILURES, count),
    (names::EXCLUDE_INTERFACES, interfaces),
    (names::KUBEVIRT_INTERFACES, interfaces),
    (names::REROUTE_INTERFACES, interfaces),
    (names::MERGE_METRICS, flag),
    (names::PROXY_CPU, amount),
    (names::PROXY_MEMORY, amount),
    (names::PROXY_CPU_LIMIT, amount),
    (names::PROXY_MEMORY_LIMIT, amount),
    (names::PROXY_CONFIG, crate::proxy_config::check_annotation),
];

/// Every annotation that is not accepted, in the order of the annotations' names.
pub(crate) fn faults(pod: &PodObject) -> Vec<Fault> {
    let mut found: Vec<Fault> = pod
        .annotations()
        .filter_map(|(key, value)| {
            let (_, check) = CHECKS.iter().find(|(known, _)| *known == key)?;
            let reason = check(value).err()?;
            Some(Fault {
                key: key.to_owned(),
                value: value.to_owned(),
                reason,
            })
        })
        .collect();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

/// A bool as Go reads it.
pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn interception_mode(text: &str) -> Result<(), String> {
    match text {
        "REDIRECT" | "TPROXY" | "NONE" => Ok(()),
        _ => Err(format!(
            "interceptionMode invalid, use REDIRECT,TPROXY,NONE: {text}"
        )),
    }
}

fn ranges(name: &str, text: &str) -> Result<(), String> {
    for range in text.split(',').filter(|_| !text.is_empty()) {
        if let Err(reason) = range.parse::<IpNet>() {
            return Err(format!(
                "{name} invalid: failed parsing cidr '{range}': {reason}"
            ));
        }
    }
    Ok(())
}

fn ports(name: &str, text: &str) -> Result<(), String> {
    for one in text.split(',').filter(|_| !text.is_empty()) {
        port(one.trim()).map_err(|reason| format!("{name} invalid: {reason}"))?;
    }
    Ok(())
}

fn port(text: &str) -> Result<(), String> {
    text.parse::<u16>()
        .map(drop)
        .map_err(|reason| format!("failed parsing port '{text}': {reason}"))
}

fn count(text: &str) -> Result<(), String> {
    text.parse::<u32>()
        .map(drop)
        .map_err(|reason| format!("failed parsing number '{text}': {reason}"))
}

fn flag(text: &str) -> Result<(), String> {
    parse_flag(text)
        .map(drop)
        .ok_or_else(|| format!("failed parsing bool '{text}': expected true or false"))
}

fn interfaces(text: &str) -> Result<(), String> {
    text.split(',')
        .filter(|_| !text.is_empty())
        .map(str::trim)
        .try_for_each(interface)
}

fn interface(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("empty interface name".to_owned());
    }
    if name.len() > 15 {
        return Err(format!("interface name \"{name}\" too long (max 15 chars)"));
    }
    let rest_ok = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !rest_ok || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(format!(
            "interface name \"{name}\" contains invalid characters"
        ));
    }
    Ok(())
}

fn amount(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        return Err("value contains control characters".to_owned());
    }
    quantity::canonical(text).map(drop).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reason(key: &str, value: &str) -> Option<String> {
        let pod = json!({"metadata": {"annotations": {key: value}}});
        let found = faults(&PodObject(pod.as_object().cloned().unwrap_or_default()));
        found.first().map(|fault| fault.reason.clone())
    }

    fn check(cases: &[(&str, &str, Option<&str>)]) {
        for &(key, value, expected) in cases {
            match (reason(key, value), expected) {
                (None, None) => {}
                (Some(said), Some(start)) => {
                    assert!(said.starts_with(start), "{key}={value}: {said}");
                }
                (said, _) => panic!("{key}={value}: {said:?}"),
            }
        }
    }

    #[test]
    fn redirection_is_accepted_or_refused_with_the_reason() {
        check(&[
            (names::INTERCEPTION_MODE, "TPROXY", None),
            (
                names::INTERCEPTION_MODE,
                "tproxy",
                Some("interceptionMode invalid, use REDIRECT,TPROXY,NONE: tproxy"),
            ),
            (names::INCLUDE_OUTBOUND_RANGES, "*", None),
            (names::INCLUDE_OUTBOUND_RANGES, "10.0.0.1/8,fd00::/8", None),
            (
                names::INCLUDE_OUTBOUND_RANGES,
                "10.0.0.0/8, 1.0.0.0/8",
                Some("includeIPRanges invalid: failed parsing cidr ' 1.0.0.0/8': "),
            ),
            (
                names::EXCLUDE_OUTBOUND_RANGES,
                "*",
                Some("excludeIPRanges invalid: failed parsing cidr '*': "),
            ),
            (
                names::EXCLUDE_OUTBOUND_RANGES,
                "10.0.0.0",
                Some("excludeIPRanges invalid: failed parsing cidr '10.0.0.0': "),
            ),
            (names::INCLUDE_INBOUND_PORTS, "*", None),
            (names::INCLUDE_INBOUND_PORTS, "80, 0,65535", None),
            (
                names::EXCLUDE_INBOUND_PORTS,
                "65536",
                Some("excludeInboundPorts invalid: failed parsing port '65536': "),
            ),
            (
                names::EXCLUDE_OUTBOUND_PORTS,
                "a",
                Some("excludeOutboundPorts invalid: failed parsing port 'a': "),
            ),
            (
                names::STATUS_PORT,
                "",
                Some("excludeInboundPorts invalid: failed parsing port '': "),
            ),
        ]);
    }

    #[test]
    fn numbers_names_and_amounts_are_accepted_or_refused_with_the_reason() {
        check(&[
            (
                names::READINESS_PERIOD,
                "-1",
                Some("failed parsing number '-1': "),
            ),
            (names::EXCLUDE_INTERFACES, "eth0, net1.2", None),
            (
                names::EXCLUDE_INTERFACES,
                "eth0,",
                Some("empty interface name"),
            ),
            (
                names::KUBEVIRT_INTERFACES,
                "a-very-long-name-x",
                Some("interface name \"a-very-long-name-x\" too long (max 15 chars)"),
            ),
            (
                names::REROUTE_INTERFACES,
                "0eth",
                Some("interface name \"0eth\" contains invalid characters"),
            ),
            (names::MERGE_METRICS, "T", None),
            (
                names::MERGE_METRICS,
                "yes",
                Some("failed parsing bool 'yes'"),
            ),
            (names::PROXY_CPU, "", Some("quantities must match")),
            (
                names::PROXY_MEMORY,
                "1\n",
                Some("value contains control characters"),
            ),
            (names::INCLUDE_OUTBOUND_PORTS, "whatever", None),
        ]);
    }
}
