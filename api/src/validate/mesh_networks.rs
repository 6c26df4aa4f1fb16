//! Rules on MeshNetworks.

use std::fmt::Display;

use super::report::{Key, Report};
use super::{Fault, values};
use crate::host::{is_any_case_label, is_fqdn};
use crate::mesh::{
    MeshNetworks, Network, NetworkEndpointsSource, NetworkGateway, NetworkGatewayTarget,
};

/// The faults of the mesh's networks; paths begin at the document's root.
#[must_use]
pub fn validate_mesh_networks(networks: &MeshNetworks) -> Vec<Fault> {
    let mut report = Report::without_object();
    for (name, one) in &networks.networks {
        network(&mut report, format_args!("networks{}", Key(name)), one);
    }
    report.finish()
}

fn network(report: &mut Report<'_>, field: impl Display, one: &Network) {
    for (i, endpoints) in one.endpoints.iter().enumerate() {
        let at = format_args!("{field}.endpoints[{i}]");
        match &endpoints.ne {
            Some(NetworkEndpointsSource::FromCidr(range)) => report.require(
                values::is_ip_or_range(range),
                format_args!("{at}.fromCidr"),
                format_args!("`{range}` is neither an address nor a range such as 10.0.0.0/8"),
            ),
            Some(NetworkEndpointsSource::FromRegistry(registry)) => report.require(
                is_any_case_label(registry),
                format_args!("{at}.fromRegistry"),
                format_args!(
                    "`{registry}` is not a cluster's name: letters, digits and `-` are allowed"
                ),
            ),
            None => {}
        }
    }
    for (i, one) in one.gateways.iter().enumerate() {
        gateway(report, format_args!("{field}.gateways[{i}]"), one);
    }
}

fn gateway(report: &mut Report<'_>, field: impl Display, one: &NetworkGateway) {
    match &one.gw {
        Some(NetworkGatewayTarget::RegistryServiceName(name)) => report.require(
            is_fqdn(name),
            format_args!("{field}.registryServiceName"),
            format_args!("`{name}` is not a service's full name, such as gateway.istio-system.svc.cluster.local"),
        ),
        Some(NetworkGatewayTarget::Address(address)) => report.require(
            values::is_ip(address) || is_fqdn(address),
            format_args!("{field}.address"),
            format_args!("`{address}` is neither an address nor a host name"),
        ),
        None => {}
    }
    values::port(report, format_args!("{field}.port"), one.port);
}
