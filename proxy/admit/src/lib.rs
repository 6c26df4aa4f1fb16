//! Request and peer to [`Permit`] or a refusal. Today that is fault injection; policy joins here, before routing.
//!
//! Pure: the draw comes from the caller, and so does the waiting. [`admit`] says how long to hold the request;
//! [`Admission::conclude`] then gives the permit or the refusal, in the order of Envoy's fault filter (delay, abort).

use std::time::Duration;

use lateen_proxy_model::{Fault, FaultAbort, Percentage, Permit, RequestView};

/// The verdict on a request, before its delay was served.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Admission {
    delay: Option<Duration>,
    abort: Option<FaultAbort>,
}

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An injected abort: body `fault filter abort`, response flag `FI`, details `fault_filter_abort`. `delayed` when an
    /// injected delay came first (flag `DI`).
    Fault {
        /// With which status.
        abort: FaultAbort,
        /// The request was held before.
        delayed: bool,
    },
}

/// Judges a request by the faults in force: the route's own, or else the filter's. `draw` gives even draws of
/// `0..1_000_000`, one for each share that is asked about.
pub fn admit(
    fault: Option<&Fault>,
    request: &RequestView<'_>,
    mut draw: impl FnMut() -> u32,
) -> Admission {
    let applies = |fault: &&Fault| fault.headers.iter().all(|header| header.matches(request));
    let Some(fault) = fault.filter(applies) else {
        return Admission {
            delay: None,
            abort: None,
        };
    };
    let mut hit = |share: Percentage| share.0 > 0 && share.holds(draw());
    Admission {
        delay: fault
            .delay
            .and_then(|(time, share)| hit(share).then_some(time))
            .filter(|time| !time.is_zero()),
        abort: fault
            .abort
            .and_then(|(abort, share)| hit(share).then_some(abort)),
    }
}

impl Admission {
    /// How long the request must be held before [`Admission::conclude`].
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// The permit, or why there is none.
    pub fn conclude(self) -> Result<Permit, Refusal> {
        match self.abort {
            Some(abort) => Err(Refusal::Fault {
                abort,
                delayed: self.delay.is_some(),
            }),
            None => Ok(Permit::granted(self.delay)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
    use lateen_proxy_model::{HeaderMatcher, HeaderSubject, HeaderTest, StringMatcher};

    fn judge(fault: &Fault, headers: &HeaderMap, draws: &[u32]) -> Admission {
        let mut draws = draws.iter();
        let view = RequestView {
            method: "GET",
            scheme: "http",
            authority: "ratings:9080",
            path: "/ratings/0",
            headers,
        };
        admit(Some(fault), &view, || {
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
        assert_eq!(both.delay(), Some(Duration::from_secs(7)));
        assert_eq!(
            both.conclude().expect_err("aborted"),
            Refusal::Fault {
                abort: FaultAbort::Http(StatusCode::INTERNAL_SERVER_ERROR),
                delayed: true
            }
        );
        let none = judge(&fault(), &jason(), &[500_000, 100_000]);
        assert_eq!(none.delay(), None);
        assert_eq!(none.conclude().expect("admitted").delayed(), None);
    }

    #[test]
    fn headers_must_hold_for_a_fault() {
        let admission = judge(&fault(), &HeaderMap::new(), &[]);
        assert!(admission.delay().is_none() && admission.conclude().is_ok());
    }
}
