use super::*;

#[test]
fn http_ports_share_a_listener() {
    let world = World::new(&[BOOKINFO]);
    let names = world.names(&productpage(), TypeSet::LISTENER_URL);
    assert!(
        names.contains(&"0.0.0.0_9080".to_owned()) && names.contains(&"virtualOutbound".to_owned()),
        "{names:?}"
    );
    let listener = world.listener(&productpage(), "0.0.0.0_9080");
    assert_eq!(listener["bind_to_port"], false);
    assert_eq!(listener["traffic_direction"], "OUTBOUND");
    let chain = &listener["filter_chains"][0];
    assert_eq!(
        chain["filter_chain_match"],
        json!({"transport_protocol": "raw_buffer", "application_protocols": ["http/1.1", "h2c"]})
    );
    let manager = &chain["filters"][0]["typed_config"];
    assert_eq!(manager["rds"]["route_config_name"], "9080");
    assert_eq!(manager["stat_prefix"], "outbound_0.0.0.0_9080;");
    assert_eq!(manager["use_remote_address"], false);
    assert_eq!(manager["normalize_path"], true);
    assert_eq!(manager["tracing"]["random_sampling"]["value"], 1.0);
    assert_eq!(
        manager["tracing"]["custom_tags"].as_array().map(Vec::len),
        Some(9)
    );
    assert_eq!(
        names_of(&manager["http_filters"])[..3],
        [
            "istio.metadata_exchange",
            "envoy.filters.http.grpc_stats",
            "istio.alpn"
        ]
    );
    assert_eq!(
        listener["default_filter_chain"]["name"],
        "PassthroughFilterChain"
    );
    assert_eq!(
        names_of(&listener["listener_filters"]),
        ["envoy.filters.listener.http_inspector"]
    );
}

#[test]
fn the_captured_listener() {
    let mut mesh = MeshConfig::default();
    let world = World::new(&[BOOKINFO]);
    let listener = world.listener(&productpage(), "virtualOutbound");
    assert_eq!(listener["use_original_dst"], true);
    assert_eq!(
        names_of(&listener["filter_chains"]),
        ["virtualOutbound-blackhole", "virtualOutbound-catchall-tcp"]
    );
    assert_eq!(
        listener["filter_chains"][1]["filters"][0]["typed_config"]["cluster"],
        "PassthroughCluster"
    );
    mesh.outbound_traffic_policy = Some(lateen_api::mesh::MeshOutboundTrafficPolicy::default());
    let strict = World::with(mesh, &[BOOKINFO]);
    let listener = strict.listener(&productpage(), "virtualOutbound");
    assert_eq!(
        listener["filter_chains"][1]["filters"][0]["typed_config"]["cluster"],
        "BlackHoleCluster"
    );
    let table = strict.routes(&productpage(), "9080");
    let last = table["virtual_hosts"]
        .as_array()
        .and_then(|hosts| hosts.last().cloned())
        .expect("hosts");
    assert_eq!(
        (
            &last["name"],
            &last["routes"][0]["direct_response"]["status"]
        ),
        (&json!("block_all"), &json!(502))
    );
}

