//! The content of an object, by kind.

use std::sync::Arc;

use gateway_api::apis::experimental::tcproutes::TcpRoute;
use gateway_api::apis::experimental::udproutes::UdpRoute;
use gateway_api::apis::standard::backendtlspolicies::BackendTlsPolicy;
use gateway_api::apis::standard::gatewayclasses::GatewayClass;
use gateway_api::apis::standard::gateways::Gateway as KubernetesGateway;
use gateway_api::apis::standard::grpcroutes::GrpcRoute;
use gateway_api::apis::standard::httproutes::HttpRoute;
use gateway_api::apis::standard::listenersets::ListenerSet;
use gateway_api::apis::standard::referencegrants::ReferenceGrant;
use gateway_api::apis::standard::tlsroutes::TlsRoute;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, Node, Pod, ReplicationController, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::kind::Kind;
use crate::extensions::{TrafficExtension, WasmPlugin};
use crate::networking::{
    DestinationRule, EnvoyFilter, Gateway, ProxyConfig, ServiceEntry, Sidecar, VirtualService,
    WorkloadEntry, WorkloadGroup,
};
use crate::security::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};
use crate::telemetry::Telemetry;

macro_rules! specs {
    ($( $(#[$meta:meta])* $kind:ident $as_kind:ident; )+) => {
        /// The content of an object: for Istio's kinds the `spec`, for Kubernetes' kinds the whole object.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Spec {
            $( $(#[$meta])* $kind(Arc<$kind>), )+
        }

        impl Spec {
            /// The kind of object that has this content.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self {
                    $( Self::$kind(_) => Kind::$kind, )+
                }
            }

            $(
                #[doc = concat!("The content of a ", stringify!($kind), "; `None` for all other kinds.")]
                #[must_use]
                pub const fn $as_kind(&self) -> Option<&Arc<$kind>> {
                    match self {
                        Self::$kind(spec) => Some(spec),
                        _ => None,
                    }
                }
            )+
        }

        $(
            impl From<$kind> for Spec {
                fn from(spec: $kind) -> Self {
                    Self::$kind(Arc::new(spec))
                }
            }
        )+
    };
}

specs! {
    /// Routes.
    VirtualService as_virtual_service;
    /// Policies of destinations.
    DestinationRule as_destination_rule;
    /// Ports at the mesh's edge.
    Gateway as_gateway;
    /// Services that the cluster does not know.
    ServiceEntry as_service_entry;
    /// Endpoints that are no pods.
    WorkloadEntry as_workload_entry;
    /// What proxies see.
    Sidecar as_sidecar;
    /// What workloads outside of Kubernetes have in common.
    WorkloadGroup as_workload_group;
    /// Changes of the configuration that proxies get.
    EnvoyFilter as_envoy_filter;
    /// Settings of proxies that take effect when a pod is made.
    ProxyConfig as_proxy_config;
    /// Which connections workloads accept.
    PeerAuthentication as_peer_authentication;
    /// Which requests workloads admit.
    AuthorizationPolicy as_authorization_policy;
    /// Which tokens workloads accept.
    RequestAuthentication as_request_authentication;
    /// What workloads report.
    Telemetry as_telemetry;
    /// A filter of the user's own, as a WebAssembly module.
    WasmPlugin as_wasm_plugin;
    /// A filter of the user's own, as a WebAssembly module or a Lua script.
    TrafficExtension as_traffic_extension;
    /// Who runs gateways (Gateway API).
    GatewayClass as_gateway_class;
    /// Ports at the mesh's edge (Gateway API).
    KubernetesGateway as_kubernetes_gateway;
    /// Routes of HTTP requests (Gateway API).
    HttpRoute as_http_route;
    /// Routes of gRPC calls (Gateway API).
    GrpcRoute as_grpc_route;
    /// Routes of TLS connections (Gateway API).
    TlsRoute as_tls_route;
    /// Routes of TCP connections (Gateway API).
    TcpRoute as_tcp_route;
    /// Routes of UDP datagrams (Gateway API).
    UdpRoute as_udp_route;
    /// References that other namespaces may make (Gateway API).
    ReferenceGrant as_reference_grant;
    /// How gateways verify the servers behind them (Gateway API).
    BackendTlsPolicy as_backend_tls_policy;
    /// Further ports of a gateway (Gateway API).
    ListenerSet as_listener_set;
    /// A Kubernetes service.
    Service as_service;
    /// A pod.
    Pod as_pod;
    /// Endpoints of a Kubernetes service.
    EndpointSlice as_endpoint_slice;
    /// A namespace.
    Namespace as_namespace;
    /// Settings.
    ConfigMap as_config_map;
    /// A secret.
    Secret as_secret;
    /// A service account.
    ServiceAccount as_service_account;
    /// A machine.
    Node as_node;
    /// Pods that are replaced step by step.
    Deployment as_deployment;
    /// Pods with names of their own.
    StatefulSet as_stateful_set;
    /// A pod on each machine.
    DaemonSet as_daemon_set;
    /// A number of equal pods.
    ReplicaSet as_replica_set;
    /// Pods that run to their end.
    Job as_job;
    /// Jobs by the clock.
    CronJob as_cron_job;
    /// A number of equal pods, the old way.
    ReplicationController as_replication_controller;
    /// Ports at the cluster's edge.
    Ingress as_ingress;
    /// Who runs ingresses.
    IngressClass as_ingress_class;
    /// A kind that the API server serves besides its own.
    CustomResourceDefinition as_custom_resource_definition;
    /// Who changes objects on their way into the cluster.
    MutatingWebhookConfiguration as_mutating_webhook_configuration;
    /// Who refuses objects on their way into the cluster.
    ValidatingWebhookConfiguration as_validating_webhook_configuration;
}
