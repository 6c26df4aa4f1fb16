//! Gateways and the VirtualServices that are bound to them.

use super::support::{Case, codes, files, run};

const PORTS: Case<'static> = Case {
    analyzer: "gateway.IngressGatewayPortAnalyzer",
    own_line: true,
    object: "Gateway default/edge",
    ..Case::NEW
};
const CERTIFICATES: Case<'static> = Case {
    code: "IST0138",
    analyzer: "gateway.CertificateAnalyzer",
    own_line: true,
    ..Case::NEW
};
const CONFLICTS: Case<'static> = Case {
    analyzer: "gateway.ConflictingGatewayAnalyzer",
    ..Case::NEW
};
const BOUND: Case<'static> = Case {
    analyzer: "virtualservice.GatewayAnalyzer",
    object: "VirtualService default/routes",
    own_line: true,
    ..Case::NEW
};

const EDGE: &str = r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
";

#[test]
fn a_gateway_s_pods_and_ports_are_looked_up() {
    Case {
        code: "IST0101",
        raises: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector:
    app: none #!
    zone: z
  servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: ['*']}]
",
        text: &["selector \"app=none,zone=z\""],
        near: EDGE,
        ..PORTS
    }
    .check();
}

#[test]
fn a_service_leads_to_a_gateway_s_ports() {
    Case {
        code: "IST0162",
        raises: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector:
    istio: ingressgateway #!
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]
",
        text: &["port 8080", "istio=ingressgateway"],
        near: r"
apiVersion: v1
kind: Service
metadata: {name: edge}
spec:
  selector: {app: edge}
  ports:
  - {port: 80, targetPort: 8080}
  - {port: 443, protocol: TCP, targetPort: https}
---
apiVersion: v1
kind: Service
metadata: {name: by-number}
spec: {selector: {app: edge}, ports: [{port: 1, targetPort: '9000'}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge}
spec:
  selector: {matchLabels: {app: edge}}
  template: {metadata: {labels: {app: edge}}, spec: {containers: [{name: istio-proxy, image: auto}]}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: edge}
  servers:
  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*']}
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}
",
        ..PORTS
    }
    .check();
    // UDP ports do not count, nor those of Services in another namespace.
    Case {
        code: "IST0162",
        raises: r"
apiVersion: v1
kind: Service
metadata: {name: edge}
spec: {selector: {app: edge}, ports: [{port: 80, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: other}
spec: {selector: {app: edge}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: edge, labels: {app: edge}}
spec: {containers: [{name: istio-proxy}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector:
    app: edge #!
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
",
        text: &["port 80 ", "app=edge"],
        near: EDGE,
        ..PORTS
    }
    .check();
}

#[test]
fn gateways_with_the_same_secret_are_reported() {
    let case = Case {
        raises: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: one #!
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: cert}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: two, namespace: other}
spec:
  selector: {istio: ingressgateway, app: x}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [b.com], tls: {mode: SIMPLE, credentialName: cert}}]
",
        object: "Gateway default/one",
        text: &["default/one and other/two"],
        near: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: one}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: cert}}
  - {port: {number: 444, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, credentialName: cert}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: two}
spec:
  selector: {istio: other}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [b.com], tls: {mode: SIMPLE, credentialName: cert}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: three}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [b.com], tls: {mode: SIMPLE, credentialName: third}}]
",
        ..CERTIFICATES
    };
    case.check();
    // The wider selector does not contain the narrower one's labels.
    assert_eq!(
        codes(&run(case.analyzer, files(case.raises, ""))),
        ["IST0138 Gateway default/one"]
    );
}

#[test]
fn gateways_with_the_same_files_are_reported() {
    Case {
        raises: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: one #!
spec:
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: two}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [b.com], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}]
",
        object: "Gateway default/one",
        text: &["default/one and default/two"],
        near: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: one}
spec:
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: two}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [b.com], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /l}}]
",
        ..CERTIFICATES
    }
    .check();
}

#[test]
fn gateways_that_claim_the_same_host_conflict() {
    Case {
        code: "IST0145",
        raises: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: one}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [a.com, b.com] #!
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: two, namespace: other}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: three}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [b.com]}]
",
        object: "Gateway default/one",
        text: &["default/three,other/two", "istio=ingressgateway", "port 80", "a.com,b.com"],
        near: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: one}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.a.com']}, {port: {number: 81, name: h, protocol: HTTP}, hosts: [a.com]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: two}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [x.a.com]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: three}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, bind: 10.0.0.1, hosts: ['*.a.com']}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: four}
