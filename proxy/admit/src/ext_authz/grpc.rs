//! Questions and answers of `envoy.service.auth.v3.Authorization`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::service::auth::v3 as wire;
use envoy_types::pb::envoy::service::auth::v3::attribute_context as context;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{self as wkt, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lateen_proxy_model::{DynamicMetadata, ExtAuthz, PeerView, RequestFacts, RequestView};
use prost::Message;
use serde_json::{Map, Number, Value};

use super::{
    AuthzAnswer, AuthzChanges, AuthzExtras, HeaderChange, PARTIAL_BODY, is_removable, is_visible,
    visible,
};

/// Values within values that are read.
pub(super) const DEPTH: usize = 32;

/// The question, encoded.
pub fn check_request(
    filter: &ExtAuthz,
    request: &RequestView<'_>,
    extras: &AuthzExtras<'_>,
) -> Vec<u8> {
    let facts = request.facts;
    let pairs = extras.context.iter();
    let attributes = wire::AttributeContext {
        source: Some(source(facts, filter.peer_certificate)),
        destination: Some(destination(facts)),
        request: Some(context::Request {
            time: Some(now()),
            http: Some(http_request(filter, request, extras)),
        }),
        context_extensions: pairs
            .map(|(name, text)| (name.to_string(), text.to_string()))
            .collect(),
        metadata_context: Some(named(&filter.metadata_namespaces, facts.metadata())),
        route_metadata_context: Some(named(&filter.route_namespaces, facts.route_metadata())),
        tls_session: filter.tls_session.then(|| context::TlsSession {
            sni: facts.sni().unwrap_or_default().to_owned(),
        }),
    };
    let question = wire::CheckRequest {
        attributes: Some(attributes),
    };
    question.encode_to_vec()
}

/// The values of these namespaces.
pub(super) fn named(names: &[Box<str>], metadata: &DynamicMetadata) -> core::Metadata {
    let found = names.iter();
    let found = found.filter_map(|name| Some((name.to_string(), object(metadata.find(name)?))));
    core::Metadata {
        filter_metadata: found.collect(),
        ..core::Metadata::default()
    }
}

/// The client, with its certificate or without.
pub(super) fn source(facts: &dyn RequestFacts, with_certificate: bool) -> context::Peer {
    let peer = facts.peer();
    let certificate = peer.filter(|_| with_certificate);
    context::Peer {
        address: facts.remote().map(address),
        principal: peer
            .and_then(|peer| peer.principals().next().map(ToOwned::to_owned))
            .unwrap_or_default(),
        certificate: certificate.map(|peer| encoded(&peer)).unwrap_or_default(),
        ..context::Peer::default()
    }
}

/// Where the connection wanted to go.
pub(super) fn destination(facts: &dyn RequestFacts) -> context::Peer {
    context::Peer {
        address: facts.destination().map(address),
        ..context::Peer::default()
    }
}

fn http_request(
    filter: &ExtAuthz,
    request: &RequestView<'_>,
    extras: &AuthzExtras<'_>,
) -> context::HttpRequest {
    let mut headers: HashMap<String, String> = HashMap::new();
    let mut header_map = None;
    match filter.raw_headers {
        false => headers.extend(visible(filter, request)),
        true => header_map = Some(raw(filter, request)),
    }
    let (mut body, mut raw_body) = (String::new(), Vec::new());
    if let Some((data, partial)) = &extras.body {
        let partial = partial.to_string();
        match &mut header_map {
            None => drop(headers.insert(PARTIAL_BODY.to_owned(), partial)),
            Some(map) => map.headers.push(bytes(PARTIAL_BODY, partial.as_bytes())),
        }
        match extras.as_bytes {
            true => raw_body = data.to_vec(),
            // Protobuf texts are UTF-8.
            false => body = String::from_utf8_lossy(data).into_owned(),
        }
    }
    context::HttpRequest {
        id: extras.id.to_string(),
        method: request.method.to_owned(),
        headers,
        header_map,
        path: request.path.to_owned(),
        host: request.authority.to_owned(),
        scheme: request.scheme.to_owned(),
        // What has arrived, as Envoy counts it.
        size: i64::try_from(extras.received).unwrap_or(i64::MAX),
        protocol: extras.protocol.to_owned(),
        body,
        raw_body,
        ..context::HttpRequest::default()
    }
}

/// Headers as they are, with pseudo-headers.
fn raw(filter: &ExtAuthz, request: &RequestView<'_>) -> core::HeaderMap {
    let pseudo = [
        (":authority", request.authority),
        (":path", request.path),
        (":method", request.method),
        (":scheme", request.scheme),
    ];
    let seen = |name: &str| is_visible(filter, name) && !matches!(name, "host" | PARTIAL_BODY);
    let pseudo = pseudo.into_iter().filter(|(name, _)| seen(name));
    let pseudo = pseudo.map(|(name, value)| bytes(name, value.as_bytes()));
    let regular = request.headers.iter();
    let regular = regular.filter(|(name, _)| seen(name.as_str()));
    let regular = regular.map(|(name, value)| bytes(name.as_str(), value.as_bytes()));
    core::HeaderMap {
        headers: pseudo.chain(regular).collect(),
    }
}

fn bytes(name: &str, value: &[u8]) -> core::HeaderValue {
    core::HeaderValue {
        key: name.to_owned(),
        raw_value: value.to_vec(),
        ..core::HeaderValue::default()
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or_default(),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

fn address(address: SocketAddr) -> core::Address {
    core::Address {
        address: Some(AddressKind::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..core::SocketAddress::default()
        })),
    }
}

/// The certificate as PEM, percent-encoded.
fn encoded(peer: &PeerView<'_>) -> String {
    let text = STANDARD.encode(peer.der);
    let mut out = String::from("-----BEGIN%20CERTIFICATE-----%0A");
    for (place, letter) in text.chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            out.push_str("%0A");
        }
        match letter {
            '+' => out.push_str("%2B"),
            '/' => out.push_str("%2F"),
            '=' => out.push_str("%3D"),
            other => out.push(other),
        }
    }
    out.push_str("%0A-----END%20CERTIFICATE-----%0A");
    out
}

