//! ServiceEntries and WorkloadEntries in the shape of the mesh.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use lateen_api::host::is_wildcard;
use lateen_api::mesh::MeshConfig;
use lateen_api::networking::{
    ServiceEntry, ServiceEntryLocation, ServiceEntryResolution, WorkloadEntry,
};
use lateen_api::object::Object;
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::endpoint::{Address, Endpoint, Health, Workload};
use lateen_controlplane_model::generate::Rejection;
use lateen_controlplane_model::proxy::Labels;
use lateen_controlplane_model::service::{
    Distribution, Registry, Resolution, Service, ServicePort, TargetPort, Visibility, covers,
};

use crate::kubernetes::{PodInfo, created};

/// A WorkloadEntry with its labels as selectors see them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EntryInfo {
    pub(crate) entry: Arc<WorkloadEntry>,
    pub(crate) workload: Arc<Workload>,
}

/// The services of a ServiceEntry, one a host. Parts that cannot be used go to `rejections`.
pub(crate) fn services(
    object: &Object,
    entry: &ServiceEntry,
    mesh: &MeshConfig,
    rejections: &mut Vec<Rejection>,
) -> Vec<Service> {
    let mut refuse = |field: String, reason: &str| rejections.push(reject(object, field, reason));
    let resolution = match entry.resolution {
        ServiceEntryResolution::None => Resolution::OriginalDestination,
        ServiceEntryResolution::Static => Resolution::Static,
        ServiceEntryResolution::Dns => Resolution::Dns,
        ServiceEntryResolution::DnsRoundRobin => Resolution::DnsRoundRobin,
        ServiceEntryResolution::DynamicDns => {
            refuse(
                "spec.resolution".into(),
                "DYNAMIC_DNS is not supported: use DNS with each host, or NONE",
            );
            return Vec::new();
        }
    };
    let addresses = addresses(entry, &mut refuse);
    let ports = ports(entry, &mut refuse);
    let by_name = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if resolution == Resolution::DnsRoundRobin && entry.endpoints.len() > 1 {
        refuse(
            "spec.endpoints".into(),
            "DNS_ROUND_ROBIN resolves one name: give at most one endpoint",
        );
        return Vec::new();
    }
    if resolution == Resolution::Static {
        for (at, endpoint) in entry.endpoints.iter().enumerate() {
            if endpoint.address.parse::<IpAddr>().is_err()
                && !endpoint.address.starts_with("unix://")
            {
                refuse(
                    format!("spec.endpoints[{at}].address"),
                    "STATIC needs an IP address or unix:// path: use resolution DNS for names",
                );
            }
        }
    }
    let mut out = Vec::new();
    for (at, host) in entry.hosts.iter().enumerate() {
        if by_name && is_wildcard(host) && entry.endpoints.is_empty() {
            refuse(
                format!("spec.hosts[{at}]"),
                "a wildcard cannot be resolved: give endpoints, or use resolution NONE",
            );
            continue;
        }
        out.push(Service {
            host: host.as_str().into(),
            name: host.as_str().into(),
            namespace: object.key.namespace.as_str().into(),
            registry: Registry::ServiceEntry,
            object: object.key.name.as_str().into(),
            addresses: addresses.clone(),
            ports: ports.clone(),
            resolution,
            headless: false,
            mesh_external: entry.location == ServiceEntryLocation::MeshExternal,
            export_to: Visibility::parse(
                &entry.export_to,
                &mesh.default_service_export_to,
                &object.key.namespace,
            ),
            selector: selector(entry).cloned().unwrap_or_default(),
            labels: object.meta.labels.clone(),
            created: created(&object.meta),
            subject_alt_names: entry.subject_alt_names.clone(),
            publish_not_ready: false,
            node_local: false,
            distribution: Distribution::Any,
            auto_address: None,
        });
    }
    out
}

fn addresses(entry: &ServiceEntry, refuse: &mut impl FnMut(String, &str)) -> Vec<IpNet> {
    let mut out = Vec::new();
    for (at, text) in entry.addresses.iter().enumerate() {
        let parsed = text
            .parse::<IpNet>()
            .map(|net| net.trunc())
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match parsed {
            Ok(net) => out.push(net),
            Err(_) => refuse(
                format!("spec.addresses[{at}]"),
                "this is neither an IP address nor a network",
            ),
        }
    }
    out
}

fn ports(entry: &ServiceEntry, refuse: &mut impl FnMut(String, &str)) -> Vec<ServicePort> {
    let mut out: Vec<ServicePort> = Vec::new();
    for (at, port) in entry.ports.iter().enumerate() {
        let Some(number) = u16::try_from(port.number).ok().filter(|number| *number > 0) else {
            refuse(
                format!("spec.ports[{at}].number"),
                "a port number is between 1 and 65535",
            );
            continue;
        };
        if out
            .iter()
            .any(|known| known.number == number || *known.name == *port.name)
        {
            refuse(
                format!("spec.ports[{at}]"),
                "another port has the same number or name",
            );
            continue;
        }
        let target = u16::try_from(port.target_port)
            .ok()
            .filter(|target| *target > 0)
            .unwrap_or(number);
        out.push(ServicePort {
            name: port.name.as_str().into(),
            number,
            protocol: Protocol::parse(&port.protocol),
            target: TargetPort::Number(target),
        });
    }
    out
}

/// The labels a ServiceEntry picks workloads by.
pub(crate) fn selector(entry: &ServiceEntry) -> Option<&Labels> {
    entry
        .workload_selector
        .as_ref()
        .map(|selector| &selector.labels)
        .filter(|labels| !labels.is_empty())
}

