//! Services and the pods that they select.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lateen_api::object::{Kind, Object, Spec};

use crate::cluster::Cluster;
use crate::pods::PodRef;
use crate::selectors::SelectorIndex;

/// A Service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceRef<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its content.
    pub spec: &'a ServiceSpec,
}

/// The Services of a cluster by what they select.
#[derive(Debug)]
pub struct Services<'a> {
    selecting: SelectorIndex<'a, ServiceRef<'a>>,
    without: HashMap<&'a str, Vec<ServiceRef<'a>>>,
}

impl<'a> Services<'a> {
    /// Takes up the Services of a cluster.
    #[must_use]
    pub fn new(cluster: &'a Cluster) -> Self {
        let services = || cluster.of(Kind::Service).filter_map(ServiceRef::of);
        let selecting = services().filter_map(|service| {
            let selector = service.selector()?;
            Some((service.namespace(), selector, service))
        });
        let selecting = SelectorIndex::new(selecting);
        let mut without: HashMap<&str, Vec<ServiceRef<'_>>> = HashMap::new();
        for service in services().filter(|service| service.selector().is_none()) {
            without
                .entry(service.namespace())
                .or_default()
                .push(service);
        }
        Self { selecting, without }
    }

    /// The Services whose selectors select a pod of a namespace by its labels. Services without a selector are not among them.
    pub fn selecting<'s>(
        &'s self,
        namespace: &'s str,
        labels: &'s BTreeMap<String, String>,
    ) -> impl Iterator<Item = ServiceRef<'a>> + use<'a, 's> {
        self.selecting.selecting(namespace, labels)
    }

    /// The Services of a namespace that have no selector.
    pub fn without_selector(&self, namespace: &str) -> impl Iterator<Item = ServiceRef<'a>> {
        self.without.get(namespace).into_iter().flatten().copied()
    }
}

impl<'a> ServiceRef<'a> {
    /// An object as a Service; `None` if it is none.
    #[must_use]
    pub fn of(object: &'a Object) -> Option<Self> {
        let Spec::Service(service) = &object.spec else {
            return None;
        };
        let spec = service.spec.as_ref()?;
        Some(Self { object, spec })
    }

    /// The Service's namespace.
    #[must_use]
    pub fn namespace(self) -> &'a str {
        &self.object.key.namespace
    }

    /// The labels that its pods have; `None` if it selects none.
    #[must_use]
    pub fn selector(self) -> Option<&'a BTreeMap<String, String>> {
        let selector = self.spec.selector.as_ref()?;
        (!selector.is_empty()).then_some(selector)
    }

    /// The ports that carry TCP.
    pub fn tcp_ports(self) -> impl Iterator<Item = &'a ServicePort> {
        let ports = self.spec.ports.iter().flatten();
        ports.filter(|port| {
            let protocol = port.protocol.as_deref();
            protocol.is_none_or(|protocol| protocol.is_empty() || protocol == "TCP")
        })
    }
}

/// The port of a pod to which a Service's port leads; `None` for a name that none of the pod's containers has.
#[must_use]
pub fn target_port(port: &ServicePort, pod: Option<&PodRef<'_>>) -> Option<u32> {
    let number = match &port.target_port {
        None | Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => match text.parse() {
            Ok(number) => number,
            Err(_) => {
                pod?.all_containers()
                    .flat_map(|container| container.ports.iter().flatten())
                    .find(|declared| declared.name.as_ref() == Some(text))?
                    .container_port
            }
        },
    };
    u32::try_from(number).ok()
}
