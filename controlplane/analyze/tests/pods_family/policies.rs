//! Policies and Sidecars against what they select.

use lateen_controlplane_analyze::ClusterInput;

use crate::support::{Case, check, check_with, files, files_with_mesh, run, said};

const AUTH: &str = "auth.AuthorizationPoliciesAnalyzer";
const SIDECAR: &str = "sidecar.SelectorAnalyzer";
const TELEMETRY: &str = "telemetry.SelectorAnalyzer";

/// Pods of a namespace in the mesh.
const SHOP: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop, labels: {app: a, v: x}}, spec: {containers: []}}
---
{apiVersion: v1, kind: Pod, metadata: {name: out, namespace: shop, labels: {app: out, sidecar.istio.io/inject: 'false'}}, spec: {containers: []}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: shop}, spec: {selector: {}, template: {metadata: {labels: {app: d}}, spec: {containers: []}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: lone, namespace: plain, labels: {app: lone}}, spec: {containers: []}}
---
{apiVersion: v1, kind: Pod, metadata: {name: amb, namespace: plain, labels: {app: amb}, annotations: {ambient.istio.io/redirection: enabled}}, spec: {containers: []}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: wide, labels: {istio.io/dataplane-mode: ambient}}}
---
";

fn shop(rest: &[String]) -> &'static str {
    format!("{SHOP}{}", rest.join("\n---\n")).leak()
}

fn policy(namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {{name: z, namespace: {namespace}}}, spec: {spec}}}"
    )
}

fn sidecar(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"
    )
}

fn telemetry(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"
    )
}

fn auth(
    (object, field): (&'static str, &'static str),
    says: &'static str,
    raises: String,
    near: String,
) -> Case {
    let about_namespaces = field.contains("rules");
    Case {
        analyzer: AUTH,
        code: if about_namespaces {
            "IST0101"
        } else {
            "IST0127"
        },
        object,
        field,
        says,
        raises: shop(&[raises]),
        near: shop(&[near]),
    }
}

const OWN: &str = "AuthorizationPolicy shop/z";

#[test]
fn authorization_policies_that_apply_to_nothing() {
    let selects = |namespace: &str, labels: &str| {
        policy(
            namespace,
            &format!("{{selector: {{matchLabels: {labels}}}}}"),
        )
    };
    let of = |object: &'static str| (object, "spec.selector");
    check(&[
        auth(
            of(OWN),
            "`app=a,v=y`",
            selects("shop", "{v: y, app: a}"),
            selects("shop", "{v: x, app: a}"),
        ),
        auth(
            of(OWN),
            "`app=out`",
            selects("shop", "{app: out}"),
            selects("shop", "{app: d}"),
        ),
        auth(
            of("AuthorizationPolicy plain/z"),
            "`app=lone`",
            selects("plain", "{app: lone}"),
            selects("plain", "{app: amb}"),
        ),
        auth(
            of("AuthorizationPolicy istio-system/z"),
            "`app=none`",
            selects("istio-system", "{app: none}"),
            selects("istio-system", "{app: a}"),
        ),
        auth(
            ("AuthorizationPolicy none/z", ""),
            "no workload of the mesh is in this namespace",
            policy("none", "{}"),
            policy("istio-system", "{}"),
        ),
        auth(
            ("AuthorizationPolicy none/z", "spec.selector"),
            "no workload of the mesh is in this namespace",
            selects("none", "{}"),
            selects("shop", "{}"),
        ),
    ]);
}

#[test]
fn without_any_pod_in_files_no_policy_is_said_to_apply_to_nothing() {
    let yaml = policy("shop", "{selector: {matchLabels: {app: a}}}");
    assert_eq!(said(&run(AUTH, vec![files(&yaml)]), "IST0127"), [""; 0]);
    let live = ClusterInput {
        files_only: false,
        ..files(&yaml)
    };
    assert_eq!(said(&run(AUTH, vec![live]), "IST0127").len(), 1);
}

#[test]
fn the_root_namespace_is_the_meshs() {
    let case = auth(
        (OWN, "spec.selector"),
        "`app=none`",
        policy("shop", "{selector: {matchLabels: {app: none}}}"),
        policy("plain", "{selector: {matchLabels: {app: a}}}"),
    );
    check_with(&case, |yaml| files_with_mesh(yaml, "rootNamespace: plain"));
}

