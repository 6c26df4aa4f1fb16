//! What annotations may hold. Injection refuses a pod whose annotations hold anything else.

use ipnet::IpNet;
use lateen_api::labels::annotation;
use lateen_api::mesh::{ProxyConfig, parse_proxy_config};

/// Tells why a value cannot be used.
pub(super) type Validator = fn(&str) -> Result<(), String>;

/// What checks the values of an annotation; `None` for one that may hold anything.
pub(super) fn validator(name: &str) -> Option<Validator> {
    Some(match name {
        annotation::INTERCEPTION_MODE => interception_mode,
        annotation::INCLUDE_OUTBOUND_IP_RANGES => |text| all_or(text, ranges),
        annotation::EXCLUDE_OUTBOUND_IP_RANGES => ranges,
        annotation::INCLUDE_INBOUND_PORTS => |text| all_or(text, ports),
        annotation::EXCLUDE_INBOUND_PORTS | annotation::EXCLUDE_OUTBOUND_PORTS => ports,
        annotation::STATUS_PORT => port,
        annotation::READINESS_INITIAL_DELAY
        | annotation::READINESS_PERIOD
        | annotation::READINESS_FAILURE_THRESHOLD => count,
        annotation::EXCLUDE_INTERFACES
        | annotation::KUBEVIRT_INTERFACES
        | annotation::REROUTE_VIRTUAL_INTERFACES => interfaces,
        annotation::MERGE_METRICS => flag,
        annotation::PROXY_CPU
        | annotation::PROXY_CPU_LIMIT
        | annotation::PROXY_MEMORY
        | annotation::PROXY_MEMORY_LIMIT => quantity,
        annotation::PROXY_CONFIG => proxy_config,
        _ => return None,
    })
}

fn interception_mode(text: &str) -> Result<(), String> {
    if matches!(text, "REDIRECT" | "TPROXY" | "NONE") {
        Ok(())
    } else {
        Err("write REDIRECT, TPROXY or NONE".to_owned())
    }
}

fn all_or(text: &str, validate: Validator) -> Result<(), String> {
    if text == "*" { Ok(()) } else { validate(text) }
}

/// The parts of a list; an empty text is an empty list.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.is_empty())
}

fn ranges(text: &str) -> Result<(), String> {
    parts(text).try_for_each(|range| match range.parse::<IpNet>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "`{range}` is not a range of addresses such as 10.0.0.0/8"
        )),
    })
}

fn ports(text: &str) -> Result<(), String> {
    parts(text).try_for_each(|one| port(one.trim()))
}

fn port(text: &str) -> Result<(), String> {
    if is_number(text) && text.parse::<u16>().is_ok() {
        Ok(())
    } else {
        Err(format!("`{text}` is not a port from 0 to 65535"))
    }
}

fn count(text: &str) -> Result<(), String> {
    if is_number(text) && text.parse::<u32>().is_ok() {
        Ok(())
    } else {
        Err(format!(
            "`{text}` is not a whole number from 0 to {}",
            u32::MAX
        ))
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn flag(text: &str) -> Result<(), String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false"
        | "False" => Ok(()),
        _ => Err("write true or false".to_owned()),
    }
}

fn interfaces(text: &str) -> Result<(), String> {
    parts(text).map(str::trim).try_for_each(|name| {
        let letters = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
        if starts && letters && name.len() <= 15 {
            return Ok(());
        }
        Err(format!(
            "`{name}` is not a network interface: a name has a letter and up to 14 letters, digits, `_`, `.` and `-` behind it"
        ))
    })
}

/// An amount of a resource: a number with a unit of thousands, of 1024s, or a power of ten.
fn quantity(text: &str) -> Result<(), String> {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = number
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(number.len());
    let (number, unit) = number.split_at(end);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits > 0 && number.len() - digits <= 1;
    let exponent = unit.strip_prefix(['e', 'E']);
    let is_unit = matches!(
        unit,
        "" | "n"
            | "u"
            | "m"
            | "k"
            | "M"
            | "G"
            | "T"
            | "P"
            | "E"
            | "Ki"
            | "Mi"
            | "Gi"
            | "Ti"
            | "Pi"
            | "Ei"
    ) || exponent.is_some_and(|exponent| exponent.parse::<i16>().is_ok());
    if is_number && is_unit {
        Ok(())
    } else {
        Err("write an amount such as 100m, 2 or 128Mi".to_owned())
    }
}

