//! Gateway: the ports on which a proxy at the mesh's edge listens.

use std::collections::BTreeMap;

use super::server_tls::ServerTlsSettings;
use crate::proto::message;

message! {
    /// The ports on which a proxy at the mesh's edge listens.
    Gateway {
        /// Labels of the pods that run it, in any namespace.
        selector: BTreeMap<String, String>,
        /// What it listens for.
        servers: Vec<Server>,
    }
}

message! {
    /// One port of a gateway and the hosts behind it.
    Server {
        /// The port.
        port: Option<Port>,
        /// The address to listen on; empty means all.
        bind: String,
        /// The hosts, `[namespace/]name`, possibly wildcards.
        hosts: Vec<String>,
        /// TLS of the port.
        tls: Option<ServerTlsSettings>,
        /// Not used by gateways.
        default_endpoint: String,
        /// A name for logs.
        name: String,
    }
}

message! {
    /// A port.
    Port {
        /// The number, 1..65535.
        number: u32,
        /// The protocol: HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TLS, TCP, MONGO, MYSQL, REDIS.
        protocol: String,
        /// A name.
        name: String,
        /// Deprecated, without effect.
        target_port: u32,
    }
}
