//! Gateways of the same pods that claim the same host on the same port.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lateen_api::networking::{Gateway, Server};
use lateen_api::object::{Kind, Object};

use super::{full_name, selector_without_pods};
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::CONFLICTING_GATEWAYS;
use crate::message::Messages;
use crate::pods::selector_text;
use crate::pods_in_common::pods_in_common;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "gateway.ConflictingGatewayAnalyzer",
    description: "Finds Gateways of the same pods that claim the same host on the same port",
    inputs: &[Input::Kind(Kind::Gateway), Input::Kind(Kind::Pod)],
    run: |cluster, _, messages| run(cluster, messages),
};

/// A Gateway and the number of its selector.
struct Entry<'a> {
    object: &'a Object,
    gateway: &'a Gateway,
    selector: usize,
}

/// Port, bind address and host.
type Claim<'a> = (u32, &'a str, &'a str);

/// Which Gateways claim something, by selector, so that those whose selectors have no pod in common are not looked at one by one.
type Claims<'a> = HashMap<Claim<'a>, HashMap<usize, Vec<usize>>>;

fn run(cluster: &Cluster, messages: &mut Messages) {
    let mut selectors = Selectors::default();
    let mut entries = Vec::new();
    for object in cluster.of(Kind::Gateway) {
        if let Some(gateway) = object.spec.as_gateway() {
            let selector = selectors.number(gateway);
            entries.push(Entry {
                object,
                gateway,
                selector,
            });
        }
    }
    let overlapping = selectors.overlapping(cluster);
    let mut claims: Claims<'_> = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        for server in &entry.gateway.servers {
            for claim in claims_of(server) {
                let by_selector = claims.entry(claim).or_default();
                by_selector.entry(entry.selector).or_default().push(number);
            }
        }
    }
    for (number, entry) in entries.iter().enumerate() {
        let text = selectors.texts.get(entry.selector).map_or("", |text| text);
        let has_servers = !entry.gateway.servers.is_empty();
        if !has_servers && !text.is_empty() && !selectors.has_server_below(text) {
            selector_without_pods(messages, entry.object, &entry.gateway.selector);
            continue;
        }
        let related = overlapping.get(&entry.selector);
        for (index, server) in entry.gateway.servers.iter().enumerate() {
            let mut others: BTreeSet<usize> = BTreeSet::new();
            for by_selector in claims_of(server).filter_map(|claim| claims.get(&claim)) {
                let selectors =
                    std::iter::once(&entry.selector).chain(related.into_iter().flatten());
                let same = selectors
                    .filter_map(|selector| by_selector.get(selector))
                    .flatten();
                others.extend(same.copied().filter(|other| *other != number));
            }
            if !others.is_empty() {
                let names: BTreeSet<String> = others
                    .into_iter()
                    .filter_map(|other| entries.get(other))
                    .map(|other| full_name(other.object))
                    .collect();
                report(entry.object, (index, server), text, names, messages);
            }
        }
    }
}

fn claims_of(server: &Server) -> impl Iterator<Item = Claim<'_>> {
    let port = server.port.as_ref().map_or(0, |port| port.number);
    let hosts = server.hosts.iter();
    hosts.map(move |host| (port, server.bind.as_str(), host.as_str()))
}

fn report(
    object: &Object,
    (index, server): (usize, &Server),
    selector: &str,
    others: BTreeSet<String>,
    messages: &mut Messages,
) {
    let others: Vec<String> = others.into_iter().collect();
    let text = format!(
        "other Gateways ({}) claim hosts of this one on the same pods (selector {selector:?}, port {}, hosts {}); leave each host to one \
         Gateway",
        others.join(","),
        server.port.as_ref().map_or(0, |port| port.number),
        server.hosts.join(",")
    );
    let field = format!("spec.servers[{index}].hosts");
    messages.field(CONFLICTING_GATEWAYS, object, &field, text);
}

/// The selectors that Gateways have, each once.
#[derive(Default)]
struct Selectors<'a> {
    numbers: HashMap<&'a BTreeMap<String, String>, usize>,
    all: Vec<&'a BTreeMap<String, String>>,
    texts: Vec<String>,
    /// The texts of selectors of Gateways with servers, a line each.
    with_servers: String,
    noted: HashSet<usize>,
}

impl<'a> Selectors<'a> {
    fn number(&mut self, gateway: &'a Gateway) -> usize {
        let selector = &gateway.selector;
        let number = *self.numbers.entry(selector).or_insert_with(|| {
            self.all.push(selector);
            self.texts.push(selector_text(selector));
            self.all.len() - 1
        });
        if !gateway.servers.is_empty() && self.noted.insert(number) {
            self.with_servers.push_str(&selector_text(selector));
            self.with_servers.push('\n');
        }
        number
    }

    /// Whether a Gateway with servers has a selector of which a text is a part.
    fn has_server_below(&self, text: &str) -> bool {
        self.with_servers.contains(text)
    }

    /// For each selector the others that select a pod that it selects too, where the text of one is part of the text of the other.
    fn overlapping(&self, cluster: &Cluster) -> HashMap<usize, BTreeSet<usize>> {
        let selectors: Vec<_> = self.all.iter().map(|selector| (None, *selector)).collect();
        let mut overlapping = pods_in_common(cluster, &selectors);
        for (one, others) in &mut overlapping {
            others.retain(|two| self.is_part(*one, *two) || self.is_part(*two, *one));
        }
        overlapping
    }

    fn is_part(&self, inner: usize, outer: usize) -> bool {
        match (self.texts.get(inner), self.texts.get(outer)) {
            (Some(inner), Some(outer)) => outer.contains(inner.as_str()),
            _ => false,
        }
    }
}
