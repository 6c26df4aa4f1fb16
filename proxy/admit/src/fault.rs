//! Fault injection, in the order of Envoy's fault filter: delay, then abort.

use std::time::Duration;

use lateen_proxy_model::{Fault, FaultAbort, Percentage, RequestView};

/// What is injected into a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Injected {
    /// The request is held this long first.
    pub delay: Option<Duration>,
    /// Then it ends: body `fault filter abort`, response flag `FI`, details `fault_filter_abort`.
    pub abort: Option<FaultAbort>,
}

/// Judges a request by the faults in force: the route's own, or else the filter's. `draw` gives even draws of
/// `0..1_000_000`, one for each share that is asked about.
pub fn inject(fault: &Fault, request: &RequestView<'_>, mut draw: impl FnMut() -> u32) -> Injected {
    if !fault.headers.iter().all(|header| header.matches(request)) {
        return Injected::default();
    }
    let mut hit = |share: Percentage| share.0 > 0 && share.holds(draw());
    Injected {
        delay: fault
            .delay
            .and_then(|(time, share)| hit(share).then_some(time))
            .filter(|time| !time.is_zero()),
        abort: fault
            .abort
            .and_then(|(abort, share)| hit(share).then_some(abort)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
    use lateen_proxy_model::{HeaderMatcher, HeaderSubject, HeaderTest, StringMatcher};

    fn judge(fault: &Fault, headers: &HeaderMap, draws: &[u32]) -> Injected {
        let mut draws = draws.iter();
        let view = RequestView::of_head("GET", "ratings:9080", "/ratings/0", headers);
        inject(fault, &view, || *draws.next().expect("one draw a share"))
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
