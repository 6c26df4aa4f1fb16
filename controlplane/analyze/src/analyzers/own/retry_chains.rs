//! Retries of services that call each other, which multiply.
//!
//! Who calls whom is known where the configuration tells it: a VirtualService that is bound to a Gateway sends its requests to its
//! destinations; a Sidecar with a workload selector and a host by its full name says that these workloads call that host; and so does
//! a match on `sourceLabels`. Only retries that are written down count (a route's, else the mesh's `defaultHttpRetryPolicy`), not the
//! two that a mesh has by default.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lateen_api::host::{MESH_GATEWAY, expand, expand_gateway, service_host};
use lateen_api::networking::{HttpMatchRequest, HttpRoute, VirtualService};
use lateen_api::object::{Kind, Object};

use crate::analyzers::Analyzer;
use crate::call_graph::{CallGraph, Chain};
use crate::cluster::{Cluster, Input};
use crate::code::RETRY_AMPLIFICATION;
use crate::hosts::{DOMAIN, scopes};
use crate::message::Messages;
use crate::services::Services;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "lateen.RetryAmplificationAnalyzer",
    description: "Finds chains of calls whose retries multiply to a flood",
    inputs: &[
        Input::Kind(Kind::VirtualService),
        Input::Kind(Kind::Sidecar),
        Input::Kind(Kind::Service),
        Input::Kind(Kind::ServiceEntry),
        Input::Kind(Kind::Pod),
        Input::MeshConfig,
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// The most requests that one request may become: three tries at each of three hops.
const BOUND: u64 = 27;

type Labels = BTreeMap<String, String>;

fn run(cluster: &Cluster, messages: &mut Messages) {
    let mut calls = Calls::new(cluster);
    calls.of_gateways();
    calls.of_source_labels();
    calls.of_sidecars();
    for chain in calls.graph.chains(BOUND) {
        report(&chain, messages);
    }
}

fn report(chain: &Chain<'_, Retries<'_>>, messages: &mut Messages) {
    let retried: Vec<String> = chain
        .hops
        .iter()
        .filter(|hop| hop.factor > 1)
        .map(|hop| match hop.note {
            Some(by) => format!(
                "{} at {} (VirtualService {})",
                hop.factor,
                hop.to,
                name(by.object)
            ),
            None => format!("{} at {} (the mesh's default)", hop.factor, hop.to),
        })
        .collect();
    let Some(by) = chain
        .hops
        .iter()
        .find_map(|hop| hop.note.filter(|_| hop.factor > 1))
    else {
        return;
    };
    let end = chain.hops.last().map_or("", |hop| hop.to);
    let text = format!(
        "one request at {} can become {} at {end} when all fail, more than {BOUND}, since tries multiply along the chain of calls: {}; \
         lower attempts, or retry at one hop only",
        chain.start,
        chain.product,
        retried.join(", ")
    );
    let field = format!("spec.http[{}].retries.attempts", by.rule);
    messages.field(RETRY_AMPLIFICATION, by.object, &field, text);
}

fn name(object: &Object) -> String {
    format!("{}/{}", object.key.namespace, object.key.name)
}

/// The rule that a hop's retries come from.
#[derive(Debug, Clone, Copy)]
struct Retries<'a> {
    object: &'a Object,
    rule: usize,
}

struct Calls<'a> {
    cluster: &'a Cluster,
    services: Services<'a>,
    /// VirtualServices for sidecars by host.
    routes: HashMap<String, Vec<(&'a Object, &'a VirtualService)>>,
    graph: CallGraph<Retries<'a>>,
    default_tries: u64,
}

