//! The two protocols on the wire, to and from the session's own terms.

use envoy_types::pb::envoy::config::core::v3::{ControlPlane, Node};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use lateen_xds::ads::{self, Frames};
use prost::Message;

use lateen_controlplane_model::generate::Resource;

use crate::session::{Asked, Protocol, Request, Response};

/// A protocol: how its requests read and its responses are written.
pub(crate) trait Wire: Send + Sync + 'static {
    /// Request message.
    type Request: Message + Default + Send + 'static;
    /// The session's protocol.
    const PROTOCOL: Protocol;

    /// The node, if the message carries one, and the request.
    fn read(message: Self::Request) -> (Option<Node>, Request);

    /// The response message; `None` when it is too large for gRPC.
    fn write(response: Response, control_plane: Option<ControlPlane>) -> Option<Frames>;
}

/// Delta ADS.
pub(crate) struct Delta;

/// State-of-the-world ADS.
pub(crate) struct Sotw;

impl Wire for Delta {
    type Request = DeltaDiscoveryRequest;
    const PROTOCOL: Protocol = Protocol::Delta;

    fn read(message: DeltaDiscoveryRequest) -> (Option<Node>, Request) {
        let asked = Asked::Delta {
            subscribe: message.resource_names_subscribe,
            unsubscribe: message.resource_names_unsubscribe,
            initial: message.initial_resource_versions.into_keys().collect(),
        };
        let error = message.error_detail.map(|status| status.message);
        (
            message.node,
            Request {
                type_url: message.type_url,
                nonce: message.response_nonce,
                error,
                asked,
            },
        )
    }

    fn write(response: Response, control_plane: Option<ControlPlane>) -> Option<Frames> {
        let head = ads::DeltaResponse {
            system_version_info: response.version,
            type_url: response.type_url,
            nonce: response.nonce,
            removed_resources: response.removed,
            control_plane,
        };
        let resource = |resource: Resource| ads::Resource {
            name: resource.name.to_string(),
            body: resource.body,
        };
        head.frames(response.resources.into_iter().map(resource).collect())
    }
}

impl Wire for Sotw {
    type Request = DiscoveryRequest;
    const PROTOCOL: Protocol = Protocol::Sotw;

    fn read(message: DiscoveryRequest) -> (Option<Node>, Request) {
        let error = message.error_detail.map(|status| status.message);
        let asked = Asked::Sotw(message.resource_names);
        (
            message.node,
            Request {
                type_url: message.type_url,
                nonce: message.response_nonce,
                error,
                asked,
            },
        )
    }

    fn write(response: Response, control_plane: Option<ControlPlane>) -> Option<Frames> {
        let head = ads::Response {
            version_info: response.version,
            type_url: response.type_url,
            nonce: response.nonce,
            control_plane,
        };
        let resource = |resource: Resource| ads::Resource {
            name: String::new(),
            body: resource.body,
        };
        head.frames(response.resources.into_iter().map(resource).collect())
    }
}
