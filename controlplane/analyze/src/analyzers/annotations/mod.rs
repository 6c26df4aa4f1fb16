//! Annotations of the mesh: whether they exist, stand where they have an effect, and hold what they can hold.

mod registry;
mod values;

use lateen_api::labels::annotation;
use lateen_api::object::{Kind, Object};
use lateen_api::yaml::key_step;

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;
use registry::{ANY, Entry, Stability};

const INPUTS: &[Input] = &[
    Input::Kind(Kind::Namespace),
    Input::Kind(Kind::Service),
    Input::Kind(Kind::Pod),
    Input::Kind(Kind::Deployment),
];

pub(super) const KUBERNETES: Analyzer = Analyzer {
    name: "annotations.K8sAnalyzer",
    description: "Annotations that are unknown, misplaced, deprecated or hold what they cannot",
    inputs: INPUTS,
    run: |cluster, _, messages| each(cluster, |object| check(object, messages)),
};

pub(super) const ALPHA: Analyzer = Analyzer {
    name: "annotations.AlphaAnalyzer",
    description: "Annotations that may change or go with any release",
    inputs: INPUTS,
    run: |cluster, _, messages| each(cluster, |object| check_alpha(object, messages)),
};

/// Annotations that controllers write themselves.
const IGNORED: [&str; 3] = [
    annotation::STATUS,
    "gateway.istio.io/controller-version",
    annotation::REVISION,
];

/// Annotations that injection writes where the network is not set up by an init container.
const WITHOUT_INIT: [&str; 4] = [
    annotation::INTERCEPTION_MODE,
    annotation::INCLUDE_INBOUND_PORTS,
    annotation::EXCLUDE_INBOUND_PORTS,
    annotation::INCLUDE_OUTBOUND_IP_RANGES,
];

/// The names of the annotations that have an effect on objects of a kind and are to stay.
pub(super) fn names(kind: &str) -> Vec<&'static str> {
    registry::of_kind(kind).map(|entry| entry.name).collect()
}

fn each(cluster: &Cluster, check: impl FnMut(&Object)) {
    let kinds = [Kind::Namespace, Kind::Service, Kind::Pod, Kind::Deployment];
    kinds
        .into_iter()
        .flat_map(|kind| cluster.given(kind))
        .for_each(check);
}

fn field(name: &str) -> String {
    format!("metadata.annotations{}", key_step(name))
}

fn check(object: &Object, messages: &mut Messages) {
    for (name, value) in &object.meta.annotations {
        if IGNORED.contains(&name.as_str()) || !is_ours(name) {
            continue;
        }
        match registry::find(name) {
            Some(entry) => check_known(object, (name, value), entry, messages),
            None => messages.field(
                code::UNKNOWN_ANNOTATION,
                object,
                &field(name),
                format!("there is no annotation `{name}`, so it has no effect: correct its name or take it out"),
            ),
        }
    }
}

fn check_known(
    object: &Object,
    (name, value): (&str, &str),
    entry: &Entry,
    messages: &mut Messages,
) {
    let is_inject = name == annotation::INJECT;
    if entry.deprecated && !(is_inject && object.meta.labels.contains_key(name)) {
        let extra = if is_inject {
            " in favor of the \"sidecar.istio.io/inject\" label"
        } else {
            ""
        };
        messages.field(
            code::DEPRECATED_ANNOTATION,
            object,
            &field(name),
            format!("the annotation `{name}` is deprecated{extra}: take it out before it loses its effect"),
        );
    }
    if entry.kinds.contains(&ANY) {
        return;
    }
    if !entry.kinds.contains(&object.key.kind.as_str()) {
        let kinds = entry.kinds.join(", ");
        messages.field(
            code::MISPLACED_ANNOTATION,
            object,
            &field(name),
            format!(
                "the annotation `{name}` has no effect on a {}: it belongs on {kinds}",
                object.key.kind
            ),
        );
        return;
    }
    let problem = values::validator(name).and_then(|validate| validate(value).err());
    if let Some(problem) = problem {
        messages.field(
            code::INVALID_ANNOTATION,
            object,
            &field(name),
            format!("the value `{value}` of the annotation `{name}` cannot be used: {problem}"),
        );
    }
}

fn check_alpha(object: &Object, messages: &mut Messages) {
    let without_init = object.key.kind == Kind::Pod && !has_init_container(object);
    for name in object.meta.annotations.keys() {
        let name = name.as_str();
        let is_alpha =
            registry::find(name).is_some_and(|entry| entry.stability == Stability::Alpha);
        let is_written = without_init && WITHOUT_INIT.contains(&name);
        if is_alpha && !is_written && !IGNORED.contains(&name) {
            messages.field(
                code::ALPHA_ANNOTATION,
                object,
                &field(name),
                format!("the annotation `{name}` is alpha and may change or go with any release: do not rely on it in production"),
            );
        }
    }
}

fn has_init_container(object: &Object) -> bool {
    let spec = object.spec.as_pod().and_then(|pod| pod.spec.as_ref());
    spec.and_then(|spec| spec.init_containers.as_ref())
        .is_some_and(|containers| containers.iter().any(|one| one.name == "istio-init"))
}

/// Whether an annotation claims to be one of the mesh's.
fn is_ours(name: &str) -> bool {
    let prefix = name.split('/').next().unwrap_or(name);
    prefix.ends_with("istio.io") || name == "kubernetes.io/ingress.class"
}
