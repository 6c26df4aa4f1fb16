//! The table of names that a proxy's agent answers DNS questions from (NDS).

use std::collections::BTreeMap;

use lateen_api::host::is_wildcard;
use lateen_controlplane_model::endpoint::{Address, Health};
use lateen_controlplane_model::service::{Registry, Service};
use lateen_xds::pb::istio::networking::nds::v1::NameTable;
use lateen_xds::pb::istio::networking::nds::v1::name_table::NameInfo;

use crate::view::View;

/// Names and addresses of the services in scope.
pub(crate) fn name_table(view: &View) -> NameTable {
    let named = view
        .scope
        .services
        .iter()
        .filter(|service| !is_wildcard(&service.host));
    let table: BTreeMap<String, NameInfo> = named
        .filter_map(|service| Some((service.host.to_string(), info(view, service)?)))
        .collect();
    NameTable {
        table: table.into_iter().collect(),
    }
}

#[allow(deprecated)] // A field of the message that nobody sets any more.
fn info(view: &View, service: &Service) -> Option<NameInfo> {
    let singles = service
        .addresses
        .iter()
        .filter(|net| net.prefix_len() == net.max_prefix_len());
    let mut ips: Vec<String> = singles.map(|net| net.addr().to_string()).collect();
    if service.headless {
        let endpoints = view.snapshot.endpoints_of(service);
        let ready = endpoints
            .into_iter()
            .flat_map(|own| &own.list)
            .filter(|own| own.health == Health::Healthy || service.publish_not_ready);
        ips.extend(ready.filter_map(|endpoint| match &endpoint.address {
            Address::Ip(ip) => Some(ip.to_string()),
            _ => None,
        }));
    }
    ips.extend(
        service
            .auto_address
            .filter(|_| ips.is_empty())
            .map(|ip| ip.to_string()),
    );
    ips.sort();
    ips.dedup();
    if ips.is_empty() {
        return None;
    }
    let kubernetes = service.registry == Registry::Kubernetes;
    Some(NameInfo {
        ips,
        registry: if kubernetes { "Kubernetes" } else { "External" }.into(),
        shortname: if kubernetes {
            service.name.to_string()
        } else {
            String::new()
        },
        namespace: if kubernetes {
            service.namespace.to_string()
        } else {
            String::new()
        },
        ..Default::default()
    })
}
