//! Clusters (CDS): one per service port and subset, those of the pod's own ports, and the special ones.

mod balance;
mod inbound;
mod outbound;
mod pool;
mod protocol;
mod transport;

use crate::names;
use crate::pb::cluster::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use crate::pb::cluster::{Cluster, circuit_breakers};
use crate::pb::core;
use crate::view::View;
use crate::wire::{number, seconds, socket_address, span};

pub(crate) use inbound::{inbound_clusters, passthrough_ports};
pub(crate) use outbound::{assigned, outbound_clusters};

/// A cluster without endpoints, where refused traffic ends.
pub(crate) fn black_hole(view: &View) -> Cluster {
    Cluster {
        name: names::black_hole().into(),
        alt_stat_name: format!("{};", names::black_hole()),
        cluster_discovery_type: kind(DiscoveryType::Static),
        connect_timeout: connect_timeout(view),
        lb_policy: LbPolicy::RoundRobin as i32,
        ..Default::default()
    }
}

/// The cluster that connects to wherever the client was going.
pub(crate) fn passthrough(view: &View) -> Cluster {
    Cluster {
        name: names::passthrough().into(),
        alt_stat_name: format!("{};", names::passthrough()),
        typed_extension_protocol_options: protocol::of_client(seconds(300)),
        filters: outbound::upstream_filters(view),
        ..original_destination(view)
    }
}

fn original_destination(view: &View) -> Cluster {
    Cluster {
        cluster_discovery_type: kind(DiscoveryType::OriginalDst),
        lb_policy: LbPolicy::ClusterProvided as i32,
        connect_timeout: connect_timeout(view),
        circuit_breakers: Some(pool::breakers(None, None)),
        ..Default::default()
    }
}

fn kind(kind: DiscoveryType) -> Option<ClusterDiscoveryType> {
    Some(ClusterDiscoveryType::Type(kind as i32))
}

fn connect_timeout(view: &View) -> Option<crate::pb::Duration> {
    view.config().connect_timeout.map_or(seconds(10), span)
}

/// Limits that limit nothing.
fn unlimited() -> circuit_breakers::Thresholds {
    circuit_breakers::Thresholds {
        max_connections: number(u32::MAX),
        max_pending_requests: number(u32::MAX),
        max_requests: number(u32::MAX),
        max_retries: number(u32::MAX),
        track_remaining: true,
        ..Default::default()
    }
}

/// Connections to the application come from an address that the redirect rules let through.
fn inbound_source(view: &View) -> core::BindConfig {
    let source = if view.traits.ipv6 { "::6" } else { "127.0.0.6" };
    core::BindConfig {
        source_address: Some(socket_address(source, 0)),
        ..Default::default()
    }
}
