//! What the admission webhook says, as messages.

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
