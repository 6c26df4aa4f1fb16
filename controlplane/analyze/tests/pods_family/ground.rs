//! The pods of a cluster, and what a cluster of files has by default.

use std::collections::BTreeMap;

use lateen_api::mesh::{IngressControllerMode, MeshConfig};
use lateen_api::object::Kind;
use lateen_controlplane_analyze::{Cluster, ClusterInput};

use crate::support::{files, objects};

const WORKLOADS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: shop, labels: {app: a, tier: x}}
spec: {containers: [{name: app, image: a}]}
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: other, labels: {app: a}}
spec: {containers: [{name: app, image: a}], initContainers: [{name: istio-proxy, image: p}]}
---
apiVersion: v1
kind: Pod
metadata: {name: three, namespace: shop, labels: {app: c, sidecar.istio.io/inject: 'false'}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {containers: [{name: app, image: a}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: set, namespace: shop}
spec: {selector: {}, serviceName: s, template: {metadata: {labels: {app: b}}, spec: {containers: [{name: app, image: a}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron, namespace: shop}
spec: {schedule: '* * * * *', jobTemplate: {spec: {template: {metadata: {labels: {app: d}, annotations: {sidecar.istio.io/inject: 'false'}}, spec: {containers: []}}}}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: old, namespace: shop}
spec: {template: {metadata: {labels: {app: e}}, spec: {containers: []}}}
";

fn selector(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn names(
    cluster: &Cluster,
    namespace: Option<&str>,
    pairs: &[(&str, &str)],
    templates: bool,
) -> Vec<String> {
    let selector = selector(pairs);
    let mut names: Vec<String> = if templates {
        let found = cluster.pods().matching_with_templates(namespace, &selector);
        found.map(|pod| pod.name().to_owned()).collect()
    } else {
        let found = cluster.pods().matching(namespace, &selector);
        found.map(|pod| pod.name().to_owned()).collect()
    };
    names.sort();
    names
}

#[test]
fn selectors_find_pods_and_templates() {
    let cluster = Cluster::new(files(WORKLOADS));
    for (namespace, pairs, pods, templates) in [
        (
            None,
            &[("app", "a")][..],
            &["one", "two"][..],
            &["one", "two"][..],
        ),
        (Some("shop"), &[("app", "a")], &["one"], &["one"]),
        (
            Some("shop"),
            &[("app", "a"), ("tier", "x")],
            &["one"],
            &["one"],
        ),
        (Some("other"), &[("tier", "x")], &[], &[]),
        (Some("shop"), &[("app", "b")], &[], &["set"]),
        (None, &[("app", "d")], &[], &["cron"]),
        (
            None,
            &[("istio", "ingressgateway")],
            &["istio-ingressgateway-dummypod"],
            &["istio-ingressgateway-dummypod"],
        ),
        (
            Some("shop"),
            &[],
            &["one", "three"],
            &["cron", "old", "one", "set", "three"],
        ),
        (Some("none"), &[], &[], &[]),
    ] {
        assert_eq!(names(&cluster, namespace, pairs, false), pods, "{pairs:?}");
        assert_eq!(
            names(&cluster, namespace, pairs, true),
            templates,
            "{pairs:?}"
        );
        assert_eq!(
            cluster.pods().any_match(namespace, &selector(pairs)),
            !templates.is_empty()
        );
    }
    assert_eq!(cluster.pods().all().count(), 4);
}

#[test]
fn templates_do_not_count_where_there_is_a_cluster() {
    let cluster = Cluster::new(ClusterInput {
        files_only: false,
        ..files(WORKLOADS)
    });
    assert_eq!(names(&cluster, None, &[], true), ["one", "three", "two"]);
    assert!(!cluster.has(Kind::Service));
}

#[test]
fn the_mesh_is_told_by_container_label_annotation_and_namespace() {
    let cluster = Cluster::new(files(WORKLOADS));
    let all = BTreeMap::new();
    let mut found: Vec<(&str, bool, bool)> = cluster
        .pods()
        .matching_with_templates(None, &all)
        .map(|pod| (pod.name(), pod.is_in_mesh(), pod.is_ambient()))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("cron", false, false),
            ("istio-ingressgateway-dummypod", false, false),
            ("old", true, false),
            ("one", true, false),
            ("set", true, false),
            ("three", false, true),
            ("two", true, false),
        ]
    );
}

#[test]
fn a_cluster_of_files_has_an_ingress_gateway_by_default() {
    let cluster = Cluster::new(files(""));
    assert!(!cluster.has(Kind::Pod) && !cluster.has(Kind::Service));
    assert!(!cluster.pods().are_given());
    assert_eq!(cluster.of(Kind::Pod).count(), 1);
    assert_eq!(cluster.given(Kind::Service).count(), 0);
    let service = cluster
        .find(Kind::Service, "istio-system", "istio-ingressgateway")
        .expect("a Service");
    let spec = service
        .spec
        .as_service()
        .and_then(|service| service.spec.clone())
        .unwrap_or_default();
    let ports: Vec<i32> = spec
        .ports
        .unwrap_or_default()
        .iter()
        .map(|port| port.port)
        .collect();
    assert_eq!(ports, [80, 443, 31400, 15443]);

    let off = Cluster::new(ClusterInput {
        mesh: MeshConfig {
            ingress_controller_mode: IngressControllerMode::Off,
            ..Default::default()
        },
        ..files("")
    });
    assert_eq!(off.of(Kind::Pod).count(), 0);

    let own = Cluster::new(files(
        "{apiVersion: v1, kind: Service, metadata: {name: istio-ingressgateway, namespace: istio-system}, spec: {ports: []}}",
    ));
    assert!(own.has(Kind::Service));
    assert_eq!(own.of(Kind::Service).count(), 1);
}

#[test]
fn the_status_of_istios_objects_is_kept_if_there_is_one() {
    let status = |yaml: &str| {
        objects(yaml)
            .first()
            .and_then(|object| object.status.clone())
    };
    let head = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.b]}\n";
    let given = status(&format!(
        "{head}status: {{addresses: [{{value: 240.240.0.1}}]}}\n"
    ))
    .expect("a status");
    assert_eq!(
        given
            .pointer("/addresses/0/value")
            .and_then(|value| value.as_str()),
        Some("240.240.0.1")
    );
    assert_eq!(status(head), None);
    assert_eq!(status(&format!("{head}status: {{}}\n")), None);
}
