//! The typed content of an object, by its kind.

use std::sync::Arc;

use gateway_api::apis::{experimental, standard};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;

use super::kind::Kind;
use super::spec::Spec;
use crate::yaml::{self, Ignored, Node, ReadError, key_step};

/// The top-level keys of Istio's objects.
const TOP_LEVEL: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Metadata, content, and the keys that neither knows.
pub(super) type Content3 = (ObjectMeta, Spec, Vec<Ignored>);

/// Reads an object of a kind.
pub(super) fn read_content(node: &Node, kind: Kind) -> Result<Content3, ReadError> {
    use k8s_openapi::api::{
        admissionregistration::v1 as admission, apps::v1 as apps, batch::v1 as batch,
        core::v1 as core, discovery::v1 as discovery, networking::v1 as ingress,
    };
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as extension;

    use crate::{extensions, networking, security, telemetry};
    match kind {
        Kind::VirtualService => istio::<networking::VirtualService>(node),
        Kind::DestinationRule => istio::<networking::DestinationRule>(node),
        Kind::Gateway => istio::<networking::Gateway>(node),
        Kind::ServiceEntry => istio::<networking::ServiceEntry>(node),
        Kind::WorkloadEntry => istio::<networking::WorkloadEntry>(node),
        Kind::Sidecar => istio::<networking::Sidecar>(node),
        Kind::WorkloadGroup => istio::<networking::WorkloadGroup>(node),
        Kind::EnvoyFilter => istio::<networking::EnvoyFilter>(node),
        Kind::ProxyConfig => istio::<networking::ProxyConfig>(node),
        Kind::PeerAuthentication => istio::<security::PeerAuthentication>(node),
        Kind::AuthorizationPolicy => istio::<security::AuthorizationPolicy>(node),
        Kind::RequestAuthentication => istio::<security::RequestAuthentication>(node),
        Kind::Telemetry => istio::<telemetry::Telemetry>(node),
        Kind::WasmPlugin => istio::<extensions::WasmPlugin>(node),
        Kind::TrafficExtension => istio::<extensions::TrafficExtension>(node),
        Kind::GatewayClass => custom::<standard::gatewayclasses::GatewayClass>(node),
        Kind::KubernetesGateway => custom::<standard::gateways::Gateway>(node),
        Kind::HttpRoute => custom::<standard::httproutes::HttpRoute>(node),
        Kind::GrpcRoute => custom::<standard::grpcroutes::GrpcRoute>(node),
        Kind::TlsRoute => custom::<standard::tlsroutes::TlsRoute>(node),
        Kind::TcpRoute => custom::<experimental::tcproutes::TcpRoute>(node),
        Kind::UdpRoute => custom::<experimental::udproutes::UdpRoute>(node),
        Kind::ReferenceGrant => custom::<standard::referencegrants::ReferenceGrant>(node),
        Kind::BackendTlsPolicy => custom::<standard::backendtlspolicies::BackendTlsPolicy>(node),
        Kind::ListenerSet => custom::<standard::listenersets::ListenerSet>(node),
        Kind::Service => kubernetes::<core::Service>(node),
        Kind::Pod => kubernetes::<core::Pod>(node),
        Kind::EndpointSlice => kubernetes::<discovery::EndpointSlice>(node),
        Kind::Namespace => kubernetes::<core::Namespace>(node),
        Kind::ConfigMap => kubernetes::<core::ConfigMap>(node),
        Kind::Secret => kubernetes::<core::Secret>(node),
        Kind::ServiceAccount => kubernetes::<core::ServiceAccount>(node),
        Kind::Node => kubernetes::<core::Node>(node),
        Kind::Deployment => kubernetes::<apps::Deployment>(node),
        Kind::StatefulSet => kubernetes::<apps::StatefulSet>(node),
        Kind::DaemonSet => kubernetes::<apps::DaemonSet>(node),
        Kind::ReplicaSet => kubernetes::<apps::ReplicaSet>(node),
        Kind::Job => kubernetes::<batch::Job>(node),
        Kind::CronJob => kubernetes::<batch::CronJob>(node),
        Kind::ReplicationController => kubernetes::<core::ReplicationController>(node),
        Kind::Ingress => kubernetes::<ingress::Ingress>(node),
        Kind::IngressClass => kubernetes::<ingress::IngressClass>(node),
        Kind::CustomResourceDefinition => kubernetes::<extension::CustomResourceDefinition>(node),
        Kind::MutatingWebhookConfiguration => {
            kubernetes::<admission::MutatingWebhookConfiguration>(node)
        }
        Kind::ValidatingWebhookConfiguration => {
            kubernetes::<admission::ValidatingWebhookConfiguration>(node)
        }
    }
}

