//! Whether a request is tried again, and after what wait.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use lateen_proxy_model::{
    Backoff, ClusterShared, Labels, OnUse, RateLimitedBackoff, RequestView, ResetHeader,
    ResetReason, RetryOn, RetryPolicy, SendFailure, TriedPriorities,
};
use lateen_proxy_telemetry::Flags;

use super::worker::KnownCluster;

static RETRY_ON: HeaderName = HeaderName::from_static("x-envoy-retry-on");
static RETRY_GRPC_ON: HeaderName = HeaderName::from_static("x-envoy-retry-grpc-on");
static MAX_RETRIES: HeaderName = HeaderName::from_static("x-envoy-max-retries");
static RETRIABLE_STATUSES: HeaderName = HeaderName::from_static("x-envoy-retriable-status-codes");
static RETRIABLE_HEADERS: HeaderName = HeaderName::from_static("x-envoy-retriable-header-names");
static HEDGE: HeaderName = HeaderName::from_static("x-envoy-hedge-on-per-try-timeout");
static TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
static PER_TRY: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");
static RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// Waiting times of requests that ask for retries where the route has no policy.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(25),
    max: Duration::from_millis(250),
};

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
    on: RetryOn,
    /// What the request itself says beside the policy.
    asked: Asked,
    left: u32,
    made: u32,
    tried: Vec<u64>,
    priorities: Option<Box<TriedPriorities>>,
    running: Option<Running>,
    /// The request has high priority.
    high: bool,
    /// The upstream asked for this wait.
    told: Option<Duration>,
}

/// What headers of the inside ask for.
#[derive(Debug, Default)]
struct Asked {
    on: RetryOn,
    retries: Option<u32>,
    statuses: Vec<u16>,
    headers: Vec<HeaderName>,
    hedge: Option<bool>,
}

impl Asked {
    /// Takes the headers out of a request.
    fn take(headers: &mut HeaderMap) -> Self {
        let mut asked = Self::default();
        let mut text = |name: &HeaderName| headers.remove(name);
        if let Some(value) = text(&RETRY_ON) {
            for name in parts(&value) {
                asked.on = asked.on.with(RetryOn::named(name).unwrap_or_default());
            }
        }
        if let Some(value) = text(&RETRY_GRPC_ON) {
            for name in parts(&value) {
                asked.on = asked.on.with(RetryOn::named_grpc(name).unwrap_or_default());
            }
        }
        if let Some(value) = text(&MAX_RETRIES) {
            asked.retries = value.to_str().ok().and_then(|it| it.parse().ok());
        }
        if let Some(value) = text(&RETRIABLE_STATUSES) {
            asked.statuses = parts(&value).filter_map(|it| it.parse().ok()).collect();
        }
        if let Some(value) = text(&RETRIABLE_HEADERS) {
            let names = parts(&value).filter_map(|it| HeaderName::try_from(it).ok());
            asked.headers = names.collect();
        }
        asked.hedge = text(&HEDGE).and_then(|value| match value.as_bytes() {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        });
        for name in [&TIMEOUT, &PER_TRY] {
            text(name);
        }
        asked
    }
}

fn parts(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = value.to_str().unwrap_or_default();
    text.split(',').map(str::trim).filter(|it| !it.is_empty())
}

/// One retry under way, in the cluster's circuit breaker.
struct Running(Arc<OnUse<ClusterShared>>, bool);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.of(self.1).retries.leave();
    }
}

impl<'a> Retries<'a> {
    /// The retries that a policy allows for a request. `steered`: headers of the inside may say more, and are taken out.
    pub(crate) fn new(
        policy: Option<&'a RetryPolicy>,
        high: bool,
        parts: &mut Parts,
        (authority, steered): (&str, bool),
    ) -> Self {
        let asked = match steered {
            true => Asked::take(&mut parts.headers),
            false => Asked::default(),
        };
        let mut on = policy
            .map_or_else(RetryOn::default, |it| it.on)
            .with(asked.on);
        if let Some(policy) = policy.filter(|it| !it.request_headers.is_empty()) {
            let path = parts.uri.path_and_query().map_or("/", |it| it.as_str());
            let view = RequestView::of_head(parts.method.as_str(), authority, path, &parts.headers);
            if !policy.request_headers.iter().any(|it| it.matches(&view)) {
                on = RetryOn::default();
            }
        }
        let retries = policy.map_or(1, |policy| policy.retries);
        let left = match on == RetryOn::default() {
            true => 0,
            false => asked.retries.unwrap_or(retries),
        };
        Self {
            policy,
            on,
            asked,
            left,
            made: 0,
            tried: Vec::new(),
            priorities: policy
                .and_then(|policy| policy.avoid_priorities)
                .filter(|_| left > 0)
                .map(|every| {
                    Box::new(TriedPriorities {
                        every,
                        ..TriedPriorities::default()
                    })
                }),
            running: None,
            high,
            told: None,
        }
    }