/// What an answer means.
pub fn grpc_answer(filter: &ExtAuthz, answer: Bytes) -> AuthzAnswer {
    let Ok(answer) = wire::CheckResponse::decode(answer) else {
        return AuthzAnswer::Error;
    };
    let allowed = answer.status.is_none_or(|status| status.code == 0);
    let metadata = match answer.dynamic_metadata {
        Some(fields) if filter.takes_metadata => values(fields, DEPTH),
        _ => Map::new(),
    };
    let mut reader = Reader {
        strict: filter.validate_mutations,
        invalid: false,
    };
    let read = match answer.http_response {
        Some(HttpResponse::ErrorResponse(_)) => AuthzAnswer::Error,
        Some(HttpResponse::OkResponse(ok)) if allowed => reader.allowed(ok, metadata),
        _ if allowed => AuthzAnswer::Allowed(Box::new(AuthzChanges {
            metadata,
            ..AuthzChanges::default()
        })),
        Some(HttpResponse::DeniedResponse(denied)) => reader.denied(denied, metadata),
        _ => AuthzAnswer::Denied {
            status: StatusCode::FORBIDDEN,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            metadata,
        },
    };
    if reader.invalid {
        return AuthzAnswer::Invalid;
    }
    read
}

/// Reads headers; what cannot be a header is left out or noted.
struct Reader {
    strict: bool,
    invalid: bool,
}

impl Reader {
    #[allow(deprecated, reason = "older services answer with the older field")]
    fn allowed(&mut self, ok: wire::OkHttpResponse, metadata: Map<String, Value>) -> AuthzAnswer {
        let mut changes = AuthzChanges {
            metadata,
            ..AuthzChanges::default()
        };
        for option in ok.headers {
            let append = appends(&option);
            let change = self.header(option).map(|(name, value)| match append {
                true => HeaderChange::Append(name, value),
                false => HeaderChange::Set(name, value),
            });
            changes.headers.extend(change);
        }
        for name in ok.headers_to_remove {
            if let Ok(name) = HeaderName::try_from(&name) {
                if is_removable(name.as_str()) {
                    changes.headers.push(HeaderChange::Remove(name));
                }
            } else if !name.starts_with(':') {
                self.invalid |= self.strict;
            }
        }
        for option in ok.response_headers_to_add {
            changes.response.extend(self.response_change(option));
        }
        let set = ok.query_parameters_to_set.into_iter();
        changes.query_set = set.map(|one| (one.key, one.value)).collect();
        changes.query_remove = ok.query_parameters_to_remove;
        AuthzAnswer::Allowed(Box::new(changes))
    }

