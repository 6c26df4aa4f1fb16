//! The serving side of the control plane: ADS (delta and SotW) to any number of proxies, metrics and debug pages.
//!
//! - [`listen`]: sockets, plain and TLS, that say who is at the other end;
//! - [`hub`]: connected proxies and the newest configuration; one slot a proxy, so a slow one delays nobody;
//! - [`ads`]: the gRPC service; each stream runs a state machine of subscriptions, acks and versions;
//! - [`grpc`]: ADS and the certificate service on one port;
//! - [`debug`]: the pages under `/debug` and the xDS types `istio.io/debug*`;
//! - [`http`]: `/ready`, `/version`, `/metrics`, `/debug`;
//! - [`metrics`]: what is counted.

pub mod ads;
pub mod debug;
pub mod grpc;
pub mod http;
pub mod hub;
mod identity;
pub mod listen;
pub mod metrics;
mod session;
mod transport;
mod wire;
