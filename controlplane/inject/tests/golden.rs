//! Pairs of manifests, without and with sidecars: `golden/<story>.in.yaml` and `golden/<story>.out.yaml`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p lateen-controlplane-inject` writes the second one anew: read the difference before it is committed.

// The helpers of tests fail as tests do.
#![allow(clippy::panic)]

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use lateen_controlplane_inject::{
    InjectError, Outcome, Owner, Settings, inject_documents, inject_pod, inject_template,
};
use serde_json::{Value, json};

/// What does not change with the version of the workspace.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.values.global.tag = "test".to_owned();
    settings
}

fn compare(story: &str, expected_notes: &[&str]) {
    let path = |end: &str| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(format!("{story}.{end}.yaml"))
    };
    let read = |end: &str| {
        std::fs::read_to_string(path(end))
            .unwrap_or_else(|error| panic!("{}: {error}", path(end).display()))
    };
    let injected = inject_documents(&read("in"), story, "", &settings())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(injected.notes, expected_notes);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path("out"), &injected.text).unwrap_or_else(|error| panic!("{error}"));
    }
    let expected = read("out");
    for (at, (found, wanted)) in injected.text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, wanted, "{story}.out.yaml line {}", at + 1);
    }
    assert_eq!(
        injected.text.len(),
        expected.len(),
        "{story}: one text is longer"
    );
}

#[test]
fn a_deployment_gets_a_sidecar_and_its_neighbours_pass_byte_for_byte() {
    compare("productpage", &[]);
    let input = include_str!("golden/productpage.in.yaml");
    let end = input.find("---\napiVersion: apps/v1").unwrap_or_default();
    let out =
        inject_documents(input, "f", "", &settings()).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        out.text.starts_with(&input[..end]),
        "the Service and the ServiceAccount are as they were"
    );
}

#[test]
fn probes_annotations_and_the_users_own_proxy_settings_are_followed() {
    compare("pod-with-probes", &[]);
}

#[test]
fn jobs_and_cron_jobs_are_injected() {
    compare("jobs", &[]);
}

#[test]
fn lists_are_walked_and_skips_are_told() {
    compare(
        "list-with-host-network",
        &[
            "===> Skipping injection because DaemonSet \"ops/on-host\" has host networking enabled",
            "===> Skipping injection because Deployment \"off\" has sidecar injection disabled",
        ],
    );
}

#[test]
fn a_gateway_is_the_proxy_alone() {
    compare("gateway", &[]);
}

fn template(value: Value) -> PodTemplateSpec {
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
}

fn owner() -> Owner {
    Owner {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: "web".into(),
        namespace: "shop".into(),
    }
}

fn injected(given: &PodTemplateSpec) -> PodTemplateSpec {
    match inject_template(given, &owner(), &settings()) {
        Ok(Outcome::Injected(pod)) => pod,
        other => panic!("{other:?}"),
    }
}

#[test]
fn injecting_again_changes_nothing() {
    for extra in [
        json!({}),
        json!({"annotations": {"sidecar.istio.io/nativeSidecar": "true"}}),
        json!({"annotations": {"inject.istio.io/templates": "gateway"}}),
        json!({"annotations": {"sidecar.istio.io/interceptionMode": "TPROXY", "prometheus.io/port": "80"}}),
        json!({"annotations": {"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true"}}),
    ] {
        let once = injected(&template(json!({
            "metadata": extra,
            "spec": {
                "initContainers": [{"name": "first", "image": "i"}],
                "containers": [
                    {"name": "web", "image": "w", "livenessProbe": {"httpGet": {"path": "/l", "port": 80}}, "ports": [{"containerPort": 80}]},
                    {"name": "istio-proxy", "image": "auto", "env": [{"name": "MINE", "value": "1"}]},
                ],
            }
        })));
        assert_eq!(injected(&once), once);
    }
}