spec:
  selector: {istio: other}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.a.com']}]
",
        ..CONFLICTS
    }
    .check();
}

#[test]
fn gateways_with_different_selectors_conflict_on_a_common_pod() {
    let gateways = r"
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
  selector: {app: edge, zone: z}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}]
";
    let pod = r"
---
apiVersion: v1
kind: Pod
metadata: {name: edge, labels: {app: edge, zone: z}}
spec: {containers: [{name: istio-proxy}]}
";
    assert_eq!(run(CONFLICTS.analyzer, files(gateways, "")), Vec::new());
    assert_eq!(
        codes(&run(
            CONFLICTS.analyzer,
            files(&format!("{gateways}{pod}"), "")
        )),
        ["IST0145 Gateway default/one", "IST0145 Gateway default/two"]
    );
}

#[test]
fn a_gateway_without_servers_needs_another_one_s_selector() {
    Case {
        code: "IST0101",
        raises: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector:
    app: edge #!
",
        object: "Gateway default/edge",
        own_line: true,
        text: &["selector \"app=edge\""],
        near: r"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {app: edge}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: other}
spec:
  selector: {app: edge, zone: z}
  servers: [{hosts: ['*']}]
",
        ..CONFLICTS
    }
    .check();
}

#[test]
fn a_bound_gateway_is_looked_up() {
    Case {
        code: "IST0101",
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [a.com]
  gateways:
  - mesh
  - other/edge #!
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {servers: [{hosts: ['*']}]}
",
        text: &["gateway \"other/edge\""],
        near: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec: {hosts: [a.com], gateways: [mesh, other/edge, kube]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: other}
spec: {servers: [{hosts: ['*']}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: kube}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
",
        ..BOUND
    }
    .check();
    Case {
        code: "IST0165",
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [a.com]
  gateways:
  - edge~istio-autogenerated-k8s-gateway~http #!
",
        text: &[
            "default/routes",
            "edge~istio-autogenerated-k8s-gateway~http",
        ],
        near: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec: {hosts: [a.com], gateways: [edge]}
",
        ..BOUND
    }
    .check();
}

#[test]
fn a_bound_gateway_serves_a_host() {
    Case {
        code: "IST0132",
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [a.com, b.com]
  gateways:
  - edge #!
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {servers: [{hosts: ['*.a.com', other/a.com]}]}
",
        text: &["[a.com b.com]", "default/routes", "default/edge"],
        near: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec: {hosts: [b.com, x.a.com], gateways: [edge, any, kube, own]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {servers: [{hosts: [c.com]}, {hosts: ['*/*.a.com']}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: any}
spec: {servers: [{hosts: ['*/*']}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: own}
spec: {servers: [{hosts: [./b.com]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: kube}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP, hostname: '*.com'}]}
",
        ..BOUND
    }
    .check();
    // A Gateway that does not exist, or has no servers, serves none.
    let text = r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec: {hosts: ['*'], gateways: [missing, empty]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: empty}
spec: {selector: {app: edge}}
";
    let object = BOUND.object;
    assert_eq!(
        codes(&run(BOUND.analyzer, files(text, ""))),
        ["IST0101", "IST0132", "IST0132"].map(|code| format!("{code} {object}"))
    );
}

#[test]
fn routes_by_claims_need_tokens_to_be_checked() {
    let routes = r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [a.com]
  gateways: [mesh, edge, missing]
  http:
  - match:
    - headers: #!
        '@request.auth.claims.group': {exact: dev}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{hosts: ['*']}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: elsewhere, namespace: other}
spec: {jwtRules: [{issuer: a}]}
";
    Case {
        code: "IST0149",
        analyzer: "virtualservice.JWTClaimRouteAnalyzer",
        raises: routes,
        object: "VirtualService default/routes",
        text: &[
            "@request.auth.claims.group",
            "default/edge",
            "istio-ingressgateway-dummypod",
        ],
        near: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [a.com]
  gateways: [mesh, edge]
  http:
  - match:
    - withoutHeaders:
        '@request.auth.claims[group]': {exact: dev}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{hosts: ['*']}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: edge, namespace: istio-system}
spec: {selector: {matchLabels: {istio: ingressgateway}}, jwtRules: [{issuer: a}]}
",
        ..Case::NEW
    }
    .check();
}
