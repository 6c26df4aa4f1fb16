//! What the proxy's containers of the templates have in common, and the pieces of the sidecar's one (contract/inject.md §4).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, Lifecycle, Probe, ResourceRequirements, SeccompProfile,
    SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::parts::{canonical, container, exec, metrics_port, ready_probe};
use super::{images, volumes};
use crate::context::{Context, piece};
use crate::error::InjectError;
use crate::names;

/// The user and group of the proxy, which redirect rules let pass.
pub(super) const USER: i64 = 1337;

/// A container with what every proxy has; `role` is the agent's word for it.
pub(super) fn base(context: &Context<'_>, role: &str) -> Container {
    let policy = context.settings.values.global.image_pull_policy.clone();
    Container {
        args: Some(args(context, role)),
        image_pull_policy: Some(policy).filter(|policy| !policy.is_empty()),
        ports: Some(vec![metrics_port()]),
        ..container(names::PROXY, images::proxy(context))
    }
}

/// The sidecar's container.
pub(super) fn sidecar(context: &Context<'_>) -> Result<Container, InjectError> {
    let mut proxy = base(context, "sidecar");
    let outliers = &context.settings.values.global.proxy.outlier_log_path;
    if !outliers.is_empty() {
        proxy
            .args
            .get_or_insert_default()
            .push(format!("--outlierLogPath={outliers}"));
    }
    proxy.env = Some(super::env::sidecar(context));
    proxy.lifecycle = lifecycle(context)?;
    if context.status_port() != "0" {
        proxy.startup_probe = startup_probe(context);
        proxy.readiness_probe = Some(readiness_probe(context)?);
    }
    proxy.resources = resources(context)?;
    proxy.restart_policy = context.native.then(|| "Always".to_owned());
    proxy.security_context = Some(security(context)?);
    proxy.volume_mounts = Some(volumes::sidecar_mounts(context)?);
    Ok(proxy)
}

fn args(context: &Context<'_>, role: &str) -> Vec<String> {
    let global = &context.settings.values.global;
    let annotated = |key, default: &str| context.annotation_or(key, default);
    let mut args = vec![
        "proxy".to_owned(),
        role.to_owned(),
        "--domain".to_owned(),
        format!("$(POD_NAMESPACE).svc.{}", global.proxy.cluster_domain),
        format!(
            "--proxyLogLevel={}",
            annotated(names::LOG_LEVEL, &global.proxy.log_level)
        ),
        format!(
            "--proxyComponentLogLevel={}",
            annotated(
                names::COMPONENT_LOG_LEVEL,
                &global.proxy.component_log_level
            )
        ),
        format!(
            "--log_output_level={}",
            annotated(names::AGENT_LOG_LEVEL, &global.logging.level)
        ),
    ];
    if global.sts.service_port != 0 {
        args.push(format!("--stsPort={}", global.sts.service_port));
    }
    if global.log_as_json {
        args.push("--log_as_json".to_owned());
    }
    args
}

/// The hooks of the values, else those that order the application's start and the proxy's end.
fn lifecycle(context: &Context<'_>) -> Result<Option<Lifecycle>, InjectError> {
    if let Some(given) = piece(
        &context.settings.values.global.proxy.lifecycle,
        "global.proxy.lifecycle",
    )? {
        return Ok(Some(given));
    }
    if context.native {
        let port = format!("--debug-port={}", context.status_port());
        let drain = exec(&["pilot-agent", "request", &port, "POST", "drain"]);
        return Ok(Some(Lifecycle {
            pre_stop: Some(drain),
            ..Lifecycle::default()
        }));
    }
    let wait = || Lifecycle {
        post_start: Some(exec(&["pilot-agent", "wait"])),
        ..Lifecycle::default()
    };
    Ok(context.holds_application().then(wait))
}

fn startup_probe(context: &Context<'_>) -> Option<Probe> {
    let startup = &context.settings.values.global.proxy.startup_probe;
    startup
        .enabled
        .then(|| ready_probe(0, 1, startup.failure_threshold))
}

fn readiness_probe(context: &Context<'_>) -> Result<Probe, InjectError> {
    let proxy = &context.settings.values.global.proxy;
    let count = |key: &'static str, default: u32| match context.pod.annotation(key) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| InjectError::Annotation {
            key,
            reason: format!("`{text}` is not a number"),
        }),
    };
    Ok(ready_probe(
        count(
            names::READINESS_INITIAL_DELAY,
            proxy.readiness_initial_delay_seconds,
        )?,
        count(names::READINESS_PERIOD, proxy.readiness_period_seconds)?,
        count(names::READINESS_FAILURES, proxy.readiness_failure_threshold)?,
    ))
}

/// The annotated amounts alone when there is any, else those of the values.
pub(super) fn resources(
    context: &Context<'_>,
) -> Result<Option<ResourceRequirements>, InjectError> {
    let amounts = |cpu, memory| -> Option<BTreeMap<String, Quantity>> {
        let given = [("cpu", cpu), ("memory", memory)]
            .into_iter()
            .filter_map(|(name, key)| {
                Some((
                    name.to_owned(),
                    Quantity(context.pod.annotation(key)?.to_owned()),
                ))
            });
        Some(given.collect::<BTreeMap<_, _>>()).filter(|amounts| !amounts.is_empty())
    };
    let annotated = ResourceRequirements {
        requests: amounts(names::PROXY_CPU, names::PROXY_MEMORY),
        limits: amounts(names::PROXY_CPU_LIMIT, names::PROXY_MEMORY_LIMIT),
        claims: None,
    };
    if annotated.requests.is_some() || annotated.limits.is_some() {
        return Ok(Some(canonical(annotated)));
    }
    Ok(piece(
        &context.settings.values.global.proxy.resources,
        "global.proxy.resources",
    )?
    .map(canonical))
}

pub(super) fn seccomp(context: &Context<'_>) -> Result<Option<SeccompProfile>, InjectError> {
    piece(
        &context.settings.values.global.proxy.seccomp_profile,
        "global.proxy.seccompProfile",
    )
}

fn security(context: &Context<'_>) -> Result<SecurityContext, InjectError> {
    let proxy = &context.settings.values.global.proxy;
    let tracing = context
        .config
        .proxy_metadata
        .get("IPTABLES_TRACE_LOGGING")
        .is_some_and(|value| value == "true");
    let mut added = Vec::new();
    if tracing || context.is_tproxy() {
        added.push("NET_ADMIN".to_owned());
    }
    if !tracing && context.annotation_or(names::CAP_NET_BIND, proxy.cap_net_bind_service) == "true"
    {
        added.push("NET_BIND_SERVICE".to_owned());
    }
    let root = !added.is_empty();
    let privileged = tracing || proxy.privileged;
    Ok(SecurityContext {
        allow_privilege_escalation: Some(privileged),
        privileged: Some(privileged),
        capabilities: Some(Capabilities {
            add: root.then_some(added),
            drop: Some(vec!["ALL".to_owned()]),
        }),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(USER),
        run_as_non_root: Some(!root),
        run_as_user: Some(if root { 0 } else { USER }),
        seccomp_profile: seccomp(context)?,
        ..SecurityContext::default()
    })
}
