//! Workload certificates: a root of our own or a plugged-in one, signing of requests for the caller's authenticated identity,
//! the certificates of the control plane itself, and the authentication of callers.
//!
//! - [`authority`]: the CA, created or loaded, and signing;
//! - [`request`]: reading certificate signing requests;
//! - [`token`]: bearer tokens by a JWT rule;
//! - [`authenticate`]: token or client certificate to [`lateen_controlplane_model::caller::Caller`];
//! - [`serving`]: TLS of the control plane's own ports, with renewal;
//! - [`service`]: the gRPC service `istio.v1.auth.IstioCertificateService`.

pub mod authenticate;
pub mod authority;
mod files;
pub mod request;
pub mod service;
pub mod serving;
pub mod token;

#[cfg(test)]
mod testing;
