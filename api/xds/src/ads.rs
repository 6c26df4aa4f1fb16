//! The ADS service with responses whose resources are encoded bytes, shared between streams.
//!
//! On the wire a field of type message and a field of type bytes look alike, so `Any` is carried as [`Bytes`] here:
//! one encoding of a resource serves every proxy that gets it.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::ControlPlane;

/// A SotW `DiscoveryResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// Version of the whole set.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Encoded `google.protobuf.Any`, one a resource.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub resources: Vec<Bytes>,
    /// Type of the resources.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Names the response in the client's ack.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Who answers; only debug answers carry it (contract xds.md §11).
    #[prost(message, optional, tag = "6")]
    pub control_plane: Option<ControlPlane>,
}

/// One resource of a delta response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaResource {
    /// Version; left empty, as istiod does.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Encoded `google.protobuf.Any`.
    #[prost(bytes = "bytes", tag = "2")]
    pub resource: Bytes,
    /// Resource name.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// A `DeltaDiscoveryResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaResponse {
    /// Version of the push.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// What is new or changed.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<DeltaResource>,
    /// Type of the resources.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Names the response in the client's ack.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Names that are gone.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
    /// Who answers; only debug answers carry it.
    #[prost(message, optional, tag = "7")]
    pub control_plane: Option<ControlPlane>,
}

/// The generated server: trait `AggregatedDiscoveryService` and `AggregatedDiscoveryServiceServer`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications
)]
mod service {
    include!(concat!(
        env!("OUT_DIR"),
        "/envoy.service.discovery.v3.AggregatedDiscoveryService.rs"
    ));
}

pub use service::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3 as discovery;
    use prost::Message;

    use super::*;
    use crate::any;

    #[test]
    fn shared_bytes_read_as_any() {
        let cluster = envoy_types::pb::envoy::config::cluster::v3::Cluster {
            name: "c".to_owned(),
            ..Default::default()
        };
        let resource = any::pack_bytes(&cluster);
        let delta = DeltaResponse {
            system_version_info: "v".into(),
            resources: vec![DeltaResource {
                version: String::new(),
                resource: resource.clone(),
                name: "c".into(),
            }],
            type_url: "t".into(),
            nonce: "n".into(),
            removed_resources: vec!["gone".into()],
            control_plane: None,
        };
        let read =
            discovery::DeltaDiscoveryResponse::decode(delta.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.resources[0].resource, Some(any::pack(&cluster)));
        assert_eq!(
            (
                read.resources[0].name.as_str(),
                read.nonce.as_str(),
                read.removed_resources[0].as_str()
            ),
            ("c", "n", "gone")
        );
        assert_eq!(
            (read.system_version_info.as_str(), read.type_url.as_str()),
            ("v", "t")
        );

        let whole = Response {
            version_info: "v".into(),
            resources: vec![resource],
            type_url: "t".into(),
            nonce: "n".into(),
            control_plane: None,
        };
        let read = discovery::DiscoveryResponse::decode(whole.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.resources, [any::pack(&cluster)]);
        assert_eq!(
            (
                read.version_info.as_str(),
                read.type_url.as_str(),
                read.nonce.as_str()
            ),
            ("v", "t", "n")
        );
    }
}
