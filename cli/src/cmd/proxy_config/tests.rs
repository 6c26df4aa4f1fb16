//! The tables, against small dumps of Envoy's shape.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

fn dump(parts: Value) -> ConfigDump {
    let configs: Vec<Value> = parts
        .as_object()
        .into_iter()
        .flatten()
        .map(|(kind, part)| {
            let mut part = part.clone();
            part["@type"] = json!(format!("type.googleapis.com/envoy.admin.v3.{kind}"));
            part
        })
        .collect();
    ConfigDump::read(json!({"configs": configs}).to_string().as_bytes(), "test")
        .unwrap_or_else(|error| panic!("{error}"))
}

fn from_object(kind: &str, name: &str) -> Value {
    json!({"filter_metadata": {"istio": {"config": format!("/apis/networking.istio.io/v1alpha3/namespaces/shop/{kind}/{name}")}}})
}

fn clusters() -> ConfigDump {
    dump(json!({"ClustersConfigDump": {
        "static_clusters": [{"cluster": {"name": "prometheus_stats", "type": "STATIC"}}],
        "dynamic_active_clusters": [
            {"cluster": {"name": "outbound|9080|v2|reviews.shop.svc.cluster.local", "type": "EDS", "metadata": from_object("destination-rule", "reviews")}},
            {"cluster": {"name": "outbound|9080||reviews.shop.svc.cluster.local", "type": "EDS"}},
            {"cluster": {"name": "inbound|9080||", "type": "ORIGINAL_DST"}},
            {"cluster": {"name": "BlackHoleCluster"}},
        ]
    }}))
}

#[test]
fn clusters_are_named_by_their_parts() {
    let dump = clusters();
    let all = cluster::select(&dump, &cluster::ClusterFilter::default());
    assert_eq!(
        cluster::table(&all, false).text_in(None),
        "\
SERVICE FQDN                       PORT     SUBSET     DIRECTION     TYPE             DESTINATION RULE
                                   9080     -          inbound       ORIGINAL_DST
BlackHoleCluster                   -        -          -             STATIC
prometheus_stats                   -        -          -             STATIC
reviews.shop.svc.cluster.local     9080     -          outbound      EDS
reviews.shop.svc.cluster.local     9080     v2         outbound      EDS              reviews.shop
"
    );
    let filter = cluster::ClusterFilter {
        subset: "v2".to_owned(),
        port: Some(9080),
        ..Default::default()
    };
    assert_eq!(cluster::select(&dump, &filter).len(), 1);
    let named = cluster::table(&cluster::select(&dump, &filter), true).text_in(None);
    assert!(
        named.contains("cluster/outbound|9080|v2|reviews.shop.svc.cluster.local  "),
        "{named}"
    );
}

fn http(extra: Value) -> Value {
    let mut config = json!({"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"});
    for (key, value) in extra.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": config})
}

fn tcp(cluster: &str) -> Value {
    json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "cluster": cluster}})
}

fn listeners() -> ConfigDump {
    let listener = |name: &str, address: &str, port: u16, chains: Value, default: Value| {
        json!({"name": name, "active_state": {"listener": {"name": name,
            "address": {"socket_address": {"address": address, "port_value": port}},
            "filter_chains": chains, "default_filter_chain": default}}})
    };
    let inline = |routes: Value| {
        http(json!({"route_config": {"virtual_hosts": [{"domains": ["*"], "routes": routes}]}}))
    };
    dump(json!({"ListenersConfigDump": {"dynamic_listeners": [
        listener("virtualOutbound", "0.0.0.0", 15001, json!([
            {"filter_chain_match": {"destination_port": 15001}, "filters": [tcp("BlackHoleCluster")]}
        ]), json!({"filters": [tcp("PassthroughCluster")]})),
        listener("virtualInbound", "0.0.0.0", 15006, json!([
            {"filter_chain_match": {"destination_port": 9080, "transport_protocol": "tls",
                "application_protocols": ["istio", "istio-peer-exchange"]}, "filters": [inline(json!([{"match": {"prefix": "/"}, "route": {"cluster": "inbound|9080||"}}]))]},
            {"filter_chain_match": {"transport_protocol": "tls", "application_protocols": ["istio-peer-exchange", "istio"],
                "prefix_ranges": [{"address_prefix": "::0", "prefix_len": 0}]}, "filters": [tcp("InboundPassthroughCluster")]},
        ]), Value::Null),
        listener("10.0.0.1_443", "10.0.0.1", 443, json!([
            {"filter_chain_match": {"server_names": ["a.com", "b.com"]}, "filters": [tcp("outbound|443||a.com")]},
            {"filter_chain_match": {"application_protocols": ["http/1.0", "http/1.1", "h2c"], "transport_protocol": "raw_buffer"},
                "filters": [http(json!({"rds": {"route_config_name": "9080"}}))]},
        ]), Value::Null),
    ], "static_listeners": [{"listener": {"address": {"socket_address": {"address": "0.0.0.0", "port_value": 15021}},
        "filter_chains": [{"filters": [inline(json!([{"match": {"path": "/healthz/ready"}}, {"match": {"safe_regex": {"regex": "a.*"}}}]))]}]}}]}}))
}