fn proxy_config(text: &str) -> Result<(), String> {
    let (config, _) = parse_proxy_config("", text, &ProxyConfig::default()).map_err(|problem| {
        match problem.field {
            Some(field) => format!("{field}: {}", problem.message),
            None => problem.message,
        }
    })?;
    for (name, port) in [
        ("proxyAdminPort", config.proxy_admin_port),
        ("statusPort", config.status_port),
    ] {
        if !(1..=65535).contains(&port) {
            return Err(format!("{name}: {port} is not a port from 1 to 65535"));
        }
    }
    for (name, duration) in [
        ("drainDuration", config.drain_duration),
        (
            "terminationDrainDuration",
            config.termination_drain_duration,
        ),
    ] {
        let whole = duration.is_none_or(|span| span.as_nanos() > 0 && span.subsec_nanos() == 0);
        if !whole {
            return Err(format!("{name}: write a whole number of seconds above 0"));
        }
    }
    let address = &config.discovery_address;
    let port = address
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    if matches!(port, Some(Ok(1..))) {
        Ok(())
    } else {
        Err(format!(
            "discoveryAddress: `{address}` is not a host and a port"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_accepted_or_refused() {
        for (name, good, bad) in [
            (
                annotation::INTERCEPTION_MODE,
                &["TPROXY"][..],
                &["tproxy", ""][..],
            ),
            (
                annotation::INCLUDE_OUTBOUND_IP_RANGES,
                &["*", "", "10.0.0.1/8,fd00::/8"],
                &["10.0.0.0", "10.0.0.0/8, 1.0.0.0/8"],
            ),
            (
                annotation::EXCLUDE_OUTBOUND_IP_RANGES,
                &["", "10.0.0.0/8"],
                &["*"],
            ),
            (
                annotation::INCLUDE_INBOUND_PORTS,
                &["*", "", "80, 0,65535"],
                &["a", "+1"],
            ),
            (
                annotation::EXCLUDE_INBOUND_PORTS,
                &["", "80"],
                &["*", "65536"],
            ),
            (annotation::EXCLUDE_OUTBOUND_PORTS, &["1,2"], &["1,,2"]),
            (annotation::STATUS_PORT, &["15020"], &["", "-1"]),
            (annotation::READINESS_INITIAL_DELAY, &["0"], &["1.5"]),
            (
                annotation::READINESS_PERIOD,
                &["4294967295"],
                &["4294967296"],
            ),
            (annotation::READINESS_FAILURE_THRESHOLD, &["30"], &["many"]),
            (
                annotation::EXCLUDE_INTERFACES,
                &["", "eth0, net1.2"],
                &["eth0,", "0eth"],
            ),
            (
                annotation::KUBEVIRT_INTERFACES,
                &["net1"],
                &["a-very-long-name-x"],
            ),
            (annotation::REROUTE_VIRTUAL_INTERFACES, &["net1"], &["a b"]),
            (annotation::MERGE_METRICS, &["T", "false"], &["yes"]),
            (
                annotation::PROXY_CPU,
                &["100m", ".5", "2", "1e3", "1E-3"],
                &["", "m", "1.2.3", "1 Gi", "1e", "."],
            ),
            (annotation::PROXY_CPU_LIMIT, &["2"], &["two"]),
            (annotation::PROXY_MEMORY, &["1.5Gi"], &["1gi"]),
            (annotation::PROXY_MEMORY_LIMIT, &["128Mi"], &["128MB"]),
            (
                annotation::PROXY_CONFIG,
                &["", "discoveryAddress: istiod.x.svc:15012\nunknown: 1"],
                &[
                    "concurrency: many",
                    "statusPort: 0",
                    "drainDuration: 1.5s",
                    "discoveryAddress: istiod",
                    "a: [b",
                ],
            ),
        ] {
            let validate = validator(name).expect(name);
            for value in good {
                assert_eq!(validate(value), Ok(()), "{name}={value}");
            }
            for value in bad {
                assert!(validate(value).is_err(), "{name}={value}");
            }
        }
        assert!(validator(annotation::INCLUDE_OUTBOUND_PORTS).is_none());
    }
}
