//! References between objects that lead nowhere.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::options::CheckOptions;
use crate::host::{MESH_GATEWAY, expand, expand_gateway, is_subset_of, is_wildcard, service_host};
use crate::networking::{Destination, DestinationRule, VirtualService};
use crate::object::{Object, Problem, Severity, Spec};

pub(super) fn check(objects: &[&Object], options: CheckOptions<'_>) -> Vec<Problem> {
    let known = Known::of(objects, options);
    let mut problems = Vec::new();
    for object in objects {
        if let Spec::VirtualService(spec) = &object.spec {
            known.check_routes(object, spec, &mut problems);
            known.check_gateways(object, spec, &mut problems);
            known.check_delegates(object, spec, &mut problems);
        }
    }
    problems
}

type Rule<'o> = (&'o Object, &'o DestinationRule);

/// What there is to refer to.
struct Known<'o> {
    options: CheckOptions<'o>,
    /// Ports of hosts, of Services and ServiceEntries.
    hosts: HashMap<Cow<'o, str>, HashSet<u32>>,
    /// Hosts of ServiceEntries that are wildcards, with their ports.
    wildcards: Vec<(&'o str, HashSet<u32>)>,
    /// DestinationRules by their expanded hosts.
    rules: HashMap<Cow<'o, str>, Vec<Rule<'o>>>,
    /// DestinationRules of wildcards.
    wild_rules: Vec<(&'o str, Rule<'o>)>,
    gateways: HashSet<String>,
    delegates: HashSet<String>,
}

impl<'o> Known<'o> {
    fn of(objects: &[&'o Object], options: CheckOptions<'o>) -> Self {
        let mut known = Self {
            options,
            hosts: HashMap::new(),
            wildcards: Vec::new(),
            rules: HashMap::new(),
            wild_rules: Vec::new(),
            gateways: HashSet::new(),
            delegates: HashSet::new(),
        };
        for object in objects {
            known.add(object);
        }
        known
    }

    fn add(&mut self, object: &'o Object) {
        let name = || format!("{}/{}", object.key.namespace, object.key.name);
        match &object.spec {
            Spec::Service(service) => {
                let host =
                    service_host(&object.key.name, &object.key.namespace, self.options.domain);
                let spec = service.spec.as_ref();
                let ports = spec
                    .and_then(|spec| spec.ports.as_ref())
                    .into_iter()
                    .flatten();
                let numbers = ports.filter_map(|port| u32::try_from(port.port).ok());
                self.hosts
                    .entry(Cow::Owned(host))
                    .or_default()
                    .extend(numbers);
            }
            Spec::ServiceEntry(spec) => {
                let numbers: HashSet<u32> = spec.ports.iter().map(|port| port.number).collect();
                for host in &spec.hosts {
                    if is_wildcard(host) {
                        self.wildcards.push((host, numbers.clone()));
                    } else {
                        self.hosts
                            .entry(Cow::Borrowed(host))
                            .or_default()
                            .extend(&numbers);
                    }
                }
            }
            Spec::DestinationRule(spec) => {
                let host = expand(&spec.host, &object.key.namespace, self.options.domain);
                if is_wildcard(&host) {
                    self.wild_rules.push((&spec.host, (object, spec)));
                } else {
                    self.rules.entry(host).or_default().push((object, spec));
                }
            }
            Spec::Gateway(_) => {
                self.gateways.insert(name());
            }
            Spec::VirtualService(spec) if spec.hosts.is_empty() => {
                self.delegates.insert(name());
            }
            _ => {}
        }
    }

    fn check_routes(&self, object: &Object, spec: &VirtualService, problems: &mut Vec<Problem>) {
        for (field, destination) in destinations(spec) {
            let host = expand(
                &destination.host,
                &object.key.namespace,
                self.options.domain,
            );
            if !destination.subset.is_empty()
                && let Some(reason) = self.missing_subset(&host, &destination.subset)
            {
                problems.push(object.problem(Severity::Error, &format!("{field}.subset"), reason));
            }
            if self.options.complete
                && let Some((part, reason)) = self.missing_host(&host, destination)
            {
                problems.push(object.problem(Severity::Error, &format!("{field}.{part}"), reason));
            }
        }
    }

    fn missing_subset(&self, host: &str, subset: &str) -> Option<String> {
        let exact = self.rules.get(host).into_iter().flatten();
        let wild = self
            .wild_rules
            .iter()
            .filter(|(wide, _)| is_subset_of(host, wide))
            .map(|(_, rule)| rule);
        let rules: Vec<&Rule<'_>> = exact.chain(wild).collect();
        let defined =
            |rule: &DestinationRule| rule.subsets.iter().any(|known| known.name == subset);
        if rules.iter().any(|(_, rule)| defined(rule)) {
            return None;
        }
        match rules.first() {
            Some((object, rule)) => {
                let names: Vec<&str> = rule
                    .subsets
                    .iter()
                    .map(|known| known.name.as_str())
                    .collect();
                let names = if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                };
                let place = object
                    .source
                    .as_ref()
                    .map(|source| format!(" ({}:{})", source.file, source.line))
                    .unwrap_or_default();
                Some(format!(
                    "{host} has no subset `{subset}`: {}{place} defines {names}",
                    object.key
                ))
            }
            None if self.options.complete => Some(format!(
                "{host} has no subset `{subset}`: no DestinationRule has this host"
            )),
            None => None,
        }
    }

