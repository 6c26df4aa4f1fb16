//! Whether a request is tried again, and after what wait.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};
use lateen_proxy_model::{
    Backoff, ClusterShared, RequestView, ResetReason, RetryOn, RetryPolicy, SendFailure,
};
use lateen_proxy_telemetry::Flags;

use super::worker::KnownCluster;

/// Longest exponent of the growth; beyond that the wait is at its limit anyway.
const MAX_SHIFT: u32 = 16;

/// What becomes of a try that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its result is the answer.
    Keep,
    /// Another try would be due but for this limit.
    Limited(Flags),
    /// Another try.
    Again,
}

/// The retries of one request.
pub(crate) struct Retries<'a> {
    policy: Option<&'a RetryPolicy>,
    left: u32,
    made: u32,
    tried: Vec<u64>,
    running: Option<Running>,
    /// The request has high priority.
    high: bool,
}

/// One retry under way, in the cluster's circuit breaker.
struct Running(Arc<ClusterShared>, bool);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.of(self.1).retries.leave();
    }
}

impl<'a> Retries<'a> {
    pub(crate) fn new(policy: Option<&'a RetryPolicy>, high: bool) -> Self {
        Self {
            policy,
            left: policy.map_or(0, |policy| policy.retries),
            made: 0,
            tried: Vec::new(),
            running: None,
            high,
        }
    }

    /// Whether another try may come, so that the request must be kept.
    pub(crate) fn may_come(&self) -> bool {
        self.left > 0
    }

    /// Endpoints to avoid, and how often to choose anew for it.
    pub(crate) fn avoid(&self) -> (&[u64], u32) {
        match self.policy {
            Some(policy) if policy.avoid_previous_hosts => {
                (&self.tried, policy.host_selection_attempts)
            }
            _ => (&[], 0),
        }
    }

    pub(crate) fn note_tried(&mut self, endpoint: u64) {
        if self
            .policy
            .is_some_and(|policy| policy.avoid_previous_hosts && self.left > 0)
        {
            self.tried.push(endpoint);
        }
    }

    /// Judges an answer's head.
    pub(crate) fn on_response<B>(
        &mut self,
        response: &Response<B>,
        cluster: &Rc<KnownCluster>,
    ) -> Verdict {
        let Some(policy) = self.policy else {
            return Verdict::Keep;
        };
        let wanted = wants_response(policy, response.status(), response.headers());
        self.judge(wanted, cluster)
    }

    /// Judges a try without answer.
    pub(crate) fn on_reset(
        &mut self,
        failure: &SendFailure,
        cluster: &Rc<KnownCluster>,
    ) -> Verdict {
        let wanted = self
            .policy
            .is_some_and(|policy| wants_reset(policy.on, failure.reason, failure.started));
        self.judge(wanted, cluster)
    }

    /// Judges a try that took too long.
    pub(crate) fn on_try_timeout(&mut self, cluster: &Rc<KnownCluster>) -> Verdict {
        let after = RetryOn::FIVE_XX
            .with(RetryOn::GATEWAY_ERROR)
            .with(RetryOn::RESET);
        let wanted = self.policy.is_some_and(|policy| policy.on.has(after));
        self.judge(wanted, cluster)
    }

    /// The wait before the next try: an even draw below the limit of its turn.
    pub(crate) fn wait(&mut self) -> Duration {
        let Some(Backoff { base, max }) = self.policy.map(|policy| policy.backoff) else {
            return Duration::ZERO;
        };
        let factor = 1u32 << self.made.saturating_sub(1).min(MAX_SHIFT);
        let limit = base.saturating_mul(factor).min(max.max(base));
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(fastrand::u64(..nanos.max(1)))
    }

    fn judge(&mut self, wanted: bool, cluster: &Rc<KnownCluster>) -> Verdict {
        self.running = None;
        if !wanted {
            return Verdict::Keep;
        }
        if self.left == 0 {
            return Verdict::Limited(Flags::RETRIES_EXHAUSTED);
        }
        let shared = &cluster.cluster.shared;
        let retries = &shared.of(self.high).retries;
        if !retries.enter(cluster.cluster.max_retries(self.high)) {
            return Verdict::Limited(Flags::UPSTREAM_OVERFLOW);
        }
        self.running = Some(Running(Arc::clone(shared), self.high));
        self.left -= 1;
        self.made += 1;
        Verdict::Again
    }
}

fn wants_response(policy: &RetryPolicy, status: StatusCode, headers: &HeaderMap) -> bool {
    let on = policy.on;
    let limited = headers.contains_key("x-envoy-ratelimited");
    if limited {
        return on.has(RetryOn::ENVOY_RATELIMITED);
    }
    (on.has(RetryOn::FIVE_XX) && status.is_server_error())
        || (on.has(RetryOn::GATEWAY_ERROR) && matches!(status.as_u16(), 502..=504))
        || (on.has(RetryOn::RETRIABLE_4XX) && status == StatusCode::CONFLICT)
        || (on.has(RetryOn::RETRIABLE_STATUS_CODES) && policy.statuses.contains(&status))
        || (on.has(RetryOn::RETRIABLE_HEADERS) && header_matches(policy, status, headers))
        || grpc_condition(headers).is_some_and(|condition| on.has(condition))
}