    fn denied(
        &mut self,
        denied: wire::DeniedHttpResponse,
        metadata: Map<String, Value>,
    ) -> AuthzAnswer {
        let status = denied.status.and_then(|status| {
            let code = u16::try_from(status.code).ok()?;
            StatusCode::from_u16(code).ok()
        });
        let mut headers = HeaderMap::new();
        for option in denied.headers {
            let append = appends(&option);
            match self.header(option) {
                Some((name, value)) if append => {
                    headers.append(name, value);
                }
                Some((name, value)) => {
                    headers.insert(name, value);
                }
                None => {}
            }
        }
        AuthzAnswer::Denied {
            status: status.unwrap_or(StatusCode::FORBIDDEN),
            headers,
            body: denied.body.into(),
            metadata,
        }
    }

    /// A change of the answer's headers, of which an action speaks where the older flag does not.
    #[allow(deprecated, reason = "older services answer with the older field")]
    fn response_change(&mut self, option: core::HeaderValueOption) -> Option<HeaderChange> {
        let append = option.append.as_ref().map(|append| append.value);
        let action = option.append_action();
        let (name, value) = self.header(option)?;
        Some(match (append, action) {
            (Some(true), _) | (None, HeaderAppendAction::AppendIfExistsOrAdd) => {
                HeaderChange::Add(name, value)
            }
            (Some(false), _) | (None, HeaderAppendAction::OverwriteIfExistsOrAdd) => {
                HeaderChange::Set(name, value)
            }
            (None, HeaderAppendAction::AddIfAbsent) => HeaderChange::AddIfAbsent(name, value),
            (None, HeaderAppendAction::OverwriteIfExists) => HeaderChange::Overwrite(name, value),
        })
    }

    fn header(&mut self, option: core::HeaderValueOption) -> Option<(HeaderName, HeaderValue)> {
        let header = option.header?;
        let name = HeaderName::try_from(&header.key);
        let value = match header.raw_value.is_empty() {
            true => HeaderValue::try_from(header.value),
            false => HeaderValue::from_bytes(&header.raw_value),
        };
        let (Ok(name), Ok(value)) = (name, value) else {
            self.invalid |= self.strict;
            return None;
        };
        // How a message is framed is not for a service to say.
        let framing = ["content-length", "transfer-encoding", "connection"];
        (!framing.contains(&name.as_str())).then_some((name, value))
    }
}

#[allow(deprecated, reason = "older services answer with the older field")]
fn appends(option: &core::HeaderValueOption) -> bool {
    option.append.is_some_and(|append| append.value)
}

pub(crate) fn values(fields: wkt::Struct, depth: usize) -> Map<String, Value> {
    let fields = fields.fields.into_iter();
    fields
        .map(|(key, value)| (key, plain(value, depth.saturating_sub(1))))
        .collect()
}

fn plain(value: wkt::Value, depth: usize) -> Value {
    match value.kind {
        _ if depth == 0 => Value::Null,
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => {
            Number::from_f64(number).map_or(Value::Null, Value::Number)
        }
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::StructValue(fields)) => Value::Object(values(fields, depth)),
        Some(Kind::ListValue(list)) => {
            let list = list.values.into_iter();
            list.map(|value| plain(value, depth - 1)).collect()
        }
    }
}

pub(crate) fn object(values: &Map<String, Value>) -> wkt::Struct {
    let fields = values.iter();
    wkt::Struct {
        fields: fields
            .map(|(key, value)| (key.clone(), message(value)))
            .collect(),
    }
}

fn message(value: &Value) -> wkt::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => Kind::ListValue(wkt::ListValue {
            values: list.iter().map(message).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(object(fields)),
    };
    wkt::Value { kind: Some(kind) }
}