    fn missing_host(
        &self,
        host: &str,
        destination: &Destination,
    ) -> Option<(&'static str, String)> {
        if is_wildcard(host) {
            return None;
        }
        let wide = || {
            self.wildcards
                .iter()
                .find(|(wildcard, _)| is_subset_of(host, wildcard))
                .map(|(_, ports)| ports)
        };
        let Some(ports) = self.hosts.get(host).or_else(wide) else {
            return Some((
                "host",
                format!("no Service or ServiceEntry has the host {host}"),
            ));
        };
        let number = destination.port.as_ref()?.number;
        if ports.is_empty() || ports.contains(&number) {
            return None;
        }
        let mut sorted: Vec<u32> = ports.iter().copied().collect();
        sorted.sort_unstable();
        let listed: Vec<String> = sorted.iter().map(u32::to_string).collect();
        Some((
            "port.number",
            format!("{host} has no port {number}, but {}", listed.join(", ")),
        ))
    }

    fn check_gateways(&self, object: &Object, spec: &VirtualService, problems: &mut Vec<Problem>) {
        if !self.options.complete {
            return;
        }
        let named = spec
            .gateways
            .iter()
            .enumerate()
            .filter(|(_, name)| *name != MESH_GATEWAY);
        for (i, name) in named {
            let expanded = expand_gateway(name, &object.key.namespace);
            if !self.gateways.contains(&expanded) {
                let message = format!("there is no Gateway {expanded}");
                problems.push(object.problem(
                    Severity::Error,
                    &format!("spec.gateways[{i}]"),
                    message,
                ));
            }
        }
    }

    fn check_delegates(&self, object: &Object, spec: &VirtualService, problems: &mut Vec<Problem>) {
        if !self.options.complete {
            return;
        }
        for (i, route) in spec.http.iter().enumerate() {
            let Some(delegate) = &route.delegate else {
                continue;
            };
            let namespace = if delegate.namespace.is_empty() {
                &object.key.namespace
            } else {
                &delegate.namespace
            };
            let name = format!("{namespace}/{}", delegate.name);
            if !self.delegates.contains(&name) {
                let message =
                    format!("there is no VirtualService {name} without hosts to delegate to");
                problems.push(object.problem(
                    Severity::Error,
                    &format!("spec.http[{i}].delegate"),
                    message,
                ));
            }
        }
    }
}

/// All destinations of a VirtualService with their fields.
fn destinations(spec: &VirtualService) -> Vec<(String, &Destination)> {
    let mut all = Vec::new();
    for (i, route) in spec.http.iter().enumerate() {
        for (j, to) in route.route.iter().enumerate() {
            all.extend(
                to.destination
                    .as_ref()
                    .map(|to| (format!("spec.http[{i}].route[{j}].destination"), to)),
            );
        }
        all.extend(
            route
                .mirror
                .as_ref()
                .map(|to| (format!("spec.http[{i}].mirror"), to)),
        );
        for (j, mirror) in route.mirrors.iter().enumerate() {
            all.extend(
                mirror
                    .destination
                    .as_ref()
                    .map(|to| (format!("spec.http[{i}].mirrors[{j}].destination"), to)),
            );
        }
    }
    let tls = spec
        .tls
        .iter()
        .map(|route| &route.route)
        .enumerate()
        .map(|(i, route)| ("tls", i, route));
    let tcp = spec
        .tcp
        .iter()
        .map(|route| &route.route)
        .enumerate()
        .map(|(i, route)| ("tcp", i, route));
    for (kind, i, route) in tls.chain(tcp) {
        for (j, to) in route.iter().enumerate() {
            all.extend(
                to.destination
                    .as_ref()
                    .map(|to| (format!("spec.{kind}[{i}].route[{j}].destination"), to)),
            );
        }
    }
    all
}
