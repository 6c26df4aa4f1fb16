//! Which filter chain takes a connection: the conditions of all chains compiled into nested tables.
//!
//! Envoy's order: destination port, destination address, server name, transport, application protocol, address of the
//! socket's other end, whether that is this host, source address, source port. At each step the most specific entry that
//! fits is taken and the others are out, also when nothing below it fits: a look-up walks down once and allocates nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::address::OriginalDst;
use crate::lookup::{Exact, Prefixes};

/// Condition of a filter chain; empty parts hold for every connection. Envoy's `FilterChainMatch`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChainMatch {
    /// Original destination port.
    pub destination_port: Option<u16>,
    /// Original destination address.
    pub destination: Vec<IpNet>,
    /// Server names, lower case; `*.x` covers deeper names, `x` is exact.
    pub server_names: Vec<Box<str>>,
    /// Transport seen by the inspectors; empty holds for both.
    pub transport: Option<Transport>,
    /// ALPN protocols, or what the HTTP inspector saw (`http/1.0`, `http/1.1`, `h2c`).
    pub application: Vec<Box<str>>,
    /// Address of the socket's other end, whatever the PROXY protocol says.
    pub direct_source: Vec<IpNet>,
    /// Whether the client is on this host.
    pub source_type: SourceType,
    /// Client address.
    pub source: Vec<IpNet>,
    /// Client ports.
    pub source_ports: Vec<u16>,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceType {
    /// Anywhere.
    #[default]
    Any,
    /// On this host: its address is a loopback one or that of the destination.
    Local,
    /// On another host.
    External,
}

/// Transport of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// No TLS.
    RawBuffer,
    /// TLS.
    Tls,
    /// QUIC.
    Quic,
}

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Where the client wanted to go.
    pub destination: OriginalDst,
    /// The client's address.
    pub source: SocketAddr,
    /// The address of the socket's other end.
    pub direct_source: SocketAddr,
    /// Transport seen.
    pub transport: Transport,
    /// Server name of the ClientHello, lower case.
    pub server_name: Option<&'a str>,
    /// ALPN of the ClientHello, or the HTTP inspector's finding.
    pub application: &'a [Vec<u8>],
}

/// Two chains whose conditions overlap, by their places in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chain {second} takes connections that chain {first} takes already")]
pub struct Overlap {
    /// The chain that came first.
    pub first: usize,
    /// The one that overlaps it.
    pub second: usize,
}

/// Conditions compiled; gives the place of a chain in the list they were compiled from.
#[derive(Debug, Default)]
pub(crate) struct ChainLookup {
    ports: Exact<u16, Destinations>,
}

type Destinations = Prefixes<Names>;
type Sources = Prefixes<Exact<u16, usize>>;

/// Server names: exact ones, and the tails of wildcards with their dot.
#[derive(Debug, Default)]
struct Names {
    exact: Exact<Box<str>, Transports>,
    tails: Exact<Box<str>, Transports>,
}

#[derive(Debug, Default)]
struct Transports {
    any: Option<Applications>,
    raw: Option<Applications>,
    tls: Option<Applications>,
    quic: Option<Applications>,
}

type Applications = Exact<Box<[u8]>, Prefixes<SourceTypes>>;

#[derive(Debug, Default)]
struct SourceTypes {
    any: Option<Sources>,
    local: Option<Sources>,
    external: Option<Sources>,
}

/// Conditions with their places, on the way down.
type Rules<'a> = Vec<(usize, &'a ChainMatch)>;

impl ChainLookup {
    /// Compiles the conditions of a list.
    ///
    /// # Errors
    /// When two of them would take the same connections.
    pub(crate) fn new(rules: &[&ChainMatch]) -> Result<Self, Overlap> {
        let rules: Rules<'_> = rules.iter().copied().enumerate().collect();
        let ports = exact(
            &rules,
            |rule| rule.destination_port.as_slice(),
            |port| *port,
            |rules| prefixes(&rules, |rule| &rule.destination, names),
        )?;
        Ok(Self { ports })
    }

    /// The place of the chain that takes the connection.
    pub(crate) fn find(&self, connection: &Connection<'_>) -> Option<usize> {
        let names = self
            .ports
            .find(&connection.destination.port())?
            .find(connection.destination.ip())?;
        let transports = names.find(connection.server_name.unwrap_or_default())?;
        let applications = transports.find(connection.transport)?;
        let sources = connection
            .application
            .iter()
            .find_map(|seen| applications.get(&seen[..]))
            .or(applications.any.as_deref())?;
        sources
            .find(connection.direct_source.ip())?
            .find(connection)?
            .find(connection.source.ip())?
            .find(&connection.source.port())
            .copied()
    }
}

impl Names {
    fn find(&self, seen: &str) -> Option<&Transports> {
        if let Some(found) = self.exact.get(seen) {
            return Some(found);
        }
        if !self.tails.exact.is_empty() {
            let dots = seen.bytes().enumerate().skip(1);
            for (at, _) in dots.filter(|(_, byte)| *byte == b'.') {
                if let Some(found) = seen.get(at..).and_then(|tail| self.tails.get(tail)) {
                    return Some(found);
                }
            }
        }
        self.exact.any.as_deref()
    }
}