#[test]
fn a_native_sidecar_takes_the_users_settings_along() {
    let pod = injected(&template(json!({
        "metadata": {"annotations": {"sidecar.istio.io/nativeSidecar": "true"}},
        "spec": {"containers": [
            {"name": "istio-proxy", "image": "mine/proxy:1", "env": [{"name": "MINE", "value": "1"}]},
            {"name": "web", "image": "w"},
        ]}
    })));
    let spec = pod.spec.unwrap_or_default();
    let names = |containers: &[k8s_openapi::api::core::v1::Container]| {
        containers
            .iter()
            .map(|c| c.name.clone())
            .collect::<Vec<_>>()
    };
    let init = spec.init_containers.unwrap_or_default();
    assert_eq!(
        (names(&init), names(&spec.containers)),
        (
            vec!["istio-init".into(), "istio-proxy".into()],
            vec!["web".into()]
        )
    );
    assert_eq!(init[1].image.as_deref(), Some("mine/proxy:1"));
    assert_eq!(init[1].restart_policy.as_deref(), Some("Always"));
    let recorded = pod
        .metadata
        .unwrap_or_default()
        .annotations
        .unwrap_or_default();
    let overrides: Value =
        serde_json::from_str(&recorded["proxy.istio.io/overrides"]).unwrap_or_default();
    assert_eq!(overrides["initContainers"][0]["image"], "mine/proxy:1");
    assert_eq!(overrides["initContainers"][0]["resources"], json!({}));
}

#[test]
fn faults_are_listed_and_templates_that_do_not_exist_are_named() {
    let with = |annotations: Value| {
        inject_template(
            &template(
                json!({"metadata": {"annotations": annotations}, "spec": {"containers": []}}),
            ),
            &owner(),
            &settings(),
        )
    };
    let faults =
        with(json!({"sidecar.istio.io/interceptionMode": "x", "sidecar.istio.io/proxyCPU": "y"}))
            .expect_err("faults")
            .to_string();
    assert!(
        faults.starts_with(
            "failed to run injection template: 2 errors occurred:\n\
             \t* invalid value 'x' for annotation 'sidecar.istio.io/interceptionMode': interceptionMode invalid, use REDIRECT,TPROXY,NONE: x\n\
             \t* invalid value 'y' for annotation 'sidecar.istio.io/proxyCPU': quantities must match"
        ),
        "{faults}"
    );
    let unknown = with(json!({"inject.istio.io/templates": "sidecar, mine"}))
        .expect_err("unknown")
        .to_string();
    assert_eq!(
        unknown,
        "requested template \"mine\" not found; have [gateway sidecar]"
    );
    assert!(
        matches!(with(json!({"inject.istio.io/templates": "grpc-agent"})), Err(InjectError::UnsupportedTemplate(name)) if name == "grpc-agent")
    );
}

#[test]
fn a_pod_of_a_deployment_is_named_after_it() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"generateName": "web-abc-", "namespace": "shop", "labels": {"pod-template-hash": "abc"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "controller": true, "uid": "u"}]},
        "spec": {"containers": [{"name": "web"}]}
    }))
    .unwrap_or_else(|error| panic!("{error}"));
    let Ok(Outcome::Injected(pod)) = inject_pod(&pod, None, &settings()) else {
        panic!("not injected")
    };
    let spec = pod.spec.unwrap_or_default();
    let env = spec
        .containers
        .iter()
        .find(|c| c.name == "istio-proxy")
        .and_then(|c| c.env.clone())
        .unwrap_or_default();
    let value = |name: &str| {
        env.iter()
            .find(|var| var.name == name)
            .and_then(|var| var.value.clone())
    };
    assert_eq!(
        value("ISTIO_META_OWNER").as_deref(),
        Some("kubernetes://apis/apps/v1/namespaces/shop/deployments/web")
    );
    assert_eq!(value("ISTIO_META_WORKLOAD_NAME").as_deref(), Some("web"));
}

#[test]
fn errors_name_file_line_and_field() {
    for (text, expected) in [
        (
            "kind: Pod\nspec:\n  containers:\n  - name: a\n    env: x\n",
            "f.yaml:5:10: Pod \"\": spec.containers[0].env: ",
        ),
        (
            "kind: Service\n---\nkind: Pod\nmetadata: {name: p}\nspec: [\n",
            "f.yaml:",
        ),
        (
            "kind: Pod\nmetadata: {name: p, annotations: {inject.istio.io/templates: no}}\nspec: {containers: []}\n",
            "f.yaml:1:1: Pod \"p\": requested template \"no\" not found",
        ),
    ] {
        let error = inject_documents(text, "f.yaml", "", &settings())
            .expect_err("bad input")
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn texts_without_workloads_pass_byte_for_byte() {
    for (text, expected) in [
        ("a: 1   # odd\n", "a: 1   # odd\n---\n"),
        ("a: 1", "a: 1\n---\n"),
        (
            "# nothing\n---\nkind: Role\n\n---\n",
            "# nothing\n---\nkind: Role\n\n---\n",
        ),
        ("", ""),
    ] {
        let out =
            inject_documents(text, "f", "", &settings()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(out.text, expected);
    }
}