    /// No retries.
    pub(crate) fn none() -> Self {
        Self {
            policy: None,
            on: RetryOn::default(),
            asked: Asked::default(),
            left: 0,
            made: 0,
            tried: Vec::new(),
            priorities: None,
            running: None,
            high: false,
            told: None,
        }
    }

    /// Whether another try may come, so that the request must be kept.
    pub(crate) fn may_come(&self) -> bool {
        self.left > 0
    }

    /// Endpoints to avoid, labels of others, and how often to choose anew for it. The first try may go anywhere.
    pub(crate) fn avoid(&self) -> (&[u64], &[Labels], u32) {
        match self.policy {
            Some(policy)
                if self.made > 0
                    && (policy.avoid_previous_hosts || !policy.avoid_labels.is_empty()) =>
            {
                let attempts = policy.host_selection_attempts;
                (&self.tried, &policy.avoid_labels, attempts)
            }
            _ => (&[], &[], 0),
        }
    }

    /// Priorities to leave out.
    pub(crate) fn priorities(&self) -> Option<&TriedPriorities> {
        self.priorities.as_deref().filter(|_| self.made > 0)
    }

    pub(crate) fn note_tried(&mut self, endpoint: u64) {
        if let Some(priorities) = &self.priorities {
            priorities.endpoints.borrow_mut().push(endpoint);
        }
        if self
            .policy
            .is_some_and(|policy| policy.avoid_previous_hosts && self.left > 0)
        {
            self.tried.push(endpoint);
        }
    }

    /// Whether a try that takes too long goes on beside the next one; the request may say so.
    pub(crate) fn hedges(&self, by_route: bool) -> bool {
        self.asked.hedge.unwrap_or(by_route)
    }

    /// Judges a try that takes too long and goes on: another is begun beside it while any is left.
    pub(crate) fn on_slow(&mut self, cluster: &Rc<KnownCluster>) -> Verdict {
        self.told = None;
        self.judge(self.on != RetryOn::default(), cluster)
    }

    /// Whether an answer's head asks for another try, if there could be one.
    pub(crate) fn would_retry<B>(&self, response: &Response<B>) -> bool {
        self.on != RetryOn::default() && self.wants_response(response.status(), response.headers())
    }

    /// Judges an answer's head.
    pub(crate) fn on_response<B>(
        &mut self,
        response: &Response<B>,
        cluster: &Rc<KnownCluster>,
    ) -> Verdict {
        if self.on == RetryOn::default() {
            return Verdict::Keep;
        }
        let wanted = self.wants_response(response.status(), response.headers());
        self.told = self
            .policy
            .and_then(|policy| policy.rate_limited.as_ref())
            .filter(|_| wanted)
            .and_then(|rule| told_wait(rule, response.headers()));
        self.judge(wanted, cluster)
    }

    /// Judges a try without answer.
    pub(crate) fn on_reset(
        &mut self,
        failure: &SendFailure,
        cluster: &Rc<KnownCluster>,
    ) -> Verdict {
        self.told = None;
        let wanted = wants_reset(self.on, failure.reason, failure.started);
        self.judge(wanted, cluster)
    }

    /// Judges a try that took too long.
    pub(crate) fn on_try_timeout(&mut self, cluster: &Rc<KnownCluster>) -> Verdict {
        let after = RetryOn::FIVE_XX
            .with(RetryOn::GATEWAY_ERROR)
            .with(RetryOn::RESET);
        self.told = None;
        self.judge(self.on.has(after), cluster)
    }