const OTHERS: &str = "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec: {clusterIP: 10.96.0.30, selector: {app: db}, ports: [{name: tcp-db, port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: auto, namespace: default}
spec: {clusterIP: 10.96.0.31, selector: {app: auto}, ports: [{name: x, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: default}
spec: {clusterIP: None, selector: {app: peers}, ports: [{name: tcp, port: 6000}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: peers-1, namespace: default, labels: {kubernetes.io/service-name: peers}}
addressType: IPv4
ports: [{name: tcp, port: 6000, protocol: TCP}]
endpoints: [{addresses: [10.0.0.2], conditions: {ready: true}}, {addresses: [10.0.0.40], conditions: {ready: true}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: secure, namespace: default}
spec: {hosts: [secure.example.com], ports: [{number: 8443, name: tls, protocol: TLS}], resolution: DNS}
";

#[test]
fn other_protocols() {
    let world = World::new(&[BOOKINFO, OTHERS]);
    let tcp = world.listener(&productpage(), "10.96.0.30_5432");
    assert_eq!(tcp["filter_chains"][0]["filter_chain_match"], Value::Null);
    assert_eq!(
        tcp["filter_chains"][0]["filters"][0]["typed_config"]["cluster"],
        "outbound|5432||db.default.svc.cluster.local"
    );
    assert_eq!(
        (&tcp["listener_filters"], &tcp["default_filter_chain"]),
        (&Value::Null, &Value::Null)
    );
    let auto = world.listener(&productpage(), "10.96.0.31_7000");
    assert_eq!(auto["filter_chains"].as_array().map(Vec::len), Some(2));
    let table = "auto.default.svc.cluster.local:7000";
    assert_eq!(
        auto["filter_chains"][0]["filters"][0]["typed_config"]["rds"]["route_config_name"],
        table
    );
    let routes = world.routes(&productpage(), table);
    assert_eq!(routes["virtual_hosts"].as_array().map(Vec::len), Some(1));
    assert_eq!(routes["virtual_hosts"][0]["domains"], json!(["*"]));
    let names = world.names(&productpage(), TypeSet::LISTENER_URL);
    assert!(names.contains(&"10.0.0.40_6000".to_owned()));
    assert!(
        !names.contains(&"10.0.0.2_6000".to_owned()),
        "a pod does not listen in its own stead"
    );
    assert_eq!(
        world.cluster(
            &productpage(),
            "outbound|6000||peers.default.svc.cluster.local"
        )["type"],
        "ORIGINAL_DST"
    );
    let tls = world.listener(&productpage(), "0.0.0.0_8443");
    assert_eq!(
        tls["filter_chains"][0]["filter_chain_match"]["server_names"],
        json!(["secure.example.com"])
    );
    assert_eq!(
        tls["default_filter_chain"]["name"],
        "PassthroughFilterChain"
    );
    assert_eq!(
        names_of(&tls["listener_filters"]),
        ["envoy.filters.listener.tls_inspector"]
    );
}

#[test]
fn tcp_routes_split_by_weight() {
    let route = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: default}
spec:
  hosts: [db]
  tcp:
  - match: [{port: 5432}]
    route:
    - {destination: {host: db, subset: v1}, weight: 80}
    - {destination: {host: auto, port: {number: 7000}}, weight: 20}
";
    let world = World::new(&[BOOKINFO, OTHERS, route]);
    let listener = world.listener(&productpage(), "10.96.0.30_5432");
    let [chain] = listener["filter_chains"]
        .as_array()
        .expect("chains")
        .as_slice()
    else {
        panic!("{listener:#}")
    };
    let proxy = &chain["filters"][0]["typed_config"];
    assert_eq!(proxy["stat_prefix"], "db.default");
    assert_eq!(
        proxy["weighted_clusters"]["clusters"],
        json!([
            {"name": "outbound|5432|v1|db.default.svc.cluster.local", "weight": 80},
            {"name": "outbound|7000||auto.default.svc.cluster.local", "weight": 20},
        ])
    );
    assert_eq!(
        chain["metadata"]["filter_metadata"]["istio"]["config"],
        "/apis/networking.istio.io/v1/namespaces/default/virtual-service/db"
    );
}

#[test]
fn a_sidecar_resource_limits_what_is_seen() {
    let sidecar = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec:
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  egress: [{hosts: [./details.default.svc.cluster.local]}]
";
    let world = World::new(&[BOOKINFO, OTHERS, sidecar]);
    let clusters = world.names(&productpage(), TypeSet::CLUSTER_URL);
    assert!(clusters.contains(&"outbound|9080||details.default.svc.cluster.local".to_owned()));
    assert!(
        !clusters.iter().any(|name| name.contains("reviews")),
        "{clusters:?}"
    );
    assert!(
        !world
            .names(&productpage(), TypeSet::LISTENER_URL)
            .contains(&"10.96.0.30_5432".to_owned())
    );
    let table = world.routes(&productpage(), "9080");
    assert_eq!(
        names_of(&table["virtual_hosts"]),
        ["details.default.svc.cluster.local:9080", "block_all"]
    );
}

#[test]
fn access_logs_and_metrics_where_the_mesh_asks() {
    let mut mesh = MeshConfig {
        access_log_file: "/dev/stdout".into(),
        ..MeshConfig::default()
    };
    mesh.default_providers = Some(lateen_api::mesh::DefaultProviders {
        metrics: vec!["prometheus".into()],
        ..Default::default()
    });
    let world = World::with(mesh, &[BOOKINFO]);
    let listener = world.listener(&productpage(), "0.0.0.0_9080");
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    let log = &manager["access_log"][0]["typed_config"];
    assert_eq!(log["path"], "/dev/stdout");
    let text = log["log_format"]["text_format_source"]["inline_string"]
        .as_str()
        .expect("text");
    assert!(
        text.starts_with("[%START_TIME%] \"%REQ(:METHOD)%")
            && text.ends_with("%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n")
    );
    assert_eq!(
        listener["access_log"][0]["filter"]["response_flag_filter"]["flags"],
        json!(["NR"])
    );
    assert_eq!(
        names_of(&manager["http_filters"])[5..],
        ["istio.stats", "envoy.filters.http.router"]
    );
    let inbound = world.listener(&reviews(), "virtualInbound");
    let filters = &inbound["filter_chains"][6]["filters"][1]["typed_config"]["http_filters"];
    let stats = filters
        .as_array()
        .into_iter()
        .flatten()
        .find(|filter| filter["name"] == "istio.stats")
        .expect("stats");
    assert_eq!(stats["typed_config"]["disable_host_header_fallback"], true);
}
