//! Istio's filters that carry peer metadata: on TCP connections by ALPN, on HTTP by headers.

use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Any, Struct, Value};
use lateen_proxy_model::HttpFilter;
use lateen_xds::any;
use lateen_xds::pb::envoy::tcp::metadataexchange::config::MetadataExchange;
use lateen_xds::pb::io::istio::http::peer_metadata;
use lateen_xds::pb::io::istio::http::peer_metadata::config::discovery_method::MethodSpecifier as Discovery;
use lateen_xds::pb::io::istio::http::peer_metadata::config::propagation_method::MethodSpecifier as Propagation;
use prost::Name;

use super::at::{At, Refused};
use super::common::{must_be_off, unpack};

/// The only protocol of the TCP exchange.
const PROTOCOL: &str = "istio-peer-exchange";

/// Whether a network filter is the metadata exchange; its configuration is checked.
pub(super) fn is_network(at: &At<'_>, packed: &Any) -> Result<bool, Refused> {
    let (protocol, labels) = if let Some((name, fields)) = structured(at, packed)? {
        if name != MetadataExchange::full_name() {
            return Ok(false);
        }
        let known = ["protocol", "enable_discovery", "enableDiscovery"];
        only(at, &fields, &known)?;
        (text(&fields, "protocol"), false)
    } else if any::holds::<MetadataExchange>(packed) {
        let message: MetadataExchange = unpack(at, packed)?;
        let labels = !message.additional_labels.is_empty();
        (message.protocol, labels)
    } else {
        return Ok(false);
    };
    must_be_off(&at.field("additional_labels"), labels)?;
    if protocol != PROTOCOL {
        return Err(at
            .field("protocol")
            .refuse(format!("only {PROTOCOL} is supported")));
    }
    Ok(true)
}

/// The HTTP filter; `None` when the message is something else.
pub(super) fn http(at: &At<'_>, packed: &Any) -> Result<Option<HttpFilter>, Refused> {
    if let Some((name, fields)) = structured(at, packed)? {
        if name != peer_metadata::Config::full_name() {
            return Ok(None);
        }
        return of_struct(at, &fields).map(Some);
    }
    if !any::holds::<peer_metadata::Config>(packed) {
        return Ok(None);
    }
    let message: peer_metadata::Config = unpack(at, packed)?;
    must_be_off(
        &at.field("additional_labels"),
        !message.additional_labels.is_empty(),
    )?;
    let discovers = |list: &[peer_metadata::config::DiscoveryMethod]| {
        list.iter()
            .any(|one| matches!(one.method_specifier, Some(Discovery::IstioHeaders(_))))
    };
    let skips = |list: &[peer_metadata::config::PropagationMethod]| {
        list.iter().any(|one| match &one.method_specifier {
            Some(Propagation::IstioHeaders(headers)) => headers.skip_external_clusters,
            None => false,
        })
    };
    Ok(Some(HttpFilter::PeerMetadata {
        downstream: discovers(&message.downstream_discovery)
            || !message.downstream_propagation.is_empty(),
        upstream: discovers(&message.upstream_discovery)
            || !message.upstream_propagation.is_empty(),
        skip_external: skips(&message.upstream_propagation),
    }))
}

/// Name and fields of a `TypedStruct`.
pub(super) fn structured(at: &At<'_>, packed: &Any) -> Result<Option<(String, Struct)>, Refused> {
    let found = any::as_typed_struct(packed).map_err(|error| at.refuse(error.to_string()))?;
    Ok(found.map(|(url, fields)| (any::full_name(&url).to_owned(), fields)))
}

/// Refuses fields that are not `known`.
pub(super) fn only(at: &At<'_>, fields: &Struct, known: &[&str]) -> Result<(), Refused> {
    match fields
        .fields
        .keys()
        .find(|key| !known.contains(&key.as_str()))
    {
        Some(other) => Err(at.field("value").field(other).unsupported()),
        None => Ok(()),
    }
}

fn of_struct(at: &At<'_>, fields: &Struct) -> Result<HttpFilter, Refused> {
    const KNOWN: [&str; 10] = [
        "downstream_discovery",
        "upstream_discovery",
        "downstream_propagation",
        "upstream_propagation",
        "shared_with_upstream",
        "downstreamDiscovery",
        "upstreamDiscovery",
        "downstreamPropagation",
        "upstreamPropagation",
        "sharedWithUpstream",
    ];
    only(at, fields, &KNOWN)?;
    let headers = |snake: &str, camel: &str| {
        [snake, camel]
            .into_iter()
            .flat_map(|key| list(fields, key))
            .find_map(|item| field(item, "istio_headers").or_else(|| field(item, "istioHeaders")))
    };
    let upstream = headers("upstream_propagation", "upstreamPropagation");
    let skip_external = upstream.is_some_and(|value| {
        ["skip_external_clusters", "skipExternalClusters"]
            .into_iter()
            .filter_map(|key| field(value, key))
            .any(|flag| matches!(flag.kind, Some(Kind::BoolValue(true))))
    });
    Ok(HttpFilter::PeerMetadata {
        downstream: headers("downstream_discovery", "downstreamDiscovery").is_some()
            || headers("downstream_propagation", "downstreamPropagation").is_some(),
        upstream: upstream.is_some()
            || headers("upstream_discovery", "upstreamDiscovery").is_some(),
        skip_external,
    })
}

fn list<'s>(fields: &'s Struct, key: &str) -> &'s [Value] {
    match fields.fields.get(key).and_then(|value| value.kind.as_ref()) {
        Some(Kind::ListValue(list)) => &list.values,
        _ => &[],
    }
}

fn field<'s>(value: &'s Value, key: &str) -> Option<&'s Value> {
    match &value.kind {
        Some(Kind::StructValue(fields)) => fields.fields.get(key),
        _ => None,
    }
}

fn text(fields: &Struct, key: &str) -> String {
    match fields.fields.get(key).and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}
