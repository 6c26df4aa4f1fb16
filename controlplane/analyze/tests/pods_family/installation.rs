//! The mesh's own installation, what it runs, and what it says in statuses.

use lateen_api::mesh::parse_mesh_networks;
use lateen_controlplane_analyze::{ClusterInput, Origin};

use crate::support::{Case, check, check_with, files, run, said};

const WEBHOOK: &str = "webhook.Analyzer";
const EXTERNAL: &str = "externalcontrolplane.ExternalControlPlaneAnalyzer";

#[test]
fn applications_that_run_as_the_proxy() {
    let pod = |spec: &str| -> &'static str {
        format!("{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {spec}}}").leak()
    };
    let case = |object, field, raises, near| Case {
        analyzer: "applicationUID.Analyzer",
        code: "IST0144",
        object,
        field,
        says: "1337",
        raises,
        near,
    };
    check(&[
        case(
            "Pod default/a",
            "spec.containers[1].securityContext.runAsUser",
            pod(
                "{containers: [{name: a, image: a}, {name: b, image: b, securityContext: {runAsUser: 1337}}]}",
            ),
            pod(
                "{containers: [{name: istio-proxy, image: a, securityContext: {runAsUser: 1337}}, {name: b, image: b, securityContext: {runAsUser: 1338}}], initContainers: [{name: i, image: i, securityContext: {runAsUser: 1337}}]}",
            ),
        ),
        case(
            "Pod default/a",
            "spec.securityContext.runAsUser",
            pod("{securityContext: {runAsUser: 1337}, containers: []}"),
            "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {istio: pilot}}, spec: {securityContext: {runAsUser: 1337}, containers: []}}",
        ),
        case(
            "Deployment default/d",
            "spec.template.spec.containers[0].securityContext.runAsUser",
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {selector: {}, template: {spec: {containers: [{name: a, securityContext: {runAsUser: 1337}}]}}}}",
            "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: d}, spec: {selector: {}, serviceName: s, template: {spec: {containers: [{name: a, securityContext: {runAsUser: 1337}}]}}}}",
        ),
    ]);
}

#[test]
fn signing_keys_from_anywhere() {
    let yaml = |env: &str| -> &'static str {
        let mut yaml = format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: istiod, namespace: istio-system, labels: {{app: istiod}}}}, spec: {{selector: {{}}, template: {{spec: {{containers: [{{name: discovery, env: [{env}]}}]}}}}}}}}\n"
        );
        for number in 1..8 {
            yaml.push_str(&format!("---\n{{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {{name: r{number}, namespace: shop}}, spec: {{}}}}\n"));
        }
        yaml.leak()
    };
    let case = |env| Case {
        analyzer: "authn.BlockedCIDRsAnalyzer",
        code: "IST0175",
        object: "Deployment istio-system/istiod",
        field: "",
        says: "7 RequestAuthentication object(s) (shop/r1, shop/r2, shop/r3, shop/r4, shop/r5, and 2 more)",
        raises: yaml(env),
        near: yaml("{name: BLOCKED_CIDRS_IN_JWKS_URIS, value: 10.0.0.0/8}"),
    };
    check(&[
        case(""),
        case("{name: BLOCKED_CIDRS_IN_JWKS_URIS, value: ''}"),
    ]);
    let alone = yaml("").split("---").next().unwrap_or_default();
    assert!(run("authn.BlockedCIDRsAnalyzer", vec![files(alone)]).is_empty());
}