impl<'a> Calls<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let mut routes: HashMap<String, Vec<_>> = HashMap::new();
        for (object, spec) in virtual_services(cluster).filter(|(_, spec)| is_for_sidecars(spec)) {
            for host in &spec.hosts {
                let host = expand(host, &object.key.namespace, DOMAIN).into_owned();
                routes.entry(host).or_default().push((object, spec));
            }
        }
        let default = cluster.mesh.default_http_retry_policy.as_ref();
        Self {
            cluster,
            services: Services::new(cluster),
            routes,
            graph: CallGraph::default(),
            default_tries: default.map_or(1, |retries| tries(retries.attempts)),
        }
    }

    fn of_gateways(&mut self) {
        for (object, spec) in virtual_services(self.cluster) {
            for gateway in spec.gateways.iter().filter(|name| *name != MESH_GATEWAY) {
                let gateway = expand_gateway(gateway, &object.key.namespace);
                let caller = self.graph.node(&format!("Gateway {gateway}"));
                for (index, rule) in spec.http.iter().enumerate() {
                    self.add(caller, (object, spec), (index, rule));
                }
            }
        }
    }

    fn of_source_labels(&mut self) {
        for (object, spec) in
            virtual_services(self.cluster).filter(|(_, spec)| is_for_sidecars(spec))
        {
            for (index, rule) in spec.http.iter().enumerate() {
                let matches = rule
                    .r#match
                    .iter()
                    .filter(|one| !one.source_labels.is_empty());
                for one in matches {
                    let namespace = if one.source_namespace.is_empty() {
                        &object.key.namespace
                    } else {
                        &one.source_namespace
                    };
                    for caller in self.callers(namespace, &one.source_labels) {
                        self.add(caller, (object, spec), (index, rule));
                    }
                }
            }
        }
    }

    fn of_sidecars(&mut self) {
        for object in self.cluster.of(Kind::Sidecar) {
            let Some(sidecar) = object.spec.as_sidecar() else {
                continue;
            };
            let labels = sidecar
                .workload_selector
                .as_ref()
                .map(|selector| &selector.labels);
            let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
                continue;
            };
            let own = &object.key.namespace;
            let callers = self.callers(own, labels);
            let hosts = sidecar.egress.iter().flat_map(|listener| &listener.hosts);
            for (scope, host) in hosts.filter_map(|host| host.split_once('/')) {
                if scope.starts_with('~') || host.contains('*') {
                    continue;
                }
                for caller in &callers {
                    self.call(*caller, (own, labels), host);
                }
            }
        }
    }

    /// The services of which workloads with labels are part.
    fn callers(&mut self, namespace: &str, labels: &Labels) -> BTreeSet<usize> {
        let mut names = BTreeSet::new();
        let mut seen = BTreeSet::from([labels]);
        let pods = self.cluster.pods();
        seen.extend(
            pods.matching_with_templates(Some(namespace), labels)
                .map(|pod| pod.labels),
        );
        for labels in seen {
            for service in self.services.selecting(namespace, labels) {
                names.insert(service_host(&service.object.key.name, namespace, DOMAIN));
            }
        }
        names.iter().map(|name| self.graph.node(name)).collect()
    }

    /// A call of a host by workloads of a namespace with labels, by way of the routes that they see.
    fn call(&mut self, caller: usize, (namespace, labels): (&str, &Labels), host: &str) {
        let host = expand(host, namespace, DOMAIN);
        let routes = self.routes.get(&*host).and_then(|routes| {
            routes.iter().find(|(object, spec)| {
                scopes(&spec.export_to, &object.key.namespace)
                    .any(|scope| scope == "*" || scope == namespace)
            })
        });
        let Some((object, spec)) = routes.copied() else {
            if self.cluster.hosts().find(&host, namespace, &[]).is_some() {
                let to = self.graph.node(&host);
                self.graph.add(caller, to, self.default_tries, None);
            }
            return;
        };
        for (index, rule) in spec.http.iter().enumerate() {
            let counts = |one: &HttpMatchRequest| {
                let for_sidecars =
                    one.gateways.is_empty() || one.gateways.iter().any(|name| name == MESH_GATEWAY);
                for_sidecars
                    && lateen_api::labels::selects(&one.source_labels, labels)
                    && (one.source_namespace.is_empty() || one.source_namespace == namespace)
            };
            if rule.r#match.is_empty() || rule.r#match.iter().any(counts) {
                self.add(caller, (object, spec), (index, rule));
            }
        }
    }

    /// A caller whose requests follow a rule.
    fn add(
        &mut self,
        caller: usize,
        (object, spec): (&'a Object, &'a VirtualService),
        (index, rule): (usize, &HttpRoute),
    ) {
        let retries = rule.retries.as_ref();
        let factor = retries.map_or(self.default_tries, |retries| tries(retries.attempts));
        let note = retries.map(|_| Retries {
            object,
            rule: index,
        });
        let alone = rule.route.len() == 1;
        for entry in rule.route.iter().filter(|entry| alone || entry.weight > 0) {
            let Some(destination) = &entry.destination else {
                continue;
            };
            let namespace = &object.key.namespace;
            let hosts = self.cluster.hosts();
            if hosts
                .find(&destination.host, namespace, &spec.export_to)
                .is_some()
            {
                let to = self
                    .graph
                    .node(&expand(&destination.host, namespace, DOMAIN));
                self.graph.add(caller, to, factor, note);
            }
        }
    }
}

fn virtual_services(cluster: &Cluster) -> impl Iterator<Item = (&Object, &VirtualService)> {
    cluster
        .of(Kind::VirtualService)
        .filter_map(|object| Some((object, &**object.spec.as_virtual_service()?)))
}

fn is_for_sidecars(spec: &VirtualService) -> bool {
    spec.gateways.is_empty() || spec.gateways.iter().any(|name| name == MESH_GATEWAY)
}

/// The first try and those after it.
fn tries(attempts: i32) -> u64 {
    u64::from(attempts.max(0).unsigned_abs()) + 1
}
