//! The environment of the proxy's container, in the order of contract/inject.md §4.

use k8s_openapi::api::core::v1::EnvVar;
use lateen_api::mesh::{Provider, ServiceAttributeEnrichment};
use serde_json::{Map, Value};

use super::parts::{var, var_of_field, var_of_limit};
use crate::context::Context;
use crate::names;
use crate::pod::{List, name_of};

/// The environment of a sidecar.
pub(super) fn sidecar(context: &Context<'_>) -> Vec<EnvVar> {
    let mut env = Vec::new();
    if context.settings.inbound_localhost {
        env.push(var("REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION", "true"));
    }
    identity(context, &mut env);
    env.push(var(
        "ISTIO_META_APP_CONTAINERS",
        context.application_containers().join(","),
    ));
    limits(context, &mut env);
    let workload = context
        .label(names::WORKLOAD_NAME)
        .unwrap_or(&context.owner.name)
        .to_owned();
    node(context, &context.interception_mode(), &workload, &mut env);
    datadog(context, &mut env);
    opentelemetry(context, &mut env);
    metadata(context, &mut env);
    env
}

/// The environment of a gateway.
pub(super) fn gateway(context: &Context<'_>) -> Vec<EnvVar> {
    let mut env = Vec::new();
    identity(context, &mut env);
    limits(context, &mut env);
    env.push(var(
        "ISTIO_META_APP_CONTAINERS",
        context.application_containers().join(","),
    ));
    node(
        context,
        context.config.interception_mode.as_str(),
        &context.owner.name,
        &mut env,
    );
    metadata(context, &mut env);
    env
}

/// The settings of `proxyMetadata`.
fn metadata(context: &Context<'_>, env: &mut Vec<EnvVar>) {
    env.extend(
        context
            .config
            .proxy_metadata
            .iter()
            .map(|(name, value)| var(name, value.as_str())),
    );
}

/// Who the pod is and how it reaches the control plane.
fn identity(context: &Context<'_>, env: &mut Vec<EnvVar>) {
    let global = &context.settings.values.global;
    let ca = match global.ca_address.as_str() {
        "" => context.settings.discovery_address(),
        address => address.to_owned(),
    };
    let proxy_config = context.config.without_defaults();
    env.extend([
        var("PILOT_CERT_PROVIDER", global.pilot_cert_provider.as_str()),
        var("CA_ADDR", ca),
        var_of_field("POD_NAME", "metadata.name"),
        var_of_field("POD_NAMESPACE", "metadata.namespace"),
        var_of_field("INSTANCE_IP", "status.podIP"),
        var_of_field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        var_of_field("HOST_IP", "status.hostIP"),
        var_of_limit("ISTIO_CPU_LIMIT", "cpu"),
        var("PROXY_CONFIG", format!("{proxy_config}\n")),
        var("ISTIO_META_POD_PORTS", pod_ports(context)),
    ]);
}

fn limits(context: &Context<'_>, env: &mut Vec<EnvVar>) {
    env.extend([
        var_of_limit("GOMEMLIMIT", "memory"),
        var_of_limit("GOMAXPROCS", "cpu"),
    ]);
    let policy = context.settings.compliance_policy.as_str();
    if !policy.is_empty() {
        env.push(var("COMPLIANCE_POLICY", policy));
    }
    if policy == "fips-140-3" {
        env.push(var("GODEBUG", "fips140=only"));
    }
}

/// What the proxy tells the control plane about itself.
fn node(context: &Context<'_>, mode: &str, workload: &str, env: &mut Vec<EnvVar>) {
    let global = &context.settings.values.global;
    let cluster = match global.multi_cluster.cluster_name.as_str() {
        "" => "Kubernetes",
        name => name,
    };
    env.extend([
        var("ISTIO_META_CLUSTER_ID", cluster),
        var_of_field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        var("ISTIO_META_INTERCEPTION_MODE", mode),
    ]);
    if let Some(network) = context.network() {
        env.push(var("ISTIO_META_NETWORK", network));
    }
    if !workload.is_empty() {
        env.push(var("ISTIO_META_WORKLOAD_NAME", workload));
    }
    if let Some(owner) = owner(context) {
        env.push(var("ISTIO_META_OWNER", owner));
    }
    if context.pod.annotation(names::BOOTSTRAP_OVERRIDE).is_some() {
        env.push(var(
            "ISTIO_BOOTSTRAP_OVERRIDE",
            "/etc/istio/custom-bootstrap/custom_bootstrap.json",
        ));
    }
    let mesh = if global.mesh_id.is_empty() {
        context.trust_domain()
    } else {
        &global.mesh_id
    };
    if !mesh.is_empty() {
        env.push(var("ISTIO_META_MESH_ID", mesh));
    }
    if !context.trust_domain().is_empty() {
        env.push(var("TRUST_DOMAIN", context.trust_domain()));
    }
}