#[test]
fn authorization_policies_name_namespaces_that_exist() {
    let source = |source: &str| {
        policy(
            "shop",
            &format!("{{rules: [{{}}, {{from: [{{source: {source}}}]}}]}}"),
        )
    };
    check(&[
        auth(
            (OWN, "spec.rules[1].from[0].source.namespaces[1]"),
            "\"none\"",
            source("{namespaces: [shop, none]}"),
            source("{namespaces: [shop, SHOP, '*', 'sh*', '*op', wide]}"),
        ),
        auth(
            (OWN, "spec.rules[1].from[0].source.notNamespaces[0]"),
            "\"*none\"",
            source("{namespaces: [shop], notNamespaces: ['*none']}"),
            source("{notNamespaces: ['*ide']}"),
        ),
        auth(
            (OWN, "spec.rules[1].from[0].source.namespaces[0]"),
            "\"Sh*\"",
            source("{namespaces: ['Sh*']}"),
            policy("shop", "{rules: [{from: [{}]}]}"),
        ),
    ]);
}

#[test]
fn sidecars_that_select_nothing_or_the_same() {
    let selects = |name: &str, labels: &str| {
        sidecar(
            name,
            "shop",
            &format!("{{workloadSelector: {{labels: {labels}}}}}"),
        )
    };
    check(&[
        Case {
            analyzer: SIDECAR,
            code: "IST0101",
            object: "Sidecar shop/s",
            field: "spec.workloadSelector.labels.app",
            says: "\"app=lone,v=x\"",
            raises: shop(&[selects("s", "{v: x, app: lone}")]),
            near: shop(&[selects("s", "{app: d}"), selects("t", "{}")]),
        },
        Case {
            analyzer: SIDECAR,
            code: "IST0110",
            object: "Sidecar shop/t",
            field: "metadata.name",
            says: "s, t all select the pod p of the namespace shop",
            raises: shop(&[selects("s", "{app: a}"), selects("t", "{v: x}")]),
            near: shop(&[selects("s", "{app: a}"), selects("t", "{app: out}"), selects("u", "{app: d}"), selects("v", "{app: d}")]),
        },
        Case {
            analyzer: SIDECAR,
            code: "IST0111",
            object: "Sidecar shop/s",
            field: "",
            says: "s, t of the namespace shop",
            raises: shop(&[sidecar("s", "shop", "{}"), sidecar("t", "shop", "{}")]),
            near: shop(&[sidecar("s", "shop", "{}"), sidecar("s", "plain", "{}"), selects("t", "{app: a}")]),
        },
        Case {
            analyzer: SIDECAR,
            code: "IST0167",
            object: "Sidecar plain/s",
            field: "",
            says: "selected workload is in ambient mode, the policy has no impact",
            raises: shop(&[sidecar("s", "plain", "{workloadSelector: {labels: {app: amb}}}")]),
            near: shop(&[sidecar("s", "plain", "{workloadSelector: {labels: {app: lone}}}")]),
        },
        Case {
            analyzer: SIDECAR,
            code: "IST0167",
            object: "Sidecar wide/s",
            field: "",
            says: "namespace is in ambient mode, the policy has no impact",
            raises: shop(&[sidecar("s", "wide", "{}")]),
            near: shop(&[sidecar("s", "both", "{}"), "{apiVersion: v1, kind: Namespace, metadata: {name: both, labels: {istio.io/dataplane-mode: ambient, istio.io/rev: x}}}".to_owned()]),
        },
    ]);
}

