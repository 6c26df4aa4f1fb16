//! Fault injection, in the order of Envoy's fault filter: delay, then abort.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use lateen_proxy_model::{
    Fault, FaultAbort, FaultRate, Gauge, HeaderShare, Percentage, RequestView,
};

static DELAY: HeaderName = HeaderName::from_static("x-envoy-fault-delay-request");
static DELAY_SHARE: HeaderName = HeaderName::from_static("x-envoy-fault-delay-request-percentage");
static ABORT: HeaderName = HeaderName::from_static("x-envoy-fault-abort-request");
static ABORT_GRPC: HeaderName = HeaderName::from_static("x-envoy-fault-abort-grpc-request");
static ABORT_SHARE: HeaderName = HeaderName::from_static("x-envoy-fault-abort-request-percentage");
static RATE: HeaderName = HeaderName::from_static("x-envoy-fault-throughput-response");
static RATE_SHARE: HeaderName =
    HeaderName::from_static("x-envoy-fault-throughput-response-percentage");
static NODE: HeaderName = HeaderName::from_static("x-envoy-downstream-service-node");

/// What is injected into a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Injected {
    /// The request is held this long first.
    pub delay: Option<Duration>,
    /// Then it ends: body `fault filter abort`, response flag `FI`, details `fault_filter_abort`.
    pub abort: Option<FaultAbort>,
    /// Bytes a second of the answer.
    pub rate: Option<NonZeroU64>,
}

/// A request with a fault under way; counts until it is dropped.
#[derive(Debug)]
pub struct ActiveFault(Arc<Gauge>);

impl Drop for ActiveFault {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Injected {
    /// Whether there is nothing.
    pub fn is_nothing(&self) -> bool {
        self.delay.is_none() && self.abort.is_none() && self.rate.is_none()
    }

    /// Counts the request among those under way with a fault; `None` when there are as many as may be.
    pub fn enter(&self, fault: &Fault) -> Option<ActiveFault> {
        let entered = fault.active.enter(fault.max_active.unwrap_or(u32::MAX));
        entered.then(|| ActiveFault(Arc::clone(&fault.active)))
    }
}

/// Judges a request by the faults in force: the route's own, or else the filter's. `cluster` is where it would go; `draw`
/// gives even draws of `0..1_000_000`, one for each share that is asked about.
pub fn inject(
    fault: &Fault,
    request: &RequestView<'_>,
    cluster: Option<&str>,
    mut draw: impl FnMut() -> u32,
) -> Injected {
    let headers = request.headers;
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    let here = fault
        .cluster
        .as_deref()
        .is_none_or(|it| cluster == Some(it))
        && fault.headers.iter().all(|header| header.matches(request))
        && (fault.nodes.is_empty()
            || text(&NODE).is_some_and(|node| fault.nodes.iter().any(|it| **it == *node)));
    if !here {
        return Injected::default();
    }
    let mut hit = |share: Percentage| share.0 > 0 && share.holds(draw());
    let asked = |rule: &HeaderShare, name: &HeaderName| {
        let number = text(name).and_then(|text| text.parse::<u32>().ok());
        number.map_or(rule.share, |number| {
            Percentage(number.saturating_mul(rule.unit).min(rule.share.0))
        })
    };
    let fixed_delay = fault
        .delay
        .and_then(|(time, share)| hit(share).then_some(time));
    let delay = fixed_delay.or_else(|| {
        let millis = text(&DELAY)?.parse().ok()?;
        let share = asked(fault.delay_by_header.as_ref()?, &DELAY_SHARE);
        hit(share).then_some(Duration::from_millis(millis))
    });
    let fixed_abort = fault
        .abort
        .and_then(|(abort, share)| hit(share).then_some(abort));
    let abort = fixed_abort.or_else(|| {
        let abort = asked_abort(&text)?;
        let share = asked(fault.abort_by_header.as_ref()?, &ABORT_SHARE);
        hit(share).then_some(abort)
    });
    let rate = fault.rate.and_then(|(rate, rule)| {
        let kilobytes = match rate {
            FaultRate::Fixed(limit) => limit,
            FaultRate::Header => text(&RATE)?.parse().ok()?,
        };
        let share = match rate {
            FaultRate::Fixed(_) => rule.share,
            FaultRate::Header => asked(&rule, &RATE_SHARE),
        };
        hit(share).then(|| NonZeroU64::new(kilobytes.saturating_mul(1024)))?
    });
    Injected {
        delay: delay.filter(|time| !time.is_zero()),
        abort,
        rate,
    }
}

fn asked_abort<'t>(text: &impl Fn(&HeaderName) -> Option<&'t str>) -> Option<FaultAbort> {
    if let Some(code) = text(&ABORT) {
        let status = code.parse().ok().filter(|code| (200..600).contains(code))?;
        return StatusCode::from_u16(status).ok().map(FaultAbort::Http);
    }
    text(&ABORT_GRPC)?.parse().ok().map(FaultAbort::Grpc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};
    use lateen_proxy_model::{HeaderMatcher, HeaderSubject, HeaderTest, StringMatcher};

    fn judge(fault: &Fault, headers: &HeaderMap, draws: &[u32]) -> Injected {
        let mut draws = draws.iter();
        let view = RequestView::of_head("GET", "ratings:9080", "/ratings/0", headers);
        inject(fault, &view, None, || {
            *draws.next().expect("one draw a share")
        })
    }

    fn fault() -> Fault {
        Fault {
            delay: Some((Duration::from_secs(7), Percentage(500_000))),
            abort: Some((
                FaultAbort::Http(StatusCode::INTERNAL_SERVER_ERROR),
                Percentage(100_000),
            )),
            headers: vec![HeaderMatcher {
                name: HeaderSubject::Header(HeaderName::from_static("end-user")),
                test: HeaderTest::Value(StringMatcher::Exact {
                    value: "jason".into(),
                    ignore_case: false,
                }),
                invert: false,
                missing_as_empty: false,
            }],
            ..Fault::default()
        }
    }

    fn jason() -> HeaderMap {
        HeaderMap::from_iter([(
            HeaderName::from_static("end-user"),
            HeaderValue::from_static("jason"),
        )])
    }

    #[test]
    fn shares_are_drawn_one_by_one() {
        let both = judge(&fault(), &jason(), &[499_999, 99_999]);
        assert_eq!(both.delay, Some(Duration::from_secs(7)));
        assert_eq!(
            both.abort,
            Some(FaultAbort::Http(StatusCode::INTERNAL_SERVER_ERROR))
        );
        assert_eq!(
            judge(&fault(), &jason(), &[500_000, 100_000]),
            Injected::default()
        );
    }

    #[test]
    fn headers_must_hold_for_a_fault() {
        let injected = judge(&fault(), &HeaderMap::new(), &[]);
        assert_eq!(injected, Injected::default());
    }
}
