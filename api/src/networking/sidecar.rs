//! Sidecar: what the proxies of a namespace or of single workloads see and serve.

use std::collections::BTreeMap;

use super::connection_pool::ConnectionPoolSettings;
use super::destination::Destination;
use super::server_tls::ServerTlsSettings;
use crate::proto::{message, proto_enum};

message! {
    /// What the proxies of a namespace or of single workloads see and serve.
    Sidecar {
        /// The workloads; none means all of the namespace.
        workload_selector: Option<WorkloadSelector>,
        /// What they serve, instead of what their services say.
        ingress: Vec<IngressListener>,
        /// What they may reach; empty means all that is exported to the namespace.
        egress: Vec<EgressListener>,
        /// Limits of inbound connections.
        inbound_connection_pool: Option<ConnectionPoolSettings>,
        /// What happens to traffic to unknown destinations, instead of the mesh's setting.
        outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    }
}

message! {
    /// Workloads by their labels (`labels`).
    WorkloadSelector {
        /// Labels that a workload must have.
        labels: BTreeMap<String, String>,
    }
}

message! {
    /// A port that a workload serves.
    IngressListener {
        /// The port.
        port: Option<SidecarPort>,
        /// The address to listen on; empty means the pod's.
        bind: String,
        /// How traffic comes to the listener.
        capture_mode: CaptureMode,
        /// Where the application listens: `127.0.0.1:port`, `0.0.0.0:port` or `unix://` and a path.
        default_endpoint: String,
        /// TLS of the port.
        tls: Option<ServerTlsSettings>,
        /// Limits of the port's connections.
        connection_pool: Option<ConnectionPoolSettings>,
    }
}

message! {
    /// Destinations that a workload may reach.
    EgressListener {
        /// The port to which the entry is limited.
        port: Option<SidecarPort>,
        /// The address or `unix://` path to listen on.
        bind: String,
        /// How traffic comes to the listener.
        capture_mode: CaptureMode,
        /// The hosts, `namespace/name`; `~namespace/name` leaves out.
        hosts: Vec<String>,
    }
}

message! {
    /// A port of a sidecar.
    SidecarPort {
        /// The number.
        number: u32,
        /// The protocol; empty means that it is sniffed.
        protocol: String,
        /// A name.
        name: String,
        /// Has no meaning.
        target_port: u32,
    }
}

proto_enum! {
    /// How traffic comes to a listener.
    CaptureMode {
        /// As the pod is set up.
        Default = "DEFAULT" 0,
        /// By redirect rules.
        Iptables = "IPTABLES" 1,
        /// By the application's own doing.
        None = "NONE" 2,
    }
}

message! {
    /// What happens to traffic to unknown destinations.
    OutboundTrafficPolicy {
        /// Whether it is let through.
        mode: OutboundTrafficPolicyMode,
        /// Where it goes, instead of its own destination.
        egress_proxy: Option<Destination>,
    }
}

proto_enum! {
    /// Whether traffic to unknown destinations is let through.
    OutboundTrafficPolicyMode {
        /// It is dropped.
        RegistryOnly = "REGISTRY_ONLY" 0,
        /// It is let through.
        AllowAny = "ALLOW_ANY" 1,
        /// It is let through to the address that its host name has; for the mesh only.
        AllowAnyDynamicDns = "ALLOW_ANY_DYNAMIC_DNS" 3,
    }
}