#[test]
fn telemetry_that_selects_nothing_or_the_same() {
    let selects = |name: &str, labels: &str| {
        telemetry(
            name,
            "shop",
            &format!("{{selector: {{matchLabels: {labels}}}}}"),
        )
    };
    check(&[
        Case {
            analyzer: TELEMETRY,
            code: "IST0101",
            object: "Telemetry shop/s",
            field: "spec.selector.matchLabels.app",
            says: "\"app=lone\"",
            raises: shop(&[selects("s", "{app: lone}")]),
            near: shop(&[selects("s", "{app: d}"), selects("t", "{}")]),
        },
        Case {
            analyzer: TELEMETRY,
            code: "IST0159",
            object: "Telemetry shop/s",
            field: "metadata.name",
            says: "s, t all select the pod p of the namespace shop",
            raises: shop(&[selects("s", "{app: a}"), selects("t", "{v: x}")]),
            near: shop(&[selects("s", "{app: a}"), selects("t", "{app: out}")]),
        },
        Case {
            analyzer: "telemetry.DefaultSelectorAnalyzer",
            code: "IST0160",
            object: "Telemetry shop/t",
            field: "",
            says: "s, t of the namespace shop",
            raises: shop(&[telemetry("s", "shop", "{}"), telemetry("t", "shop", "{}")]),
            near: shop(&[
                telemetry("s", "shop", "{}"),
                telemetry("s", "plain", "{}"),
                selects("t", "{}"),
                telemetry(
                    "u",
                    "shop",
                    "{targetRefs: [{kind: Gateway, name: g, group: gateway.networking.k8s.io}]}",
                ),
            ]),
        },
    ]);
}

#[test]
fn providers_of_telemetry() {
    let provider = Case {
        analyzer: "telemetry.ProviderAnalyzer",
        code: "IST0157",
        object: "Telemetry shop/s",
        field: "spec.accessLogging[1]",
        says: "Telemetry s of the namespace \"shop\"",
        raises: telemetry("s", "shop", "{accessLogging: [{disabled: true}, {}]}").leak(),
        near: telemetry(
            "s",
            "shop",
            "{accessLogging: [{disabled: true}, {providers: [{name: envoy}]}]}",
        )
        .leak(),
    };
    check(&[provider]);
    let log = telemetry("s", "shop", "{accessLogging: [{}]}");
    let with = files_with_mesh(&log, "defaultProviders: {accessLogging: [envoy]}");
    assert!(run("telemetry.ProviderAnalyzer", vec![with]).is_empty());
    let lightstep = Case {
        analyzer: "telemetry.LightstepAnalyzer",
        code: "IST0002",
        object: "Telemetry shop/s",
        field: "spec.tracing[0].providers[0].name",
        says: "The Lightstep provider old is deprecated, please migrate to OpenTelemetry provider.",
        raises: telemetry("s", "shop", "{tracing: [{providers: [{name: old}]}]}").leak(),
        near: telemetry("s", "shop", "{tracing: [{providers: [{name: new}]}]}").leak(),
    };
    check_with(&lightstep, |yaml| {
        files_with_mesh(
            yaml,
            "extensionProviders: [{name: old, lightstep: {service: a, port: 1}}, {name: new, opentelemetry: {service: a, port: 1}}]",
        )
    });
}

#[test]
fn gateways_heed_no_selectors() {
    const GATEWAY: &str = "{apiVersion: v1, kind: Pod, metadata: {name: g, namespace: shop, labels: {app: g, gateway.networking.k8s.io/gateway-name: front}}, spec: {containers: []}}\n---\n";
    let object = |kind: &str, spec: &str| {
        let group = match kind {
            "Telemetry" => "telemetry.istio.io/v1",
            "WasmPlugin" => "extensions.istio.io/v1alpha1",
            _ => "security.istio.io/v1",
        };
        format!("{GATEWAY}{{apiVersion: {group}, kind: {kind}, metadata: {{name: s, namespace: shop}}, spec: {spec}}}").leak()
    };
    for (kind, name) in [
        ("AuthorizationPolicy", "AuthorizationPolicy shop/s"),
        ("RequestAuthentication", "RequestAuthentication shop/s"),
        ("Telemetry", "Telemetry shop/s"),
        ("WasmPlugin", "WasmPlugin shop/s"),
    ] {
        let near = object(
            kind,
            "{selector: {matchLabels: {app: g}}, targetRef: {kind: Gateway, name: front, group: gateway.networking.k8s.io}}",
        );
        let case = |near| Case {
            analyzer: "k8sgateway.SelectorAnalyzer",
            code: "IST0166",
            object: name,
            field: "spec.selector",
            says: "Gateway front",
            raises: object(kind, "{selector: {matchLabels: {app: g}}}"),
            near,
        };
        check(&[
            case(near),
            case(object(kind, "{selector: {matchLabels: {app: other}}}")),
            case(object(kind, "{}")),
        ]);
    }
}
