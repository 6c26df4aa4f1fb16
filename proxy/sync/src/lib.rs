//! The xDS client: wire to model, each error naming the resource and field.
//!
//! [`Client`] follows a control plane by delta ADS and is the only writer of clusters, endpoints, routes and listeners
//! of the [`State`](lateen_proxy_state::State). A resource that uses what the proxy does not support is refused with the
//! field's path (NACK) and its version from before stays in use; everything else of the same response is applied.
//! [`Bootstrap`] reads Envoy's bootstrap files for the same path without a control plane.

mod apply;
mod bootstrap;
mod client;
mod connect;
mod delta;
mod dns;
#[allow(
    deprecated,
    reason = "control planes and bootstrap files still use fields that Envoy has newer ones for"
)]
mod wire;

pub use bootstrap::{Bootstrap, StaticError, StaticResources};
pub use client::{Client, ClientConfig, XdsStatus};
pub use connect::{ConnectError, Connecting, Connection, Connector, ControlPlane, Roots, Security};
pub use wire::at::Refused;
pub use wire::context::{AccessLogFormat, AccessLogSpec, AccessLogs};
