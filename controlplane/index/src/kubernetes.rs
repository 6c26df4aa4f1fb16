//! Services, EndpointSlices and Pods of Kubernetes in the shape of the mesh.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Pod, Service as KubeService};
use k8s_openapi::api::discovery::v1::{Endpoint as KubeEndpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lateen_api::mesh::MeshConfig;
use lateen_api::object::{Metadata, Object};
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::endpoint::{Address, Endpoint, Health, Workload};
use lateen_controlplane_model::proxy::Labels;
use lateen_controlplane_model::service::{
    Distribution, Registry, Resolution, Service, ServicePort, TargetPort, Visibility,
};

const EXPORT_TO: &str = "networking.istio.io/exportTo";
const DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// A pod as far as services need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodInfo {
    pub(crate) workload: Arc<Workload>,
    pub(crate) ready: bool,
    pub(crate) ending: bool,
}

/// Seconds since the epoch; objects from files have none and count as equally old.
pub(crate) fn created(meta: &Metadata) -> i64 {
    meta.creation_timestamp.map_or(0, |time| time.as_second())
}

/// A Kubernetes Service.
pub(crate) fn service(
    object: &Object,
    kube: &KubeService,
    mesh: &MeshConfig,
    domain: &str,
) -> Service {
    let spec = kube.spec.clone().unwrap_or_default();
    let external = spec.type_.as_deref() == Some("ExternalName");
    let mut ips: Vec<String> = spec.cluster_ips.clone().unwrap_or_default();
    if ips.is_empty() {
        ips.extend(spec.cluster_ip.clone());
    }
    let headless = !external && ips.iter().any(|ip| ip == "None");
    let addresses = ips
        .iter()
        .filter_map(|ip| ip.parse::<IpAddr>().ok())
        .map(IpNet::from)
        .collect();
    let export: Vec<String> = object
        .meta
        .annotations
        .get(EXPORT_TO)
        .map(|list| {
            list.split(',')
                .map(|entry| entry.trim().to_owned())
                .filter(|entry| !entry.is_empty())
                .collect()
        })
        .unwrap_or_default();
    let resolution = match (external, headless) {
        (true, _) => Resolution::Dns,
        (false, true) => Resolution::OriginalDestination,
        (false, false) => Resolution::Static,
    };
    Service {
        host: lateen_api::host::service_host(&object.key.name, &object.key.namespace, domain)
            .into(),
        name: object.key.name.as_str().into(),
        namespace: object.key.namespace.as_str().into(),
        registry: Registry::Kubernetes,
        object: object.key.name.as_str().into(),
        addresses,
        ports: spec
            .ports
            .unwrap_or_default()
            .iter()
            .filter_map(service_port)
            .collect(),
        resolution,
        headless,
        mesh_external: external,
        export_to: Visibility::parse(
            &export,
            &mesh.default_service_export_to,
            &object.key.namespace,
        ),
        selector: if external {
            Labels::new()
        } else {
            spec.selector.unwrap_or_default()
        },
        labels: object.meta.labels.clone(),
        created: created(&object.meta),
        subject_alt_names: Vec::new(),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        node_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        distribution: distribution(
            spec.traffic_distribution.as_deref(),
            &object.meta.annotations,
        ),
        auto_address: None,
    }
}

/// The endpoint of an ExternalName Service: the name it stands for, on every port.
pub(crate) fn external_endpoints(kube: &KubeService, service: &Service) -> Vec<Endpoint> {
    let Some(name) = kube
        .spec
        .as_ref()
        .and_then(|spec| spec.external_name.as_deref())
    else {
        return Vec::new();
    };
    let workload = Arc::new(Workload {
        namespace: Arc::clone(&service.namespace),
        ..Workload::default()
    });
    let endpoint = |port: &ServicePort| Endpoint {
        address: name
            .parse()
            .map_or_else(|_| Address::Name(name.into()), Address::Ip),
        port: port.number,
        port_name: Arc::clone(&port.name),
        health: Health::Healthy,
        weight: None,
        workload: Arc::clone(&workload),
        health_known: false,
    };
    service.ports.iter().map(endpoint).collect()
}

