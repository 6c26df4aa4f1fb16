//! Ports of Gateways that no Service leads to.

use std::collections::{BTreeMap, HashMap, HashSet};

use lateen_api::object::Kind;

use super::{selector_field, selector_without_pods};
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::GATEWAY_PORT_NOT_DEFINED_ON_SERVICE;
use crate::message::Messages;
use crate::pods::selector_text;
use crate::services::{ServiceRef, Services, target_port};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "gateway.IngressGatewayPortAnalyzer",
    description: "Finds ports of Gateways that no Service of the gateway's pods leads to",
    inputs: &[
        Input::Kind(Kind::Gateway),
        Input::Kind(Kind::Pod),
        Input::Kind(Kind::Service),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

type Labels = BTreeMap<String, String>;

fn run(cluster: &Cluster, messages: &mut Messages) {
    let services = Services::new(cluster);
    let mut ports_of: HashMap<&Labels, Option<HashSet<u32>>> = HashMap::new();
    for object in cluster.of(Kind::Gateway) {
        let Some(gateway) = object.spec.as_gateway() else {
            continue;
        };
        let selector = &gateway.selector;
        let ports = ports_of
            .entry(selector)
            .or_insert_with(|| ports(cluster, &services, selector));
        let Some(ports) = ports else {
            selector_without_pods(messages, object, selector);
            continue;
        };
        for server in &gateway.servers {
            let Some(port) = server.port.as_ref() else {
                continue;
            };
            if ports.contains(&port.number) {
                continue;
            }
            let text = format!(
                "no Service leads to port {} of the pods that the selector {} selects; add the port to their Service or listen on \
                 one that it has",
                port.number,
                selector_text(selector)
            );
            let code = GATEWAY_PORT_NOT_DEFINED_ON_SERVICE;
            messages.scalar(code, object, &selector_field(selector), text);
        }
    }
}

/// The ports on which Services reach the pods of a selector; `None` if there are no pods.
fn ports(cluster: &Cluster, services: &Services<'_>, selector: &Labels) -> Option<HashSet<u32>> {
    let mut ports: Option<HashSet<u32>> = None;
    let mut seen: HashSet<(&str, &Labels)> = HashSet::new();
    for pod in cluster.pods().matching_with_templates(None, selector) {
        let ports = ports.get_or_insert_default();
        if !seen.insert((pod.namespace(), pod.labels)) {
            continue;
        }
        let selecting = services.selecting(pod.namespace(), pod.labels);
        // An absent selector selects all pods here, as it does in Istio.
        let of_all = services.without_selector(pod.namespace());
        ports.extend(selecting.chain(of_all).flat_map(reached));
    }
    ports
}

/// The ports of pods to which a Service leads; for a target that has a name the Service's own port, as in Istio.
fn reached(service: ServiceRef<'_>) -> impl Iterator<Item = u32> {
    service
        .tcp_ports()
        .filter_map(|port| target_port(port, None).or_else(|| u32::try_from(port.port).ok()))
}
