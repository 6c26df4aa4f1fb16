//! A pod and configuration to a pod with a sidecar (contract: the injected pod is Istio's, field by field).
//!
//! [`inject_template`] and [`inject_pod`] work on single typed objects, [`inject_documents`] on the text of a manifest.
//! An injection walks: gate → annotations checked → templates laid on → the user's own settings laid on again → metrics, probes, order.

mod after;
mod annotations;
mod context;
mod documents;
mod error;
mod gate;
mod merge;
mod names;
mod owner;
mod pod;
mod proxy_config;
mod quantity;
mod settings;
mod template;
mod values;
mod workloads;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use annotations::Fault;
pub use documents::{DocumentError, DocumentProblem, InjectedText, inject_documents};
pub use error::InjectError;
pub use gate::SkipReason;
pub use settings::{Gate, Owner, Policy, Settings};
pub use values::{
    Cni, Gateways, Global, Logging, MultiCluster, Pilot, Proxy, ProxyInit, Sds, StartupProbe, Sts,
    Token, Values, ValuesError, Webhook,
};

use after::{finish, probes, prometheus, reapply, status};
use context::Context;
use pod::PodObject;
use template::Template;

/// What became of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<T> {
    /// The pod with its sidecar.
    Injected(T),
    /// The pod stays as it is.
    Skipped(SkipReason),
}

/// Injects the pod template of a workload.
///
/// # Errors
/// When an annotation or a setting cannot be used, or names what is not supported.
pub fn inject_template(
    template: &PodTemplateSpec,
    owner: &Owner,
    settings: &Settings,
) -> Result<Outcome<PodTemplateSpec>, InjectError> {
    inject_typed(template, owner, settings)
}

/// Injects a pod. Without an `owner` it is found as for a pod that a controller made: its controller, else the pod itself.
///
/// # Errors
/// When an annotation or a setting cannot be used, or names what is not supported.
pub fn inject_pod(
    pod: &Pod,
    owner: Option<&Owner>,
    settings: &Settings,
) -> Result<Outcome<Pod>, InjectError> {
    match owner {
        Some(owner) => inject_typed(pod, owner, settings),
        None => inject_typed(pod, &owner::of_pod(&to_object(pod)?), settings),
    }
}

fn inject_typed<T: Serialize + DeserializeOwned>(
    given: &T,
    owner: &Owner,
    settings: &Settings,
) -> Result<Outcome<T>, InjectError> {
    Ok(match inject_object(&to_object(given)?, owner, settings)? {
        Outcome::Skipped(reason) => Outcome::Skipped(reason),
        Outcome::Injected(pod) => {
            let typed = serde_json::from_value(Value::Object(pod.0))
                .map_err(|error| InjectError::Pod(error.to_string()))?;
            Outcome::Injected(typed)
        }
    })
}

fn to_object<T: Serialize>(given: &T) -> Result<PodObject, InjectError> {
    match serde_json::to_value(given) {
        Ok(Value::Object(map)) => Ok(PodObject(map)),
        Ok(_) => Ok(PodObject::default()),
        Err(error) => Err(InjectError::Pod(error.to_string())),
    }
}

/// The whole way of a pod, from the gate to the last step.
pub(crate) fn inject_object(
    original: &PodObject,
    owner: &Owner,
    settings: &Settings,
) -> Result<Outcome<PodObject>, InjectError> {
    if let Some(reason) = gate::skip_reason(original, &settings.gate) {
        return Ok(Outcome::Skipped(reason));
    }
    settings.values.check()?;
    let faults = annotations::faults(original);
    if !faults.is_empty() {
        return Err(InjectError::Annotations(faults));
    }
    let config = proxy_config::effective(original, settings)?;
    let status_port = config.status_port;
    let context = Context::new(
        settings,
        owner,
        status::as_given(original, status_port)?,
        config,
    );
    let mut merged = original.clone();
    let mut rendered = PodObject::default();
    for template in Template::chosen(original)? {
        let overlay = template.render(&context)?;
        merge::merge(&mut rendered.0, &overlay.0);
        merge::merge(&mut merged.0, &overlay.0);
    }
    reapply::reapply(&mut merged, original, &rendered, &context)?;
    finish::cluster(&mut merged, &context);
    prometheus::merge(&mut merged, settings, status_port)?;
    prometheus::secure_port(&mut merged);
    probes::rewrite(&mut merged, settings, status_port);
    finish::metadata(&mut merged, &rendered, &context);
    finish::order(&mut merged, &context);
    Ok(Outcome::Injected(merged))
}
