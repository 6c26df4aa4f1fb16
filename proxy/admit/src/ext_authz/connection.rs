//! Questions about connections, and what their answers mean.

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3 as wire;
use envoy_types::pb::envoy::service::auth::v3::attribute_context as context;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use lateen_proxy_model::{NetworkAuthz, RequestFacts};
use prost::Message;
use serde_json::{Map, Value};

use super::grpc::{DEPTH, destination, named, source, values};

/// What a service decided about a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionAnswer {
    /// It goes on; values for logs.
    Allowed(Map<String, Value>),
    /// It ends.
    Denied(Map<String, Value>),
    /// The service could not decide.
    Error,
}

/// The question about a connection, encoded.
pub fn check_connection(filter: &NetworkAuthz, facts: &dyn RequestFacts) -> Vec<u8> {
    let attributes = wire::AttributeContext {
        source: Some(source(facts, filter.peer_certificate)),
        destination: Some(destination(facts)),
        metadata_context: Some(named(&filter.metadata_namespaces, facts.metadata())),
        tls_session: filter.tls_session.then(|| context::TlsSession {
            sni: facts.sni().unwrap_or_default().to_owned(),
        }),
        ..wire::AttributeContext::default()
    };
    let question = wire::CheckRequest {
        attributes: Some(attributes),
    };
    question.encode_to_vec()
}

/// What an answer means.
pub fn connection_answer(answer: Bytes) -> ConnectionAnswer {
    let Ok(answer) = wire::CheckResponse::decode(answer) else {
        return ConnectionAnswer::Error;
    };
    let metadata = answer.dynamic_metadata;
    let metadata = metadata.map_or_else(Map::new, |fields| values(fields, DEPTH));
    if let Some(HttpResponse::ErrorResponse(_)) = answer.http_response {
        return ConnectionAnswer::Error;
    }
    match answer.status.is_none_or(|status| status.code == 0) {
        true => ConnectionAnswer::Allowed(metadata),
        false => ConnectionAnswer::Denied(metadata),
    }
}