#[test]
fn listeners_say_what_they_match_and_where_it_goes() {
    let dump = listeners();
    let all = listener::select(&dump, &listener::ListenerFilter::default());
    assert_eq!(
        listener::table(&all, true, false).text_in(None),
        "\
ADDRESSES     PORT      MATCH                                                        DESTINATION
10.0.0.1      443       Trans: raw_buffer; App: HTTP                                 Route: 9080
10.0.0.1      443       SNI: a.com,b.com                                             Cluster: outbound|443||a.com
0.0.0.0       15001     ALL                                                          PassthroughCluster
0.0.0.0       15001     Addr: *:15001                                                Non-HTTP/Non-TCP
0.0.0.0       15006     Trans: tls; App: TCP TLS; Addr: ::0/0                        InboundPassthroughCluster
0.0.0.0       15006     Trans: tls; App: istio,istio-peer-exchange; Addr: *:9080     Cluster: inbound|9080||
0.0.0.0       15021     ALL                                                          Inline Route: /healthz/ready, regex a.*
"
    );
    assert_eq!(
        listener::table(&all, false, false).text_in(None),
        "\
ADDRESSES     PORT      TYPE
10.0.0.1      443       HTTP+TCP
0.0.0.0       15001     TCP
0.0.0.0       15006     HTTP+TCP
0.0.0.0       15021     HTTP
"
    );
    let filter = listener::ListenerFilter {
        kind: "http".to_owned(),
        ..Default::default()
    };
    assert_eq!(listener::select(&dump, &filter).len(), 1);
}

