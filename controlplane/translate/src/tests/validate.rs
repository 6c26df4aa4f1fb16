//! Upstream Envoy takes everything a client without Istio's filters gets. Runs where `ENVOY_BIN` names an Envoy.

use std::process::Command;

use envoy_types::pb::envoy::config::bootstrap::v3::Bootstrap;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::listener::v3::{Listener, filter};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use prost::Name;

use super::*;

const RICH: &str = include_str!("rich.yaml");

/// A bootstrap with everything a proxy gets: listeners and clusters static, routes inline.
fn bootstrap(world: &World, proxy: &Proxy) -> Bootstrap {
    let clusters: Vec<Cluster> = world
        .all(proxy, TypeSet::CLUSTER_URL)
        .iter()
        .map(typed)
        .collect();
    let mut listeners: Vec<Listener> = world
        .all(proxy, TypeSet::LISTENER_URL)
        .iter()
        .map(typed)
        .collect();
    for listener in &mut listeners {
        inline_routes(world, proxy, listener);
    }
    let frame = json!({
        "node": {"id": "test", "cluster": "test"},
        "dynamic_resources": {"ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]}},
        "static_resources": {"clusters": [agent("xds-grpc"), agent("sds-grpc")]},
    });
    let mut bootstrap: Bootstrap = Codec::new()
        .expect("descriptors")
        .read_message(&frame)
        .expect("a bootstrap");
    let resources = bootstrap.static_resources.get_or_insert_default();
    resources.clusters.extend(clusters);
    resources.listeners = listeners;
    bootstrap
}

fn typed<M: Message + Name + Default>(resource: &Resource) -> M {
    lateen_xds::any::unpack(&Any::decode(resource.body.as_ref()).expect("an Any"))
        .expect("the type")
}

fn agent(name: &str) -> Value {
    json!({
        "name": name, "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/tmp/none"}}}}]}]},
    })
}

fn inline_routes(world: &World, proxy: &Proxy, listener: &mut Listener) {
    for filter in listener
        .filter_chains
        .iter_mut()
        .flat_map(|chain| &mut chain.filters)
    {
        let Some(filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else {
            continue;
        };
        let Ok(mut manager) = lateen_xds::any::unpack::<HttpConnectionManager>(config) else {
            continue;
        };
        if let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier {
            let names = Names::Set(BTreeSet::from([rds.route_config_name.as_str().into()]));
            let routes = world.config.generate(proxy, TypeSet::ROUTE_URL, &names);
            manager.route_specifier = Some(RouteSpecifier::RouteConfig(typed(&routes[0])));
            *config = lateen_xds::any::pack(&manager);
        }
    }
}

#[test]
fn envoy_takes_everything() {
    let Some(binary) = std::env::var_os("ENVOY_BIN") else {
        return;
    };
    let mesh = MeshConfig {
        access_log_file: "/dev/stdout".into(),
        ..MeshConfig::default()
    };
    let world = World::with(mesh, &[BOOKINFO, RICH]);
    let gateway = proxy_of(
        "router",
        "istio-system",
        "10.0.0.20",
        &json!({"istio": "ingressgateway"}),
        false,
    );
    let strict = proxy_of("sidecar", "strict", "10.0.3.1", &json!({"app": "s"}), false);
    for (name, proxy) in [
        ("sidecar", envoy()),
        ("router", gateway),
        ("strict", strict),
    ] {
        let path =
            std::env::temp_dir().join(format!("lateen-bootstrap-{name}-{}.pb", std::process::id()));
        std::fs::write(&path, bootstrap(&world, &proxy).encode_to_vec()).expect("a file");
        let output = Command::new(&binary)
            .args(["--mode", "validate", "-c"])
            .arg(&path)
            .output()
            .expect("Envoy runs");
        let text = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("[critical]") || line.contains("error"))
            .collect();
        assert!(
            output.status.success(),
            "{name} ({}): {errors:#?}",
            path.display()
        );
        std::fs::remove_file(&path).expect("removed");
    }
}
