//! The container that writes redirect rules, or that checks those of the CNI plugin (contract/inject.md §4).

use k8s_openapi::api::core::v1::{Capabilities, Container, SecurityContext};

use super::parts::{container, var};
use super::{images, proxy};
use crate::context::Context;
use crate::error::InjectError;
use crate::names;

/// `istio-init`, `istio-validation` under CNI, or none when nothing is redirected.
pub(super) fn render(context: &Context<'_>) -> Result<Option<Container>, InjectError> {
    if context.interception_mode() == "NONE" {
        return Ok(None);
    }
    let global = &context.settings.values.global;
    let name = if context.settings.values.pilot.cni.enabled {
        names::VALIDATION
    } else {
        names::INIT
    };
    let env: Vec<_> = context
        .config
        .proxy_metadata
        .iter()
        .map(|(name, value)| var(name, value.as_str()))
        .collect();
    Ok(Some(Container {
        args: Some(args(context)),
        env: (!env.is_empty()).then_some(env),
        image_pull_policy: Some(global.image_pull_policy.clone())
            .filter(|policy| !policy.is_empty()),
        resources: proxy::resources(context)?,
        security_context: Some(security(context)?),
        ..container(name, images::init(context))
    }))
}

fn args(context: &Context<'_>) -> Vec<String> {
    let values = &context.settings.values;
    let (proxy, mesh) = (&values.global.proxy, &context.settings.mesh);
    let mut args: Vec<String> = vec!["istio-iptables".to_owned()];
    let mut flag = |name: &str, value: String| args.extend([name.to_owned(), value]);
    flag("-p", port_or(mesh.proxy_listen_port, 15001));
    flag("-z", port_or(mesh.proxy_inbound_listen_port, 15006));
    flag("-u", proxy::USER.to_string());
    flag("-m", context.interception_mode());
    flag(
        "-i",
        context.annotation_or(names::INCLUDE_OUTBOUND_RANGES, &proxy.include_ip_ranges),
    );
    flag(
        "-x",
        context.annotation_or(names::EXCLUDE_OUTBOUND_RANGES, &proxy.exclude_ip_ranges),
    );
    flag(
        "-b",
        context.annotation_or(names::INCLUDE_INBOUND_PORTS, &proxy.include_inbound_ports),
    );
    let excluded = excluded_inbound_ports(context);
    flag(
        "-d",
        if excluded.is_empty() {
            "15090,15021".to_owned()
        } else {
            format!("15090,15021,{excluded}")
        },
    );
    for (name, key, default) in [
        (
            "-q",
            names::INCLUDE_OUTBOUND_PORTS,
            &proxy.include_outbound_ports,
        ),
        (
            "-o",
            names::EXCLUDE_OUTBOUND_PORTS,
            &proxy.exclude_outbound_ports,
        ),
    ] {
        if context.pod.annotation(key).is_some() || !default.is_empty() {
            flag(name, context.annotation_or(key, default));
        }
    }
    let annotated = |key| {
        context
            .pod
            .annotation(key)
            .filter(|value: &&str| !value.is_empty())
    };
    if let Some(interfaces) =
        annotated(names::REROUTE_INTERFACES).or_else(|| annotated(names::KUBEVIRT_INTERFACES))
    {
        flag("-k", interfaces.to_owned());
    }
    if let Some(interfaces) = annotated(names::EXCLUDE_INTERFACES) {
        flag("-c", interfaces.to_owned());
    }
    args.push(format!(
        "--log_output_level={}",
        context.annotation_or(names::AGENT_LOG_LEVEL, &values.global.logging.level)
    ));
    args.extend(switches(context).into_iter().map(str::to_owned));
    args
}

fn switches(context: &Context<'_>) -> Vec<&'static str> {
    let values = &context.settings.values;
    let mut switches = Vec::new();
    if values.global.log_as_json {
        switches.push("--log_as_json");
    }
    if values.pilot.cni.enabled {
        switches.extend(["--run-validation", "--skip-rule-apply"]);
    } else if values.global.proxy_init.force_apply_iptables {
        switches.push("--force-apply");
    }
    if values.global.native_nftables {
        switches.push("--native-nftables");
    }
    switches
}

/// The user's excluded ports with the status port behind them, unless it is among them or there is none.
pub(super) fn excluded_inbound_ports(context: &Context<'_>) -> String {
    let listed = context.annotation_or(
        names::EXCLUDE_INBOUND_PORTS,
        &context.settings.values.global.proxy.exclude_inbound_ports,
    );
    let status = context.status_port();
    let status = status.trim();
    let mut ports: Vec<&str> = listed
        .split(',')
        .map(str::trim)
        .filter(|port| !port.is_empty())
        .collect();
    if status.is_empty() || status == "0" || ports.contains(&status) {
        return listed;
    }
    ports.push(status);
    ports.join(",")
}

fn port_or(port: i32, default: i32) -> String {
    if port == 0 {
        default.to_string()
    } else {
        port.to_string()
    }
}

fn security(context: &Context<'_>) -> Result<SecurityContext, InjectError> {
    let cni = context.settings.values.pilot.cni.enabled;
    let user = if cni { proxy::USER } else { 0 };
    let privileged = context.settings.values.global.proxy.privileged;
    Ok(SecurityContext {
        allow_privilege_escalation: Some(privileged),
        privileged: Some(privileged),
        capabilities: Some(Capabilities {
            add: (!cni).then(|| vec!["NET_ADMIN".to_owned(), "NET_RAW".to_owned()]),
            drop: Some(vec!["ALL".to_owned()]),
        }),
        read_only_root_filesystem: Some(cni),
        run_as_group: Some(user),
        run_as_non_root: Some(cni),
        run_as_user: Some(user),
        seccomp_profile: proxy::seccomp(context)?,
        ..SecurityContext::default()
    })
}
