use super::*;

#[test]
fn a_plain_gateway() {
    let world = World::new(&[BOOKINFO]);
    assert_eq!(
        world.names(&router(), TypeSet::LISTENER_URL),
        ["0.0.0.0_8080"],
        "the pod's port behind the Service's"
    );
    let listener = world.listener(&router(), "0.0.0.0_8080");
    let manager = &listener["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(manager["rds"]["route_config_name"], "http.8080");
    assert_eq!(
        (&manager["use_remote_address"], &manager["server_name"]),
        (&json!(true), &json!("istio-envoy"))
    );
    assert_eq!(manager["forward_client_cert_details"], "SANITIZE_SET");
    let host = world.host(&router(), "http.8080", "*:80");
    assert_eq!(host["domains"], json!(["*"]));
    assert_eq!(host["routes"][0]["match"]["path"], "/productpage");
    assert_eq!(
        host["routes"][0]["route"]["cluster"],
        "outbound|9080||productpage.default.svc.cluster.local"
    );
    assert_eq!(
        host["routes"][0]["decorator"]["operation"],
        "productpage.default.svc.cluster.local:9080/productpage"
    );
    let clusters = world.names(&router(), TypeSet::CLUSTER_URL);
    assert!(
        clusters.contains(&"BlackHoleCluster".to_owned())
            && !clusters
                .iter()
                .any(|name| name.contains("Passthrough") || name.starts_with("inbound"))
    );
    let other = proxy_of(
        "router",
        "default",
        "10.0.0.21",
        &json!({"istio": "other"}),
        true,
    );
    assert!(world.names(&other, TypeSet::LISTENER_URL).is_empty());
}

const SECURE: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: secure, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: MUTUAL, credentialName: shop-cert}
  - port: {number: 443, name: pass, protocol: TLS}
    hosts: [raw.example.com]
    tls: {mode: PASSTHROUGH}
  - port: {number: 443, name: again, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, credentialName: other}
  - port: {number: 81, name: http, protocol: HTTP}
    hosts: [shop.example.com]
    tls: {httpsRedirect: true}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.example.com]
  gateways: [secure]
  http: [{route: [{destination: {host: productpage}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: raw, namespace: default}
spec:
  hosts: [raw.example.com]
  gateways: [secure]
  tls: [{match: [{port: 443, sniHosts: [raw.example.com]}], route: [{destination: {host: productpage}}]}]
---
apiVersion: v1
kind: Secret
metadata: {name: shop-cert, namespace: istio-system}
type: Opaque
data: {cert: Q0VSVA==, key: S0VZ, cacert: Q0E=}
";

#[test]
fn a_secure_gateway() {
    let world = World::new(&[BOOKINFO, SECURE]);
    let listener = world.listener(&router(), "0.0.0.0_8443");
    let chains = listener["filter_chains"].as_array().expect("chains");
    assert_eq!(
        chains.len(),
        2,
        "the server with a host that is taken is left out"
    );
    assert_eq!(
        chains[0]["filter_chain_match"]["server_names"],
        json!(["shop.example.com"])
    );
    let tls = &chains[0]["transport_socket"]["typed_config"];
    assert_eq!(tls["require_client_certificate"], true);
    assert_eq!(
        tls["common_tls_context"]["tls_certificate_sds_secret_configs"][0]["name"],
        "kubernetes://shop-cert"
    );
    assert_eq!(
        tls["common_tls_context"]["combined_validation_context"]["validation_context_sds_secret_config"]
            ["name"],
        "kubernetes://shop-cert-cacert"
    );
    assert_eq!(
        chains[0]["filters"][0]["typed_config"]["rds"]["route_config_name"],
        "https.443.https.secure.default"
    );
    assert_eq!(
        chains[1]["filter_chain_match"]["server_names"],
        json!(["raw.example.com"])
    );
    assert_eq!(chains[1]["transport_socket"], Value::Null);
    assert_eq!(
        chains[1]["filters"][0]["typed_config"]["cluster"],
        "outbound|9080||productpage.default.svc.cluster.local"
    );
    let host = world.host(
        &router(),
        "https.443.https.secure.default",
        "shop.example.com:443",
    );
    assert_eq!(
        host["routes"][0]["route"]["cluster"],
        "outbound|9080||productpage.default.svc.cluster.local"
    );
    let redirect = world.host(&router(), "http.81", "shop.example.com:81");
    assert_eq!(redirect["require_tls"], "ALL");
    let told: Vec<String> = world
        .config
        .rejections()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "Gateway default/secure: spec.servers[2]: another TLS server on the port has one of the hosts"
        ]
    );
}

#[test]
fn secrets_go_to_their_own_namespace_alone() {
    let world = World::new(&[BOOKINFO, SECURE]);
    let secret = world.one(&router(), TypeSet::SECRET_URL, "kubernetes://shop-cert");
    assert_eq!(
        secret["tls_certificate"]["private_key"]["inline_bytes"],
        "S0VZ"
    );
    let roots = world.one(
        &router(),
        TypeSet::SECRET_URL,
        "kubernetes://shop-cert-cacert",
    );
    assert_eq!(
        roots["validation_context"]["trusted_ca"]["inline_bytes"],
        "Q0E="
    );
    let ask = |proxy: &Proxy, name: &str| {
        world.config.generate(
            proxy,
            TypeSet::SECRET_URL,
            &Names::Set(BTreeSet::from([name.into()])),
        )
    };
    assert!(ask(&productpage(), "kubernetes://istio-system/shop-cert").is_empty());
    assert!(ask(&productpage(), "kubernetes://shop-cert").is_empty());
    assert!(ask(&router(), "kubernetes://missing").is_empty());
}

#[test]
fn a_port_without_rules_answers_404() {
    let gateway = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: empty, namespace: default}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 8000, name: http, protocol: HTTP}, hosts: ['*']}]}
";
    let world = World::new(&[BOOKINFO, gateway]);
    let table = world.routes(&router(), "http.8000");
    assert_eq!(table["virtual_hosts"][0]["name"], "blackhole:8000");
    assert_eq!(table["virtual_hosts"][0]["routes"], Value::Null);
}