fn service_port(port: &k8s_openapi::api::core::v1::ServicePort) -> Option<ServicePort> {
    let number = u16::try_from(port.port).ok().filter(|number| *number > 0)?;
    let name = port.name.as_deref().unwrap_or_default();
    let transport = port.protocol.as_deref().unwrap_or("TCP");
    let target = match &port.target_port {
        Some(IntOrString::Int(target)) => u16::try_from(*target)
            .ok()
            .filter(|t| *t > 0)
            .map_or(TargetPort::Number(number), TargetPort::Number),
        Some(IntOrString::String(target)) => TargetPort::Name(target.as_str().into()),
        None => TargetPort::Number(number),
    };
    Some(ServicePort {
        name: name.into(),
        number,
        protocol: Protocol::of_service_port(
            port.port,
            name,
            port.app_protocol.as_deref(),
            transport,
        ),
        target,
    })
}

fn distribution(field: Option<&str>, annotations: &BTreeMap<String, String>) -> Distribution {
    match field.or(annotations.get(DISTRIBUTION).map(String::as_str)) {
        Some("PreferClose" | "PreferSameZone") => Distribution::SameZone,
        Some("PreferSameNode") => Distribution::SameNode,
        _ => Distribution::Any,
    }
}

/// A pod; `None` while it has no address or after it has ended.
pub(crate) fn pod(
    object: &Object,
    pod: &Pod,
    node_locality: impl Fn(&str) -> Option<Arc<str>>,
    cluster: &Arc<str>,
) -> Option<PodInfo> {
    let status = pod.status.as_ref()?;
    let spec = pod.spec.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let mut addresses: Vec<IpAddr> = status
        .pod_ip
        .iter()
        .filter_map(|ip| ip.parse().ok())
        .collect();
    for ip in status
        .pod_ips
        .iter()
        .flatten()
        .filter_map(|ip| ip.ip.parse().ok())
    {
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    if addresses.is_empty() {
        return None;
    }
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let labels = object.meta.labels.clone();
    let node = spec.node_name.as_deref().unwrap_or_default();
    let own_locality = labels
        .get("istio-locality")
        .map(|label| Arc::from(label.replace('.', "/")));
    let ports = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .flat_map(|container| container.ports.iter().flatten());
    let named = ports
        .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)));
    let workload = Workload {
        name: object.key.name.as_str().into(),
        namespace: object.key.namespace.as_str().into(),
        workload: workload_name(object),
        service_account: spec
            .service_account_name
            .as_deref()
            .filter(|name| !name.is_empty())
            .unwrap_or("default")
            .into(),
        mtls: labels
            .get("security.istio.io/tlsMode")
            .is_some_and(|mode| mode == "istio"),
        network: labels
            .get("topology.istio.io/network")
            .map_or("", String::as_str)
            .into(),
        locality: own_locality
            .or_else(|| node_locality(node))
            .unwrap_or_default(),
        ports: named.collect(),
        addresses,
        node: node.into(),
        cluster: Arc::clone(cluster),
        labels,
    };
    Some(PodInfo {
        workload: Arc::new(workload),
        ready,
        ending: object.meta.deletion_timestamp.is_some(),
    })
}

/// The owner's name as people know it: the Deployment of a ReplicaSet, the CronJob of a Job, otherwise the controller itself.
fn workload_name(object: &Object) -> Arc<str> {
    let own = || Arc::from(object.key.name.as_str());
    let Some(owner) = object
        .meta
        .owner_references
        .iter()
        .find(|owner| owner.controller == Some(true))
    else {
        return own();
    };
    let hash = ["pod-template-hash", "rollouts-pod-template-hash"]
        .iter()
        .find_map(|key| object.meta.labels.get(*key));
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let stripped =
                hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
            stripped.unwrap_or(&owner.name).into()
        }
        "Job" => match owner.name.rsplit_once('-') {
            Some((name, stamp))
                if (8..=10).contains(&stamp.len()) && stamp.bytes().all(|b| b.is_ascii_digit()) =>
            {
                name.into()
            }
            _ => owner.name.as_str().into(),
        },
        _ => owner.name.as_str().into(),
    }
}

