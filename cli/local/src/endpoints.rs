//! From Services and pods to endpoint slices, names and translated addresses.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use crate::dns::{Target, Zone, service_name};
use crate::facts::NODE;
use crate::pod::{Phase, PodEntry};
use crate::translation::{Transport, VirtualPort};

/// What Services see of a pod.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    /// The pod.
    pub pod: Pod,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Ready.
    pub ready: bool,
    /// Ending.
    pub terminating: bool,
}

impl Backend {
    /// A running pod; nothing for one that has ended.
    #[must_use]
    pub(crate) fn of(entry: &PodEntry) -> Option<Self> {
        if matches!(entry.phase(), Phase::Succeeded | Phase::Failed) {
            return None;
        }
        let (ready, terminating) = (entry.is_ready(), entry.deletion().is_some());
        Some(Self {
            pod: entry.plan.pod.clone(),
            ip: entry.ip,
            ready,
            terminating,
        })
    }

    fn is_selected(&self, service: &Service) -> bool {
        let selector = service
            .spec
            .as_ref()
            .and_then(|s| s.selector.as_ref())
            .filter(|s| !s.is_empty());
        let labels = self.pod.metadata.labels.as_ref();
        self.pod.metadata.namespace == service.metadata.namespace
            && selector.is_some_and(|s| {
                s.iter()
                    .all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v))
            })
    }

    /// Takes new connections.
    const fn takes(&self, not_ready_too: bool) -> bool {
        (self.ready || not_ready_too) && !self.terminating
    }
}

/// Endpoint slices of a Service: one for each set of port numbers among its pods.
#[must_use]
pub(crate) fn slices(service: &Service, backends: &[Backend]) -> Vec<Value> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let not_ready_too = spec.publish_not_ready_addresses == Some(true);
    let mut groups: BTreeMap<Vec<Option<u16>>, Vec<&Backend>> = BTreeMap::new();
    for backend in backends.iter().filter(|b| b.is_selected(service)) {
        let numbers = spec
            .ports
            .iter()
            .flatten()
            .map(|port| target(port, &backend.pod))
            .collect();
        groups.entry(numbers).or_default().push(backend);
    }
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let slice = |(index, (numbers, members)): (usize, (Vec<Option<u16>>, Vec<&Backend>))| {
        let ports: Vec<Value> = spec
            .ports
            .iter()
            .flatten()
            .zip(&numbers)
            .filter_map(|(p, n)| slice_port(p, *n))
            .collect();
        let endpoints: Vec<Value> = members.iter().map(|b| endpoint(b, not_ready_too)).collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-{index}"),
                "namespace": namespace,
                "labels": {
                    "kubernetes.io/service-name": name,
                    "endpointslice.kubernetes.io/managed-by": "lateenctl-local",
                },
            },
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints,
        })
    };
    groups.into_iter().enumerate().map(slice).collect()
}

fn slice_port(port: &ServicePort, number: Option<u16>) -> Option<Value> {
    let mut value = json!({
        "name": port.name.clone().unwrap_or_default(),
        "port": number?,
        "protocol": port.protocol.as_deref().unwrap_or("TCP"),
    });
    if let (Some(protocol), Some(map)) = (&port.app_protocol, value.as_object_mut()) {
        map.insert("appProtocol".to_owned(), json!(protocol));
    }
    Some(value)
}

fn endpoint(backend: &Backend, not_ready_too: bool) -> Value {
    let meta = &backend.pod.metadata;
    let mut value = json!({
        "addresses": [backend.ip],
        "conditions": {
            "ready": backend.takes(not_ready_too),
            "serving": backend.ready || not_ready_too,
            "terminating": backend.terminating,
        },
        "nodeName": NODE,
        "targetRef": { "kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid },
    });
    let hostname = backend.pod.spec.as_ref().and_then(|s| s.hostname.as_ref());
    if let (Some(hostname), Some(map)) = (hostname, value.as_object_mut()) {
        map.insert("hostname".to_owned(), json!(hostname));
    }
    value
}

/// Number of a Service's port in a pod; nothing when the pod has no port of that name.
fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok(),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            // A native sidecar is an init container and may serve ports too.
            let containers = spec
                .containers
                .iter()
                .chain(spec.init_containers.iter().flatten());
            let mut ports = containers.flat_map(|c| c.ports.iter().flatten());
            let found = ports
                .find(|p| p.name.as_deref() == Some(name))
                .map(|p| p.container_port);
            u16::try_from(found?).ok()
        }
    }
}

/// Translated ports of all Services that have an address.
#[must_use]
pub(crate) fn virtual_ports(services: &[Service], backends: &[Backend]) -> Vec<VirtualPort> {
    services
        .iter()
        .flat_map(|service| service_ports(service, backends))
        .collect()
}

