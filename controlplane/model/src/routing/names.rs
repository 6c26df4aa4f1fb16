//! Short names in a VirtualService, written out.

use lateen_api::host;
use lateen_api::networking::{Destination, VirtualService};

/// Writes out the hosts, destinations and gateways of a VirtualService of `namespace`.
pub fn qualify(spec: &mut VirtualService, namespace: &str, domain: &str) {
    let full = |name: &mut String| *name = host::expand(name, namespace, domain).into_owned();
    let destination = |to: &mut Option<Destination>| {
        if let Some(to) = to {
            full(&mut to.host);
        }
    };
    let gateway = |name: &mut String| {
        *name = host::expand_gateway(name, namespace);
    };
    spec.hosts.iter_mut().for_each(full);
    spec.gateways.iter_mut().for_each(gateway);
    for route in &mut spec.http {
        route
            .r#match
            .iter_mut()
            .flat_map(|m| &mut m.gateways)
            .for_each(gateway);
        route
            .route
            .iter_mut()
            .for_each(|to| destination(&mut to.destination));
        route
            .mirrors
            .iter_mut()
            .for_each(|mirror| destination(&mut mirror.destination));
        destination(&mut route.mirror);
    }
    for route in &mut spec.tls {
        route
            .r#match
            .iter_mut()
            .flat_map(|m| &mut m.gateways)
            .for_each(gateway);
        route
            .route
            .iter_mut()
            .for_each(|to| destination(&mut to.destination));
    }
    for route in &mut spec.tcp {
        route
            .r#match
            .iter_mut()
            .flat_map(|m| &mut m.gateways)
            .for_each(gateway);
        route
            .route
            .iter_mut()
            .for_each(|to| destination(&mut to.destination));
    }
}
