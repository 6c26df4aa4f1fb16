//! A rate limit service behind a proxy: it notes what it is asked, and answers by the values of the descriptors.

use std::time::Duration;

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::HeaderValue as HeaderMessage;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{
    Code, DescriptorStatus, RateLimit,
};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf as wkt;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;

use super::service;
use super::upstream::Script;

/// Starts a service and gives its port.
pub(super) fn serve(script: Script) -> Result<u16> {
    service::serve(script, one)
}

async fn one(
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    script: Script,
) -> Result<()> {
    let script = &script;
    let path = request.uri().path().to_owned();
    let authority = request.uri().authority().map(ToString::to_string);
    let mut body = request.into_body();
    let mut data = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        data.extend_from_slice(&part);
    }
    let message = RateLimitRequest::decode(data.get(5..).unwrap_or_default())?;
    script.note_call(format!("{path} to {authority:?}: {}", text(&message)));
    let values: Vec<&str> = message
        .descriptors
        .iter()
        .flat_map(|it| &it.entries)
        .map(|entry| &*entry.value)
        .collect();
    if values.contains(&"hang") {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    if values.contains(&"reset") {
        answer.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    let head = Response::builder().header("content-type", "application/grpc");
    if values.contains(&"fail") {
        let head = head.header("grpc-status", "14").body(())?;
        answer.send_response(head, true)?;
        return Ok(());
    }
    let reply = reply(&message, &values).encode_to_vec();
    let mut frame = BytesMut::with_capacity(reply.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(reply.len())?);
    frame.put_slice(&reply);
    let mut stream = answer.send_response(head.body(())?, false)?;
    stream.send_data(frame.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(())
}

/// What was asked, on one line.
fn text(message: &RateLimitRequest) -> String {
    let descriptors = message.descriptors.iter().map(|one| {
        let entries = one
            .entries
            .iter()
            .map(|it| format!("{}={}", it.key, it.value));
        let mut text = entries.collect::<Vec<_>>().join(",");
        if let Some(limit) = &one.limit {
            text += &format!(" limit {} {}", limit.requests_per_unit, limit.unit);
        }
        if let Some(hits) = &one.hits_addend {
            text += &format!(" hits {} {}", hits.value, one.is_negative_hits);
        }
        format!("[{text}]")
    });
    let descriptors = descriptors.collect::<Vec<_>>().join(" ");
    format!("{} {descriptors} +{}", message.domain, message.hits_addend)
}

fn reply(message: &RateLimitRequest, values: &[&str]) -> RateLimitResponse {
    let over = |value: &&str| *value == "over" || *value == "body";
    let code = |over: bool| match over {
        true => Code::OverLimit,
        false => Code::Ok,
    };
    let header = |key: &str, value: &str| HeaderMessage {
        key: key.into(),
        value: value.into(),
        ..HeaderMessage::default()
    };
    let mut reply = RateLimitResponse {
        overall_code: code(values.iter().any(&over)) as i32,
        ..RateLimitResponse::default()
    };
    if values.contains(&"unknown") {
        reply.overall_code = Code::Unknown as i32;
    }
    for (index, descriptor) in message.descriptors.iter().enumerate() {
        let own = descriptor.entries.iter().any(|it| over(&&*it.value));
        let index = u32::try_from(index).unwrap_or_default();
        reply.statuses.push(DescriptorStatus {
            code: code(own) as i32,
            current_limit: Some(RateLimit {
                name: if own { "mine" } else { "" }.into(),
                requests_per_unit: 10 + index,
                unit: Unit::Minute as i32,
            }),
            limit_remaining: if own { 0 } else { 5 + index },
            duration_until_reset: Some(wkt::Duration {
                seconds: 7,
                nanos: 0,
            }),
            quota: None,
        });
    }
    if values.contains(&"headers") || values.contains(&"body") {
        reply.request_headers_to_add = vec![header("x-from-rls", "request")];
        reply.response_headers_to_add = vec![header("x-from-rls", "response")];
    }
    if values.contains(&"body") {
        reply.raw_body = b"{\"slow\":\"down\"}".to_vec();
        reply
            .response_headers_to_add
            .push(header("content-type", "application/json"));
    }
    reply
}
