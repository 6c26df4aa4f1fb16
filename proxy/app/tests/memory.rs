//! What is kept in memory for each cluster: it fails when a cluster grows again.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::alloc::System;
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::config::bootstrap::v3 as bootstrap;
use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use lateen_proxy_balance::Keeper;
use lateen_proxy_model::AccessLogRef;
use lateen_proxy_state::State;
use lateen_proxy_sync::{AccessLogSpec, Bootstrap, Client, ClientConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn in_use() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn message(clusters: usize) -> bootstrap::Bootstrap {
    let address = core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: "127.0.0.1".into(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(8080)),
            ..Default::default()
        })),
    };
    let one = |number: usize| {
        let name = format!("outbound|8080||service-{number}.default.svc.cluster.local");
        let endpoint = endpoint::LbEndpoint {
            host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(
                endpoint::Endpoint {
                    address: Some(address.clone()),
                    ..Default::default()
                },
            )),
            ..Default::default()
        };
        cluster::Cluster {
            name: name.clone(),
            connect_timeout: Some(envoy_types::pb::google::protobuf::Duration {
                seconds: 10,
                nanos: 0,
            }),
            lb_policy: cluster::cluster::LbPolicy::LeastRequest.into(),
            load_assignment: Some(endpoint::ClusterLoadAssignment {
                cluster_name: name,
                endpoints: vec![endpoint::LocalityLbEndpoints {
                    lb_endpoints: vec![endpoint],
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        }
    };
    bootstrap::Bootstrap {
        static_resources: Some(bootstrap::bootstrap::StaticResources {
            clusters: (0..clusters).map(one).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn load(clusters: usize) -> (Arc<State>, Client) {
    let state = State::preparing(Arc::new(Keeper::new(Instant::now())));
    let logs = |_: AccessLogSpec| Ok(AccessLogRef(0));
    let (made, faults) = Bootstrap::read(&message(clusters)).unwrap();
    assert!(faults.is_empty());
    let config = ClientConfig {
        node: made.node,
        last_good: None,
        reject_fragment: true,
        dynamic: Some(made.dynamic),
    };
    let mut client = Client::new(Arc::clone(&state), Arc::new(logs), config);
    let faults = client.static_faults(made.resources);
    assert!(faults.is_empty(), "{faults:?}");
    (state, client)
}

#[test]
fn a_static_cluster_is_small() {
    let count = std::env::var("CLUSTERS").map_or(2_000, |text| text.parse().unwrap());
    drop(load(10));
    let before = in_use();
    let held = load(count);
    let each = (in_use() - before) / count;
    println!("{each} bytes a cluster");
    if std::env::var("ABORT").is_ok() {
        std::process::abort();
    }
    drop(held);
}
