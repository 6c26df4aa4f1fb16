//! Namespaces, sidecars and their images.

use crate::support::{Case, check, check_with, files_with_mesh};

const INJECTION: &str = "injection.Analyzer";
const IMAGE: &str = "injection.ImageAnalyzer";
const AUTO: &str = "injection.ImageAutoAnalyzer";

#[test]
fn labels_of_namespaces() {
    check(&[
        Case {
            analyzer: INJECTION,
            code: "IST0102",
            object: "Namespace shop",
            field: "metadata.name",
            says: "namespace shop",
            raises: "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
            near: "
{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {istio-injection: disabled}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: b, labels: {istio.io/rev: ''}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: c, labels: {istio.io/dataplane-mode: ambient}}}
",
        },
        Case {
            analyzer: INJECTION,
            code: "IST0148",
            object: "Namespace shop",
            field: "",
            says: "without a label",
            raises: "
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-sidecar-injector, namespace: istio-system}, data: {values: '{\"sidecarInjectorWebhook\": {\"enableNamespacesByDefault\": true}}'}}
",
            near: "
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-sidecar-injector-canary, namespace: istio-system}, data: {values: '{\"sidecarInjectorWebhook\": {\"enableNamespacesByDefault\": true}}'}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-sidecar-injector, namespace: istio-system}, data: {values: 'nonsense'}}
",
        },
        Case {
            analyzer: INJECTION,
            code: "IST0123",
            object: "Namespace shop",
            field: "metadata.labels",
            says: "istio-injection=enabled, istio.io/rev=canary",
            raises: "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled, istio.io/rev: canary}}}",
            near: "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: disabled, istio.io/rev: canary}}}",
        },
        Case {
            analyzer: INJECTION,
            code: "IST0123",
            object: "Namespace shop",
            field: "metadata.labels",
            says: "istio.io/rev=canary, istio.io/dataplane-mode=ambient",
            raises: "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient, istio.io/rev: canary}}}",
            near: "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient, app: x}}}",
        },
    ]);
}

#[test]
fn pods_without_their_sidecar() {
    check(&[Case {
        analyzer: INJECTION,
        code: "IST0103",
        object: "Pod shop/a",
        field: "",
        says: "shop/a",
        raises: "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop, labels: {sidecar.istio.io/inject: 'true'}, annotations: {sidecar.istio.io/inject: 'false'}}, spec: {containers: [{name: app, image: a}, {name: istio-proxy}]}}
",
        near: "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: canary, labels: {istio.io/rev: canary}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: out, namespace: shop, labels: {sidecar.istio.io/inject: 'False'}}, spec: {containers: []}}
---
{apiVersion: v1, kind: Pod, metadata: {name: host, namespace: shop}, spec: {hostNetwork: true, containers: []}}
---
{apiVersion: v1, kind: Pod, metadata: {name: native, namespace: shop}, spec: {containers: [], initContainers: [{name: istio-proxy, image: p}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: revision, namespace: canary}, spec: {containers: []}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: shop}, spec: {selector: {}, template: {metadata: {labels: {app: d}}, spec: {containers: []}}}}
",
    }]);
}

const INJECTOR: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: istio-sidecar-injector, namespace: istio-system}, data: {values: '{\"global\": {\"hub\": \"h\", \"tag\": \"1.30.0\", \"proxy\": {\"image\": \"proxyv2\"}}}'}}
---
";

#[test]
fn images_of_sidecars() {
    let pod = |name: &str, image: &str, rest: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}{rest}}}, spec: {{containers: [{{name: istio-proxy, image: '{image}'}}]}}}}\n---\n"
        )
    };
    let raises = [
        INJECTOR,
        &pod("old", "h/proxyv2:1.29.0", ""),
        &pod("odd", "h/proxyv2:1.30.0-debug", ""),
        &pod("good", "h/proxyv2:1.30.0", ""),
    ]
    .concat();
    let near = [
        INJECTOR,
        &pod("good", "h/proxyv2:1.30.0", ""),
        &pod("own", "x/y:z", ", annotations: {sidecar.istio.io/proxyImage: 'x/y:z'}"),
        &pod("flavour", "h/proxyv2:1.30.0-debug", ", annotations: {proxy.istio.io/config: 'image: {imageType: debug}'}"),
        "{apiVersion: networking.istio.io/v1beta1, kind: ProxyConfig, metadata: {name: p, namespace: shop}, spec: {selector: {matchLabels: {app: chosen}}, image: {imageType: debug}}}\n---\n",
        &pod("chosen", "h/proxyv2:1.30.0-debug", ""),
        "{apiVersion: networking.istio.io/v1beta1, kind: ProxyConfig, metadata: {name: q, namespace: shop}, spec: {image: {imageType: distroless}}}\n---\n",
        &pod("wide", "h/proxyv2:1.30.0-distroless", ""),
    ]
    .concat();
    check(&[Case {
        analyzer: IMAGE,
        code: "IST0158",
        object: "Namespace shop",
        field: "",
        says: "odd, old",
        raises: raises.leak(),
        near: near.leak(),
    }]);
    let flavoured = [INJECTOR, &pod("odd", "h/proxyv2:1.30.0-debug", "")].concat();
    let case = Case {
        analyzer: IMAGE,
        code: "IST0158",
        object: "Namespace shop",
        field: "",
        says: "old",
        raises: [INJECTOR, &pod("old", "h/proxyv2:1.29.0-debug", "")]
            .concat()
            .leak(),
        near: flavoured.leak(),
    };
    check_with(&case, |yaml| {
        files_with_mesh(yaml, "defaultConfig: {image: {imageType: debug}}")
    });
}

#[test]
fn images_that_nobody_fills_in() {
    const DEPLOYMENT: &str = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: gateway, namespace: shop}, spec: {selector: {}, template: {metadata: {labels: {app: g, sidecar.istio.io/inject: 'true'}}, spec: {containers: [{name: istio-proxy, image: auto}]}}}}\n---\n";
    const WEBHOOK: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: injector}
webhooks:
- name: object.sidecar-injector.istio.io
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {url: 'https://a.b'}
  namespaceSelector: {matchExpressions: [{key: istio-injection, operator: DoesNotExist}]}
  objectSelector: {matchExpressions: [{key: sidecar.istio.io/inject, operator: In, values: ['true']}]}
---
";
    check(&[
        Case {
            analyzer: AUTO,
            code: "IST0146",
            object: "Deployment shop/gateway",
            field: "",
            says: "Deployment gateway",
            raises: [DEPLOYMENT, WEBHOOK, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: disabled}}}"].concat().leak(),
            near: [DEPLOYMENT, WEBHOOK].concat().leak(),
        },
        Case {
            analyzer: AUTO,
            code: "IST0147",
            object: "Pod default/a",
            field: "",
            says: "Pod a",
            raises: "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: istio-proxy, image: auto}]}}",
            near: "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: istio-proxy, image: x}, {name: app, image: auto}]}}",
        },
    ]);
}
