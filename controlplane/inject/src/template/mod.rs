//! The stock templates: what is laid on a pod, as typed objects (contract/inject.md §3, §4).

mod env;
mod gateway;
mod images;
mod init;
mod metadata;
mod parts;
mod proxy;
mod sidecar;
mod volumes;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::error::InjectError;
use crate::names;
use crate::pod::{PodObject, array, object};

/// Istio's stock templates that are not built yet.
const UNSUPPORTED: [&str; 6] = [
    "grpc-simple",
    "grpc-agent",
    "waypoint",
    "kube-gateway",
    "agentgateway",
    "agentgateway-waypoint",
];

/// A template of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Template {
    Sidecar,
    Gateway,
}

impl Template {
    /// The templates that the pod asks for, else `sidecar`.
    ///
    /// # Errors
    /// When the annotation names one that does not exist.
    pub(crate) fn chosen(pod: &PodObject) -> Result<Vec<Self>, InjectError> {
        match pod.annotation(names::TEMPLATES) {
            None => Ok(vec![Self::Sidecar]),
            Some(list) => list
                .split(',')
                .map(|name| Self::named(name.trim()))
                .collect(),
        }
    }

    fn named(name: &str) -> Result<Self, InjectError> {
        match name {
            "sidecar" => Ok(Self::Sidecar),
            "gateway" => Ok(Self::Gateway),
            name if UNSUPPORTED.contains(&name) => {
                Err(InjectError::UnsupportedTemplate(name.to_owned()))
            }
            name => Err(InjectError::UnknownTemplate {
                name: name.to_owned(),
                have: "[gateway sidecar]".to_owned(),
            }),
        }
    }

    /// What the template lays on the pod.
    pub(crate) fn render(self, context: &Context<'_>) -> Result<PodObject, InjectError> {
        let typed = match self {
            Self::Sidecar => sidecar::render(context)?,
            Self::Gateway => gateway::render(context)?,
        };
        overlay(&typed)
    }
}

/// The typed pod as an overlay. A volume that the template leaves without a source takes `emptyDir` away from what it is laid on, so that
/// another template may give it a source of its own.
fn overlay(typed: &PodTemplateSpec) -> Result<PodObject, InjectError> {
    let json = serde_json::to_value(typed).map_err(|error| InjectError::Pod(error.to_string()))?;
    let Value::Object(mut pod) = json else {
        return Ok(PodObject(Map::new()));
    };
    let spec = object(&mut pod, "spec");
    for volume in array(spec, "volumes")
        .iter_mut()
        .filter_map(Value::as_object_mut)
        .filter(|volume| volume.len() == 1)
    {
        volume.insert("emptyDir".to_owned(), Value::Null);
    }
    let mut pod = PodObject(pod);
    pod.tidy(crate::pod::List::InitContainers);
    Ok(pod)
}
