//! What is kept in memory for each cluster: it fails when a cluster grows again.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::alloc::System;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use envoy_types::pb::envoy::config::bootstrap::v3 as bootstrap;
use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use lateen_proxy_balance::Keeper;
use lateen_proxy_model::AccessLogRef;
use lateen_proxy_state::State;
use lateen_proxy_sync::{AccessLogSpec, Bootstrap, Client, ClientConfig};
use lateen_xds::json::Codec;
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

/// The same with what Istio says of a service: transports by what endpoints can, and who the service and endpoint are.
fn of_mesh(clusters: usize) -> bootstrap::Bootstrap {
    let mut message = message(clusters);
    let held = message.static_resources.as_mut().unwrap();
    let made = rcgen::generate_simple_self_signed(["mesh.test".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for secret in [
        serde_json::json!({ "name": "default", "tls_certificate": {
            "certificate_chain": { "inline_string": chain }, "private_key": { "inline_string": key },
        } }),
        serde_json::json!({ "name": "ROOTCA", "validation_context": { "trusted_ca": { "inline_string": chain } } }),
    ] {
        held.secrets.push(CODEC.read_message(&secret).unwrap());
    }
    for (number, cluster) in held.clusters.iter_mut().enumerate() {
        let more = serde_json::json!({
            "metadata": { "filter_metadata": { "istio": { "services": [{
                "host": format!("service-{number}.default.svc.cluster.local"),
                "name": format!("service-{number}"), "namespace": "default",
            }] } } },
            "transport_socket_matches": [
                {
                    "name": "tlsMode-istio",
                    "match": { "tlsMode": "istio" },
                    "transport_socket": { "name": "tls", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                        "sni": format!("outbound_.8080_._.service-{number}.default.svc.cluster.local"),
                        "common_tls_context": {
                            "alpn_protocols": ["istio-peer-exchange", "istio"],
                            "tls_certificate_sds_secret_configs": [{ "name": "default" }],
                            "combined_validation_context": {
                                "default_validation_context": { "match_typed_subject_alt_names": [
                                    { "san_type": "URI", "matcher": { "exact": format!("spiffe://cluster.local/ns/default/sa/service-{number}") } },
                                ] },
                                "validation_context_sds_secret_config": { "name": "ROOTCA" },
                            },
                        },
                    } },
                },
                {
                    "name": "tlsMode-disabled",
                    "match": {},
                    "transport_socket": { "name": "raw", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
                    } },
                },
            ],
        });
        let more: cluster::Cluster = CODEC.read_message(&more).unwrap();
        cluster.metadata = more.metadata;
        cluster.transport_socket_matches = more.transport_socket_matches;
    }
    message
}

static CODEC: LazyLock<Codec> = LazyLock::new(|| Codec::new().unwrap());

fn load(message: &bootstrap::Bootstrap) -> (Arc<State>, Client) {
    let state = State::preparing(Arc::new(Keeper::new(Instant::now())));
    let logs = |_: AccessLogSpec| Ok(AccessLogRef(0));
    let (made, faults) = Bootstrap::read(message).unwrap();
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

/// Clusters that are measured: hash tables are as full as they are on average.
const COUNT: usize = 3_000;

fn bytes_each(of: fn(usize) -> bootstrap::Bootstrap) -> usize {
    drop(load(&of(10)));
    let message = of(COUNT);
    let before = in_use();
    let held = load(&message);
    let each = (in_use() - before) / COUNT;
    drop(held);
    each
}

/// One test, since both measure the whole process.
#[test]
fn clusters_are_small() {
    let bare = bytes_each(message);
    assert!(bare <= 1_400, "{bare} bytes a static cluster");
    let of_mesh = bytes_each(of_mesh);
    assert!(of_mesh <= 2_700, "{of_mesh} bytes a service of a mesh");
    println!("{bare} and {of_mesh} bytes a cluster");
}
