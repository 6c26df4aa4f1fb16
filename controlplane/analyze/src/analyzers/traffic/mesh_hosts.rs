//! Hosts for which several VirtualServices speak to sidecars.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use lateen_api::host::{MESH_GATEWAY, expand};
use lateen_api::object::{Kind, Object};

use super::full_name;
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::CONFLICTING_MESH_GATEWAY_VIRTUAL_SERVICE_HOSTS;
use crate::host_patterns::HostPatterns;
use crate::hosts::{DOMAIN, scopes};
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "virtualservice.ConflictingMeshGatewayHostsAnalyzer",
    description: "Finds VirtualServices that speak for the same host to sidecars",
    inputs: &[Input::Kind(Kind::VirtualService)],
    run: |cluster, _, messages| run(cluster, messages),
};

/// The scope that all namespaces see.
const EVERYBODY: &str = "*";

/// VirtualServices by `scope` and full host name, each in the order of namespace and name.
type Claims<'a> = BTreeMap<(&'a str, String), BTreeSet<usize>>;

fn run(cluster: &Cluster, messages: &mut Messages) {
    let objects: Vec<&Object> = cluster.of(Kind::VirtualService).collect();
    let claims = claims(&objects);
    let everywhere = seen_everywhere(&claims);
    let mut reported = HashSet::new();
    for ((scope, host), numbers) in &claims {
        let mut conflict = numbers.clone();
        if *scope != EVERYBODY {
            let wide = everywhere.overlapping(host);
            conflict.extend(wide.into_iter().flat_map(|numbers| numbers.iter().copied()));
        }
        if conflict.len() < 2 {
            continue;
        }
        let among: Vec<&Object> = conflict
            .iter()
            .filter_map(|number| objects.get(*number).copied())
            .collect();
        let mut names: Vec<String> = among.iter().map(|object| full_name(object)).collect();
        names.sort_unstable();
        let names = names.join(",");
        for (number, object) in conflict.iter().zip(among) {
            if reported.insert(*number) {
                let text = format!(
                    "the VirtualServices {names} all have routes of the host {scope}/{host} for sidecars, of which only one counts; merge \
                     them, or limit them with exportTo"
                );
                let code = CONFLICTING_MESH_GATEWAY_VIRTUAL_SERVICE_HOSTS;
                messages.scalar(code, object, "metadata.name", text);
            }
        }
    }
}

fn claims<'a>(objects: &[&'a Object]) -> Claims<'a> {
    let mut claims = Claims::new();
    for (number, object) in objects.iter().enumerate() {
        let Some(routes) = object.spec.as_virtual_service() else {
            continue;
        };
        let gateways = &routes.gateways;
        if !gateways.is_empty() && !gateways.iter().any(|gateway| gateway == MESH_GATEWAY) {
            continue;
        }
        let namespace = object.key.namespace.as_str();
        let mut seen_by: BTreeSet<&str> = scopes(&routes.export_to, namespace).collect();
        if seen_by.contains(EVERYBODY) {
            seen_by = BTreeSet::from([EVERYBODY]);
        }
        for host in &routes.hosts {
            let host = expand(host, namespace, DOMAIN);
            for scope in &seen_by {
                let key = (*scope, host.clone().into_owned());
                claims.entry(key).or_default().insert(number);
            }
        }
    }
    claims
}

fn seen_everywhere<'c>(claims: &'c Claims<'_>) -> HostPatterns<&'c BTreeSet<usize>> {
    let mut patterns = HostPatterns::default();
    let narrow = claims.keys().any(|(scope, _)| *scope != EVERYBODY);
    for ((scope, host), numbers) in claims.iter().filter(|_| narrow) {
        if *scope == EVERYBODY {
            patterns.insert(host, numbers);
        }
    }
    patterns
}