/// A WorkloadEntry object.
pub(crate) fn workload(
    object: &Object,
    entry: &Arc<WorkloadEntry>,
    cluster: &Arc<str>,
) -> EntryInfo {
    let mut labels = object.meta.labels.clone();
    labels.extend(entry.labels.clone());
    let workload = Workload {
        labels,
        ..describe(entry, &object.key.namespace, &object.key.name, cluster)
    };
    let mtls = workload
        .labels
        .get("security.istio.io/tlsMode")
        .is_some_and(|mode| mode == "istio");
    EntryInfo {
        entry: Arc::clone(entry),
        workload: Arc::new(Workload { mtls, ..workload }),
    }
}

fn describe(entry: &WorkloadEntry, namespace: &str, name: &str, cluster: &Arc<str>) -> Workload {
    let labels = entry.labels.clone();
    let own = labels
        .get("istio-locality")
        .map(|label| label.replace('.', "/"));
    Workload {
        name: name.into(),
        namespace: namespace.into(),
        workload: name.into(),
        service_account: entry.service_account.as_str().into(),
        mtls: labels
            .get("security.istio.io/tlsMode")
            .is_some_and(|mode| mode == "istio"),
        addresses: entry.address.parse().ok().into_iter().collect(),
        locality: own.unwrap_or_else(|| entry.locality.clone()).into(),
        network: entry.network.as_str().into(),
        cluster: Arc::clone(cluster),
        labels,
        ..Workload::default()
    }
}

/// What a ServiceEntry may pick.
pub(crate) struct Candidates<'a> {
    pub(crate) pods: Vec<&'a PodInfo>,
    pub(crate) entries: Vec<&'a EntryInfo>,
    pub(crate) cluster: &'a Arc<str>,
}

/// The endpoints of one service of a ServiceEntry.
pub(crate) fn endpoints(
    object: &Object,
    entry: &ServiceEntry,
    service: &Service,
    from: &Candidates<'_>,
) -> Vec<Endpoint> {
    if service.resolution == Resolution::OriginalDestination {
        return Vec::new();
    }
    let mut out = candidates(object, entry, service, from);
    if service.resolution == Resolution::Static {
        out.retain(|endpoint| !matches!(endpoint.address, Address::Name(_)));
    }
    out
}

fn candidates(
    object: &Object,
    entry: &ServiceEntry,
    service: &Service,
    from: &Candidates<'_>,
) -> Vec<Endpoint> {
    let mut out = Vec::new();
    if let Some(wanted) = selector(entry) {
        for pod in from
            .pods
            .iter()
            .filter(|pod| covers(&pod.workload.labels, wanted))
        {
            out.extend(
                service
                    .ports
                    .iter()
                    .filter_map(|port| pod_endpoint(pod, port)),
            );
        }
        for info in from
            .entries
            .iter()
            .filter(|info| covers(&info.workload.labels, wanted))
        {
            out.extend(
                service
                    .ports
                    .iter()
                    .filter_map(|port| entry_endpoint(&info.entry, &info.workload, port)),
            );
        }
        return out;
    }
    for (at, inline) in entry.endpoints.iter().enumerate() {
        let workload = Arc::new(describe(
            inline,
            &object.key.namespace,
            &format!("{}-{at}", object.key.name),
            from.cluster,
        ));
        out.extend(
            service
                .ports
                .iter()
                .filter_map(|port| entry_endpoint(inline, &workload, port)),
        );
    }
    if entry.endpoints.is_empty()
        && matches!(
            service.resolution,
            Resolution::Dns | Resolution::DnsRoundRobin
        )
    {
        let itself = WorkloadEntry {
            address: service.host.to_string(),
            ..WorkloadEntry::default()
        };
        let workload = Arc::new(describe(
            &itself,
            &object.key.namespace,
            &object.key.name,
            from.cluster,
        ));
        out.extend(
            service
                .ports
                .iter()
                .filter_map(|port| entry_endpoint(&itself, &workload, port)),
        );
    }
    out
}

fn pod_endpoint(pod: &PodInfo, port: &ServicePort) -> Option<Endpoint> {
    let health = match (pod.ending, pod.ready) {
        (true, _) => Health::Terminating,
        (false, true) => Health::Healthy,
        (false, false) => Health::Unhealthy,
    };
    Some(Endpoint {
        address: Address::Ip(*pod.workload.addresses.first()?),
        port: port.target.resolve(&pod.workload.ports)?,
        port_name: Arc::clone(&port.name),
        health,
        weight: None,
        workload: Arc::clone(&pod.workload),
        health_known: true,
    })
}

fn entry_endpoint(
    entry: &WorkloadEntry,
    workload: &Arc<Workload>,
    port: &ServicePort,
) -> Option<Endpoint> {
    let own = entry
        .ports
        .get(&*port.name)
        .and_then(|number| u16::try_from(*number).ok());
    let (address, number) = match entry.address.strip_prefix("unix://") {
        Some(path) => (Address::Pipe(path.into()), 0),
        None => {
            let number = own.or_else(|| port.target.resolve(&workload.ports))?;
            let address = entry.address.parse().map_or_else(
                |_| Address::Name(entry.address.as_str().into()),
                Address::Ip,
            );
            (address, number)
        }
    };
    Some(Endpoint {
        address,
        port: number,
        port_name: Arc::clone(&port.name),
        health: Health::Healthy,
        weight: Some(entry.weight).filter(|weight| *weight > 0),
        workload: Arc::clone(workload),
        health_known: false,
    })
}

/// A rejection of a field of an object.
pub(crate) fn reject(object: &Object, field: String, reason: &str) -> Rejection {
    Rejection {
        kind: object.key.kind.as_str().into(),
        object: format!("{}/{}", object.key.namespace, object.key.name),
        field,
        reason: reason.into(),
    }
}
