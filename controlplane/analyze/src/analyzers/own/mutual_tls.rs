//! Clients whose DestinationRule says plain text while the service takes mutual TLS only, and the reverse.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::ServicePort;
use lateen_api::host::service_host;
use lateen_api::labels::{annotation, label};
use lateen_api::networking::{ClientTlsMode, DestinationRule, TrafficPolicy};
use lateen_api::object::{Kind, Object};
use lateen_api::security::MutualTlsMode;

use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::MUTUAL_TLS_CONTRADICTION;
use crate::host_patterns::HostPatterns;
use crate::hosts::DOMAIN;
use crate::message::Messages;
use crate::peer_modes::PeerModes;
use crate::pods::PodRef;
use crate::services::{ServiceRef, target_port};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "lateen.MutualTlsAnalyzer",
    description: "Finds DestinationRules whose TLS mode contradicts the PeerAuthentication of the service",
    inputs: &[
        Input::Kind(Kind::DestinationRule),
        Input::Kind(Kind::PeerAuthentication),
        Input::Kind(Kind::Service),
        Input::Kind(Kind::ServiceEntry),
        Input::Kind(Kind::Pod),
        Input::Kind(Kind::Namespace),
        Input::MeshConfig,
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

type Labels = BTreeMap<String, String>;

static NONE: Labels = Labels::new();

fn run(cluster: &Cluster, messages: &mut Messages) {
    if !cluster.has(Kind::PeerAuthentication) {
        return;
    }
    let check = Check {
        cluster,
        modes: PeerModes::new(cluster),
    };
    let mut wide = Vec::new();
    let mut named = HashSet::new();
    for object in cluster.of(Kind::DestinationRule) {
        let Some(rule) = object.spec.as_destination_rule() else {
            continue;
        };
        if rule.host.starts_with('*') {
            wide.push((object, rule));
            continue;
        }
        let found = cluster
            .hosts()
            .find(&rule.host, &object.key.namespace, &rule.export_to);
        let Some(service) = found.and_then(|host| ServiceRef::of(host.object)) else {
            continue;
        };
        named.insert(&service.object.key);
        for clash in check.clashes(rule, service) {
            clash.report(object, service, messages);
        }
    }
    if wide.is_empty() {
        return;
    }
    let mut services: HostPatterns<ServiceRef<'_>> = HostPatterns::default();
    let all = cluster
        .of(Kind::Service)
        .filter(|object| !named.contains(&object.key));
    for service in all.filter_map(ServiceRef::of) {
        let host = service_host(&service.object.key.name, service.namespace(), DOMAIN);
        services.insert(&host, service);
    }
    for (object, rule) in wide {
        // One service tells enough.
        services.any(&rule.host, |service| {
            let clashes = check.clashes(rule, *service);
            for clash in &clashes {
                clash.report(object, *service, messages);
            }
            !clashes.is_empty()
        });
    }
}

/// A TLS mode that a service does not take.
struct Clash<'a> {
    field: String,
    mode: ClientTlsMode,
    port: i32,
    /// The PeerAuthentication that asks for the contrary.
    by: &'a Object,
}

impl Clash<'_> {
    fn report(&self, object: &Object, service: ServiceRef<'_>, messages: &mut Messages) {
        let host = service_host(&service.object.key.name, service.namespace(), DOMAIN);
        let by = format!("{}/{}", self.by.key.namespace, self.by.key.name);
        let (port, mode) = (self.port, self.mode);
        let field = self.field.strip_prefix("spec.").unwrap_or(&self.field);
        let text = if mode == ClientTlsMode::Disable {
            format!(
                "{field} {mode} sends plain text to port {port} of {host}, whose pods take mutual TLS only (PeerAuthentication {by}: \
                 STRICT); use ISTIO_MUTUAL, or leave tls out"
            )
        } else {
            format!(
                "{field} {mode} sends mutual TLS to port {port} of {host}, whose pods take plain text only (PeerAuthentication {by}: \
                 DISABLE); leave tls out, or use PERMISSIVE there"
            )
        };
        messages.field(MUTUAL_TLS_CONTRADICTION, object, &self.field, text);
    }
}

struct Check<'a> {
    cluster: &'a Cluster,
    modes: PeerModes<'a>,
}

