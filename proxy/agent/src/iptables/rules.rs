//! Options to rules. Nothing here touches the system.

use std::fmt::Write;
use std::net::IpAddr;

use super::options::{Cidrs, Mode, Options, Ports};

/// Which of the two tables of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `iptables`
    V4,
    /// `ip6tables`
    V6,
}

/// Our chains, in the order in which they are declared. Declaring one empties it.
const CHAINS: [&str; 4] = [
    "ISTIO_INBOUND",
    "ISTIO_REDIRECT",
    "ISTIO_IN_REDIRECT",
    "ISTIO_OUTPUT",
];

/// The input of `iptables-restore --noflush` for the table `nat`, given what `iptables-save -t nat` shows now: rules of
/// the built-in chains that are there already are not added again. `None` when mode or options ask for no rules at all.
#[must_use]
pub fn restore_input(options: &Options, family: Family, existing: &str) -> Option<String> {
    if options.mode == Mode::None {
        return None;
    }
    let mut out = String::from("*nat\n");
    for chain in CHAINS {
        let _ = writeln!(out, ":{chain} - [0:0]");
    }
    for rule in own_rules(options, family) {
        let _ = writeln!(out, "-A {rule}");
    }
    let here: Vec<&str> = existing.lines().map(str::trim).collect();
    for rule in jumps(options, family) {
        let line = format!("-A {rule}");
        if !here.contains(&line.as_str()) {
            let _ = writeln!(out, "{line}");
        }
    }
    out.push_str("COMMIT\n");
    Some(out)
}

/// Rules of our own chains, in order.
fn own_rules(options: &Options, family: Family) -> Vec<String> {
    let mut rules = vec![
        format!(
            "ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {}",
            options.outbound_port
        ),
        format!(
            "ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {}",
            options.inbound_port
        ),
    ];
    inbound(options, &mut rules);
    outbound(options, family, &mut rules);
    rules
}

/// Rules of built-in chains, in order and in the form in which `iptables-save` shows them.
fn jumps(options: &Options, family: Family) -> Vec<String> {
    let mut rules = Vec::new();
    for interface in &options.excluded_interfaces {
        rules.push(format!("PREROUTING -i {interface} -j RETURN"));
        rules.push(format!("OUTPUT -o {interface} -j RETURN"));
    }
    for interface in &options.virtual_interfaces {
        for cidr in of_family(&options.outbound_excluded, family) {
            rules.push(format!("PREROUTING -d {cidr} -i {interface} -j RETURN"));
        }
        match &options.outbound_cidrs {
            Cidrs::All => rules.push(format!("PREROUTING -i {interface} -j ISTIO_REDIRECT")),
            Cidrs::List(list) => {
                for cidr in of_family(list, family) {
                    rules.push(format!(
                        "PREROUTING -d {cidr} -i {interface} -j ISTIO_REDIRECT"
                    ));
                }
            }
        }
    }
    rules.push("PREROUTING -p tcp -j ISTIO_INBOUND".to_owned());
    rules.push("OUTPUT -p tcp -j ISTIO_OUTPUT".to_owned());
    rules
}

fn inbound(options: &Options, rules: &mut Vec<String>) {
    rules.push(format!(
        "ISTIO_INBOUND -p tcp --dport {} -j RETURN",
        options.tunnel_port
    ));
    match &options.inbound_ports {
        Ports::All => {
            for port in &options.inbound_excluded {
                rules.push(format!("ISTIO_INBOUND -p tcp --dport {port} -j RETURN"));
            }
            rules.push("ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT".to_owned());
        }
        Ports::List(ports) => {
            for port in ports {
                rules.push(format!(
                    "ISTIO_INBOUND -p tcp --dport {port} -j ISTIO_IN_REDIRECT"
                ));
            }
        }
    }
}

fn outbound(options: &Options, family: Family, rules: &mut Vec<String>) {
    let (probe_source, localhost) = match family {
        Family::V4 => ("127.0.0.6/32", "127.0.0.1/32"),
        Family::V6 => ("::6/128", "::1/128"),
    };
    // Ports that are left out come first: a call to itself by such a port must not turn up at the inbound side.
    for port in &options.outbound_ports_excluded {
        rules.push(format!("ISTIO_OUTPUT -p tcp --dport {port} -j RETURN"));
    }
    rules.push(format!("ISTIO_OUTPUT -o lo -s {probe_source} -j RETURN"));
    for owner in owners(options) {
        let tunnel = options.tunnel_port;
        rules.push(format!(
            "ISTIO_OUTPUT -o lo ! -d {localhost} -p tcp ! --dport {tunnel} {} -j ISTIO_IN_REDIRECT",
            owner.is
        ));
        rules.push(format!("ISTIO_OUTPUT -o lo {} -j RETURN", owner.is_not));
        rules.push(format!("ISTIO_OUTPUT {} -j RETURN", owner.is));
    }
    rules.push(format!("ISTIO_OUTPUT -d {localhost} -j RETURN"));
    for cidr in of_family(&options.outbound_excluded, family) {
        rules.push(format!("ISTIO_OUTPUT -d {cidr} -j RETURN"));
    }
    match &options.outbound_ports {
        Ports::All => rules.push("ISTIO_OUTPUT -p tcp -j ISTIO_REDIRECT".to_owned()),
        Ports::List(ports) => {
            for port in ports {
                rules.push(format!(
                    "ISTIO_OUTPUT -p tcp --dport {port} -j ISTIO_REDIRECT"
                ));
            }
        }
    }
    match &options.outbound_cidrs {
        Cidrs::All => rules.push("ISTIO_OUTPUT -p tcp -j ISTIO_REDIRECT".to_owned()),
        Cidrs::List(list) => {
            for cidr in of_family(list, family) {
                rules.push(format!("ISTIO_OUTPUT -d {cidr} -p tcp -j ISTIO_REDIRECT"));
            }
        }
    }
}

/// How the proxy's own packets are told from others.
struct Owner {
    is: String,
    is_not: String,
}

fn owners(options: &Options) -> Vec<Owner> {
    let one = |module: &str, flag: &str, id: u32| Owner {
        is: format!("-m {module} --{flag} {id}"),
        is_not: format!("-m {module} ! --{flag} {id}"),
    };
    if let Some(mark) = options.mark {
        return vec![one("mark", "mark", mark)];
    }
    let users = options
        .uids
        .iter()
        .map(|uid| one("owner", "uid-owner", *uid));
    users
        .chain(
            options
                .gids
                .iter()
                .map(|gid| one("owner", "gid-owner", *gid)),
        )
        .collect()
}

fn of_family(cidrs: &[(IpAddr, u8)], family: Family) -> impl Iterator<Item = String> {
    cidrs
        .iter()
        .filter(move |(address, _)| address.is_ipv4() == (family == Family::V4))
        .map(|(address, length)| format!("{address}/{length}"))
}

#[cfg(test)]
mod tests;