#[test]
#[allow(clippy::too_many_lines)]
fn conditions_that_do_not_hold() {
    let condition = |name: &str, status: &str, reason: &str| {
        format!(
            "conditions: [{{type: {name}, status: '{status}', reason: {reason}, message: so it is, lastTransitionTime: '2026-01-01T00:00:00Z'}}]"
        )
    };
    let object = |head: &str, status: String| -> &'static str {
        format!("{{{head}, metadata: {{name: a, namespace: shop}}, {status}}}").leak()
    };
    let flat =
        |head: &'static str| move |inner: String| object(head, format!("status: {{{inner}}}"));
    let parents = |head: &'static str| {
        move |inner: String| {
            object(
                head,
                format!(
                    "spec: {{}}, status: {{parents: [{{controllerName: a/b, parentRef: {{name: g}}, {inner}}}]}}"
                ),
            )
        }
    };
    let case = |name, raises, near| Case {
        analyzer: "conditions.ConditionAnalyzer",
        code: "IST0171",
        object: name,
        field: "status",
        says: "reason `Why` (so it is)",
        raises,
        near,
    };
    type Make = Box<dyn Fn(String) -> &'static str>;
    let kinds: [(&str, &str, &str, Make); 7] = [
        (
            "Service shop/a",
            "istio.io/WaypointBound",
            "Accepted",
            Box::new(flat("apiVersion: v1, kind: Service")),
        ),
        (
            "ServiceEntry shop/a",
            "istio.io/WaypointBound",
            "Accepted",
            Box::new(flat(
                "apiVersion: networking.istio.io/v1, kind: ServiceEntry",
            )),
        ),
        (
            "WorkloadEntry shop/a",
            "istio.io/WaypointBound",
            "Healthy",
            Box::new(flat(
                "apiVersion: networking.istio.io/v1, kind: WorkloadEntry",
            )),
        ),
        (
            "AuthorizationPolicy shop/a",
            "ZtunnelAccepted",
            "Reconciled",
            Box::new(flat(
                "apiVersion: security.istio.io/v1, kind: AuthorizationPolicy",
            )),
        ),
        (
            "Gateway shop/a",
            "Programmed",
            "Other",
            Box::new(flat(
                "apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, spec: {gatewayClassName: istio, listeners: []}",
            )),
        ),
        (
            "HTTPRoute shop/a",
            "ResolvedRefs",
            "Other",
            Box::new(parents(
                "apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute",
            )),
        ),
        (
            "GRPCRoute shop/a",
            "Accepted",
            "Other",
            Box::new(parents(
                "apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute",
            )),
        ),
    ];
    for (name, wanted, other, make) in kinds {
        let raises = make(condition(wanted, "False", "Why"));
        check(&[
            case(name, raises, make(condition(wanted, "True", "Why"))),
            case(name, raises, make(condition(other, "False", "Why"))),
        ]);
    }
    let policy = flat("apiVersion: security.istio.io/v1, kind: AuthorizationPolicy");
    check(&[Case {
        says: "`WaypointAccepted` does not hold, with the reason `PartiallyInvalid`",
        ..case(
            "AuthorizationPolicy shop/a",
            policy(condition("WaypointAccepted", "True", "PartiallyInvalid")),
            policy(condition("ZtunnelAccepted", "True", "PartiallyInvalid")),
        )
    }]);
}

#[test]
fn what_is_on_its_way_out() {
    let case = |object, field, says, raises, near| Case {
        analyzer: "deprecation.DeprecationAnalyzer",
        code: "IST0002",
        object,
        field,
        says,
        raises,
        near,
    };
    check(&[
        case(
            "VirtualService default/a",
            "spec.http[1].fault.delay.percent",
            "HTTPRoute.fault.delay.percent is deprecated; use HTTPRoute.fault.delay.percentage",
            "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, spec: {http: [{}, {fault: {delay: {percent: 5, fixedDelay: 1s}}}]}}",
            "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, spec: {http: [{}, {fault: {delay: {percentage: {value: 5}, percent: 0, fixedDelay: 1s}}}]}}",
        ),
        case(
            "Sidecar default/a",
            "spec.outboundTrafficPolicy.egressProxy",
            "OutboundTrafficPolicy.EgressProxy ignored",
            "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a}, spec: {outboundTrafficPolicy: {egressProxy: {host: h}}}}",
            "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a}, spec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}}",
        ),
        case(
            "CustomResourceDefinition serviceroles.rbac.istio.io",
            "",
            "Custom resource type rbac.istio.io ServiceRole is removed",
            "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: serviceroles.rbac.istio.io}, spec: {group: rbac.istio.io, names: {kind: ServiceRole, plural: x}, scope: Namespaced, versions: []}}",
            "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: serviceroles.rbac.example.com}, spec: {group: rbac.example.com, names: {kind: ServiceRole, plural: x}, scope: Namespaced, versions: []}}",
        ),
    ]);
}

