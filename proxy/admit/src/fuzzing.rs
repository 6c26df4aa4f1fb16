//! What fuzz targets call, which answers of services reach by themselves.

use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitResponse;
use prost::Message;

use crate::LimitAnswer;

/// A rate limit service's answer, with the headers and the wait that are made of it.
pub fn limit_answer(bytes: &[u8]) -> Option<LimitAnswer> {
    let answer = LimitAnswer::read(RateLimitResponse::decode(bytes).ok()?);
    answer.limit_headers(&mut Vec::new());
    let _ = answer.retry_after();
    Some(answer)
}
