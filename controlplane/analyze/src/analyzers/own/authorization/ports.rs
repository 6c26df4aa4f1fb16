//! On which ports the workloads of a policy are reached, and whether requests are seen there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lateen_api::object::Kind;
use lateen_api::protocol::Protocol;

use super::Policy;
use crate::cluster::Cluster;
use crate::pods::{PROXY, PodRef};
use crate::services::{Services, target_port};

/// Ports of proxies themselves, which nobody declares.
const OF_PROXIES: std::ops::RangeInclusive<u32> = 15000..=15099;

/// Policies that are for more workloads than this are for too many to tell.
const LIMIT: usize = 10_000;

/// The ports of some pods.
#[derive(Debug, Default)]
pub(super) struct Exposed {
    /// The pods' ports, and whether Services declare for all of them that no requests are seen.
    ports: BTreeMap<u32, bool>,
    /// Ports of Services that lead to another port of the pods.
    elsewhere: BTreeMap<u32, BTreeSet<u32>>,
    /// Whether there may be ports that are not known.
    open: bool,
}

impl Exposed {
    /// Why connections to a port never come; `None` if they may.
    pub(super) fn missing(&self, port: &str, is_allow: bool) -> Option<String> {
        let port: u32 = port.parse().ok()?;
        if self.open || self.ports.contains_key(&port) || OF_PROXIES.contains(&port) {
            return None;
        }
        if let Some(targets) = self.elsewhere.get(&port) {
            let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
            return Some(format!(
                "{port} is a Service's port, and the pods are reached at {}",
                targets.join(", ")
            ));
        }
        // Whoever denies a port that nothing declares may do so to be safe.
        is_allow.then(|| format!("no Service leads to port {port} and no container declares it"))
    }

    /// Whether no requests are seen on any of some ports, or on any at all if none is given.
    pub(super) fn are_without_http(&self, ports: &[&String]) -> bool {
        if self.open || self.ports.is_empty() {
            return false;
        }
        if ports.is_empty() {
            return self.ports.values().all(|is_tcp| *is_tcp);
        }
        let is_tcp = |port: &&String| {
            let number = port.parse::<u32>().ok();
            number.is_some_and(|number| self.ports.get(&number) == Some(&true))
        };
        ports.iter().all(is_tcp)
    }

    fn add(&mut self, pod: &PodRef<'_>, services: &Services<'_>) {
        let mut containers = pod.all_containers().peekable();
        self.open |=
            containers.peek().is_none() || containers.all(|container| container.name == PROXY);
        let mut led_to: BTreeMap<u32, bool> = BTreeMap::new();
        for service in services.selecting(pod.namespace(), pod.labels) {
            for port in service.tcp_ports() {
                let Some(target) = target_port(port, Some(pod)) else {
                    self.open = true;
                    continue;
                };
                let name = port.name.as_deref().unwrap_or_default();
                let app = port.app_protocol.as_deref();
                let protocol = Protocol::of_service_port(port.port, name, app, "TCP");
                let is_tcp = led_to.entry(target).or_insert(true);
                *is_tcp &= protocol.is_tcp();
                if let Some(number) = u32::try_from(port.port)
                    .ok()
                    .filter(|number| *number != target)
                {
                    self.elsewhere.entry(number).or_default().insert(target);
                }
            }
        }
        let declared = pod
            .all_containers()
            .flat_map(|container| container.ports.iter().flatten());
        for port in declared.filter_map(|port| u32::try_from(port.container_port).ok()) {
            led_to.entry(port).or_insert(false);
        }
        for (port, is_tcp) in led_to {
            *self.ports.entry(port).or_insert(true) &= is_tcp;
        }
    }
}

/// The ports of all policies' workloads, looked up once for each scope.
pub(super) struct Ports<'a> {
    cluster: &'a Cluster,
    services: Services<'a>,
    /// Namespaces where Sidecars open ports.
    open: HashSet<&'a str>,
    known: HashMap<Scope<'a>, Option<Exposed>>,
}

type Scope<'a> = (Option<&'a str>, &'a BTreeMap<String, String>);

impl<'a> Ports<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        let open = cluster
            .of(Kind::Sidecar)
            .filter(|object| {
                let sidecar = object.spec.as_sidecar();
                sidecar.is_some_and(|sidecar| !sidecar.ingress.is_empty())
            })
            .map(|object| object.key.namespace.as_str());
        Self {
            cluster,
            services: Services::new(cluster),
            open: open.collect(),
            known: HashMap::new(),
        }
    }

    /// The ports of a policy's workloads; `None` where there are none, or too many.
    pub(super) fn of(&mut self, policy: &Policy<'a>) -> Option<&Exposed> {
        if policy.targets().next().is_some() {
            return None;
        }
        let scope = (policy.namespace, policy.labels);
        if !self.known.contains_key(&scope) {
            let exposed = self.look_up(scope);
            self.known.insert(scope, exposed);
        }
        self.known.get(&scope)?.as_ref()
    }

    fn look_up(&self, (namespace, labels): Scope<'a>) -> Option<Exposed> {
        let mut exposed: Option<Exposed> = None;
        let mut seen = HashSet::new();
        let pods = self.cluster.pods();
        for (count, pod) in pods.matching_with_templates(namespace, labels).enumerate() {
            if count >= LIMIT {
                return None;
            }
            let exposed = exposed.get_or_insert_default();
            exposed.open |= self.open.contains(pod.namespace());
            if seen.insert((pod.namespace(), pod.labels)) {
                exposed.add(&pod, &self.services);
            }
        }
        exposed
    }
}
