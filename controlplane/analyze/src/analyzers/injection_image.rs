//! The images of sidecars: those that are not what the injector would take, and those that only the injector can fill in.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;
use k8s_openapi::api::core::v1::PodSpec;
use lateen_api::labels::{annotation, label, selects};
use lateen_api::mesh::{self, parse_proxy_config};
use lateen_api::networking::ProxyConfig;
use lateen_api::object::{Kind, Object};
use serde_json::Value;

use super::Analyzer;
use super::injection::Injectors;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;
use crate::pods::{PROXY, PodRef, pod_template};
use crate::selectors::label_selector_selects;

pub(super) const IMAGE: Analyzer = Analyzer {
    name: "injection.ImageAnalyzer",
    description: "Pods whose sidecar has another image than the injector gives",
    inputs: &[
        Input::Kind(Kind::Namespace),
        Input::Kind(Kind::Pod),
        Input::Kind(Kind::ConfigMap),
        Input::MeshConfig,
        Input::Kind(Kind::ProxyConfig),
    ],
    run: |cluster, _, messages| images(cluster, messages),
};

pub(super) const IMAGE_AUTO: Analyzer = Analyzer {
    name: "injection.ImageAutoAnalyzer",
    description: "Pods and Deployments that leave the image to an injector that does not see them",
    inputs: &[
        Input::Kind(Kind::Namespace),
        Input::Kind(Kind::Pod),
        Input::Kind(Kind::Deployment),
        Input::Kind(Kind::MutatingWebhookConfiguration),
    ],
    run: |cluster, _, messages| auto_images(cluster, messages),
};

static NONE: BTreeMap<String, String> = BTreeMap::new();

fn images(cluster: &Cluster, messages: &mut Messages) {
    let injectors = Injectors::of(cluster);
    if injectors.is_empty() {
        return;
    }
    let flavours = Flavours::of(cluster);
    for object in cluster.given(Kind::Namespace) {
        let label = |key: &str| object.meta.labels.get(key).map(String::as_str);
        let revision = match (label(label::REVISION), label(label::INJECTION)) {
            (Some(revision), _) => revision,
            (None, Some("enabled")) => "default",
            _ => continue,
        };
        let Some(image) = injectors.of_revision(revision).and_then(image) else {
            continue;
        };
        let names: Vec<&str> = cluster
            .pods()
            .matching(Some(&object.key.name), &NONE)
            .filter(|pod| !cluster.is_default(pod.object) && differs(pod, &image, &flavours))
            .map(|pod| pod.name())
            .collect();
        if !names.is_empty() {
            messages.object(
                code::PODS_ISTIO_PROXY_IMAGE_MISMATCH_IN_NAMESPACE,
                object,
                format!(
                    "sidecars of the pods {} have another image than `{image}`, which the injector gives: restart their workloads",
                    names.join(", ")
                ),
            );
        }
    }
}

/// The image that an injector gives to sidecars; `None` if its values name none.
fn image(values: &Value) -> Option<String> {
    let text = |path: &str| values.pointer(path).and_then(Value::as_str);
    let image = text("/global/proxy/image")?;
    if image.contains('/') {
        return Some(image.to_owned());
    }
    let hub = text("/global/hub").unwrap_or_default();
    let tag = values.pointer("/global/tag");
    let tag = match tag {
        Some(Value::Number(number)) => number.to_string(),
        tag => tag.and_then(Value::as_str).unwrap_or_default().to_owned(),
    };
    Some(format!("{hub}/{image}:{tag}"))
}

fn differs(pod: &PodRef<'_>, image: &str, flavours: &Flavours<'_>) -> bool {
    let own = pod.annotations.get(annotation::PROXY_IMAGE);
    if own.is_some_and(|own| !own.is_empty()) {
        return false;
    }
    let mut given = pod
        .all_containers()
        .filter(|container| container.name == PROXY)
        .map(|container| container.image.as_deref().unwrap_or_default())
        .filter(|given| *given != image)
        .peekable();
    if given.peek().is_none() {
        return false;
    }
    let flavour = flavours.of_pod(pod);
    given.any(|given| {
        let rest = given
            .strip_prefix(image)
            .and_then(|rest| rest.strip_prefix('-'));
        flavour.is_empty() || rest != Some(flavour.as_str())
    })
}

/// Where the flavour of a sidecar's image is set besides the pod itself.
struct Flavours<'a> {
    mesh: &'a str,
    root: &'a str,
    by_namespace: HashMap<&'a str, &'a str>,
    by_workload: HashMap<&'a str, Vec<&'a ProxyConfig>>,
}

