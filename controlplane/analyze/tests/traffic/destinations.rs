//! VirtualServices and DestinationRules.

use super::support::{Case, codes, files, objects, run};

const HOSTS: Case<'static> = Case {
    analyzer: "virtualservice.DestinationHostAnalyzer",
    ..Case::NEW
};
const SUBSETS: Case<'static> = Case {
    analyzer: "virtualservice.DestinationRuleAnalyzer",
    ..Case::NEW
};
const MESH_HOSTS: Case<'static> = Case {
    code: "IST0109",
    analyzer: "virtualservice.ConflictingMeshGatewayHostsAnalyzer",
    own_line: true,
    ..Case::NEW
};
const TLS: Case<'static> = Case {
    analyzer: "destinationrule.CaCertificateAnalyzer",
    ..Case::NEW
};
const PODS: Case<'static> = Case {
    analyzer: "destinationrule.SubsetSelectPodAnalyzer",
    ..Case::NEW
};

#[test]
fn a_destination_s_host_is_looked_up() {
    Case {
        code: "IST0101",
        raises: r"
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination:
        host: review #!
",
        object: "VirtualService default/routes",
        own_line: true,
        text: &["host \"review\""],
        near: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination:
        host: review
",
        ..HOSTS
    }
    .check();
}

#[test]
fn a_mirror_s_host_is_looked_up() {
    Case {
        code: "IST0101",
        raises: r"
apiVersion: v1
kind: Service
metadata: {name: reviews, annotations: {networking.istio.io/exportTo: '.'}}
spec: {ports: [{port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: other}
spec:
  hosts: [reviews]
  http:
  - directResponse: {status: 200}
    mirrors:
    - destination:
        host: reviews.default.svc.cluster.local #!
",
        object: "VirtualService other/routes",
        own_line: true,
        text: &["mirror host \"reviews.default.svc.cluster.local\""],
        near: r"
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: other}
spec:
  hosts: [reviews]
  http:
  - directResponse: {status: 200}
    mirror: {host: reviews.default.svc.cluster.local}
",
        ..HOSTS
    }
    .check();
}

#[test]
fn a_route_without_a_destination_has_an_empty_host() {
    let messages = run(
        HOSTS.analyzer,
        files(
            r"
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [reviews]
  tcp:
  - route: [{weight: 1}]
",
            "",
        ),
    );
    assert_eq!(codes(&messages), ["IST0101 VirtualService default/routes"]);
    assert!(messages[0].text.contains("host \"\""));
}

#[test]
fn a_destination_s_port_has_to_exist_and_to_be_clear() {
    let one = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec: {hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [web.example.com]
  tls:
  - match: [{sniHosts: [web.example.com]}]
    route:
    - destination:
        host: web.example.com
        port: {number: 443}
";
    Case {
        code: "IST0101",
        raises: r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec: {hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [web.example.com]
  tls:
  - match: [{sniHosts: [web.example.com]}]
    route:
    - destination:
        host: web.example.com #!
        port: {number: 8443}
",
        object: "VirtualService default/routes",
        own_line: true,
        text: &["host:port \"web.example.com:8443\""],
        near: one,
        ..HOSTS
    }
    .check();
    Case {
        code: "IST0112",
        raises: r"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80, name: http}, {port: 443, name: https}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes}
spec:
  hosts: [web]
  http:
  - route:
    - destination:
        host: web #!
",
        object: "VirtualService default/routes",
        own_line: true,
        text: &["web", "[80, 443]"],
        near: one,
        ..HOSTS
    }
    .check();
}

#[test]
fn subsets_of_another_virtual_service_do_not_count_at_gateways() {
    Case {
        code: "IST0140",
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: [bookinfo.example.com]
  gateways: [edge]
  http:
  - route:
    - destination: {host: reviews} #!
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
",
        object: "VirtualService default/edge",
        text: &["default/edge", "default/reviews"],
        near: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: [bookinfo.example.com]
  gateways: [edge]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
    - destination: {host: ratings}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
    - destination: {host: ratings, subset: v1}
",
        ..HOSTS
    }
    .check();
}

#[test]
fn a_subset_needs_a_destination_rule() {
    Case {
        code: "IST0101",
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination:
        host: reviews #!
        subset: v1
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: other}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
",
        object: "VirtualService default/reviews",
        own_line: true,
        text: &["host+subset in destinationrule \"reviews+v1\""],
        near: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: other}
spec: {host: reviews.default.svc.cluster.local, subsets: [{name: v1, labels: {version: v1}}]}
",
        ..SUBSETS
    }
    .check();
    Case {
        code: "IST0101",
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews}
    mirror:
      host: reviews #!
      subset: v2
",
        object: "VirtualService default/reviews",
        own_line: true,
        text: &["mirror+subset in destinationrule \"reviews+v2\""],
        near: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews}
    mirror: {host: reviews}
",
        ..SUBSETS
    }
    .check();
}