fn service_ports(service: &Service, backends: &[Backend]) -> Vec<VirtualPort> {
    let Some((spec, address)) = service.spec.as_ref().zip(address(service)) else {
        return Vec::new();
    };
    let members: Vec<&Backend> = backends.iter().filter(|b| b.is_selected(service)).collect();
    let not_ready_too = spec.publish_not_ready_addresses == Some(true);
    let mut chosen: Vec<&&Backend> = members.iter().filter(|b| b.takes(not_ready_too)).collect();
    if chosen.is_empty() {
        // As kube-proxy: better a pod that ends but still serves than none.
        chosen = members.iter().filter(|b| b.ready).collect();
    }
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let transport = match port.protocol.as_deref() {
            None | Some("TCP") => Transport::Tcp,
            Some("UDP") => Transport::Udp,
            Some(_) => return None,
        };
        let endpoints = chosen
            .iter()
            .filter_map(|b| Some(SocketAddrV4::new(b.ip, target(port, &b.pod)?)))
            .collect();
        let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
        Some(VirtualPort {
            address,
            port: u16::try_from(port.port).ok()?,
            transport,
            sticky,
            endpoints,
        })
    });
    ports.collect()
}

/// Names of all Services and of the pods of headless ones.
#[must_use]
pub(crate) fn zone(services: &[Service], backends: &[Backend]) -> Zone {
    let mut zone = Zone::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let full = service_name(
            name,
            service.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let spec = service.spec.clone().unwrap_or_default();
        if spec.type_.as_deref() == Some("ExternalName") {
            zone.insert(
                full,
                Target::Alias(
                    spec.external_name
                        .unwrap_or_default()
                        .trim_end_matches('.')
                        .to_owned(),
                ),
            );
        } else if let Some(address) = address(service) {
            zone.insert(full, Target::Addresses(vec![address]));
        } else {
            let not_ready_too = spec.publish_not_ready_addresses == Some(true);
            let members: Vec<&Backend> = backends
                .iter()
                .filter(|b| b.is_selected(service) && b.takes(not_ready_too))
                .collect();
            for member in &members {
                let pod = member.pod.spec.as_ref();
                if let Some(host) = pod
                    .filter(|s| s.subdomain.as_deref() == Some(name))
                    .and_then(|s| s.hostname.as_ref())
                {
                    zone.insert(format!("{host}.{full}"), Target::Addresses(vec![member.ip]));
                }
            }
            zone.insert(
                full,
                Target::Addresses(members.iter().map(|b| b.ip).collect()),
            );
        }
    }
    zone
}

/// The Service's own address; nothing for a headless one.
#[must_use]
pub(crate) fn address(service: &Service) -> Option<Ipv4Addr> {
    service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Service {
        let value = json!({"metadata": {"name": "reviews", "namespace": "default"}, "spec": spec});
        serde_json::from_value(value).expect("service")
    }

    fn backend(ip: u8, ready: bool, terminating: bool) -> Backend {
        let pod = json!({
            "metadata": {"name": format!("p{ip}"), "namespace": "default", "uid": "u", "labels": {"app": "reviews", "x": "y"}},
            "spec": {"hostname": format!("h{ip}"), "subdomain": "reviews", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 9080}]}]}
        });
        Backend {
            pod: serde_json::from_value(pod).expect("pod"),
            ip: Ipv4Addr::new(10, 244, 0, ip),
            ready,
            terminating,
        }
    }

    fn plain() -> Service {
        service(
            json!({"clusterIP": "10.96.0.9", "selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}),
        )
    }

    #[test]
    fn conditions_follow_readiness_and_termination() {
        let slices = slices(
            &plain(),
            &[
                backend(1, true, false),
                backend(2, false, false),
                backend(3, true, true),
            ],
        );
        assert_eq!(slices.len(), 1);
        assert_eq!(
            slices[0]["ports"],
            json!([{"name": "http", "port": 9080, "protocol": "TCP"}])
        );
        let conditions: Vec<Value> = slices[0]["endpoints"]
            .as_array()
            .expect("list")
            .iter()
            .map(|e| e["conditions"].clone())
            .collect();
        assert_eq!(
            conditions,
            [
                json!({"ready": true, "serving": true, "terminating": false}),
                json!({"ready": false, "serving": false, "terminating": false}),
                json!({"ready": false, "serving": true, "terminating": true}),
            ]
        );
    }

    #[test]
    fn an_ending_pod_serves_only_when_no_other_does() {
        let both = virtual_ports(
            &[plain()],
            &[backend(1, true, false), backend(3, true, true)],
        );
        assert_eq!(
            both[0].endpoints,
            ["10.244.0.1:9080".parse().expect("address")]
        );
        let last = virtual_ports(&[plain()], &[backend(3, true, true)]);
        assert_eq!(
            last[0].endpoints,
            ["10.244.0.3:9080".parse().expect("address")]
        );
        assert!(
            virtual_ports(&[plain()], &[backend(2, false, false)])[0]
                .endpoints
                .is_empty()
        );
    }

    #[test]
    fn headless_services_name_their_pods() {
        let headless = service(
            json!({"clusterIP": "None", "selector": {"app": "reviews"}, "ports": [{"port": 80}]}),
        );
        let zone = zone(
            &[headless],
            &[backend(1, true, false), backend(2, false, false)],
        );
        let one = Target::Addresses(vec![Ipv4Addr::new(10, 244, 0, 1)]);
        assert_eq!(zone.get("reviews.default.svc.cluster.local"), Some(&one));
        assert_eq!(zone.get("h1.reviews.default.svc.cluster.local"), Some(&one));
        assert_eq!(zone.len(), 2);
    }

    #[test]
    fn a_service_without_selector_selects_nothing() {
        let none = service(json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}));
        assert!(slices(&none, &[backend(1, true, false)]).is_empty());
    }
}
