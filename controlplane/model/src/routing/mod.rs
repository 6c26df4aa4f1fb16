//! VirtualServices: names in full, delegates merged, and which of them a sidecar or gateway uses.

mod delegate;
mod names;

use std::collections::HashMap;
use std::sync::Arc;

use lateen_api::networking::VirtualService;

pub use delegate::{Undelegated, with_delegates};
pub use names::qualify;

use crate::rule::Rule;

/// The reserved gateway name that stands for every sidecar.
pub const MESH: &str = lateen_api::host::MESH_GATEWAY;

/// All VirtualServices in effect, oldest first.
#[derive(Debug, Default)]
pub struct VirtualServices {
    all: Vec<Arc<Rule<VirtualService>>>,
    by_gateway: HashMap<String, Vec<Arc<Rule<VirtualService>>>>,
    uses_source_labels: bool,
}

impl VirtualServices {
    /// Indexes rules (with names in full and delegates merged) by the gateways they are bound to.
    #[must_use]
    pub fn new(mut rules: Vec<Arc<Rule<VirtualService>>>) -> Self {
        rules.sort_by(|a, b| a.order(b));
        let mut index = Self::default();
        for rule in &rules {
            index.uses_source_labels |= uses_source_labels(&rule.spec);
            for gateway in gateways(&rule.spec) {
                index
                    .by_gateway
                    .entry(gateway.to_owned())
                    .or_default()
                    .push(Arc::clone(rule));
            }
        }
        index.all = rules;
        index
    }

    /// Every rule, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule<VirtualService>>> {
        self.all.iter()
    }

    /// The rules bound to `gateway` (`mesh` or `<namespace>/<name>`) that `namespace` may see: its private ones first, then those
    /// exported to it by name, then public ones.
    #[must_use]
    pub fn bound(&self, gateway: &str, namespace: &str) -> Vec<Arc<Rule<VirtualService>>> {
        let rank = |rule: &Rule<VirtualService>| match &rule.export_to {
            visibility if visibility.is_private_to(&rule.namespace) => {
                (&*rule.namespace == namespace).then_some(0)
            }
            visibility if !visibility.admits(namespace) => None,
            crate::service::Visibility::Namespaces(_) => Some(1),
            crate::service::Visibility::Public => Some(2),
        };
        let Some(rules) = self.by_gateway.get(gateway) else {
            return Vec::new();
        };
        let mut ranked: Vec<(u8, &Arc<Rule<VirtualService>>)> = rules
            .iter()
            .filter_map(|rule| Some((rank(rule)?, rule)))
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked
            .into_iter()
            .map(|(_, rule)| Arc::clone(rule))
            .collect()
    }

    /// True when some rule treats clients differently by their labels.
    #[must_use]
    pub fn depends_on_labels(&self) -> bool {
        self.uses_source_labels
    }
}

/// The gateways a VirtualService is bound to; none given means the mesh.
pub fn gateways(spec: &VirtualService) -> impl Iterator<Item = &str> {
    let implied = spec.gateways.is_empty().then_some(MESH);
    spec.gateways.iter().map(String::as_str).chain(implied)
}

/// Every destination host a VirtualService sends traffic to, mirrors included.
pub fn destination_hosts(spec: &VirtualService) -> impl Iterator<Item = &str> {
    let http = spec.http.iter().flat_map(|route| {
        let routed = route.route.iter().filter_map(|to| to.destination.as_ref());
        let mirrored = route
            .mirrors
            .iter()
            .filter_map(|mirror| mirror.destination.as_ref());
        routed.chain(mirrored).chain(route.mirror.as_ref())
    });
    let tls = spec.tls.iter().flat_map(|route| route.route.iter());
    let tcp = spec.tcp.iter().flat_map(|route| route.route.iter());
    let l4 = tls.chain(tcp).filter_map(|to| to.destination.as_ref());
    http.chain(l4).map(|destination| destination.host.as_str())
}

fn uses_source_labels(spec: &VirtualService) -> bool {
    spec.http
        .iter()
        .flat_map(|route| &route.r#match)
        .any(|m| !m.source_labels.is_empty())
        || spec
            .tls
            .iter()
            .flat_map(|route| &route.r#match)
            .any(|m| !m.source_labels.is_empty())
        || spec
            .tcp
            .iter()
            .flat_map(|route| &route.r#match)
            .any(|m| !m.source_labels.is_empty())
}
