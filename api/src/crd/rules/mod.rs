//! The tables of all kinds. Limits and CEL rules refuse what Istio's own definitions refuse, and let pass what they let pass.

mod common;
mod endpoint;
mod extensions;
mod networking;
mod security;
mod telemetry;
mod traffic;

pub(super) use endpoint::{SERVICE_ENTRY, WORKLOAD_ENTRY, WORKLOAD_GROUP};
pub(super) use extensions::{TRAFFIC_EXTENSION, WASM_PLUGIN};
pub(super) use networking::{ENVOY_FILTER, GATEWAY, PROXY_CONFIG, SIDECAR, VIRTUAL_SERVICE};
pub(super) use security::{AUTHORIZATION_POLICY, PEER_AUTHENTICATION, REQUEST_AUTHENTICATION};
pub(super) use telemetry::TELEMETRY;
pub(super) use traffic::DESTINATION_RULE;
