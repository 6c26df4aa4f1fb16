//! Services, and the Deployments and clusters behind them.

use lateen_controlplane_analyze::ClusterInput;

use crate::support::{Case, check, files, run, said};

const MULTI: &str = "deployment.MultiServiceAnalyzer";
const PORTS: &str = "service.PortNameAnalyzer";

fn deployed(labels: &str, services: &[(&str, &str)]) -> &'static str {
    let mut yaml = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {{istio-injection: enabled}}}}}}\n---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: d, namespace: shop, labels: {{{labels}}}}}, spec: {{selector: {{}}, template: {{metadata: {{labels: {{app: d, v: x}}}}, spec: {{containers: []}}}}}}}}\n"
    );
    for (name, spec) in services {
        yaml.push_str(&format!(
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: shop}}, spec: {spec}}}\n"
        ));
    }
    yaml.leak()
}

#[test]
#[allow(clippy::too_many_lines)]
fn services_that_contradict_each_other() {
    check(&[
        Case {
            analyzer: MULTI,
            code: "IST0116",
            object: "Deployment shop/d",
            field: "metadata.name",
            says: "shop/a, shop/b of the Deployment d have port 80",
            raises: deployed(
                "",
                &[
                    ("a", "{selector: {app: d}, ports: [{port: 80}]}"),
                    (
                        "b",
                        "{selector: {v: x}, ports: [{port: 80, protocol: UDP}]}",
                    ),
                ],
            ),
            near: deployed(
                "",
                &[
                    ("a", "{selector: {app: d}, ports: [{port: 80}]}"),
                    (
                        "b",
                        "{selector: {v: x}, ports: [{port: 80, protocol: TCP}, {port: 81, protocol: UDP}]}",
                    ),
                    (
                        "c",
                        "{selector: {v: y}, ports: [{port: 80, protocol: UDP}]}",
                    ),
                    ("e", "{ports: [{port: 80, protocol: UDP}]}"),
                ],
            ),
        },
        Case {
            analyzer: MULTI,
            code: "IST0116",
            object: "Deployment shop/d",
            field: "metadata.name",
            says: "port 80",
            raises: deployed(
                "a: b",
                &[(
                    "a",
                    "{selector: {app: d}, ports: [{port: 80, protocol: TCP}, {port: 80, protocol: HTTP}]}",
                )],
            ),
            near: deployed(
                "gateway.istio.io/managed: istio.io-mesh-controller",
                &[(
                    "a",
                    "{selector: {app: d}, ports: [{port: 80, protocol: TCP}, {port: 80, protocol: HTTP}]}",
                )],
            ),
        },
        Case {
            analyzer: MULTI,
            code: "IST0137",
            object: "Deployment shop/d",
            field: "metadata.name",
            says: "shop/a, shop/b reach the target port \"8080\" of the Deployment d by different ports (80, 8080)",
            raises: deployed(
                "",
                &[
                    (
                        "a",
                        "{selector: {app: d}, ports: [{port: 80, targetPort: 8080}]}",
                    ),
                    ("b", "{selector: {app: d}, ports: [{port: 8080}]}"),
                ],
            ),
            near: deployed(
                "",
                &[
                    (
                        "a",
                        "{selector: {app: d}, ports: [{port: 80, targetPort: 8080}]}",
                    ),
                    (
                        "b",
                        "{selector: {app: d}, ports: [{port: 80, targetPort: 8080}, {port: 90, targetPort: http}]}",
                    ),
                ],
            ),
        },
    ]);
}

#[test]
fn deployments_outside_of_the_mesh_are_not_judged() {
    let yaml = deployed(
        "",
        &[(
            "a",
            "{selector: {app: d}, ports: [{port: 80, protocol: TCP}, {port: 80, protocol: UDP}]}",
        )],
    )
    .replace("istio-injection: enabled", "istio-injection: disabled");
    assert!(run(MULTI, vec![files(&yaml)]).is_empty());
}

#[test]
fn names_of_ports() {
    check(&[
        Case {
            analyzer: PORTS,
            code: "IST0118",
            object: "Service default/a",
            field: "spec.ports[1].port",
            says: "`web` of port 8080 (target port http)",
            raises: "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{name: http-x, port: 80}, {name: web, port: 8080, targetPort: http}]}}",
            near: "
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{name: HTTP, port: 80}, {name: grpc-web-x, port: 81}, {name: dns, port: 53}, {name: x, port: 82, protocol: UDP}, {name: web, port: 83, appProtocol: kubernetes.io/wss}, {name: http-x, port: 84, protocol: SCTP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: b, labels: {istio: x}}, spec: {ports: [{name: web, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: c, labels: {release: istio}}, spec: {ports: [{name: web, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: d, labels: {gateway.istio.io/managed: istio.io-gateway-controller}}, spec: {ports: [{name: web, port: 80}]}}
",
        },
        Case {
            analyzer: PORTS,
            code: "IST0150",
            object: "Service default/a",
            field: "spec.ports[0].port",
            says: "ExternalName",
            raises: "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: ExternalName, externalName: a.b, ports: [{name: tcp, port: 80}]}}",
            near: "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: ExternalName, externalName: a.b, ports: [{name: tcp-x, port: 80}, {name: https, port: 443}]}}",
        },
        Case {
            analyzer: PORTS,
            code: "IST0150",
            object: "Service default/a",
            field: "spec.ports[0].port",
            says: "ExternalName",
            raises: "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: ExternalName, externalName: a.b, ports: [{name: web, port: 80}]}}",
            near: "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{name: tcp, port: 80}, {name: web, port: 81}]}}",
        },
    ]);
}

#[test]
fn services_that_differ_between_clusters() {
    let cluster = |id: &str, spec: &str| ClusterInput {
        id: id.to_owned(),
        files_only: false,
        ..files(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: a, namespace: shop}}, spec: {spec}}}"
        ))
    };
    let told = |specs: &[&str]| {
        let ids = ["one", "two", "three"];
        let clusters = ids
            .iter()
            .zip(specs)
            .map(|(id, spec)| cluster(id, spec))
            .collect();
        said(
            &run("services.MultiClusterServiceAnalyzer", clusters),
            "IST0170",
        )
    };
    let plain = "{ports: [{name: b, port: 1}, {name: a, port: 2}]}";
    let found = told(&[
        plain,
        "{clusterIP: None, ports: [{name: b, port: 1}, {name: a, port: 2}]}",
        plain,
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("Service shop/a: the Service a of the namespace shop is not the same in the clusters one, three, two: it is headless in some"), "{found:?}");
    let found = told(&[
        plain,
        plain,
        "{type: NodePort, ports: [{name: a, port: 2}]}",
    ]);
    assert!(
        found[0].contains("clusters one, three: its ports differ; its type differs"),
        "{found:?}"
    );
    assert_eq!(
        told(&[
            plain,
            "{type: ClusterIP, ports: [{name: a, port: 2, nodePort: 30000}, {name: b, port: 1, protocol: TCP}]}"
        ]),
        [""; 0]
    );
    assert_eq!(told(&[plain]), [""; 0]);
}
