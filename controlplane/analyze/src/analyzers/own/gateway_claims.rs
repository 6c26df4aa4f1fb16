//! Hosts that two Gateways at the same address both claim, where IST0145 does not say it: it compares hosts letter by letter, and only
//! Gateways of Istio's own kind whose selectors are written alike.
//!
//! A host of its own beside a Gateway for `*`, which takes what nobody else does, is fine.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use gateway_api::apis::standard::gateways as kubernetes;
use lateen_api::host::is_subset_of;
use lateen_api::labels::label::GATEWAY_NAME;
use lateen_api::networking::Gateway;
use lateen_api::object::{Kind, Object, Spec};

use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::GATEWAY_HOST_CLAIMED_TWICE;
use crate::host_patterns::HostPatterns;
use crate::message::Messages;
use crate::pods::selector_text;
use crate::pods_in_common::pods_in_common;
use crate::services::ServiceRef;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "lateen.GatewayHostAnalyzer",
    description: "Finds hosts that two Gateways at the same address both claim",
    inputs: &[
        Input::Kind(Kind::Gateway),
        Input::Kind(Kind::KubernetesGateway),
        Input::Kind(Kind::Pod),
        Input::Kind(Kind::Service),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// The most other Gateways that a message names.
const NAMED: usize = 5;

/// The most other claims that one claim is compared with.
const LIMIT: usize = 1_000;

type Labels = BTreeMap<String, String>;

/// Where a Gateway is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Address<'a> {
    /// At pods with labels, in a namespace or in all.
    Pods(Option<&'a str>, Labels),
    /// At an address that the Gateway asks for.
    Value(&'a str),
}

/// One host of one listener of a Gateway.
#[derive(Debug)]
struct Claim<'a> {
    object: &'a Object,
    address: usize,
    port: u32,
    bind: &'a str,
    /// The host without its namespace.
    host: &'a str,
    /// The host as it is written.
    written: &'a str,
    field: String,
}

fn run(cluster: &Cluster, messages: &mut Messages) {
    let mut addresses = Addresses::default();
    let mut claims = Vec::new();
    for object in cluster
        .of(Kind::Gateway)
        .chain(cluster.of(Kind::KubernetesGateway))
    {
        match &object.spec {
            Spec::Gateway(gateway) => {
                let address = Address::Pods(None, gateway.selector.clone());
                let address = addresses.number(address);
                claims.extend(of_servers(object, gateway, address));
            }
            Spec::KubernetesGateway(gateway) => {
                for address in asked_for(cluster, object, gateway) {
                    let address = addresses.number(address);
                    claims.extend(of_listeners(object, gateway, address));
                }
            }
            _ => {}
        }
    }
    let related = addresses.in_common(cluster);
    let mut patterns: HashMap<(usize, u32, &str), HostPatterns<usize>> = HashMap::new();
    for (number, claim) in claims.iter().enumerate() {
        let key = (claim.address, claim.port, claim.bind);
        patterns.entry(key).or_default().insert(claim.host, number);
    }
    for claim in &claims {
        let others = related.get(&claim.address).into_iter().flatten().copied();
        let mut names = BTreeSet::new();
        let mut looked = 0;
        for address in std::iter::once(claim.address).chain(others) {
            let Some(patterns) = patterns.get(&(address, claim.port, claim.bind)) else {
                continue;
            };
            patterns.any(claim.host, |other| {
                looked += 1;
                let other = claims.get(*other).filter(|other| {
                    contradict(claim, other) && !addresses.is_said_by_istio(claim, other)
                });
                names.extend(other.map(|other| (&other.object.key, other.host)));
                looked >= LIMIT
            });
        }
        if !names.is_empty() {
            report(claim, &names, messages);
        }
    }
}

/// Whether another Gateway claims the host as well, or all of a wildcard around it. The message is for the narrower one.
fn contradict(claim: &Claim<'_>, other: &Claim<'_>) -> bool {
    if claim.object.key == other.object.key || !is_subset_of(claim.host, other.host) {
        return false;
    }
    if other.host == "*" {
        // `a/*` and `b/*` are for the routes of different namespaces.
        return claim.host == "*" && claim.written == other.written;
    }
    true
}

fn report(
    claim: &Claim<'_>,
    others: &BTreeSet<(&lateen_api::object::ObjectKey, &str)>,
    messages: &mut Messages,
) {
    let mut names: Vec<String> = others
        .iter()
        .take(NAMED)
        .map(|(key, host)| format!("{key} ({host})"))
        .collect();
    if others.len() > NAMED {
        names.push(format!("{} more", others.len() - NAMED));
    }
    let text = format!(
        "the host {} on port {} is also claimed, at the same address, by {}; requests reach either, so leave the host to one Gateway",
        claim.host,
        claim.port,
        names.join(", ")
    );
    messages.field(GATEWAY_HOST_CLAIMED_TWICE, claim.object, &claim.field, text);
}

fn of_servers<'a>(
    object: &'a Object,
    gateway: &'a Gateway,
    address: usize,
) -> impl Iterator<Item = Claim<'a>> {
    let servers = gateway.servers.iter().enumerate();
    servers.flat_map(move |(index, server)| {
        let port = server.port.as_ref().map_or(0, |port| port.number);
        let mut seen = HashSet::new();
        let hosts = server.hosts.iter().enumerate();
        hosts
            .filter(move |(_, written)| seen.insert(*written))
            .map(move |(place, written)| Claim {
                object,
                address,
                port,
                bind: &server.bind,
                host: written
                    .split_once('/')
                    .map_or(written.as_str(), |(_, host)| host),
                written,
                field: format!("spec.servers[{index}].hosts[{place}]"),
            })
    })
}

