//! The template `gateway`: the proxy as the only container, at the edge of the mesh.

use k8s_openapi::api::core::v1::{
    Container, PodSecurityContext, PodSpec, PodTemplateSpec, SecurityContext, Sysctl,
};

use super::parts::ready_probe;
use super::{env, metadata, proxy, sidecar, volumes};
use crate::context::{Context, piece};
use crate::error::InjectError;

pub(super) fn render(context: &Context<'_>) -> Result<PodTemplateSpec, InjectError> {
    let values = &context.settings.values;
    let given = &values.global.proxy;
    let container = Container {
        env: Some(env::gateway(context)),
        lifecycle: piece(&given.lifecycle, "global.proxy.lifecycle")?,
        readiness_probe: Some(ready_probe(
            given.readiness_initial_delay_seconds,
            given.readiness_period_seconds,
            given.readiness_failure_threshold,
        )),
        security_context: Some(SecurityContext {
            run_as_user: Some(proxy::USER),
            run_as_group: Some(proxy::USER),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(volumes::gateway_mounts(context)),
        ..proxy::base(context, "router")
    };
    let spec = PodSpec {
        containers: vec![container],
        volumes: Some(volumes::gateway(context)?),
        security_context: Some(security(context)?),
        image_pull_secrets: sidecar::pull_secrets(context),
        ..PodSpec::default()
    };
    Ok(PodTemplateSpec {
        metadata: Some(metadata::gateway(context)),
        spec: Some(spec),
    })
}

/// The pod's security context of the values, else one that lets the proxy bind ports below 1024.
fn security(context: &Context<'_>) -> Result<PodSecurityContext, InjectError> {
    let gateways = &context.settings.values.gateways;
    let mut security = match piece(&gateways.security_context, "gateways.securityContext")? {
        Some(given) => given,
        None => PodSecurityContext {
            sysctls: Some(vec![Sysctl {
                name: "net.ipv4.ip_unprivileged_port_start".to_owned(),
                value: "0".to_owned(),
            }]),
            ..PodSecurityContext::default()
        },
    };
    if let Some(profile) = piece(&gateways.seccomp_profile, "gateways.seccompProfile")? {
        security.seccomp_profile = Some(profile);
    }
    Ok(security)
}
