use super::*;

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";

#[test]
fn a_service_gets_a_cluster_per_subset_with_automatic_mtls() {
    let world = World::new(&[BOOKINFO]);
    let names = world.names(&productpage(), TypeSet::CLUSTER_URL);
    for name in [
        REVIEWS,
        "outbound|9080|v3|reviews.default.svc.cluster.local",
        "BlackHoleCluster",
        "PassthroughCluster",
        "InboundPassthroughCluster",
        "inbound|9080||",
    ] {
        assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
    }
    let cluster = world.cluster(
        &productpage(),
        "outbound|9080|v1|reviews.default.svc.cluster.local",
    );
    assert_eq!(cluster["type"], "EDS");
    assert_eq!(cluster["lb_policy"], "LEAST_REQUEST");
    assert_eq!(
        cluster["alt_stat_name"],
        "outbound|9080|v1|reviews.default.svc.cluster.local;"
    );
    assert_eq!(
        cluster["circuit_breakers"]["thresholds"][0]["max_retries"],
        4_294_967_295_u64
    );
    assert_eq!(
        names_of(&cluster["transport_socket_matches"]),
        ["tlsMode-istio", "tlsMode-disabled"]
    );
    let tls = &cluster["transport_socket_matches"][0]["transport_socket"]["typed_config"];
    assert_eq!(
        tls["sni"],
        "outbound_.9080_.v1_.reviews.default.svc.cluster.local"
    );
    assert_eq!(
        tls["common_tls_context"]["alpn_protocols"],
        json!(["istio-peer-exchange", "istio"])
    );
    let check = &tls["common_tls_context"]["combined_validation_context"];
    assert_eq!(
        check["default_validation_context"]["match_subject_alt_names"],
        json!([{"exact": "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"}])
    );
    assert_eq!(
        check["validation_context_sds_secret_config"]["name"],
        "ROOTCA"
    );
    let istio = &cluster["metadata"]["filter_metadata"]["istio"];
    assert_eq!(
        istio["config"],
        "/apis/networking.istio.io/v1/namespaces/default/destination-rule/reviews"
    );
    assert_eq!(istio["subset"], "v1");
    assert_eq!(
        istio["services"],
        json!([{"host": "reviews.default.svc.cluster.local", "name": "reviews", "namespace": "default"}])
    );
    assert_eq!(cluster["filters"][0]["name"], "istio.metadata_exchange");
}

#[test]
fn upstream_envoy_gets_no_istio_types() {
    let world = World::new(&[BOOKINFO]);
    for url in [TypeSet::CLUSTER_URL, TypeSet::LISTENER_URL] {
        for resource in world.all(&envoy(), url) {
            let text = decode(&resource).to_string();
            for word in [
                "istio.stats",
                "istio.alpn",
                "istio.metadata_exchange",
                "udpa.type",
                "stats.PluginConfig",
            ] {
                assert!(!text.contains(word), "{word} in {}", resource.name);
            }
        }
    }
}

#[test]
fn a_destination_rule_shapes_its_clusters() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: default}
spec:
  host: ratings
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    connectionPool:
      tcp: {maxConnections: 7, connectTimeout: 250ms}
      http: {http1MaxPendingRequests: 3, maxRequestsPerConnection: 5, h2UpgradePolicy: UPGRADE}
    outlierDetection: {consecutive5xxErrors: 2, interval: 3s, baseEjectionTime: 30s, maxEjectionPercent: 50, minHealthPercent: 20}
    tls: {mode: DISABLE}
    portLevelSettings:
    - port: {number: 9999}
      loadBalancer: {simple: RANDOM}
