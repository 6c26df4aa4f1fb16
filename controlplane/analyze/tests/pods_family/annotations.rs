//! Annotations.

use crate::support::{Case, check, files, run, said};

const K8S: &str = "annotations.K8sAnalyzer";
const ALPHA: &str = "annotations.AlphaAnalyzer";

#[test]
fn every_message_has_an_input() {
    check(&[
        Case {
            analyzer: K8S,
            code: "IST0108",
            object: "Service default/a",
            field: "metadata.annotations[\"networking.istio.io/export-to\"]",
            says: "`networking.istio.io/export-to`",
            raises: "{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {networking.istio.io/export-to: '*'}}}",
            near: "{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {networking.istio.io/exportTo: '*', example.com/export-to: x, istio.io.example.com/x: y}}}",
        },
        Case {
            analyzer: K8S,
            code: "IST0107",
            object: "Deployment default/a",
            field: "metadata.annotations[\"sidecar.istio.io/proxyCPU\"]",
            says: "belongs on Pod",
            raises: "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, annotations: {sidecar.istio.io/proxyCPU: nonsense}}, spec: {selector: {}, template: {}}}",
            near: "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, annotations: {galley.istio.io/analyze-suppress: X, istio.io/rev: x}}, spec: {selector: {}, template: {metadata: {annotations: {sidecar.istio.io/proxyCPU: 100m}}}}}",
        },
        Case {
            analyzer: K8S,
            code: "IST0107",
            object: "Service default/a",
            field: "metadata.annotations[\"kubernetes.io/ingress.class\"]",
            says: "belongs on Ingress",
            raises: "{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {kubernetes.io/ingress.class: istio}}}",
            near: "{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {kubernetes.io/other: istio}}}",
        },
        Case {
            analyzer: K8S,
            code: "IST0125",
            object: "Pod default/a",
            field: "metadata.annotations[\"sidecar.istio.io/proxyCPU\"]",
            says: "write an amount",
            raises: "{apiVersion: v1, kind: Pod, metadata: {name: a, annotations: {sidecar.istio.io/proxyCPU: lots}}}",
            near: "{apiVersion: v1, kind: Pod, metadata: {name: a, annotations: {sidecar.istio.io/proxyCPU: '2', sidecar.istio.io/logLevel: nonsense}}}",
        },
        Case {
            analyzer: K8S,
            code: "IST0135",
            object: "Pod default/a",
            field: "metadata.annotations[\"sidecar.istio.io/inject\"]",
            says: "`sidecar.istio.io/inject` is deprecated in favor of the \"sidecar.istio.io/inject\" label",
            raises: "{apiVersion: v1, kind: Pod, metadata: {name: a, annotations: {sidecar.istio.io/inject: 'true'}}}",
            near: "{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {sidecar.istio.io/inject: 'true'}, annotations: {sidecar.istio.io/inject: 'true'}}}",
        },
        Case {
            analyzer: ALPHA,
            code: "IST0136",
            object: "Service default/a",
            field: "metadata.annotations[\"networking.istio.io/exportTo\"]",
            says: "`networking.istio.io/exportTo`",
            raises: "{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {networking.istio.io/exportTo: '*'}}}",
            near: "{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {traffic.istio.io/nodeSelector: '*', istio.io/rev: x, proxy.istio.io/config: ''}}}",
        },
    ]);
}

#[test]
fn what_injection_writes_is_not_called_alpha() {
    let pod = |init: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a, annotations: {{sidecar.istio.io/interceptionMode: REDIRECT}}}}, spec: {{containers: [], initContainers: [{{name: {init}, image: i}}]}}}}"
        )
    };
    let count = |init: &str| said(&run(ALPHA, vec![files(&pod(init))]), "IST0136").len();
    assert_eq!((count("istio-init"), count("istio-validation")), (1, 0));
}

#[test]
fn a_deprecated_annotation_may_be_misplaced_too() {
    let yaml = "{apiVersion: v1, kind: Namespace, metadata: {name: a, annotations: {sidecar.istio.io/extraStatTags: x}}}";
    let messages = run(K8S, vec![files(yaml)]);
    assert_eq!(
        (
            said(&messages, "IST0135").len(),
            said(&messages, "IST0107").len()
        ),
        (1, 1)
    );
}
