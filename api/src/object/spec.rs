//! The content of an object, by kind.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, Node, Pod, ReplicationController, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::kind::Kind;
use crate::networking::{
    DestinationRule, Gateway, ServiceEntry, Sidecar, VirtualService, WorkloadEntry,
};
use crate::security::PeerAuthentication;

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
    /// Which connections workloads accept.
    PeerAuthentication as_peer_authentication;
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
}