impl<'a> Flavours<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let image = cluster.mesh.default_config.image.as_ref();
        let mut flavours = Self {
            mesh: image.map_or("", |image| &image.image_type),
            root: "",
            by_namespace: HashMap::new(),
            by_workload: HashMap::new(),
        };
        for object in cluster.of(Kind::ProxyConfig) {
            let Some(config) = object.spec.as_proxy_config() else {
                continue;
            };
            let namespace = object.key.namespace.as_str();
            if namespace == cluster.mesh.root_namespace {
                flavours.root = flavour(config);
            } else if config.selector.is_none() {
                flavours.by_namespace.insert(namespace, flavour(config));
            } else {
                flavours
                    .by_workload
                    .entry(namespace)
                    .or_default()
                    .push(config);
            }
        }
        flavours
    }

    /// The flavour for a pod; empty for the plain image.
    fn of_pod(&self, pod: &PodRef<'_>) -> String {
        let namespace = self
            .by_namespace
            .get(pod.namespace())
            .copied()
            .unwrap_or_default();
        let workload = self
            .by_workload
            .get(pod.namespace())
            .into_iter()
            .flatten()
            .filter(|config| {
                let selector = config.selector.as_ref();
                selector.is_some_and(|selector| selects(&selector.match_labels, pod.labels))
            })
            .map(|config| flavour(config))
            .rfind(|flavour| !flavour.is_empty())
            .unwrap_or_default();
        let own = own_flavour(pod).unwrap_or_default();
        [own.as_str(), workload, namespace, self.root, self.mesh]
            .into_iter()
            .find(|flavour| !flavour.is_empty())
            .filter(|flavour| *flavour != "default")
            .unwrap_or_default()
            .to_owned()
    }
}

fn flavour(config: &ProxyConfig) -> &str {
    config.image.as_ref().map_or("", |image| &image.image_type)
}

fn own_flavour(pod: &PodRef<'_>) -> Option<String> {
    let text = pod.annotations.get(annotation::PROXY_CONFIG)?;
    let (config, _) = parse_proxy_config("", text, &mesh::ProxyConfig::default()).ok()?;
    config.image.map(|image| image.image_type)
}

fn auto_images(cluster: &Cluster, messages: &mut Messages) {
    let is_auto = |spec: Option<&PodSpec>| {
        spec.is_some_and(|spec| {
            spec.containers.iter().any(|container| {
                container.name == PROXY && container.image.as_deref() == Some("auto")
            })
        })
    };
    for object in cluster.given(Kind::Pod) {
        if is_auto(object.spec.as_pod().and_then(|pod| pod.spec.as_ref())) {
            messages.object(
                code::IMAGE_AUTO_WITHOUT_INJECTION_ERROR,
                object,
                format!(
                    "no injector filled in the image `auto` of Pod {}, so that it cannot start: see that its namespace injects, and make the pod anew",
                    object.key.name
                ),
            );
        }
    }
    let webhooks: Vec<&MutatingWebhook> = cluster
        .of(Kind::MutatingWebhookConfiguration)
        .filter_map(|object| object.spec.as_mutating_webhook_configuration())
        .flat_map(|configuration| configuration.webhooks.iter().flatten())
        .filter(|webhook| webhook.name.ends_with("istio.io"))
        .collect();
    for object in cluster.given(Kind::Deployment) {
        let Some(template) = pod_template(object) else {
            continue;
        };
        let labels = template
            .metadata
            .as_ref()
            .and_then(|meta| meta.labels.as_ref());
        if is_auto(template.spec.as_ref())
            && !is_selected(cluster, object, labels.unwrap_or(&NONE), &webhooks)
        {
            messages.object(
                code::IMAGE_AUTO_WITHOUT_INJECTION_WARNING,
                object,
                format!(
                    "Deployment {} leaves the image of its proxy to the injector, but no injector selects its pods: label its namespace istio-injection=enabled, or its pods sidecar.istio.io/inject=true",
                    object.key.name
                ),
            );
        }
    }
}

fn is_selected(
    cluster: &Cluster,
    deployment: &Object,
    labels: &BTreeMap<String, String>,
    webhooks: &[&MutatingWebhook],
) -> bool {
    let namespace = match deployment.key.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    };
    let namespace = cluster.find(Kind::Namespace, "", namespace);
    let namespace_labels = namespace.map_or(&NONE, |object| &object.meta.labels);
    webhooks.iter().any(|webhook| {
        label_selector_selects(webhook.namespace_selector.as_ref(), namespace_labels)
            && label_selector_selects(webhook.object_selector.as_ref(), labels)
    })
}