#[test]
fn definitions_that_are_too_old() {
    let crd = |name: &str, release: &str| -> &'static str {
        format!("{{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {{name: {name}.gateway.networking.k8s.io, annotations: {{gateway.networking.k8s.io/bundle-version: '{release}'}}}}, spec: {{group: gateway.networking.k8s.io, names: {{kind: X, plural: x}}, scope: Namespaced, versions: []}}}}").leak()
    };
    for (name, object, old, new, oldest) in [
        (
            "grpcroutes",
            "CustomResourceDefinition grpcroutes.gateway.networking.k8s.io",
            "v1.0.9",
            "v1.1.0",
            "1.1.0",
        ),
        (
            "backendtlspolicies",
            "CustomResourceDefinition backendtlspolicies.gateway.networking.k8s.io",
            "v1.3.0",
            "v1.4.0-rc.1",
            "1.4.0",
        ),
        (
            "tlsroutes",
            "CustomResourceDefinition tlsroutes.gateway.networking.k8s.io",
            "v1.4.1-dev",
            "1.5",
            "1.5.0",
        ),
        (
            "tcproutes",
            "CustomResourceDefinition tcproutes.gateway.networking.k8s.io",
            "v1.5.10",
            "v2.0.0",
            "1.6.0",
        ),
    ] {
        let case = |near| Case {
            analyzer: "k8sgateway.CRDVersionAnalyzer",
            code: "IST0176",
            object,
            field: "metadata.annotations[\"gateway.networking.k8s.io/bundle-version\"]",
            says: oldest,
            raises: crd(name, old),
            near,
        };
        check(&[
            case(crd(name, new)),
            case(crd(name, "main")),
            case(crd("httproutes", old)),
        ]);
    }
}

#[test]
fn networks_of_clusters() {
    const SECRET: &str = "{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: istio-system, labels: {istio/multiCluster: 'true'}}, data: {east: YQ==}, stringData: {west: a}}";
    let cluster = |networks: &str| {
        let (networks, _) = parse_mesh_networks("networks.yaml", networks).expect("networks");
        let origin = Origin {
            kind: "MeshNetworks",
            namespace: "istio-system".to_owned(),
            name: "meshnetworks".to_owned(),
            suppressed: String::new(),
            place: None,
        };
        ClusterInput {
            networks: Some((networks, origin)),
            ..files(SECRET)
        }
    };
    for registry in ["west", "kubernetes"] {
        let case = Case {
            analyzer: "meshnetworks.MeshNetworksAnalyzer",
            code: "IST0126",
            object: "MeshNetworks istio-system/meshnetworks",
            field: "",
            says: "the network n is said to have the endpoints of `",
            raises: format!("networks: {{n: {{endpoints: [{{fromRegistry: {registry}}}]}}}}")
                .leak(),
            near: "networks: {n: {endpoints: [{fromRegistry: east}, {fromRegistry: Kubernetes}, {fromRegistry: Mock}, {fromRegistry: External}, {fromCidr: 10.0.0.0/8}]}}",
        };
        check_with(&case, cluster);
    }
}

/// A configuration of webhooks, each with a name, a client and further fields.
fn webhooks(kind: &str, name: &str, labels: &str, webhooks: &[(&str, &str)]) -> String {
    let mut yaml = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}, labels: {{{labels}}}}}\nwebhooks:\n"
    );
    for (name, rest) in webhooks {
        yaml.push_str(&format!(
            "- {{name: {name}, admissionReviewVersions: [v1], sideEffects: None, {rest}}}\n"
        ));
    }
    yaml.push_str("---\n");
    yaml
}

const MUTATING: &str = "MutatingWebhookConfiguration";
const SERVICE: &str =
    "{apiVersion: v1, kind: Service, metadata: {name: istiod, namespace: istio-system}}\n---\n";
const ENABLED: &str = "clientConfig: {service: {name: istiod, namespace: istio-system}}, namespaceSelector: {matchLabels: {istio-injection: enabled}}";
const CANARY: &str = "clientConfig: {service: {name: istiod, namespace: istio-system}}, namespaceSelector: {matchExpressions: [{key: istio.io/rev, operator: In, values: [canary]}, {key: istio-injection, operator: DoesNotExist}]}";

