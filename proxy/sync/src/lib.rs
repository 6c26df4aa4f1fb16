//! The xDS client: wire to model, each error naming the resource and field.
//!
//! [`Client`] follows a control plane by ADS or streams for single types, delta or state of the world, and files; it is
//! the only writer of clusters, endpoints, routes and listeners of
//!  the [`State`](lateen_proxy_state::State). A resource that uses what the proxy does not support is refused with the
//! field's path (NACK) and its version from before stays in use; everything else of the same response is applied.
//! [`Bootstrap`] reads Envoy's bootstrap files for the same path without a control plane.

mod apply;
mod bootstrap;
mod client;
mod connect;
mod delta;
mod dns;
mod dns_cache;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod grpc_target;
mod query;
mod session;
mod sotw;
mod source;
mod static_parts;
mod take_up;
#[allow(
    deprecated,
    reason = "control planes and bootstrap files still use fields that Envoy has newer ones for"
)]
mod wire;

pub use bootstrap::{Bootstrap, Dynamic, Layer, StaticError, StaticResources};
pub use client::{Client, ClientConfig, XdsStatus};
pub use connect::{ConnectError, Connecting, Connection, Connector, ControlPlane, Roots, Security};
pub use files::{ReadText, resources_from_text};
pub use wire::at::Refused;
pub use wire::context::{
    AccessLogFormat, AccessLogSpec, AccessLogs, LogFilterSpec, LogOutput, ServiceLogSpec,
};
