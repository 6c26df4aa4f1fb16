use super::*;

/// `(transport, ALPN, terminates, HTTP, name)` of the chains of a port; `None` for those without a port.
fn chains(listener: &Value, port: Option<u64>) -> Vec<(String, Vec<String>, bool, bool, String)> {
    let all = listener["filter_chains"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mine = all
        .iter()
        .filter(|chain| chain["filter_chain_match"]["destination_port"].as_u64() == port);
    mine.map(|chain| {
        let wanted = &chain["filter_chain_match"];
        let alpn = wanted["application_protocols"]
            .as_array()
            .into_iter()
            .flatten();
        let http =
            names_of(&chain["filters"]).contains(&"envoy.filters.network.http_connection_manager");
        (
            wanted["transport_protocol"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            alpn.filter_map(Value::as_str).map(str::to_owned).collect(),
            chain["transport_socket"].is_object(),
            http,
            chain["name"].as_str().unwrap_or_default().to_owned(),
        )
    })
    .collect()
}

/// Mode, port name, and `(transport, ALPN, terminates, HTTP)` of each chain.
type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str, bool, bool)],
);

fn world(mode: &str, port_name: &str) -> World {
    let bookinfo = BOOKINFO.replace(
        "ports: [{name: http, port: 9080, targetPort: 9080}]",
        &format!("ports: [{{name: {port_name}, port: 9080, targetPort: 9080}}]"),
    );
    let policy = format!(
        "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: istio-system}}
spec: {{mtls: {{mode: {mode}}}}}
"
    );
    World::new(&[&bookinfo, &policy])
}

#[test]
fn chains_by_mode_and_protocol() {
    const MESH: &str = "istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2";
    const HTTP: &str = "istio-http/1.0,istio-http/1.1,istio-h2";
    let table: [Row; 9] = [
        (
            "PERMISSIVE",
            "http",
            &[("tls", MESH, true, true), ("raw_buffer", "", false, true)],
        ),
        (
            "PERMISSIVE",
            "tcp",
            &[
                ("tls", MESH, true, false),
                ("tls", "", false, false),
                ("raw_buffer", "", false, false),
            ],
        ),
        (
            "PERMISSIVE",
            "x",
            &[
                ("tls", HTTP, true, true),
                ("raw_buffer", "http/1.1,h2c", false, true),
                ("tls", "istio-peer-exchange,istio", true, false),
                ("raw_buffer", "", false, false),
                ("tls", "", false, false),
            ],
        ),
        ("STRICT", "http", &[("tls", "", true, true)]),
        ("STRICT", "tcp", &[("tls", "", true, false)]),
        (
            "STRICT",
            "x",
            &[("tls", HTTP, true, true), ("tls", "", true, false)],
        ),
        ("DISABLE", "http", &[("raw_buffer", "", false, true)]),
        ("DISABLE", "tcp", &[("raw_buffer", "", false, false)]),
        (
            "DISABLE",
            "x",
            &[
                ("raw_buffer", "http/1.1,h2c", false, true),
                ("raw_buffer", "", false, false),
            ],
        ),
    ];
    for (mode, port_name, expected) in table {
        let listener = world(mode, port_name).listener(&reviews(), "virtualInbound");
        let found: Vec<(String, String, bool, bool)> = chains(&listener, Some(9080))
            .into_iter()
            .map(|(t, alpn, tls, http, _)| (t, alpn.join(","), tls, http))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(t, a, tls, http)| ((*t).to_owned(), (*a).to_owned(), *tls, *http))
            .collect();
        assert_eq!(found, expected, "{mode} {port_name}");
    }
}