fn of_listeners<'a>(
    object: &'a Object,
    gateway: &'a kubernetes::Gateway,
    address: usize,
) -> impl Iterator<Item = Claim<'a>> {
    let listeners = gateway.spec.listeners.iter().enumerate();
    listeners.map(move |(index, listener)| {
        let host = listener.hostname.as_deref().filter(|host| !host.is_empty());
        let host = host.unwrap_or("*");
        Claim {
            object,
            address,
            port: u32::try_from(listener.port).unwrap_or(0),
            bind: "",
            host,
            written: host,
            field: format!("spec.listeners[{index}].hostname"),
        }
    })
}

/// The addresses that a Gateway of the Gateway API asks for: those of a Service's pods where it names the Service, else its own pods.
fn asked_for<'a>(
    cluster: &'a Cluster,
    object: &'a Object,
    gateway: &'a kubernetes::Gateway,
) -> Vec<Address<'a>> {
    let namespace = object.key.namespace.as_str();
    let values: Vec<&str> = gateway
        .spec
        .addresses
        .iter()
        .flatten()
        .filter_map(|address| address.value.as_deref())
        .collect();
    if values.is_empty() {
        let labels = Labels::from([(GATEWAY_NAME.to_owned(), object.key.name.clone())]);
        return vec![Address::Pods(Some(namespace), labels)];
    }
    let of_value = |value: &'a str| {
        let host = cluster.hosts().find(value, namespace, &[]);
        let service = host.and_then(|host| ServiceRef::of(host.object));
        let selector = service.and_then(|service| Some((service.namespace(), service.selector()?)));
        selector.map_or(Address::Value(value), |(namespace, selector)| {
            Address::Pods(Some(namespace), selector.clone())
        })
    };
    values.into_iter().map(of_value).collect()
}

/// Addresses, each once.
#[derive(Default)]
struct Addresses<'a> {
    numbers: HashMap<Address<'a>, usize>,
    all: Vec<Address<'a>>,
    /// The selectors as text; empty for an address that is none.
    texts: Vec<String>,
}

impl<'a> Addresses<'a> {
    fn number(&mut self, address: Address<'a>) -> usize {
        if let Some(number) = self.numbers.get(&address) {
            return *number;
        }
        let number = self.all.len();
        self.texts.push(match &address {
            Address::Pods(_, labels) => selector_text(labels),
            Address::Value(_) => String::new(),
        });
        self.all.push(address.clone());
        self.numbers.insert(address, number);
        number
    }

    /// For each address the others that are the same pods.
    fn in_common(&self, cluster: &Cluster) -> HashMap<usize, BTreeSet<usize>> {
        let pods: Vec<(usize, Option<&str>, &Labels)> = self
            .all
            .iter()
            .enumerate()
            .filter_map(|(number, address)| match address {
                Address::Pods(namespace, labels) => Some((number, *namespace, labels)),
                Address::Value(_) => None,
            })
            .collect();
        let selectors: Vec<_> = pods
            .iter()
            .map(|(_, namespace, labels)| (*namespace, *labels))
            .collect();
        let number = |place: usize| pods.get(place).map(|(number, ..)| *number);
        let common = pods_in_common(cluster, &selectors);
        let related = common.into_iter().filter_map(|(one, others)| {
            let others = others.into_iter().filter_map(number).collect();
            Some((number(one)?, others))
        });
        related.collect()
    }

    /// Whether IST0145 reports two claims: the same host and bind address, and selectors that are written alike.
    fn is_said_by_istio(&self, one: &Claim<'_>, two: &Claim<'_>) -> bool {
        let both = one.object.key.kind == Kind::Gateway && two.object.key.kind == Kind::Gateway;
        let text = |claim: &Claim<'_>| self.texts.get(claim.address).map_or("", |text| text);
        both && one.written == two.written && {
            let (one, two) = (text(one), text(two));
            one.contains(two) || two.contains(one)
        }
    }
}
