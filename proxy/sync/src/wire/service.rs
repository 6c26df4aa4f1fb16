//! gRPC services that filters call.

use std::mem::take;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::grpc_service::TargetSpecifier;
use http::{HeaderName, HeaderValue};
use lateen_proxy_model::GrpcService;

use super::at::{At, Refused, nothing_left};
use super::common::duration;
use super::context::Context;

/// Reads a service; only those of clusters are supported.
pub(super) fn grpc(
    context: &Context<'_>,
    at: &At<'_>,
    message: Option<core::GrpcService>,
) -> Result<GrpcService, Refused> {
    let mut message = message.ok_or_else(|| at.refuse("missing"))?;
    let place = at.field("envoy_grpc");
    let mut target = match message.target_specifier.take() {
        Some(TargetSpecifier::EnvoyGrpc(target)) => target,
        Some(TargetSpecifier::GoogleGrpc(_)) => return Err(at.field("google_grpc").unsupported()),
        None => return Err(at.refuse("no target")),
    };
    // Calls carry none of these headers.
    target.skip_envoy_headers = false;
    let cluster = take(&mut target.cluster_name);
    if cluster.is_empty() {
        return Err(place.field("cluster_name").refuse("missing"));
    }
    let authority = match take(&mut target.authority) {
        text if text.is_empty() => None,
        text => Some(value(&place.field("authority"), text.into_bytes())?),
    };
    nothing_left(&place, &target)?;
    let list = at.field("initial_metadata");
    let metadata = metadata(&list, take(&mut message.initial_metadata))?;
    let timeout = duration(&at.field("timeout"), message.timeout.take())?;
    nothing_left(at, &message)?;
    Ok(GrpcService {
        cluster: context.cluster(&cluster),
        authority,
        metadata,
        timeout,
    })
}

/// Metadata that calls carry.
pub(super) fn metadata(
    list: &At<'_>,
    headers: Vec<core::HeaderValue>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Refused> {
    let mut metadata = Vec::with_capacity(headers.len());
    for (index, one) in headers.into_iter().enumerate() {
        let at = list.item(index);
        let name = HeaderName::try_from(&one.key).map_err(|_| {
            at.field("key")
                .refuse(format!("{:?} is no header name", one.key))
        })?;
        let bytes = match one.raw_value.is_empty() {
            true => one.value.into_bytes(),
            false => one.raw_value,
        };
        metadata.push((name, value(&at.field("value"), bytes)?));
    }
    Ok(metadata)
}

/// A header's value; format operators are refused.
fn value(at: &At<'_>, bytes: Vec<u8>) -> Result<HeaderValue, Refused> {
    if bytes.contains(&b'%') {
        return Err(at.refuse("format operators are not supported"));
    }
    HeaderValue::from_bytes(&bytes).map_err(|_| at.refuse("holds bytes no header may have"))
}