#[test]
fn two_virtual_services_for_a_host_conflict() {
    Case {
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: one #!
spec: {hosts: [reviews]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two, namespace: other}
spec: {hosts: [reviews.default.svc.cluster.local], gateways: [mesh, edge]}
",
        object: "VirtualService default/one",
        text: &[
            "default/one,other/two",
            "*/reviews.default.svc.cluster.local",
        ],
        near: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one}
spec: {hosts: [reviews, reviews.default.svc.cluster.local]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two, namespace: other}
spec: {hosts: [reviews]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: three}
spec: {hosts: [reviews], gateways: [edge]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wild}
spec: {hosts: ['*.default.svc.cluster.local']}
",
        ..MESH_HOSTS
    }
    .check();
    // In a namespace's scope wildcards of everybody's scope conflict too, either way.
    Case {
        raises: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: own #!
spec: {hosts: ['*.example.com'], exportTo: ['.']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wide, namespace: other}
spec: {hosts: [a.example.com]}
",
        object: "VirtualService default/own",
        text: &["default/own,other/wide", "default/*.example.com"],
        near: r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own}
spec: {hosts: ['*.example.com'], exportTo: ['.']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: narrow, namespace: other}
spec: {hosts: ['*.example.com', a.example.com], exportTo: ['.']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wide, namespace: other}
spec: {hosts: [example.com]}
",
        ..MESH_HOSTS
    }
    .check();
}

#[test]
fn tls_without_authorities_is_reported() {
    let unchecked = r"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec:
  host: db.example.com
  trafficPolicy:
    tls: {mode: SIMPLE} #!
";
    Case {
        code: "IST0128",
        raises: unchecked,
        object: "DestinationRule default/db",
        text: &["db", "default", "SIMPLE", "db.example.com"],
        near: r"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec:
  host: db.example.com
  workloadSelector: {matchLabels: {app: client}}
  trafficPolicy:
    tls: {mode: MUTUAL, credentialName: db}
  subsets: [{name: a, trafficPolicy: {tls: {mode: SIMPLE}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: checked}
spec: {host: a.example.com, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: /etc/ca.pem}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: mesh}
spec: {host: b.example.com, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
",
        ..TLS
    }
    .check();
    Case {
        code: "IST0129",
        raises: r"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec:
  host: db.example.com
  trafficPolicy:
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: MUTUAL} #!
",
        object: "DestinationRule default/db",
        text: &["db", "default", "MUTUAL", "db.example.com", "number:443"],
        near: unchecked,
        ..TLS
    }
    .check();
}

const REVIEWS: &str = r"
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080}], selector: {app: reviews}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews, version: v1}}
    spec: {containers: [{name: app}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: near, labels: {version: v1, topology.kubernetes.io/zone: z1}}
";

#[test]
fn a_subset_selects_pods_or_templates() {
    Case {
        code: "IST0173",
        raises: r"
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
  subsets:
  - name: v1
    labels: {version: v1} #!
",
        object: "DestinationRule default/reviews",
        text: &["subset v1"],
        near: REVIEWS,
        ..PODS
    }
    .check();
    Case {
        code: "IST0174",
        raises: r"
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews.prod #!
  subsets: [{name: v1, labels: {version: v1}}]
",
        object: "DestinationRule default/reviews",
        text: &["reviews.prod"],
        near: REVIEWS,
        ..PODS
    }
    .check();
}

#[test]
fn labels_of_machines_count_for_subsets() {
    let text = r"
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080}], selector: {app: reviews}}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1, topology.kubernetes.io/region: ''}}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {version: v1}}
spec: {nodeName: n1, containers: [{name: app}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: z1, labels: {version: v1, topology.kubernetes.io/zone: z1}}
  - {name: z2, labels: {version: v1, topology.kubernetes.io/zone: z2}}
  - {name: empty, labels: {topology.kubernetes.io/region: ''}}
";
    let mut input = files(text, "");
    input.files_only = false;
    let messages = run(PODS.analyzer, input);
    let texts: Vec<&str> = messages
        .iter()
        .map(|message| message.text.as_str())
        .collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].starts_with("subset empty ") && texts[1].starts_with("subset z2 "));
}

#[test]
fn a_service_entry_s_workloads_narrow_its_subsets_in_a_cluster() {
    let text = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vm}
spec: {hosts: [vm.example.com], workloadSelector: {labels: {app: vm}}, ports: [{number: 80, name: http, protocol: HTTP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {version: v1}}
spec: {containers: [{name: app}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: vm}
spec: {host: vm.example.com, subsets: [{name: v1, labels: {version: v1}}]}
";
    let mut input = files(text, "");
    assert_eq!(run(PODS.analyzer, input.clone()), Vec::new());
    input.files_only = false;
    assert_eq!(
        codes(&run(PODS.analyzer, input.clone())),
        ["IST0173 DestinationRule default/vm"]
    );
    input.objects.extend(objects(
        "{apiVersion: v1, kind: Pod, metadata: {name: q, namespace: far, labels: {app: vm, version: v1}}, spec: {containers: []}}",
    ));
    assert_eq!(run(PODS.analyzer, input), Vec::new());
}
