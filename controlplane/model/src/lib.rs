//! What the control plane knows: objects on their way in, services, endpoints, workloads and policies joined from them, connected
//! proxies, and the seam through which translated configuration reaches the server.
//!
//! Everything here is data and pure functions. `watch` produces [`change::Batch`], `index` turns batches into a [`snapshot::Snapshot`]
//! and an [`affected::Affected`], `translate` implements [`generate::Generate`] over a snapshot, `serve` consumes it.

pub mod affected;
pub mod caller;
pub mod change;
pub mod destination;
pub mod endpoint;
pub mod generate;
pub mod peer;
pub mod proxy;
pub mod routing;
pub mod rule;
pub mod scope;
pub mod service;
pub mod sidecar;
pub mod snapshot;
pub mod table;
#[cfg(test)]
mod testing;
