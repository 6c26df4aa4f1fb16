//! The template `sidecar`: redirect rules and a proxy beside the application.

use k8s_openapi::api::core::v1::{Container, LocalObjectReference, PodSpec, PodTemplateSpec};

use super::{init, metadata, proxy, volumes};
use crate::context::Context;
use crate::error::InjectError;

pub(super) fn render(context: &Context<'_>) -> Result<PodTemplateSpec, InjectError> {
    let mut init_containers: Vec<Container> = init::render(context)?.into_iter().collect();
    let mut containers = Vec::new();
    let proxy = proxy::sidecar(context)?;
    if context.native {
        init_containers.push(proxy);
    } else {
        containers.push(proxy);
    }
    let spec = PodSpec {
        init_containers: Some(init_containers),
        containers,
        volumes: Some(volumes::sidecar(context)?),
        image_pull_secrets: pull_secrets(context),
        ..PodSpec::default()
    };
    Ok(PodTemplateSpec {
        metadata: Some(metadata::sidecar(context)),
        spec: Some(spec),
    })
}

/// The secrets of the values.
pub(super) fn pull_secrets(context: &Context<'_>) -> Option<Vec<LocalObjectReference>> {
    let names = &context.settings.values.global.image_pull_secrets;
    let secrets = names
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() })
        .collect::<Vec<_>>();
    (!secrets.is_empty()).then_some(secrets)
}