fn header_matches(policy: &RetryPolicy, status: StatusCode, headers: &HeaderMap) -> bool {
    // Matchers were made for requests; of an answer only the headers are there to look at.
    let view = RequestView::of_head(status.as_str(), "", "", headers);
    policy.headers.iter().any(|matcher| matcher.matches(&view))
}

fn grpc_condition(headers: &HeaderMap) -> Option<RetryOn> {
    match headers.get("grpc-status")?.as_bytes() {
        b"1" => Some(RetryOn::GRPC_CANCELLED),
        b"4" => Some(RetryOn::GRPC_DEADLINE_EXCEEDED),
        b"8" => Some(RetryOn::GRPC_RESOURCE_EXHAUSTED),
        b"13" => Some(RetryOn::GRPC_INTERNAL),
        b"14" => Some(RetryOn::GRPC_UNAVAILABLE),
        _ => None,
    }
}

fn wants_reset(on: RetryOn, reason: ResetReason, started: bool) -> bool {
    // A circuit breaker that opens must not be hit again; a client that went away waits for nothing.
    if matches!(
        reason,
        ResetReason::Overflow | ResetReason::NoPool | ResetReason::LocalReset
    ) {
        return false;
    }
    let any = RetryOn::FIVE_XX
        .with(RetryOn::GATEWAY_ERROR)
        .with(RetryOn::RESET);
    on.has(any)
        || (on.has(RetryOn::RESET_BEFORE_REQUEST) && !started)
        || (on.has(RetryOn::CONNECT_FAILURE) && reason.is_connect_failure())
        || (on.has(RetryOn::REFUSED_STREAM) && reason == ResetReason::RemoteRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(on: RetryOn) -> RetryPolicy {
        RetryPolicy {
            on,
            retries: 2,
            per_try_timeout: None,
            statuses: vec![StatusCode::TOO_MANY_REQUESTS],
            headers: Vec::new(),
            avoid_previous_hosts: true,
            host_selection_attempts: 5,
            backoff: Backoff {
                base: Duration::from_millis(25),
                max: Duration::from_millis(250),
            },
        }
    }

    #[test]
    fn answers_are_retried_by_their_conditions() {
        let grpc = |code: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", code.parse().unwrap());
            headers
        };
        for (on, status, headers, wanted) in [
            (RetryOn::FIVE_XX, 500, HeaderMap::new(), true),
            (RetryOn::FIVE_XX, 404, HeaderMap::new(), false),
            (RetryOn::GATEWAY_ERROR, 500, HeaderMap::new(), false),
            (RetryOn::GATEWAY_ERROR, 503, HeaderMap::new(), true),
            (RetryOn::RETRIABLE_4XX, 409, HeaderMap::new(), true),
            (RetryOn::RETRIABLE_STATUS_CODES, 429, HeaderMap::new(), true),
            (
                RetryOn::RETRIABLE_STATUS_CODES,
                503,
                HeaderMap::new(),
                false,
            ),
            (RetryOn::GRPC_UNAVAILABLE, 200, grpc("14"), true),
            (RetryOn::GRPC_UNAVAILABLE, 200, grpc("1"), false),
            (RetryOn::GRPC_CANCELLED, 200, grpc("1"), true),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let got = wants_response(&policy(on), status, &headers);
            assert_eq!(got, wanted, "{on:?} {status} {headers:?}");
        }
    }

    #[test]
    fn resets_are_retried_by_their_conditions() {
        for (on, reason, started, wanted) in [
            (
                RetryOn::CONNECT_FAILURE,
                ResetReason::ConnectFailure,
                false,
                true,
            ),
            (
                RetryOn::CONNECT_FAILURE,
                ResetReason::ConnectionTermination,
                true,
                false,
            ),
            (
                RetryOn::REFUSED_STREAM,
                ResetReason::RemoteRefused,
                true,
                true,
            ),
            (
                RetryOn::RESET,
                ResetReason::ConnectionTermination,
                true,
                true,
            ),
            (
                RetryOn::RESET_BEFORE_REQUEST,
                ResetReason::ConnectFailure,
                false,
                true,
            ),
            (
                RetryOn::RESET_BEFORE_REQUEST,
                ResetReason::ConnectionTermination,
                true,
                false,
            ),
            (RetryOn::FIVE_XX, ResetReason::Overflow, false, false),
        ] {
            assert_eq!(
                wants_reset(on, reason, started),
                wanted,
                "{on:?} {reason:?}"
            );
        }
    }

    #[test]
    fn waits_grow_to_their_limit() {
        let policy = policy(RetryOn::FIVE_XX);
        let mut retries = Retries::new(Some(&policy));
        for (made, limit) in [(1, 25), (2, 50), (5, 250), (40, 250)] {
            retries.made = made;
            for _ in 0..50 {
                assert!(retries.wait() < Duration::from_millis(limit));
            }
        }
    }
}