fn custom<T>(node: &Node) -> Result<Content3, ReadError>
where
    T: DeserializeOwned + Resource + Into<Spec>,
{
    let (object, ignored) = yaml::read_strict::<T>(node)?;
    Ok((object.meta().clone(), object.into(), ignored))
}

fn kubernetes<T>(node: &Node) -> Result<Content3, ReadError>
where
    T: DeserializeOwned + k8s_openapi::Metadata<Ty = ObjectMeta> + Into<Spec>,
{
    let (object, ignored) = yaml::read_strict::<T>(node)?;
    Ok((object.metadata().clone(), object.into(), ignored))
}

fn istio<T: DeserializeOwned + Default + Into<Spec>>(node: &Node) -> Result<Content3, ReadError> {
    let mut ignored = Vec::new();
    for entry in node
        .entries()
        .iter()
        .filter(|entry| !TOP_LEVEL.contains(&entry.key.as_str()))
    {
        let path = key_step(&entry.key);
        ignored.push(Ignored {
            at: entry.key_at,
            path: path.strip_prefix('.').unwrap_or(&path).to_owned(),
        });
    }
    let meta = part::<ObjectMeta>(node, "metadata", &mut ignored)?;
    let spec = part::<T>(node, "spec", &mut ignored)?;
    Ok((meta, spec.into(), ignored))
}

/// One top-level part of an object; absent means its default.
fn part<T: DeserializeOwned + Default>(
    node: &Node,
    key: &str,
    ignored: &mut Vec<Ignored>,
) -> Result<T, ReadError> {
    let Some(entry) = node.entry(key) else {
        return Ok(T::default());
    };
    let below = |path: &str| match path.chars().next() {
        None => key.to_owned(),
        Some('[') => format!("{key}{path}"),
        Some(_) => format!("{key}.{path}"),
    };
    match yaml::read_strict::<T>(&entry.value) {
        Ok((value, skipped)) => {
            ignored.extend(skipped.into_iter().map(|skipped| Ignored {
                path: below(&skipped.path),
                ..skipped
            }));
            Ok(value)
        }
        Err(mut error) => {
            error.path = below(&error.path);
            Err(error)
        }
    }
}

impl Spec {
    /// Writes the namespace into a Kubernetes object that did not name one.
    pub(super) fn set_namespace(&mut self, namespace: &str) {
        fn set<T>(object: &mut Arc<T>, namespace: &str)
        where
            T: Clone + k8s_openapi::Metadata<Ty = ObjectMeta>,
        {
            if object.metadata().namespace.as_deref() != Some(namespace) {
                Arc::make_mut(object).metadata_mut().namespace = Some(namespace.to_owned());
            }
        }
        fn set_custom<T: Clone + Resource>(object: &mut Arc<T>, namespace: &str) {
            if object.meta().namespace.as_deref() != Some(namespace) {
                Arc::make_mut(object).meta_mut().namespace = Some(namespace.to_owned());
            }
        }
        match self {
            Self::Service(object) => set(object, namespace),
            Self::Pod(object) => set(object, namespace),
            Self::EndpointSlice(object) => set(object, namespace),
            Self::ConfigMap(object) => set(object, namespace),
            Self::Secret(object) => set(object, namespace),
            Self::ServiceAccount(object) => set(object, namespace),
            Self::Deployment(object) => set(object, namespace),
            Self::StatefulSet(object) => set(object, namespace),
            Self::DaemonSet(object) => set(object, namespace),
            Self::ReplicaSet(object) => set(object, namespace),
            Self::Job(object) => set(object, namespace),
            Self::CronJob(object) => set(object, namespace),
            Self::ReplicationController(object) => set(object, namespace),
            Self::Ingress(object) => set(object, namespace),
            Self::KubernetesGateway(object) => set_custom(object, namespace),
            Self::HttpRoute(object) => set_custom(object, namespace),
            Self::GrpcRoute(object) => set_custom(object, namespace),
            Self::TlsRoute(object) => set_custom(object, namespace),
            Self::TcpRoute(object) => set_custom(object, namespace),
            Self::UdpRoute(object) => set_custom(object, namespace),
            Self::ReferenceGrant(object) => set_custom(object, namespace),
            Self::BackendTlsPolicy(object) => set_custom(object, namespace),
            Self::ListenerSet(object) => set_custom(object, namespace),
            // Istio's kinds hold no metadata in their content, and the others belong to no namespace.
            _ => {}
        }
    }
}