#[test]
fn routes_say_host_condition_and_virtual_service() {
    let dump = dump(json!({"RoutesConfigDump": {"dynamic_route_configs": [
        {"route_config": {"name": "9080", "virtual_hosts": [
            {"name": "reviews.shop.svc.cluster.local:9080",
                "domains": ["reviews.shop.svc.cluster.local", "reviews", "reviews.shop.svc", "reviews:9080", "10.0.0.1"],
                "routes": [
                    {"match": {"path_separated_prefix": "/a"}, "route": {"cluster": "x"}, "metadata": from_object("virtual-service", "reviews")},
                    {"match": {"prefix": "/"}, "route": {"cluster": "y"}},
                ]},
            {"name": "allow_any", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "PassthroughCluster"}}]},
            {"name": "nothing", "domains": ["nothing"], "routes": []},
        ]}},
        {"route_config": {"name": "80", "virtual_hosts": []}},
    ], "static_route_configs": [{"route_config": {"name": "http.8080"}}]}}));
    let routes = route::select(&dump, &route::RouteFilter::default());
    assert_eq!(
        route::table(&routes, true, "").text_in(None),
        "\
NAME     VHOST NAME                              DOMAINS                           MATCH             VIRTUAL SERVICE
9080     reviews.shop.svc.cluster.local:9080     reviews, 10.0.0.1 + 2 more...     PathPrefix:/a     reviews.shop
9080     reviews.shop.svc.cluster.local:9080     reviews, 10.0.0.1 + 2 more...     /*
9080     nothing                                 nothing                           /*                404
"
    );
    assert_eq!(
        route::table(&routes, false, "").text_in(None),
        "NAME          VIRTUAL HOSTS\n80            0\n9080          3\nhttp.8080     0\n"
    );
}

#[test]
fn endpoints_say_health_and_ejection() {
    let answer = json!({"cluster_statuses": [{"name": "outbound|80||a", "host_statuses": [
        {"address": {"socket_address": {"address": "10.0.0.2", "port_value": 80}}, "health_status": {"eds_health_status": "HEALTHY", "failed_outlier_check": true}},
        {"address": {"pipe": {"path": "./x.sock"}}, "health_status": {}},
        {"address": {"socket_address": {"address": "fd00::1", "port_value": 80}}, "health_status": {"eds_health_status": "HEALTHY"}},
    ]}]});
    let clusters = endpoint::read(answer.to_string().as_bytes(), "f")
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        endpoint::table(&clusters, &endpoint::EndpointFilter::default()).text_in(None),
        "\
ENDPOINT            STATUS      OUTLIER CHECK     CLUSTER
10.0.0.2:80         HEALTHY     FAILED            outbound|80||a
[fd00::1]:80        HEALTHY     OK                outbound|80||a
unix://./x.sock     UNKNOWN     OK                outbound|80||a
"
    );
    let filter = endpoint::EndpointFilter {
        status: "healthy".to_owned(),
        address: "10.0.0.2".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        endpoint::selected(&clusters, &filter)[0]["host_statuses"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert!(endpoint::read(b"{\"configs\": []}", "f").is_err());
}

#[test]
fn secrets_are_read_from_certificates() {
    use base64::Engine as _;
    let key = rcgen::KeyPair::generate().unwrap_or_else(|error| panic!("{error}"));
    let mut params = rcgen::CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2034, 1, 1);
    params.serial_number = Some(vec![0x0a, 0xbc].into());
    let id = "spiffe://cluster.local/ns/shop/sa/web"
        .try_into()
        .unwrap_or_else(|error| panic!("{error}"));
    params.subject_alt_names = vec![rcgen::SanType::URI(id)];
    let pem = params
        .self_signed(&key)
        .unwrap_or_else(|error| panic!("{error}"))
        .pem();
    let bytes = base64::engine::general_purpose::STANDARD.encode(pem);
    let dump = dump(json!({"SecretsConfigDump": {
        "dynamic_active_secrets": [
            {"name": "default", "secret": {"name": "default", "tls_certificate": {"certificate_chain": {"inline_bytes": bytes}}}},
            {"name": "ROOTCA", "secret": {"name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_bytes": bytes}}}},
        ],
        "dynamic_warming_secrets": [{"name": "broken", "secret": {"name": "broken", "tls_certificate": {"certificate_chain": {"inline_bytes": "AAAA"}}}}]
    }}));
    let now: Timestamp = "2030-06-01T00:00:00Z"
        .parse()
        .unwrap_or_else(|error| panic!("{error}"));
    let found = secret::read(&dump, now);
    assert_eq!(
        secret::table(&found, "").text_in(None),
        "\
RESOURCE NAME     TYPE           STATUS      VALID CERT     SERIAL NUMBER     NOT AFTER                NOT BEFORE
default           Cert Chain     ACTIVE      true           abc               2034-01-01T00:00:00Z     2024-01-01T00:00:00Z
ROOTCA            CA             ACTIVE      true           abc               2034-01-01T00:00:00Z     2024-01-01T00:00:00Z
broken            Cert Chain     WARMING     false          -                 -                        -
"
    );
    assert!(
        secret::table(&found[..2], "")
            .text_in(None)
            .contains("NOT BEFORE               TRUST DOMAIN\n")
    );
}

#[test]
fn the_summary_of_everything_prefixes_names() {
    let text = summary(&clusters());
    assert!(text.starts_with("NAME "), "{text}");
    assert!(text.contains("\ncluster/prometheus_stats "), "{text}");
    let text = summary(&listeners());
    assert!(text.contains("\nlistener/virtualInbound "), "{text}");
}
