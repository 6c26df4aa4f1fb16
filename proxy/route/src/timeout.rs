//! Time a request may take.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName};
use lateen_proxy_model::RequestView;

use crate::decide::Target;
use crate::find::is_grpc;

static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

impl Target<'_> {
    /// Time for the whole request: the route's, or for gRPC requests on routes that allow it the client's
    /// `grpc-timeout` below the route's maximum. `None` is no limit.
    pub fn timeout(&self, request: &RequestView<'_>) -> Option<Duration> {
        let Some(max) = self.forward.grpc_timeout_max.filter(|_| is_grpc(request)) else {
            return self.forward.timeout;
        };
        let asked = grpc_timeout(request.headers).filter(|asked| !asked.is_zero());
        if max.is_zero() {
            return asked;
        }
        Some(asked.map_or(max, |asked| asked.min(max)))
    }
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
            headers.insert(
                &GRPC_TIMEOUT,
                http::HeaderValue::from_str(text).expect("valid"),
            );
            assert_eq!(grpc_timeout(&headers), wanted, "{text}");
        }
    }
}
