//! What the admission webhook says, as messages.

use lateen_api::mesh::parse_mesh_networks;
use lateen_controlplane_analyze::Origin;

use super::support::{Case, codes, files, run};

const ROUTES: Case<'static> = Case {
    analyzer: "schema.ValidationAnalyzer.VirtualService",
    object: "VirtualService default/routes",
    ..Case::NEW
};

const FINE: &str = r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [a.example.com]
  http:
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: a.example.com}}]
  - route: [{destination: {host: a.example.com}}]
";

#[test]
fn refusals_become_errors() {
    Case {
        code: "IST0106",
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [a.example.com]
  http:
  - route: [{destination: {host: a.example.com}}]
    timeout: -1s #!
",
        text: &["spec.http[0].timeout: "],
        near: FINE,
        ..ROUTES
    }
    .check();
}

#[test]
fn shadowed_rules_and_matches_have_codes_of_their_own() {
    Case {
        code: "IST0130",
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [a.example.com]
  http:
  - route: [{destination: {host: a.example.com}}]
  - name: late
    match: [{uri: {prefix: /a}}]
    route: [{destination: {host: a.example.com}}]
",
        text: &["\"late\"", "route without matches defined before"],
        near: FINE,
        ..ROUTES
    }
    .check();
    Case {
        code: "IST0131",
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [a.example.com]
  http:
  - match: [{uri: {prefix: /a}}, {uri: {prefix: /ab}}]
    route: [{destination: {host: a.example.com}}]
",
        text: &["#0", "#1 of prefix /ab", "#0 of prefix /a on #0"],
        near: FINE,
        ..ROUTES
    }
    .check();
}

#[test]
fn values_of_patches_are_checked() {
    Case {
        code: "IST0106",
        analyzer: "schema.ValidationAnalyzer.EnvoyFilter",
        raises: r"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  configPatches:
  - applyTo: CLUSTER
    patch:
      operation: MERGE
      value:
        connect_timeout: soon #!
",
        object: "EnvoyFilter default/patch",
        text: &["Cluster"],
        near: r"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  configPatches:
  - {applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 5s}}}
",
        ..Case::NEW
    }
    .check();
}

#[test]
fn each_kind_has_an_analyzer() {
    for kind in [
        "AuthorizationPolicy",
        "DestinationRule",
        "EnvoyFilter",
        "Gateway",
        "PeerAuthentication",
        "ProxyConfig",
        "RequestAuthentication",
        "ServiceEntry",
        "Sidecar",
        "Telemetry",
        "TrafficExtension",
        "VirtualService",
        "WasmPlugin",
        "WorkloadEntry",
        "WorkloadGroup",
        "MeshConfig",
    ] {
        let analyzer = format!("schema.ValidationAnalyzer.{kind}");
        let messages = run(&analyzer, files(FINE, ""));
        assert_eq!(codes(&messages), Vec::<String>::new());
    }
}

#[test]
fn settings_of_the_mesh_are_validated() {
    let analyzer = "schema.ValidationAnalyzer.MeshConfig";
    let messages = run(analyzer, files(FINE, "connectTimeout: 2h"));
    assert_eq!(
        codes(&messages),
        ["IST0106 MeshConfig istio-system/meshconfig"]
    );
    assert!(
        messages[0].text.contains("connectTimeout"),
        "{}",
        messages[0].text
    );
    assert_eq!(run(analyzer, files(FINE, "connectTimeout: 1h")), Vec::new());
}

#[test]
fn networks_of_the_mesh_are_validated() {
    let analyzer = "schema.ValidationAnalyzer.MeshNetworks";
    for (text, expected) in [
        ("networks: {a: {endpoints: [{fromCidr: here}]}}", 1),
        ("networks: {a: {endpoints: [{fromCidr: 10.0.0.0/8}]}}", 0),
    ] {
        let (networks, _) = parse_mesh_networks("networks.yaml", text).expect("networks");
        let mut input = files(FINE, "");
        let origin = Origin {
            kind: "MeshNetworks",
            namespace: "istio-system".to_owned(),
            name: "meshnetworks".to_owned(),
            suppressed: String::new(),
            place: None,
        };
        input.networks = Some((networks, origin));
        let messages = run(analyzer, input);
        let name = "IST0106 MeshNetworks istio-system/meshnetworks";
        assert_eq!(codes(&messages), vec![name; expected], "{messages:#?}");
    }
}
