//! ServiceEntry: services that the cluster does not know.

use super::sidecar::WorkloadSelector;
use super::workload_entry::WorkloadEntry;
use crate::proto::{message, proto_enum};

message! {
    /// A service that the cluster does not know.
    ServiceEntry {
        /// Its names.
        hosts: Vec<String>,
        /// Its addresses or ranges.
        addresses: Vec<String>,
        /// Its ports.
        ports: Vec<ServicePort>,
        /// Whether it is part of the mesh.
        location: ServiceEntryLocation,
        /// How its endpoints are found.
        resolution: ServiceEntryResolution,
        /// Its endpoints.
        endpoints: Vec<WorkloadEntry>,
        /// Pods and WorkloadEntries of the object's namespace that are its endpoints.
        workload_selector: Option<WorkloadSelector>,
        /// The namespaces that see the object: `.`, `*`, `~` or names; empty means the mesh default.
        export_to: Vec<String>,
        /// Names of which the endpoints' certificates must bear one.
        subject_alt_names: Vec<String>,
    }
}

message! {
    /// A port of a service.
    ServicePort {
        /// The number, 1..65535.
        number: u32,
        /// The protocol; empty means that it is sniffed.
        protocol: String,
        /// A name.
        name: String,
        /// The endpoints' port; 0 means `number`.
        target_port: u32,
    }
}

proto_enum! {
    /// Whether a service is part of the mesh.
    ServiceEntryLocation {
        /// Outside: no automatic mTLS.
        MeshExternal = "MESH_EXTERNAL" 0,
        /// Inside.
        MeshInternal = "MESH_INTERNAL" 1,
    }
}

proto_enum! {
    /// How a service's endpoints are found.
    ServiceEntryResolution {
        /// The address that the client asked for.
        None = "NONE" 0,
        /// The addresses that are listed.
        Static = "STATIC" 1,
        /// All addresses of a DNS name.
        Dns = "DNS" 2,
        /// The first address of a DNS name, for each new connection.
        DnsRoundRobin = "DNS_ROUND_ROBIN" 3,
        /// The name of each request, for wildcard hosts.
        DynamicDns = "DYNAMIC_DNS" 4,
    }
}