impl<'a> Check<'a> {
    /// For each of a rule's TLS settings the first port of a service at which it fails.
    fn clashes(&self, rule: &DestinationRule, service: ServiceRef<'a>) -> Vec<Clash<'a>> {
        let mut clashes = Vec::new();
        if let Some(policy) = &rule.traffic_policy {
            self.add(&mut clashes, (policy, "spec.trafficPolicy"), service, &NONE);
        }
        for (index, subset) in rule.subsets.iter().enumerate() {
            if let Some(policy) = &subset.traffic_policy {
                let field = format!("spec.subsets[{index}].trafficPolicy");
                self.add(&mut clashes, (policy, &field), service, &subset.labels);
            }
        }
        clashes
    }

    fn add(
        &self,
        clashes: &mut Vec<Clash<'a>>,
        (policy, field): (&TrafficPolicy, &str),
        service: ServiceRef<'a>,
        labels: &Labels,
    ) {
        let Some(selector) = service.selector() else {
            return;
        };
        let mut reported = HashSet::new();
        for port in service.tcp_ports() {
            let Some((mode, field)) = tls_of_port(policy, field, port) else {
                continue;
            };
            let refused = match mode {
                ClientTlsMode::Disable => MutualTlsMode::Strict,
                ClientTlsMode::IstioMutual => MutualTlsMode::Disable,
                ClientTlsMode::Simple | ClientTlsMode::Mutual => continue,
            };
            let mut wanted = selector.clone();
            wanted.extend(
                labels
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone())),
            );
            if let Some(by) = self.refusal(service, port, &wanted, refused)
                && reported.insert(field.clone())
            {
                clashes.push(Clash {
                    field,
                    mode,
                    port: port.port,
                    by,
                });
            }
        }
    }

    /// The PeerAuthentication by which a pod behind a port has a mode.
    fn refusal(
        &self,
        service: ServiceRef<'a>,
        port: &ServicePort,
        labels: &Labels,
        mode: MutualTlsMode,
    ) -> Option<&'a Object> {
        let namespace = service.namespace();
        let by = |labels: &Labels, number: u32| {
            let (found, by) = self.modes.of(namespace, labels, number)?;
            (found == mode).then_some(by)
        };
        let mut seen: HashSet<(&Labels, Option<u32>)> = HashSet::new();
        let mut any = false;
        let pods = self.cluster.pods();
        for pod in pods.matching_with_templates(Some(namespace), labels) {
            any = true;
            let number = target_port(port, Some(&pod));
            if !seen.insert((pod.labels, number)) || !self.has_proxy(&pod) {
                continue;
            }
            let taken = number.filter(|number| is_captured(&pod, *number));
            if let Some(found) = taken.and_then(|number| by(pod.labels, number)) {
                return Some(found);
            }
        }
        // With files alone the pods may be kept elsewhere, and have at least these labels.
        if any || !self.cluster.files_only || self.cluster.is_default(service.object) {
            return None;
        }
        by(labels, target_port(port, None)?)
    }

    /// Whether a pod has a proxy; with files alone its namespace's labels may be kept elsewhere.
    fn has_proxy(&self, pod: &PodRef<'_>) -> bool {
        let told = self
            .cluster
            .find(Kind::Namespace, "", pod.namespace())
            .is_some();
        let said = pod
            .labels
            .get(label::INJECT)
            .or_else(|| pod.annotations.get(annotation::INJECT));
        let on_host = pod.spec.is_some_and(|spec| spec.host_network == Some(true));
        pod.is_in_mesh()
            || pod.is_ambient()
            || (self.cluster.files_only && !told && said.is_none() && !on_host)
    }
}

/// The TLS mode of a Service's port and its field. A port's own settings replace all others.
fn tls_of_port(
    policy: &TrafficPolicy,
    field: &str,
    port: &ServicePort,
) -> Option<(ClientTlsMode, String)> {
    let number = u32::try_from(port.port).ok();
    let own = policy.port_level_settings.iter().position(|level| {
        let level = level.port.as_ref().map(|port| port.number);
        level.is_some() && level == number
    });
    match own {
        Some(index) => {
            let tls = policy.port_level_settings.get(index)?.tls.as_ref()?;
            Some((
                tls.mode,
                format!("{field}.portLevelSettings[{index}].tls.mode"),
            ))
        }
        None => Some((policy.tls.as_ref()?.mode, format!("{field}.tls.mode"))),
    }
}

/// Whether connections to a pod's port pass its proxy.
fn is_captured(pod: &PodRef<'_>, port: u32) -> bool {
    let port = port.to_string();
    let lists = |annotation: &str| {
        let list = pod.annotations.get(annotation)?;
        Some(
            list.split(',')
                .map(str::trim)
                .any(|one| one == port || one == "*"),
        )
    };
    lists(annotation::INCLUDE_INBOUND_PORTS) != Some(false)
        && lists(annotation::EXCLUDE_INBOUND_PORTS) != Some(true)
}
