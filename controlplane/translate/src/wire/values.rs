//! Scalars, addresses, matchers and metadata.

use std::collections::HashMap;
use std::net::IpAddr;

use lateen_api::proto::Duration as Span;

use crate::pb::core::{address, config_source, grpc_service, socket_address};
use crate::pb::{
    BoolValue, Duration, Struct, UInt32Value, UInt64Value, Value, core, kind, matcher,
};
use envoy_types::pb::google::protobuf::{ListValue, value::Kind};

/// A wrapped boolean.
pub(crate) fn flag(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

/// A wrapped number.
pub(crate) fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// A wrapped number, absent when it is zero or negative.
pub(crate) fn positive(value: i32) -> Option<UInt32Value> {
    u32::try_from(value)
        .ok()
        .filter(|n| *n > 0)
        .and_then(number)
}

/// A wrapped wide number.
pub(crate) fn wide(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

/// A duration of whole seconds.
pub(crate) fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

/// A duration of whole milliseconds.
pub(crate) fn millis(millis: i64) -> Option<Duration> {
    Some(Duration {
        seconds: millis / 1000,
        nanos: i32::try_from(millis % 1000 * 1_000_000).unwrap_or(0),
    })
}

/// A duration of the API.
pub(crate) fn span(span: Span) -> Option<Duration> {
    Some(Duration {
        seconds: span.as_secs(),
        nanos: span.subsec_nanos(),
    })
}

/// A percentage in millionths, as routes state it.
pub(crate) fn per_million(percent: f64) -> kind::FractionalPercent {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let numerator = (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32;
    kind::FractionalPercent {
        numerator,
        denominator: kind::fractional_percent::DenominatorType::Million as i32,
    }
}

/// A socket address.
pub(crate) fn socket(ip: &str, port: u16) -> core::Address {
    core::Address {
        address: Some(address::Address::SocketAddress(socket_address(ip, port))),
    }
}

/// A bare socket address.
pub(crate) fn socket_address(ip: &str, port: u16) -> core::SocketAddress {
    core::SocketAddress {
        address: ip.to_owned(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    }
}

/// A Unix domain socket.
pub(crate) fn pipe(path: &str) -> core::Address {
    core::Address {
        address: Some(address::Address::Pipe(core::Pipe {
            path: path.to_owned(),
            mode: 0,
        })),
    }
}

/// A network.
pub(crate) fn cidr(ip: IpAddr, prefix: u8) -> core::CidrRange {
    core::CidrRange {
        address_prefix: ip.to_string(),
        prefix_len: number(prefix.into()),
    }
}

/// Resources come over the aggregated stream; readiness waits for them however long it takes.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        initial_fetch_timeout: seconds(0),
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..Default::default()
    }
}

/// Secrets of the control plane come over the aggregated stream.
pub(crate) fn ads_secret() -> core::ConfigSource {
    core::ConfigSource {
        initial_fetch_timeout: None,
        ..ads()
    }
}

/// Secrets of the pod come from the agent beside the proxy.
pub(crate) fn agent_secrets() -> core::ConfigSource {
    let service = core::GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(
            grpc_service::EnvoyGrpc {
                cluster_name: "sds-grpc".into(),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    let api = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc as i32,
        transport_api_version: core::ApiVersion::V3 as i32,
        grpc_services: vec![service],
        set_node_on_first_message_only: true,
        ..Default::default()
    };
    core::ConfigSource {
        initial_fetch_timeout: seconds(0),
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::ApiConfigSource(api)),
        ..Default::default()
    }
}

/// A text value of a struct.
pub(crate) fn text_value(text: impl Into<String>) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.into())),
    }
}

/// A boolean value of a struct.
pub(crate) fn flag_value(value: bool) -> Value {
    Value {
        kind: Some(Kind::BoolValue(value)),
    }
}

/// A nested struct as a value.
pub(crate) fn struct_value(inner: Struct) -> Value {
    Value {
        kind: Some(Kind::StructValue(inner)),
    }
}

/// A list as a value.
pub(crate) fn list_value(values: Vec<Value>) -> Value {
    Value {
        kind: Some(Kind::ListValue(ListValue { values })),
    }
}

/// A struct of the given fields.
pub(crate) fn struct_of<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Struct {
    Struct {
        fields: fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    }
}

/// Metadata with one struct under `key`.
pub(crate) fn metadata(key: &str, inner: Struct) -> core::Metadata {
    core::Metadata {
        filter_metadata: HashMap::from([(key.to_owned(), inner)]),
        ..Default::default()
    }
}

/// Metadata with several structs.
pub(crate) fn metadata_of<'a>(
    parts: impl IntoIterator<Item = (&'a str, Struct)>,
) -> core::Metadata {
    let filter_metadata = parts
        .into_iter()
        .map(|(key, inner)| (key.to_owned(), inner))
        .collect();
    core::Metadata {
        filter_metadata,
        ..Default::default()
    }
}

/// Metadata that names the object a resource was made from.
pub(crate) fn made_from(plural: &str, namespace: &str, name: &str) -> core::Metadata {
    metadata(
        "istio",
        struct_of([("config", text_value(config_path(plural, namespace, name)))]),
    )
}

/// Path of a networking object in the Kubernetes API.
pub(crate) fn config_path(kind: &str, namespace: &str, name: &str) -> String {
    format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}")
}

/// A full-match regular expression.
pub(crate) fn regex(pattern: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: pattern.to_owned(),
        engine_type: None,
    }
}

/// A matcher of exactly this text.
pub(crate) fn exact(text: &str) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(
            text.to_owned(),
        )),
        ignore_case: false,
    }
}

/// A matcher of texts that start like this.
pub(crate) fn prefix(text: &str) -> matcher::StringMatcher {
    matcher::StringMatcher {
        match_pattern: Some(matcher::string_matcher::MatchPattern::Prefix(
            text.to_owned(),
        )),
        ignore_case: false,
    }
}