    /// The wait before the next try: an even draw below the limit of its turn.
    pub(crate) fn wait(&mut self) -> Duration {
        if let Some(told) = self.told.take() {
            // Never before the time that was told, and not all at once.
            let half = u64::try_from(told.as_millis() / 2).unwrap_or(u64::MAX);
            return told.saturating_add(Duration::from_millis(fastrand::u64(..half.max(1))));
        }
        let Backoff { base, max } = self.policy.map_or(BACKOFF, |policy| policy.backoff);
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

impl Retries<'_> {
    fn wants_response(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let on = self.on;
        if headers.contains_key(&RATE_LIMITED) {
            return on.has(RetryOn::ENVOY_RATELIMITED);
        }
        (on.has(RetryOn::FIVE_XX) && status.is_server_error())
            || (on.has(RetryOn::GATEWAY_ERROR) && matches!(status.as_u16(), 502..=504))
            || (on.has(RetryOn::RETRIABLE_4XX) && status == StatusCode::CONFLICT)
            || (on.has(RetryOn::RETRIABLE_STATUS_CODES) && self.names_status(status))
            || (on.has(RetryOn::RETRIABLE_HEADERS) && self.names_header(status, headers))
            || grpc_condition(headers).is_some_and(|condition| on.has(condition))
    }

    fn names_status(&self, status: StatusCode) -> bool {
        self.asked.statuses.contains(&status.as_u16())
            || self
                .policy
                .is_some_and(|policy| policy.statuses.contains(&status))
    }

    fn names_header(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if self.asked.headers.iter().any(|it| headers.contains_key(it)) {
            return true;
        }
        // Matchers were made for requests; of an answer only the headers are there to look at.
        let view = RequestView::of_head(status.as_str(), "", "", headers);
        self.policy
            .is_some_and(|policy| policy.headers.iter().any(|it| it.matches(&view)))
    }
}

/// The wait that an answer asks for, when it can be read and is not too long.
fn told_wait(rule: &RateLimitedBackoff, headers: &HeaderMap) -> Option<Duration> {
    let read = |header: &ResetHeader| {
        let text = headers.get(&header.name)?.to_str().ok()?;
        let number: u64 = text.trim().parse().ok()?;
        let wait = match header.unix {
            false => Duration::from_secs(number),
            true => {
                let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(number))?;
                at.duration_since(SystemTime::now()).ok()?
            }
        };
        (wait <= rule.max).then_some(wait)
    };
    let wait = rule.headers.iter().find_map(read)?;
    (wait > Duration::from_millis(1)).then_some(wait)
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
            request_headers: Vec::new(),
            per_try_idle: None,
            rate_limited: None,
            avoid_previous_hosts: true,
            avoid_labels: Vec::new(),
            avoid_priorities: None,
            host_selection_attempts: 5,
            backoff: Backoff {
                base: Duration::from_millis(25),
                max: Duration::from_millis(250),
            },
        }
    }

    fn retries<'a>(policy: &'a RetryPolicy, headers: &[(&'static str, &str)]) -> Retries<'a> {
        let mut request = http::Request::get("/").body(()).unwrap().into_parts().0;
        for (name, value) in headers {
            request.headers.insert(*name, value.parse().unwrap());
        }
        let made = Retries::new(Some(policy), false, &mut request, ("a", true));
        assert!(request.headers.is_empty());
        made
    }

    #[test]
    fn requests_of_the_inside_ask_for_retries() {
        let policy = policy(RetryOn::default());
        let asked = retries(
            &policy,
            &[
                ("x-envoy-retry-on", "5xx, retriable-status-codes,nonsense"),
                ("x-envoy-retry-grpc-on", "unavailable"),
                ("x-envoy-max-retries", "7"),
                ("x-envoy-retriable-status-codes", "418,x"),
                ("x-envoy-upstream-rq-timeout-ms", "1"),
            ],
        );
        assert_eq!(asked.left, 7);
        assert!(asked.on.has(RetryOn::GRPC_UNAVAILABLE) && asked.on.has(RetryOn::FIVE_XX));
        assert!(asked.wants_response(StatusCode::IM_A_TEAPOT, &HeaderMap::new()));
        assert_eq!(retries(&policy, &[]).left, 0);
    }

    #[test]
    fn an_upstream_may_say_when_to_come_again() {
        let rule = RateLimitedBackoff {
            headers: vec![
                ResetHeader {
                    name: HeaderName::from_static("x-reset"),
                    unix: true,
                },
                ResetHeader {
                    name: HeaderName::from_static("retry-after"),
                    unix: false,
                },
            ],
            max: Duration::from_secs(10),
        };
        for (name, value, wanted) in [
            ("retry-after", "3", Some(Duration::from_secs(3))),
            ("retry-after", "11", None),
            ("retry-after", "soon", None),
            ("retry-after", "0", None),
            ("x-reset", "5", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(told_wait(&rule, &headers), wanted, "{name} {value}");
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
            let policy = policy(on);
            let got = retries(&policy, &[]).wants_response(status, &headers);
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
        let mut retries = retries(&policy, &[]);
        for (made, limit) in [(1, 25), (2, 50), (5, 250), (40, 250)] {
            retries.made = made;
            for _ in 0..50 {
                assert!(retries.wait() < Duration::from_millis(limit));
            }
        }
    }
}
