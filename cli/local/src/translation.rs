//! From a Service's address to one of its ready pods: nftables rules in the mesh's network namespace, as kube-proxy would write.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::network::{self, NetworkError, SERVICE_RANGE};

/// Transport protocol of a Service's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One port of a Service with an address of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VirtualPort {
    /// The Service's address.
    pub address: Ipv4Addr,
    /// The Service's port.
    pub port: u16,
    /// Its protocol.
    pub transport: Transport,
    /// A client always gets the same pod (`sessionAffinity: ClientIP`).
    pub sticky: bool,
    /// Ready pods behind it.
    pub endpoints: Vec<SocketAddrV4>,
}

/// Puts these rules, and no others, in force in one step; connections that exist go on.
///
/// # Errors
/// [`NetworkError`] with what nft said.
pub(crate) async fn apply(ports: &[VirtualPort]) -> Result<(), NetworkError> {
    network::run("nft", &["-f", "-"], &ruleset(ports)).await
}

/// The whole table as an nft script that replaces the one in force.
#[must_use]
pub(crate) fn ruleset(ports: &[VirtualPort]) -> String {
    let mut translate = String::new();
    for port in ports.iter().filter(|p| !p.endpoints.is_empty()) {
        rule(&mut translate, port);
    }
    // What still goes to a Service's address after translation has no pod: refuse it at once, as kube-proxy does.
    let refuse = format!(
        "    ip daddr {SERVICE_RANGE} meta l4proto tcp reject with tcp reset\n    ip daddr {SERVICE_RANGE} reject\n"
    );
    let hairpin = hairpin(ports);
    let mut text = String::from("table ip lateen\ndelete table ip lateen\ntable ip lateen {\n");
    for (chain, hook, kind, priority, rules) in [
        ("pods", "prerouting", "nat", "dstnat", &translate),
        ("host", "output", "nat", "-100", &translate),
        ("hairpin", "postrouting", "nat", "srcnat", &hairpin),
        ("unserved", "forward", "filter", "filter", &refuse),
        ("unserved_host", "output", "filter", "filter", &refuse),
    ] {
        let _ = write!(
            text,
            "  chain {chain} {{\n    type {kind} hook {hook} priority {priority}; policy accept;\n{rules}  }}\n"
        );
    }
    text.push_str("}\n");
    text
}

/// A pod that is sent to itself must not see its own address as the sender's: it would answer past the translation.
fn hairpin(ports: &[VirtualPort]) -> String {
    let pods: BTreeSet<Ipv4Addr> = ports
        .iter()
        .flat_map(|p| p.endpoints.iter().map(|e| *e.ip()))
        .collect();
    if pods.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = pods.iter().map(|pod| format!("{pod} . {pod}")).collect();
    format!(
        "    ip saddr . ip daddr {{ {} }} masquerade\n",
        pairs.join(", ")
    )
}

fn rule(text: &mut String, port: &VirtualPort) {
    let transport = match port.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let count = port.endpoints.len();
    let choice = if port.sticky {
        format!("jhash ip saddr mod {count}")
    } else {
        format!("numgen random mod {count}")
    };
    let targets: Vec<String> = port
        .endpoints
        .iter()
        .enumerate()
        .map(|(i, e)| format!("{i} : {} . {}", e.ip(), e.port()))
        .collect();
    let _ = writeln!(
        text,
        "    ip daddr {} {transport} dport {} dnat ip to {choice} map {{ {} }}",
        port.address,
        port.port,
        targets.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(endpoints: &[&str], sticky: bool) -> VirtualPort {
        VirtualPort {
            address: Ipv4Addr::new(10, 96, 0, 10),
            port: 80,
            transport: Transport::Tcp,
            sticky,
            endpoints: endpoints
                .iter()
                .map(|e| e.parse().expect("address"))
                .collect(),
        }
    }

    #[test]
    fn ready_pods_share_a_services_address() {
        let text = ruleset(&[port(&["10.244.0.10:8080", "10.244.0.11:8080"], false)]);
        let rule = "ip daddr 10.96.0.10 tcp dport 80 dnat ip to numgen random mod 2 map { 0 : 10.244.0.10 . 8080, 1 : 10.244.0.11 . 8080 }";
        assert_eq!(
            text.matches(rule).count(),
            2,
            "for pods and for the supervisor: {text}"
        );
    }

    #[test]
    fn a_service_without_ready_pods_has_no_translation() {
        assert!(!ruleset(&[port(&[], false)]).contains("dport 80"));
    }

    #[test]
    fn affinity_hashes_the_client() {
        assert!(ruleset(&[port(&["10.244.0.10:80"], true)]).contains("jhash ip saddr mod 1"));
    }
}
