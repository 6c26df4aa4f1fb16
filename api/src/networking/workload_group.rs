//! WorkloadGroup: what workloads outside of Kubernetes have in common; and readiness probes, which the mesh's ProxyConfig holds too.

use std::collections::BTreeMap;

use super::workload_entry::WorkloadEntry;
use crate::proto::{message, oneof};

message! {
    /// What a group of workloads outside of Kubernetes have in common.
    WorkloadGroup {
        /// Metadata of the entries that are made for them.
        metadata: Option<WorkloadGroupMetadata>,
        /// The entry that is made for each of them.
        template: Option<WorkloadEntry>,
        /// How the agent asks a workload whether it is ready.
        probe: Option<ReadinessProbe>,
    }
}

message! {
    /// Metadata of the entries that are made for a group's workloads.
    WorkloadGroupMetadata {
        /// Labels.
        labels: BTreeMap<String, String>,
        /// Annotations.
        annotations: BTreeMap<String, String>,
    }
}

message! {
    /// How the agent asks a workload whether it is ready.
    ReadinessProbe {
        /// Seconds until the first probe.
        initial_delay_seconds: i32,
        /// Seconds that an answer may take; 0 means 1.
        timeout_seconds: i32,
        /// Seconds between probes; 0 means 10.
        period_seconds: i32,
        /// Answers in a row that make it ready; 0 means 1.
        success_threshold: i32,
        /// Failures in a row that make it unready; 0 means 3.
        failure_threshold: i32,
    }
    oneof {
        /// What is asked.
        health_check_method: ProbeMethod,
    }
}

oneof! {
    /// What a probe asks.
    ProbeMethod {
        /// An HTTP request.
        http_get: HttpGet(HttpProbe),
        /// A connection.
        tcp_socket: TcpSocket(TcpProbe),
        /// A command.
        exec: Exec(ExecProbe),
        /// A gRPC health check.
        grpc: Grpc(GrpcProbe),
    }
}

message! {
    /// A probe by an HTTP request.
    HttpProbe {
        /// The path.
        path: String,
        /// The port.
        port: u32,
        /// The host; empty means the workload.
        host: String,
        /// `HTTP` or `HTTPS`; empty means HTTP.
        scheme: String,
        /// Headers to send.
        http_headers: Vec<HttpHeader>,
    }
}

message! {
    /// A header of a probe.
    HttpHeader {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    }
}

message! {
    /// A probe by a connection.
    TcpProbe {
        /// The host; empty means the workload.
        host: String,
        /// The port.
        port: u32,
    }
}

message! {
    /// A probe by a command.
    ExecProbe {
        /// The command and its arguments.
        command: Vec<String>,
    }
}

message! {
    /// A probe by a gRPC health check.
    GrpcProbe {
        /// The port.
        port: u32,
        /// The service to ask for.
        service: String,
    }
}
