//! ServiceEntries whose TCP ports have no address, and those that disagree on a port's protocol.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lateen_api::mesh::MeshConfig;
use lateen_api::object::{Kind, Object};

use super::full_name;
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::{CONFLICTING_SERVICE_ENTRY_PROTOCOL, SERVICE_ENTRY_ADDRESSES_REQUIRED};
use crate::hosts::scopes;
use crate::message::Messages;

pub(super) const ADDRESSES: Analyzer = Analyzer {
    name: "serviceentry.Analyzer",
    description: "Finds TCP ports of ServiceEntries without addresses",
    inputs: &[Input::Kind(Kind::ServiceEntry), Input::MeshConfig],
    run: |cluster, _, messages| check_addresses(cluster, messages),
};

pub(super) const PROTOCOLS: Analyzer = Analyzer {
    name: "serviceentry.ConflictingServiceEntryProtocolAnalyzer",
    description: "Finds ServiceEntries that give the same port of the same host different protocols",
    inputs: &[Input::Kind(Kind::ServiceEntry)],
    run: |cluster, _, messages| check_protocols(cluster, messages),
};

fn check_addresses(cluster: &Cluster, messages: &mut Messages) {
    if allocates_addresses(&cluster.mesh) {
        return;
    }
    for object in cluster.of(Kind::ServiceEntry) {
        let Some(entry) = object.spec.as_service_entry() else {
            continue;
        };
        if !entry.addresses.is_empty() || has_allocated(object) {
            continue;
        }
        for (index, port) in entry.ports.iter().enumerate() {
            if port.protocol.is_empty() || port.protocol.eq_ignore_ascii_case("TCP") {
                let text = "a TCP port of a ServiceEntry without addresses takes the traffic of all hosts on that port; add addresses or \
                            name the port's real protocol";
                let field = format!("spec.ports[{index}].name");
                messages.scalar(SERVICE_ENTRY_ADDRESSES_REQUIRED, object, &field, text);
            }
        }
    }
}

/// Whether the mesh gives ServiceEntries addresses by itself.
fn allocates_addresses(mesh: &MeshConfig) -> bool {
    let settings = &mesh.default_config.proxy_metadata;
    let is_on = |name: &str| settings.get(name).is_some_and(|value| value == "true");
    is_on("ISTIO_META_DNS_CAPTURE")
        && (is_on("ISTIO_META_DNS_AUTO_ALLOCATE") || is_on("PILOT_ENABLE_IP_AUTOALLOCATE"))
}

/// Whether the status tells addresses that the object got.
fn has_allocated(object: &Object) -> bool {
    let status = object.status.as_ref();
    status
        .and_then(|status| status.get("addresses"))
        .and_then(serde_json::Value::as_array)
        .is_some_and(|addresses| !addresses.is_empty())
}

/// One ServiceEntry's word on a port of a host.
struct Said<'a> {
    object: &'a Object,
    protocol: String,
    scopes: BTreeSet<&'a str>,
}

fn check_protocols(cluster: &Cluster, messages: &mut Messages) {
    let mut ports: BTreeMap<(&str, u32), Vec<Said<'_>>> = BTreeMap::new();
    for object in cluster.of(Kind::ServiceEntry) {
        let Some(entry) = object.spec.as_service_entry() else {
            continue;
        };
        for host in &entry.hosts {
            for port in &entry.ports {
                let mut scopes: BTreeSet<&str> =
                    scopes(&entry.export_to, &object.key.namespace).collect();
                if scopes.contains("*") {
                    scopes = BTreeSet::from(["*"]);
                }
                let said = Said {
                    object,
                    protocol: port.protocol.to_uppercase(),
                    scopes,
                };
                ports.entry((host, port.number)).or_default().push(said);
            }
        }
    }
    for ((host, port), said) in &ports {
        let differ = said.windows(2).any(|pair| match pair {
            [one, two] => one.protocol != two.protocol,
            _ => false,
        });
        if differ {
            report_conflicts((host, *port), said, messages);
        }
    }
}

fn report_conflicts((host, port): (&str, u32), said: &[Said<'_>], messages: &mut Messages) {
    let mut by_scope: HashMap<&str, Vec<&Said<'_>>> = HashMap::new();
    for one in said {
        for scope in &one.scopes {
            by_scope.entry(scope).or_default().push(one);
        }
    }
    for one in said {
        let mut names = BTreeSet::new();
        let mut protocols = BTreeSet::new();
        let mut add = |other: &Said<'_>| {
            if other.object.key != one.object.key && other.protocol != one.protocol {
                names.insert(full_name(other.object));
                protocols.insert(other.protocol.clone());
            }
        };
        if one.scopes.contains("*") {
            said.iter().for_each(&mut add);
        } else {
            let seen = one.scopes.iter().copied().chain(["*"]);
            seen.filter_map(|scope| by_scope.get(scope))
                .flatten()
                .for_each(|other| add(other));
        }
        if names.is_empty() {
            continue;
        }
        names.insert(full_name(one.object));
        protocols.insert(one.protocol.clone());
        let names: Vec<String> = names.into_iter().collect();
        let protocols: Vec<String> = protocols.into_iter().collect();
        let text = format!(
            "the ServiceEntries {} give port {port} of host {host} different protocols ({}), of which only one counts; agree on one",
            names.join(", "),
            protocols.join(", ")
        );
        let code = CONFLICTING_SERVICE_ENTRY_PROTOCOL;
        messages.scalar(code, one.object, "metadata.name", text);
    }
}