impl Transports {
    fn find(&self, seen: Transport) -> Option<&Applications> {
        let own = match seen {
            Transport::RawBuffer => &self.raw,
            Transport::Tls => &self.tls,
            Transport::Quic => &self.quic,
        };
        own.as_ref().or(self.any.as_ref())
    }
}

impl SourceTypes {
    fn find(&self, connection: &Connection<'_>) -> Option<&Sources> {
        let known = self.local.is_some() || self.external.is_some();
        let own = if !known {
            None
        } else if is_local(connection) {
            self.local.as_ref()
        } else {
            self.external.as_ref()
        };
        own.or(self.any.as_ref())
    }
}

fn is_local(connection: &Connection<'_>) -> bool {
    let source = connection.source.ip().to_canonical();
    source.is_loopback() || source == connection.destination.ip().to_canonical()
}

fn names(rules: Rules<'_>) -> Result<Names, Overlap> {
    let mut by_name: BTreeMap<&Box<str>, Rules<'_>> = BTreeMap::new();
    let mut unnamed = Rules::new();
    for (place, rule) in rules {
        if rule.server_names.is_empty() {
            unnamed.push((place, rule));
        }
        for name in &rule.server_names {
            by_name.entry(name).or_default().push((place, rule));
        }
    }
    let mut made = Names::default();
    for (name, rules) in by_name {
        let below = transports(rules)?;
        match name.strip_prefix('*') {
            Some(tail) => made.tails.exact.insert(tail.into(), below),
            None => made.exact.exact.insert(name.clone(), below),
        };
    }
    if !unnamed.is_empty() {
        made.exact.any = Some(Box::new(transports(unnamed)?));
    }
    Ok(made)
}

fn transports(rules: Rules<'_>) -> Result<Transports, Overlap> {
    let of = |wanted: Option<Transport>| {
        let own: Rules<'_> = rules
            .iter()
            .filter(|(_, rule)| rule.transport == wanted)
            .copied()
            .collect();
        (!own.is_empty()).then(|| applications(&own)).transpose()
    };
    Ok(Transports {
        any: of(None)?,
        raw: of(Some(Transport::RawBuffer))?,
        tls: of(Some(Transport::Tls))?,
        quic: of(Some(Transport::Quic))?,
    })
}

fn applications(rules: &Rules<'_>) -> Result<Applications, Overlap> {
    exact(
        rules,
        |rule| &rule.application,
        |name| name.as_bytes().into(),
        |rules| prefixes(&rules, |rule| &rule.direct_source, source_types),
    )
}

fn source_types(rules: Rules<'_>) -> Result<SourceTypes, Overlap> {
    let of = |wanted: SourceType| {
        let own: Rules<'_> = rules
            .iter()
            .filter(|(_, rule)| rule.source_type == wanted)
            .copied()
            .collect();
        (!own.is_empty())
            .then(|| prefixes(&own, |rule| &rule.source, source_ports))
            .transpose()
    };
    Ok(SourceTypes {
        any: of(SourceType::Any)?,
        local: of(SourceType::Local)?,
        external: of(SourceType::External)?,
    })
}

fn source_ports(rules: Rules<'_>) -> Result<Exact<u16, usize>, Overlap> {
    exact(
        &rules,
        |rule| &rule.source_ports,
        |port| *port,
        |rules| match rules[..] {
            [(first, _), (second, _), ..] if first != second => Err(Overlap { first, second }),
            [(place, _), ..] => Ok(place),
            [] => Ok(0),
        },
    )
}

/// One step by equality: what is below each key, and below none.
fn exact<'a, S: Ord + 'a, K: Eq + std::hash::Hash, T>(
    rules: &Rules<'a>,
    keys: impl Fn(&'a ChainMatch) -> &'a [S],
    own: impl Fn(&S) -> K,
    below: impl Fn(Rules<'a>) -> Result<T, Overlap>,
) -> Result<Exact<K, T>, Overlap> {
    let mut by_key: BTreeMap<&S, Rules<'a>> = BTreeMap::new();
    let mut any = Rules::new();
    for (place, rule) in rules {
        let keys = keys(rule);
        if keys.is_empty() {
            any.push((*place, rule));
        }
        for key in keys {
            by_key.entry(key).or_default().push((*place, rule));
        }
    }
    let mut made = Exact::default();
    for (key, rules) in by_key {
        made.exact.insert(own(key), below(rules)?);
    }
    if !any.is_empty() {
        made.any = Some(Box::new(below(any)?));
    }
    Ok(made)
}

/// One step by the longest address range.
fn prefixes<'a, T>(
    rules: &Rules<'a>,
    nets: impl Fn(&'a ChainMatch) -> &'a [IpNet],
    below: impl Fn(Rules<'a>) -> Result<T, Overlap>,
) -> Result<Prefixes<T>, Overlap> {
    let mut by_net: BTreeMap<IpNet, Rules<'a>> = BTreeMap::new();
    let mut any = Rules::new();
    for (place, rule) in rules {
        let nets = nets(rule);
        if nets.is_empty() {
            any.push((*place, rule));
        }
        for net in nets {
            by_net.entry(*net).or_default().push((*place, rule));
        }
    }
    let mut made = Prefixes::default();
    for (net, rules) in by_net {
        made.insert(net, below(rules)?);
    }
    if !any.is_empty() {
        made.any = Some(Box::new(below(any)?));
    }
    Ok(made)
}

/// The address that stands for a connection without one, as over a Unix socket.
pub const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
