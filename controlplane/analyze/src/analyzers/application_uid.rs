//! Applications that run as the proxy's user, whose traffic therefore passes the proxy by.

use k8s_openapi::api::core::v1::PodSpec;
use lateen_api::object::{Kind, Object};

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;
use crate::pods::{PROXY, pod_template};

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "applicationUID.Analyzer",
    description: "Applications that run as the proxy's user",
    inputs: &[Input::Kind(Kind::Pod), Input::Kind(Kind::Deployment)],
    run: |cluster, _, messages| run(cluster, messages),
};

/// The proxy's user, by which redirection tells its traffic from the application's.
const PROXY_USER: i64 = 1337;

fn run(cluster: &Cluster, messages: &mut Messages) {
    for object in cluster
        .given(Kind::Pod)
        .chain(cluster.given(Kind::Deployment))
    {
        if is_control_plane(object) {
            continue;
        }
        let (spec, path) = match object.spec.as_pod() {
            Some(pod) => (pod.spec.as_ref(), "spec"),
            None => (
                pod_template(object).and_then(|template| template.spec.as_ref()),
                "spec.template.spec",
            ),
        };
        if let Some(field) = spec.and_then(|spec| user_field(spec, path)) {
            messages.field(
                code::INVALID_APPLICATION_UID,
                object,
                &field,
                format!("an application that runs as user {PROXY_USER} is taken for the proxy and passes it by: choose another runAsUser"),
            );
        }
    }
}

/// The control plane itself is not judged.
pub(super) fn is_control_plane(object: &Object) -> bool {
    let labels = &object.meta.labels;
    labels.contains_key("istio")
        || labels
            .get("release")
            .is_some_and(|release| release == "istio")
}

/// The first field that sets the proxy's user for an application.
fn user_field(spec: &PodSpec, path: &str) -> Option<String> {
    let pod_user = spec
        .security_context
        .as_ref()
        .and_then(|context| context.run_as_user);
    if pod_user == Some(PROXY_USER) {
        return Some(format!("{path}.securityContext.runAsUser"));
    }
    let place = spec.containers.iter().position(|container| {
        let user = container
            .security_context
            .as_ref()
            .and_then(|context| context.run_as_user);
        user == Some(PROXY_USER) && container.name != PROXY && container.name != "istio-operator"
    })?;
    Some(format!(
        "{path}.containers[{place}].securityContext.runAsUser"
    ))
}