/// Locality of a machine from its labels, `region/zone/subzone`.
pub(crate) fn node_locality(labels: &BTreeMap<String, String>) -> Option<Arc<str>> {
    let label = |key: &str| labels.get(key).map_or("", String::as_str);
    let (region, zone) = (
        label("topology.kubernetes.io/region"),
        label("topology.kubernetes.io/zone"),
    );
    let subzone = label("topology.istio.io/subzone");
    if region.is_empty() && zone.is_empty() {
        return None;
    }
    Some(
        format!("{region}/{zone}/{subzone}")
            .trim_end_matches('/')
            .into(),
    )
}

/// The Service that a slice belongs to.
pub(crate) fn slice_service(meta: &Metadata) -> Option<&str> {
    meta.labels
        .get("kubernetes.io/service-name")
        .map(String::as_str)
}

/// Names of the pods a slice refers to.
pub(crate) fn slice_pods(slice: &EndpointSlice) -> impl Iterator<Item = &str> {
    slice.endpoints.iter().flatten().filter_map(pod_name)
}

/// The endpoints of a slice.
pub(crate) fn slice_endpoints(
    slice: &EndpointSlice,
    namespace: &Arc<str>,
    pods: impl Fn(&str) -> Option<PodInfo>,
) -> Vec<Endpoint> {
    if slice.address_type == "FQDN" {
        return Vec::new();
    }
    let mut out = Vec::new();
    for kube in slice.endpoints.iter().flatten() {
        let pod = pod_name(kube).and_then(&pods);
        let workload = match &pod {
            Some(info) => Arc::clone(&info.workload),
            None => Arc::new(bare_workload(kube, namespace)),
        };
        let health = health(kube);
        for port in slice
            .ports
            .iter()
            .flatten()
            .filter(|port| port.protocol.as_deref() != Some("UDP"))
        {
            let Some(number) = port.port.and_then(|port| u16::try_from(port).ok()) else {
                continue;
            };
            for ip in kube.addresses.iter().filter_map(|ip| ip.parse().ok()) {
                out.push(Endpoint {
                    address: Address::Ip(ip),
                    port: number,
                    port_name: port.name.as_deref().unwrap_or_default().into(),
                    health,
                    weight: None,
                    workload: Arc::clone(&workload),
                    health_known: true,
                });
            }
        }
    }
    out
}

fn pod_name(endpoint: &KubeEndpoint) -> Option<&str> {
    let target = endpoint.target_ref.as_ref()?;
    target
        .name
        .as_deref()
        .filter(|_| target.kind.as_deref() == Some("Pod"))
}

fn bare_workload(endpoint: &KubeEndpoint, namespace: &Arc<str>) -> Workload {
    Workload {
        namespace: Arc::clone(namespace),
        node: endpoint.node_name.as_deref().unwrap_or_default().into(),
        locality: endpoint
            .zone
            .as_deref()
            .map(|zone| format!("/{zone}"))
            .unwrap_or_default()
            .into(),
        addresses: endpoint
            .addresses
            .iter()
            .filter_map(|ip| ip.parse().ok())
            .collect(),
        ..Workload::default()
    }
}

/// The slice alone decides: it says in one write that an endpoint ends and that another took its place, while the pods
/// themselves change one by one.
fn health(endpoint: &KubeEndpoint) -> Health {
    let conditions = endpoint.conditions.as_ref();
    if conditions.is_some_and(|c| c.terminating == Some(true)) {
        return Health::Terminating;
    }
    if conditions.is_some_and(|c| c.ready == Some(false)) {
        Health::Unhealthy
    } else {
        Health::Healthy
    }
}