";
    let mut world = World::new(&[BOOKINFO]);
    world.apply(&[rule]);
    let cluster = world.cluster(
        &productpage(),
        "outbound|9080||ratings.default.svc.cluster.local",
    );
    assert_eq!(
        cluster["lb_policy"],
        Value::Null,
        "round robin is the zero value"
    );
    assert_eq!(cluster["connect_timeout"], "0.250s");
    assert_eq!(
        cluster["circuit_breakers"]["thresholds"][0]["max_connections"],
        7
    );
    assert_eq!(
        cluster["circuit_breakers"]["thresholds"][0]["max_requests"],
        4_294_967_295_u64
    );
    assert_eq!(cluster["outlier_detection"]["consecutive_5xx"], 2);
    assert_eq!(cluster["outlier_detection"]["enforcing_success_rate"], 0);
    assert_eq!(
        cluster["common_lb_config"]["healthy_panic_threshold"]["value"],
        20.0
    );
    assert_eq!(cluster["transport_socket_matches"], Value::Null);
    let http = &cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert_eq!(
        http["common_http_protocol_options"]["max_requests_per_connection"],
        5
    );
    assert!(http["explicit_http_config"]["http2_protocol_options"].is_object());
}

#[test]
fn tls_of_a_rules_own() {
    let yaml = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext, namespace: default}
spec:
  hosts: [api.example.com]
  ports: [{number: 443, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ext, namespace: default}
spec: {host: api.example.com, trafficPolicy: {tls: {mode: SIMPLE}}}
";
    let world = World::new(&[BOOKINFO, yaml]);
    let cluster = world.cluster(&productpage(), "outbound|443||api.example.com");
    assert_eq!(cluster["type"], "STRICT_DNS");
    assert_eq!(
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
            ["address"],
        "api.example.com"
    );
    let common = &cluster["transport_socket"]["typed_config"]["common_tls_context"];
    assert_eq!(
        common["combined_validation_context"]["validation_context_sds_secret_config"]["name"],
        "file-root:system"
    );
    let http = &cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert_eq!(
        http["upstream_http_protocol_options"],
        json!({"auto_sni": true, "auto_san_validation": true})
    );
    assert_eq!(
        cluster["metadata"]["filter_metadata"]["istio"]["alpn_override"],
        "false"
    );
    assert_eq!(
        cluster["metadata"]["filter_metadata"]["istio"]["external"],
        true
    );
}

#[test]
fn peer_authentication_disable_turns_clients_to_plain_text() {
    let off = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: DISABLE}}
";
    let mut world = World::new(&[BOOKINFO]);
    world.apply(&[off]);
    let cluster = world.cluster(&productpage(), REVIEWS);
    assert_eq!(
        (
            &cluster["transport_socket"],
            &cluster["transport_socket_matches"]
        ),
        (&Value::Null, &Value::Null)
    );
    let endpoint =
        world.endpoints(&productpage(), REVIEWS)["endpoints"][0]["lb_endpoints"][0].clone();
    assert_eq!(
        endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"],
        Value::Null
    );
}

#[test]
fn endpoints_of_a_subset() {
    let world = World::new(&[BOOKINFO]);
    let all = world.endpoints(&productpage(), REVIEWS);
    assert_eq!(
        all["endpoints"][0]["lb_endpoints"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(all["endpoints"][0]["load_balancing_weight"], 3);
    let v2 = world.endpoints(
        &productpage(),
        "outbound|9080|v2|reviews.default.svc.cluster.local",
    );
    let endpoint = &v2["endpoints"][0]["lb_endpoints"][0];
    assert_eq!(
        endpoint["endpoint"]["address"]["socket_address"],
        json!({"address": "10.0.0.12", "port_value": 9080})
    );
    assert_eq!(endpoint["health_status"], "HEALTHY");
    assert_eq!(
        endpoint["metadata"]["filter_metadata"]["istio"]["workload"],
        "reviews-v2;default;reviews;v2;Kubernetes"
    );
    assert_eq!(
        endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"],
        json!({"tlsMode": "istio"})
    );
    let unknown = world.endpoints(&productpage(), "outbound|1||nobody.example.com");
    assert_eq!(unknown["cluster_name"], "outbound|1||nobody.example.com");
    assert_eq!(unknown["endpoints"], Value::Null);
}
