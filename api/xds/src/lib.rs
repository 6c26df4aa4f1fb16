//! The xDS wire: resource names, `Any`, proto JSON, node metadata and Istio-only messages.
//!
//! - [`names`]: every name of the contract, built and parsed in one place;
//! - [`any`]: packing and unpacking, with the same bytes for the same message ([`canonical`]);
//! - [`structs`]: `google.protobuf.Struct` to JSON and back;
//! - [`node`]: who a proxy says it is;
//! - [`json`]: proto JSON both ways, with a pool that lives only while it is used;
//! - [`envoy_filter`]: values of EnvoyFilter patches;
//! - [`pb`]: messages that are Istio's alone, [`ads`]: ADS responses over shared bytes.

pub mod ads;
pub mod any;
pub mod canonical;
pub mod envoy_filter;
pub mod json;
pub mod names;
pub mod node;
pub mod structs;

/// Messages and services that Istio adds to xDS, generated from `proto/`.
///
/// Their well-known types are those of `envoy_types::pb::google::protobuf`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications
)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}