fn owner(context: &Context<'_>) -> Option<String> {
    let owner = context.owner;
    if owner.api_version.is_empty() || owner.name.is_empty() {
        return None;
    }
    let namespace = if owner.namespace.is_empty() {
        "default"
    } else {
        &owner.namespace
    };
    let kind = owner.kind.to_lowercase();
    Some(format!(
        "kubernetes://apis/{}/namespaces/{namespace}/{kind}s/{}",
        owner.api_version, owner.name
    ))
}

/// The ports of the pod's containers, an object a line.
fn pod_ports(context: &Context<'_>) -> String {
    let ports = context
        .pod
        .containers(List::Containers)
        .iter()
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten();
    let lines: Vec<String> = ports.map(port_line).filter(|line| line != "{}").collect();
    let mut text = "[\n".to_owned();
    for (at, line) in lines.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        text.push_str(&format!("    {comma}{line}\n"));
    }
    text.push(']');
    text
}

fn port_line(port: &Value) -> String {
    let set = |value: &&Value| {
        !value.is_null() && value.as_str() != Some("") && value.as_i64() != Some(0)
    };
    let fields = ["name", "hostPort", "containerPort", "protocol", "hostIP"];
    let shown = fields
        .iter()
        .filter_map(|&key| Some((key.to_owned(), port.get(key).filter(set)?.clone())));
    Value::Object(shown.collect::<Map<_, _>>()).to_string()
}

/// The settings that Datadog's tracer reads, from its annotation.
fn datadog(context: &Context<'_>, env: &mut Vec<EnvVar>) {
    if context.settings.values.global.proxy.tracer != "datadog" {
        return;
    }
    let given = context
        .pod
        .annotation(names::DATADOG_ENV)
        .and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let mut pairs: Vec<(String, String)> = given
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (key, text)
        })
        .collect();
    pairs.sort();
    env.extend(pairs.into_iter().map(|(key, value)| var(&key, value)));
}

/// OpenTelemetry's names of the workload, when a provider asks for them.
fn opentelemetry(context: &Context<'_>, env: &mut Vec<EnvVar>) {
    let wanted = context
        .settings
        .mesh
        .extension_providers
        .iter()
        .any(|provider| match &provider.provider {
            Some(Provider::OpenTelemetry(otel)) => {
                otel.service_attribute_enrichment
                    == ServiceAttributeEnrichment::OtelSemanticConventions
            }
            _ => false,
        });
    if !wanted {
        return;
    }
    let annotated = |key| {
        context
            .pod
            .annotation(key)
            .filter(|value: &&str| !value.is_empty())
            .map(str::to_owned)
    };
    let namespace = context.owner.namespace.as_str();
    let containers = context.application_containers();
    let instance = || match (namespace, containers.first()) {
        ("", _) | (_, None) => None,
        (namespace, Some(first)) => Some(format!("{namespace}.$(POD_NAME).{first}")),
    };
    let parts = [
        (
            "service.namespace",
            annotated(names::OTEL_NAMESPACE)
                .or_else(|| Some(namespace.to_owned()).filter(|n| !n.is_empty())),
        ),
        (
            "service.version",
            annotated(names::OTEL_VERSION).or_else(|| version(context)),
        ),
        (
            "service.instance.id",
            annotated(names::OTEL_INSTANCE).or_else(instance),
        ),
    ];
    let list: Vec<String> = parts
        .iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?)))
        .collect();
    if !list.is_empty() {
        env.push(var("OTEL_RESOURCE_ATTRIBUTES", list.join(",")));
    }
}

/// The label, else what the image of the only container says about its version.
fn version(context: &Context<'_>) -> Option<String> {
    if let Some(label) = context.label(names::APP_VERSION) {
        return Some(label.to_owned());
    }
    let mut applications = context
        .pod
        .containers(List::Containers)
        .iter()
        .filter(|container| name_of(container) != names::PROXY);
    let (only, None) = (applications.next()?, applications.next()) else {
        return None;
    };
    image_version(only.get("image")?.as_str()?)
}

/// `tag`, `digest` or `tag@digest` of an image.
fn image_version(image: &str) -> Option<String> {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.split_once(':').map(|(_, tag)| tag);
    match (tag, digest) {
        (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_images_version_is_its_tag_its_digest_or_both() {
        for (image, expected) in [
            ("reg:5000/app", None),
            ("reg:5000/app:v1", Some("v1")),
            ("app@sha256:ab", Some("sha256:ab")),
            ("app:v1@sha256:ab", Some("v1@sha256:ab")),
        ] {
            assert_eq!(image_version(image).as_deref(), expected, "{image}");
        }
    }

    #[test]
    fn empty_fields_of_ports_are_left_out() {
        assert_eq!(
            port_line(&json!({"containerPort": 80, "hostPort": 0, "name": ""})),
            r#"{"containerPort":80}"#
        );
        assert_eq!(
            port_line(&json!({"protocol": "TCP", "containerPort": 80, "name": "h"})),
            r#"{"name":"h","containerPort":80,"protocol":"TCP"}"#
        );
    }
}
