//! Time a request may take.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_model::RequestView;

use crate::decide::Target;
use crate::find::is_grpc;

static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
static PER_TRY: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");
static EXPECTED: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// The limits of one request. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// From the end of the request to the end of the answer, retries included.
    pub total: Option<Duration>,
    /// For one try.
    pub per_try: Option<Duration>,
    /// For the stream, from its begin to its end.
    pub stream: Option<Duration>,
    /// The client's `grpc-timeout` is replaced by what is left for a try.
    pub tell_grpc: bool,
    /// The expected time is the client's own, which is sent on.
    pub keep_expected: bool,
}

impl Target<'_> {
    /// The limits: the route's, or what the client's `grpc-timeout` and headers of the inside make of them. `steered`:
    /// such headers may be there. `stream` is the connection manager's limit of a stream.
    pub fn times(
        &self,
        request: &RequestView<'_>,
        steered: bool,
        keep_expected: bool,
        stream: Option<Duration>,
    ) -> Times {
        let grpc = is_grpc(request);
        let new = self.forward.max_stream.is_some() || self.forward.grpc_stream.is_some();
        let mut times = Times {
            per_try: self.retry().and_then(|policy| policy.per_try_timeout),
            stream: self.stream_limit(request, stream),
            ..Times::default()
        };
        if !new {
            times.total = match self.forward.grpc_timeout_max.filter(|_| grpc) {
                Some(max) => {
                    times.tell_grpc = true;
                    self.grpc_total(request, max)
                }
                None => self.forward.timeout,
            };
        }
        if steered {
            steer(request.headers, keep_expected, &mut times);
        }
        times.total = times.total.filter(|total| !total.is_zero());
        let longer = |per_try: &Duration| times.total.is_none_or(|total| *per_try < total);
        times.per_try = times.per_try.filter(|it| !it.is_zero()).filter(longer);
        times
    }

    fn grpc_total(&self, request: &RequestView<'_>, max: Duration) -> Option<Duration> {
        let mut asked = grpc_timeout(request.headers).unwrap_or_default();
        if self.forward.grpc_timeout_offset < asked {
            asked -= self.forward.grpc_timeout_offset;
        }
        if !max.is_zero() && (asked.is_zero() || asked > max) {
            asked = max;
        }
        Some(asked)
    }

    fn stream_limit(
        &self,
        request: &RequestView<'_>,
        manager: Option<Duration>,
    ) -> Option<Duration> {
        let asked = self
            .forward
            .grpc_stream
            .and_then(|rule| Some((rule, grpc_timeout(request.headers)?)));
        let Some((rule, asked)) = asked else {
            let own = self.forward.max_stream.or(manager);
            return own.filter(|limit| !limit.is_zero());
        };
        let capped = match rule.max.is_zero() {
            true => asked,
            false => asked.min(rule.max),
        };
        Some(capped.saturating_sub(rule.offset))
    }
}

/// What headers of the inside say.
fn steer(headers: &HeaderMap, keep_expected: bool, times: &mut Times) {
    let millis = |name: &HeaderName| {
        let text = headers.get(name)?.to_str().ok()?;
        text.parse().ok().map(Duration::from_millis)
    };
    let expected = millis(&EXPECTED).filter(|_| keep_expected);
    times.keep_expected = expected.is_some();
    if let Some(total) = expected.or_else(|| millis(&TIMEOUT)) {
        times.total = Some(total);
    }
    if let Some(per_try) = millis(&PER_TRY) {
        times.per_try = Some(per_try);
    }
}

/// A time as `grpc-timeout` writes it: up to eight digits and a unit.
pub fn grpc_timeout_text(time: Duration) -> Option<HeaderValue> {
    const MOST: u128 = 99_999_999;
    let millis = time.as_millis();
    let text = if millis <= MOST {
        format!("{millis}m")
    } else if millis / 1000 <= MOST {
        format!("{}S", millis / 1000)
    } else if millis / 60_000 <= MOST {
        format!("{}M", millis / 60_000)
    } else {
        format!("{}H", (millis / 3_600_000).min(MOST))
    };
    HeaderValue::try_from(text).ok()
}

/// `grpc-timeout` as the gRPC protocol writes it: up to eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(&GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(count.saturating_mul(60))),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_without_overflow() {
        for (text, wanted) in [
            ("100m", Some(Duration::from_millis(100))),
            ("2S", Some(Duration::from_secs(2))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("999999999S", None),
            ("-1S", None),
            ("S", None),
            ("", None),
            ("1x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(&GRPC_TIMEOUT, HeaderValue::from_str(text).expect("valid"));
            assert_eq!(grpc_timeout(&headers), wanted, "{text}");
        }
    }
}