#[test]
fn the_captured_listener() {
    let listener = World::new(&[BOOKINFO]).listener(&reviews(), "virtualInbound");
    let names: Vec<String> = names_of(&listener["filter_chains"])
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(names[0], "virtualInbound-blackhole");
    assert_eq!(
        &names[1..6],
        [
            "virtualInbound-catchall-http",
            "virtualInbound-catchall-http",
            "virtualInbound",
            "virtualInbound",
            "virtualInbound"
        ]
    );
    assert_eq!(&names[6..], ["0.0.0.0_9080", "0.0.0.0_9080"]);
    assert_eq!(
        names_of(&listener["listener_filters"]),
        [
            "envoy.filters.listener.original_dst",
            "envoy.filters.listener.tls_inspector",
            "envoy.filters.listener.http_inspector"
        ]
    );
    let off = &listener["listener_filters"][2]["filter_disabled"]["or_match"]["rules"];
    assert_eq!(
        off[0]["destination_port_range"],
        json!({"start": 15006, "end": 15007})
    );
    assert_eq!(
        off[1]["destination_port_range"],
        json!({"start": 9080, "end": 9081})
    );
    let tls = &listener["filter_chains"][6]["transport_socket"]["typed_config"];
    assert_eq!(tls["require_client_certificate"], true);
    assert_eq!(
        tls["common_tls_context"]["alpn_protocols"],
        json!(["h2", "http/1.1"])
    );
    let check =
        &tls["common_tls_context"]["combined_validation_context"]["default_validation_context"];
    assert_eq!(
        check["match_subject_alt_names"],
        json!([{"prefix": "spiffe://cluster.local/"}])
    );
    let manager = &listener["filter_chains"][6]["filters"][1]["typed_config"];
    assert_eq!(manager["stat_prefix"], "inbound_0.0.0.0_9080;");
    assert_eq!(manager["server_name"], "istio-envoy");
    assert_eq!(manager["forward_client_cert_details"], "APPEND_FORWARD");
    assert_eq!(
        names_of(&manager["http_filters"]),
        [
            "istio.metadata_exchange",
            "envoy.filters.http.grpc_stats",
            "envoy.filters.http.fault",
            "envoy.filters.http.cors",
            "envoy.filters.http.router"
        ]
    );
    let route = &manager["route_config"]["virtual_hosts"][0];
    assert_eq!(route["name"], "inbound|http|9080");
    assert_eq!(
        route["routes"][0]["decorator"]["operation"],
        "reviews.default.svc.cluster.local:9080/*"
    );
    assert_eq!(route["routes"][0]["route"]["cluster"], "inbound|9080||");
    assert_eq!(
        route["routes"][0]["route"]["retry_policy"]["retry_on"],
        "reset-before-request"
    );
}

#[test]
fn inbound_clusters_lead_to_the_application() {
    let world = World::new(&[BOOKINFO]);
    let cluster = world.cluster(&reviews(), "inbound|9080||");
    assert_eq!(cluster["type"], "ORIGINAL_DST");
    assert_eq!(
        cluster["upstream_bind_config"]["source_address"]["address"],
        "127.0.0.6"
    );
    assert_eq!(cluster["cleanup_interval"], "9223372035s");
    assert_eq!(cluster["filters"], Value::Null);
    let services = &cluster["metadata"]["filter_metadata"]["istio"]["services"];
    assert_eq!(names_of(services), ["reviews"]);
    let other = world.cluster(&reviews(), "InboundPassthroughCluster");
    assert_eq!(other["alt_stat_name"], "PassthroughCluster;");
}

#[test]
fn a_port_with_a_mode_of_its_own_that_no_service_declares() {
    let policy = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: reviews, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  mtls: {mode: STRICT}
  portLevelMtls: {7777: {mode: DISABLE}}
";
    let listener = World::new(&[BOOKINFO, policy]).listener(&reviews(), "virtualInbound");
    let found = chains(&listener, Some(7777));
    assert_eq!(found.len(), 2);
    assert!(
        found
            .iter()
            .all(|(transport, _, tls, _, _)| transport == "raw_buffer" && !tls)
    );
    assert!(
        chains(&listener, Some(9080))
            .iter()
            .all(|(_, _, tls, _, _)| *tls)
    );
}

#[test]
fn a_sidecar_resource_lists_inbound_ports() {
    let sidecar = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: reviews, namespace: default}
spec:
  workloadSelector: {labels: {app: reviews}}
  ingress: [{port: {number: 8000, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:9080'}]
";
    let world = World::new(&[BOOKINFO, sidecar]);
    let listener = world.listener(&reviews(), "virtualInbound");
    assert!(chains(&listener, Some(9080)).is_empty());
    assert_eq!(chains(&listener, Some(8000)).len(), 2);
    let cluster = world.cluster(&reviews(), "inbound|8000||");
    let address = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
        ["socket_address"];
    assert_eq!(
        *address,
        json!({"address": "127.0.0.1", "port_value": 9080})
    );
}
