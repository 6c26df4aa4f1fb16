//! Asks a rate limit service (`envoy.service.ratelimit.v3`), and reads its answer.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::HeaderValue as HeaderMessage;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use envoy_types::pb::google::protobuf::{Struct, UInt64Value};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_model::{Call, Descriptor, GrpcService, GrpcSettings, grpc_call};
use prost::Message;
use serde_json::{Map, Value};

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// What a service says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The request may pass.
    Ok,
    /// It is over the limit.
    Over,
    /// The service said nothing that can be used.
    Error,
}

/// A service's answer.
#[derive(Clone, Debug)]
pub struct LimitAnswer {
    /// What it says.
    pub limit: Limit,
    /// Headers for the request.
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers for the answer.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// Body of a refusal.
    pub body: Bytes,
    /// What it wants to be noted of the request.
    pub metadata: Option<Map<String, Value>>,
    statuses: Vec<DescriptorStatus>,
}

/// Asks `service` about `descriptors`.
pub async fn ask_limit<C: Call>(
    calls: &C,
    (service, timeout): (&GrpcService, Option<Duration>),
    domain: &str,
    descriptors: &[Descriptor<'_>],
) -> LimitAnswer {
    let request = RateLimitRequest {
        domain: domain.to_owned(),
        descriptors: descriptors.iter().map(message).collect(),
        hits_addend: 0,
    };
    let settings = GrpcSettings {
        timeout,
        authority: service.authority.as_ref(),
        metadata: &service.metadata,
    };
    let message = request.encode_to_vec();
    let answer = grpc_call(calls, &service.cluster, METHOD, &message, settings).await;
    let answer = answer
        .ok()
        .and_then(|it| RateLimitResponse::decode(it).ok());
    answer.map_or_else(LimitAnswer::error, LimitAnswer::read)
}

fn message(descriptor: &Descriptor<'_>) -> RateLimitDescriptor {
    let entry = |(key, value): &(&str, std::borrow::Cow<'_, str>)| Entry {
        key: (*key).to_owned(),
        value: value.to_string(),
    };
    RateLimitDescriptor {
        entries: descriptor.entries.iter().map(entry).collect(),
        limit: descriptor.limit.map(|limit| RateLimitOverride {
            requests_per_unit: limit.requests,
            unit: limit.unit,
        }),
        hits_addend: descriptor.hits.map(|it| UInt64Value { value: it.hits }),
        is_negative_hits: descriptor.hits.is_some_and(|it| it.negative),
    }
}

impl LimitAnswer {
    fn error() -> Self {
        Self {
            limit: Limit::Error,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            body: Bytes::new(),
            metadata: None,
            statuses: Vec::new(),
        }
    }

    pub(crate) fn read(message: RateLimitResponse) -> Self {
        let limit = match message.overall_code() {
            Code::OverLimit => Limit::Over,
            Code::Ok => Limit::Ok,
            Code::Unknown => Limit::Error,
        };
        Self {
            limit,
            request_headers: headers(message.request_headers_to_add),
            response_headers: headers(message.response_headers_to_add),
            body: message.raw_body.into(),
            metadata: message.dynamic_metadata.and_then(|it| object(&it)),
            statuses: message.statuses,
        }
    }

    /// Adds `x-ratelimit-*`: the limit that is closest, and the windows of all.
    pub fn limit_headers(&self, into: &mut Vec<(HeaderName, HeaderValue)>) {
        let limited = || {
            self.statuses
                .iter()
                .filter_map(|it| Some((it, it.current_limit.as_ref()?)))
        };
        let Some((closest, limit)) = limited().min_by_key(|(status, _)| status.limit_remaining)
        else {
            return;
        };
        let mut text = limit.requests_per_unit.to_string();
        for (_, limit) in limited() {
            let window = seconds(limit.unit());
            if window > 0 {
                let _ = write!(text, ", {};w={window}", limit.requests_per_unit);
                if !limit.name.is_empty() {
                    let _ = write!(text, ";name=\"{}\"", limit.name);
                }
            }
        }
        let reset = closest.duration_until_reset.as_ref();
        let reset = reset.map_or(0, |it| u64::try_from(it.seconds).unwrap_or(0));
        if let Ok(text) = HeaderValue::try_from(text) {
            into.push((LIMIT.clone(), text));
        }
        into.push((
            REMAINING.clone(),
            HeaderValue::from(closest.limit_remaining),
        ));
        into.push((RESET.clone(), HeaderValue::from(reset)));
    }

    /// Seconds after which to ask again: the longest of the limits that were reached.
    pub fn retry_after(&self) -> Option<u64> {
        let over = self
            .statuses
            .iter()
            .filter(|it| it.code() == Code::OverLimit);
        let times = over.map(|it| it.duration_until_reset.as_ref().map_or(0, |it| it.seconds));
        times
            .max()
            .map(|time| u64::try_from(time).unwrap_or(0).max(1))
    }
}

fn object(fields: &Struct) -> Option<Map<String, Value>> {
    match lateen_xds::structs::to_json(fields) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

fn headers(messages: Vec<HeaderMessage>) -> Vec<(HeaderName, HeaderValue)> {
    let read = |it: HeaderMessage| {
        let name = HeaderName::try_from(it.key).ok()?;
        let bytes = match it.raw_value.is_empty() {
            true => it.value.into_bytes(),
            false => it.raw_value,
        };
        Some((
            name,
            HeaderValue::from_maybe_shared(Bytes::from(bytes)).ok()?,
        ))
    };
    messages.into_iter().filter_map(read).collect()
}

fn seconds(unit: Unit) -> u32 {
    const DAY: u32 = 86_400;
    match unit {
        Unit::Unknown => 0,
        Unit::Second => 1,
        Unit::Minute => 60,
        Unit::Hour => 3600,
        Unit::Day => DAY,
        Unit::Week => 7 * DAY,
        Unit::Month => 30 * DAY,
        Unit::Year => 365 * DAY,
    }
}

/// Adds headers beside those that are there.
pub fn append_headers(headers: &mut HeaderMap, added: &[(HeaderName, HeaderValue)]) {
    for (name, value) in added {
        headers.append(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::RateLimit;
    use envoy_types::pb::google::protobuf as wkt;

    fn status(
        requests: u32,
        unit: Unit,
        remaining: u32,
        reset: i64,
        code: Code,
    ) -> DescriptorStatus {
        DescriptorStatus {
            code: code as i32,
            current_limit: Some(RateLimit {
                name: String::new(),
                requests_per_unit: requests,
                unit: unit as i32,
            }),
            limit_remaining: remaining,
            duration_until_reset: Some(wkt::Duration {
                seconds: reset,
                nanos: 0,
            }),
            quota: None,
        }
    }

    #[test]
    fn headers_tell_of_the_closest_limit() {
        let answer = LimitAnswer::read(RateLimitResponse {
            overall_code: Code::OverLimit as i32,
            statuses: vec![
                status(10, Unit::Minute, 4, 30, Code::Ok),
                status(2, Unit::Second, 0, 1, Code::OverLimit),
            ],
            ..RateLimitResponse::default()
        });
        assert_eq!(answer.limit, Limit::Over);
        let mut headers = Vec::new();
        answer.limit_headers(&mut headers);
        let values: Vec<_> = headers
            .iter()
            .map(|(_, value)| value.to_str().unwrap())
            .collect();
        assert_eq!(values, ["2, 10;w=60, 2;w=1", "0", "1"]);
        assert_eq!(answer.retry_after(), Some(1));
    }
}
