//! Analyzers of our own: subsets without ready pods, retries and timeouts, Gateways that claim the same host.

use super::support::{Case, codes, files, run};

const READINESS: Case<'static> = Case {
    code: "LAT0001",
    analyzer: "lateen.SubsetReadinessAnalyzer",
    object: "VirtualService default/reviews",
    ..Case::NEW
};
const TIMEOUTS: Case<'static> = Case {
    code: "LAT0002",
    analyzer: "lateen.RetryTimeoutAnalyzer",
    object: "VirtualService default/reviews",
    ..Case::NEW
};
const CHAINS: Case<'static> = Case {
    code: "LAT0003",
    analyzer: "lateen.RetryAmplificationAnalyzer",
    ..Case::NEW
};
const CLAIMS: Case<'static> = Case {
    code: "LAT0007",
    analyzer: "lateen.GatewayHostAnalyzer",
    ..Case::NEW
};

const REVIEWS: &str = r"
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080}], selector: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 80}
    - destination:
        host: reviews
        subset: v2 #!
      weight: 20
";

fn reviews(rest: &str) -> String {
    format!("{REVIEWS}---\n{rest}")
}

const READY: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: v1}
spec:
  selector: {matchLabels: {app: reviews}}
  template: {metadata: {labels: {app: reviews, version: v1}}, spec: {containers: [{name: app}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: v2, labels: {app: reviews, version: v2}}
spec: {containers: [{name: app}]}
status: {conditions: [{type: Ready, status: 'True'}]}
";

#[test]
fn a_subset_needs_a_ready_pod() {
    for (change, text) in [
        // Not ready yet, at its end, of another service, in another namespace.
        (("status: 'True'", "status: 'False'"), "(1 are not)"),
        (
            ("status: {conditions", "status: {phase: Failed, conditions"),
            "(1 are not)",
        ),
        (
            (
                "labels: {app: reviews, version: v2}",
                "labels: {version: v2}",
            ),
            "no pod of the Service",
        ),
        (
            ("name: v2, labels", "name: v2, namespace: other, labels"),
            "no pod of the Service",
        ),
    ] {
        let near = reviews(READY);
        let raises = reviews(&READY.replace(change.0, change.1));
        assert_ne!(near, raises);
        Case {
            raises: &raises,
            text: &["20%", "subset v2 of reviews", text],
            near: &near,
            ..READINESS
        }
        .check();
    }
}

#[test]
fn a_workload_without_replicas_has_no_ready_pod() {
    let workload = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: v2}
spec:
  replicas: 0
  selector: {matchLabels: {app: reviews}}
  template: {metadata: {labels: {app: reviews, version: v2}}, spec: {containers: [{name: app}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: v1, labels: {app: reviews, version: v1}}
spec: {containers: [{name: app}]}
";
    let raises = reviews(workload);
    let near = reviews(&workload.replace("replicas: 0", "replicas: 1"));
    Case {
        raises: &raises,
        text: &["subset v2"],
        near: &near,
        ..READINESS
    }
    .check();
}

#[test]
fn what_cannot_be_told_is_not_said() {
    // IST0173 says that nothing has the labels; a weight of 0 sends nothing; a Service may publish pods that are not ready.
    let none = READY.replace("version: v2", "version: v3");
    let unready = READY.replace("status: 'True'", "status: 'False'");
    for text in [
        reviews(&none),
        reviews(&unready).replace("weight: 20", "weight: 0"),
        reviews(&unready).replace(
            "spec: {ports",
            "spec: {publishNotReadyAddresses: true, ports",
        ),
    ] {
        assert_eq!(
            run(READINESS.analyzer, files(&text, "")),
            Vec::new(),
            "{text}"
        );
    }
}

#[test]
fn a_service_entry_without_the_subset_s_endpoints_is_told() {
    Case {
        raises: r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, labels: {zone: a}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec: {host: db.example.com, subsets: [{name: b, labels: {zone: b}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [db.example.com], http: [{route: [{destination: {host: db.example.com, subset: b}}]}]} #!
",
        text: &["100%", "no endpoint"],
        near: r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, labels: {zone: b}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec: {host: db.example.com, subsets: [{name: b, labels: {zone: b}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [db.example.com], http: [{route: [{destination: {host: db.example.com, subset: b}}]}]}
",
        ..READINESS
    }
    .check();
}

fn timeout(timeout: &str, retries: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - route: [{{destination: {{host: reviews}}}}]
    timeout: {timeout} #!
    retries: {retries}
"
    )
}

#[test]
fn a_timeout_has_to_leave_time_for_retries() {
    let raises = timeout("8s", "{attempts: 3, perTryTimeout: 2s}");
    let near = timeout("8.275s", "{attempts: 3, perTryTimeout: 2s}");
    Case {
        raises: &raises,
        text: &[
            "timeout 8s",
            "8.275s",
            "4 tries",
            "2s each",
            "0.275s of pauses",
        ],
        near: &near,
        ..TIMEOUTS
    }
    .check();
    for (time, retries) in [
        ("1s", "{attempts: 3}"),
        ("0s", "{attempts: 3, perTryTimeout: 2s}"),
        ("1s", "{attempts: 0}"),
        ("5s", "{attempts: 1, perTryTimeout: 2s, backoff: 1s}"),
    ] {
        let messages = run(TIMEOUTS.analyzer, files(&timeout(time, retries), ""));
        assert_eq!(messages, Vec::new(), "{time} {retries}");
    }
}

#[test]
fn the_mesh_s_retries_count_where_a_route_has_none() {
    let text = timeout("1s", "null");
    let mesh = "defaultHttpRetryPolicy: {attempts: 2, perTryTimeout: 500ms}";
    assert_eq!(run(TIMEOUTS.analyzer, files(&text, "")), Vec::new());
    assert_eq!(
        codes(&run(TIMEOUTS.analyzer, files(&text, mesh))),
        ["LAT0002 VirtualService default/reviews"]
    );
}

/// A gateway that calls one service, which calls another, which calls a third.
const CHAIN: &str = r"
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{port: 80}], selector: {app: a}}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {ports: [{port: 80}], selector: {app: b}}
---
apiVersion: v1
kind: Service
metadata: {name: c}
spec: {ports: [{port: 80}], selector: {app: c}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: [a.example.com]
  gateways: [edge]
  http:
  - route: [{destination: {host: a}}]
    retries:
      attempts: 3 #!
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b}
spec:
  hosts: [b]
  http: [{route: [{destination: {host: b}}], retries: {attempts: 3}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: c}
spec:
  hosts: [c]
  http:
  - match: [{sourceLabels: {app: b, version: v1}}]
    route: [{destination: {host: c}}]
    retries: {attempts: 3}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: a}
spec:
  workloadSelector: {labels: {app: a}}
  egress: [{hosts: [./b.default.svc.cluster.local, istio-system/*]}]
";

#[test]
fn retries_along_a_chain_multiply() {
    let near = CHAIN.replace("attempts: 3 #!", "attempts: 0");
    Case {
        raises: CHAIN,
        object: "VirtualService default/edge",
        text: &[
            "Gateway default/edge",
            "64 at c.default.svc.cluster.local",
            "VirtualService default/b",
            "more than 27",
        ],
        near: &near,
        ..CHAINS
    }
    .check();
    // Nobody is known to call `b`, or `c` gets its retries by default only.
    for near in [
        CHAIN.replace(
            "workloadSelector: {labels: {app: a}}",
            "workloadSelector: {labels: {app: x}}",
        ),
        CHAIN.replace("  workloadSelector: {labels: {app: a}}\n", ""),
        CHAIN.replace("./b.default.svc.cluster.local", "./*"),
        CHAIN.replace(
            "    route: [{destination: {host: c}}]\n    retries: {attempts: 3}\n",
            "    route: [{destination: {host: c}}]\n",
        ),
    ] {
        assert_ne!(near, CHAIN);
        assert_eq!(run(CHAINS.analyzer, files(&near, "")), Vec::new(), "{near}");
    }
}

#[test]
fn a_wildcard_at_the_same_address_claims_a_host() {
    Case {
        raises: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts:
    - shop.example.com #!
    tls: {mode: SIMPLE, credentialName: shop}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: wide, namespace: other}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['./*.example.com'], tls: {mode: SIMPLE, credentialName: wide}}]
",
        object: "Gateway default/shop",
        text: &["shop.example.com on port 443", "Gateway other/wide (*.example.com)"],
        near: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [shop.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: all}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*', 'a/*']}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: b}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['b/*']}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: elsewhere}
spec:
  selector: {istio: other}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*.example.com']}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: port}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 444, name: https, protocol: HTTPS}, hosts: ['*.example.com']}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: same}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [shop.example.com]}]
",
        ..CLAIMS
    }
    .check();
}

#[test]
fn selectors_that_share_a_pod_are_one_address() {
    let text = r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: one}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: two}
spec:
  selector: {zone: z}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}]
---
apiVersion: v1
kind: Pod
metadata: {name: edge, labels: {app: edge, zone: z}}
spec: {containers: [{name: istio-proxy}]}
";
    assert_eq!(
        codes(&run(CLAIMS.analyzer, files(text, ""))),
        ["LAT0007 Gateway default/one", "LAT0007 Gateway default/two"]
    );
    let apart = text.replace("labels: {app: edge, zone: z}", "labels: {app: edge}");
    assert_eq!(run(CLAIMS.analyzer, files(&apart, "")), Vec::new());
}

#[test]
fn gateways_of_the_gateway_api_have_addresses_too() {
    let text = r"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: one}
spec:
  gatewayClassName: istio
  addresses: [{type: IPAddress, value: 10.0.0.1}]
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: a.example.com}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: two, namespace: other}
spec:
  gatewayClassName: istio
  addresses: [{type: IPAddress, value: 10.0.0.1}]
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: '*.example.com'}
";
    assert_eq!(
        codes(&run(CLAIMS.analyzer, files(text, ""))),
        ["LAT0007 Gateway default/one"]
    );
    let apart = text.replace(
        "value: 10.0.0.1}]\n  listeners:\n  - {name: http, port: 80, protocol: HTTP, hostname: '*",
        "value: 10.0.0.2}]\n  listeners:\n  - {name: http, port: 80, protocol: HTTP, hostname: '*",
    );
    assert_ne!(apart, text);
    assert_eq!(run(CLAIMS.analyzer, files(&apart, "")), Vec::new());
    // By way of a Service it is the address of Istio's Gateways that select the same pods.
    let both = r"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: kube}
spec:
  gatewayClassName: istio
  addresses: [{type: Hostname, value: istio-ingressgateway.istio-system.svc.cluster.local}]
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: a.example.com}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: own}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com]}]
";
    assert_eq!(
        codes(&run(CLAIMS.analyzer, files(both, ""))),
        [
            "LAT0007 Gateway default/kube",
            "LAT0007 Gateway default/own"
        ]
    );
}