#[test]
fn webhooks_that_overlap() {
    let one = webhooks(MUTATING, "injector", "", &[("a.istio.io", ENABLED)]);
    let twice = webhooks(MUTATING, "left", "", &[("b.istio.io", ENABLED)]);
    let canary = webhooks(MUTATING, "canary", "istio.io/rev: canary", &[("c", CANARY)]);
    let foreign = webhooks(MUTATING, "foreign", "", &[("x.example.com", ENABLED)]);
    let case = |object, field, says, raises: &[&str], near: &[&str]| Case {
        analyzer: WEBHOOK,
        code: "IST0139",
        object,
        field,
        says,
        raises: raises.concat().leak(),
        near: near.concat().leak(),
    };
    let wide = webhooks(
        MUTATING,
        "wide",
        "",
        &[(
            "d.istio.io",
            CANARY
                .split(", namespaceSelector")
                .next()
                .unwrap_or_default(),
        )],
    );
    let lost = webhooks(
        MUTATING,
        "lost",
        "",
        &[(
            "e.istio.io",
            "clientConfig: {service: {name: gone, namespace: istio-system}}",
        )],
    );
    let url = webhooks(
        MUTATING,
        "url",
        "",
        &[("e.istio.io", "clientConfig: {url: 'https://a.b/inject'}")],
    );
    check(&[
        case(
            "MutatingWebhookConfiguration injector",
            "webhooks[0]",
            "Webhook overlaps with others: [left/b.istio.io]. This may cause injection to occur twice.",
            &[SERVICE, &one, &twice],
            &[SERVICE, &one, &canary, &foreign],
        ),
        case(
            "MutatingWebhookConfiguration wide",
            "webhooks[0]",
            "[canary/c injector/a.istio.io]",
            &[SERVICE, &one, &canary, &wide],
            &[SERVICE, &wide],
        ),
        case(
            "MutatingWebhookConfiguration lost",
            "webhooks[0].clientConfig.service",
            "Injector refers to a control plane service that does not exist: istio-system/gone.",
            &[SERVICE, &lost],
            &[&url],
        ),
    ]);
    let messages = run(WEBHOOK, vec![files(&[SERVICE, &one, &twice].concat())]);
    assert_eq!(said(&messages, "IST0139").len(), 2);
}

#[test]
fn external_control_planes() {
    let hook = |kind: &str, name: &str, client: &str| -> &'static str {
        webhooks(kind, name, "", &[("w", &format!("clientConfig: {client}"))]).leak()
    };
    let validating = "ValidatingWebhookConfiguration";
    let case = |code, object, says, raises, near| Case {
        analyzer: EXTERNAL,
        code,
        object,
        field: "webhooks[0].clientConfig",
        says,
        raises,
        near,
    };
    let good = "{url: 'https://istiod.example.com:15017/inject'}";
    check(&[
        case(
            "IST0163",
            "MutatingWebhookConfiguration istio-sidecar-injector-x",
            "webhook w is blank",
            hook(MUTATING, "istio-sidecar-injector-x", "{}"),
            hook(
                MUTATING,
                "istio-sidecar-injector-x",
                "{service: {name: a, namespace: b}}",
            ),
        ),
        case(
            "IST0163",
            "ValidatingWebhookConfiguration istio-validator-x",
            "`https://a:b/` of the control plane",
            hook(validating, "istio-validator-x", "{url: 'https://a:b/'}"),
            hook(validating, "istio-validator-x", good),
        ),
        case(
            "IST0163",
            "ValidatingWebhookConfiguration istiod-default-validator",
            "is not a URL",
            hook(validating, "istiod-default-validator", "{url: nonsense}"),
            hook(validating, "other-validator", "{url: nonsense}"),
        ),
        case(
            "IST0164",
            "MutatingWebhookConfiguration istio-sidecar-injector",
            "`10.0.0.1` of the control plane in the webhook w",
            hook(
                MUTATING,
                "istio-sidecar-injector",
                "{url: 'https://10.0.0.1:15017/inject'}",
            ),
            hook(MUTATING, "istio-sidecar-injector", good),
        ),
    ]);
}
