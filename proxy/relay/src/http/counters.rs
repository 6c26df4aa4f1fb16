//! Envoy's own counters of connection managers and clusters, resolved when configuration arrives. Those that the
//! configuration leaves out are not there: nothing is allocated or counted for them.

use std::cell::RefCell;
use std::collections::HashMap;

use std::time::Duration;

use http::Version;
use lateen_proxy_telemetry::{Counter, Distribution, Gauge, Scope, Stats};

/// Counters of one connection manager.
#[derive(Debug)]
pub(crate) struct HttpCounters {
    total: Option<Counter>,
    active: Option<Gauge>,
    completed: Option<Counter>,
    classes: [Option<Counter>; 5],
    reset: Option<Counter>,
    sampled: Option<Counter>,
    server_forced: Option<Counter>,
    client_forced: Option<Counter>,
    not_traceable: Option<Counter>,
    connections: Option<Counter>,
    active_connections: Option<Gauge>,
    destroyed_connections: Option<Counter>,
    http1: Option<Counter>,
    http2: Option<Counter>,
    http3: Option<Counter>,
    http3_connections: Option<Counter>,
    active_http3_connections: Option<Gauge>,
    time: Option<Distribution>,
    rare: Rare,
}

/// Counters of what happens to few requests, resolved when it first does.
#[derive(Debug, Default)]
struct Rare(RefCell<HashMap<&'static str, Option<Counter>>>);

impl Rare {
    fn inc(&self, stats: &Stats, scope: Scope<'_>, name: &'static str) {
        let mut known = self.0.borrow_mut();
        let counter = known.entry(name);
        inc(counter.or_insert_with(|| stats.scoped(scope, name)));
    }
}

/// Why a request is traced, as it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TraceCount {
    NotTraceable,
    Sampled,
    ServerForced,
    ClientForced,
}

/// Counters of one cluster on one worker.
#[derive(Debug)]
pub(crate) struct ClusterCounters {
    scope: Box<str>,
    total: Option<Counter>,
    completed: Option<Counter>,
    retries: Option<Counter>,
    timeouts: Option<Counter>,
    overflow: Option<Counter>,
    none_healthy: Option<Counter>,
    time: Option<Distribution>,
    /// By status and by its class, which come into being when they are first counted; there are 600 of them at most.
    codes: RefCell<HashMap<u16, Option<Counter>>>,
    rare: Rare,
}

/// How a request to a cluster ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) status: u16,
    pub(crate) attempts: u32,
    pub(crate) timed_out: bool,
    pub(crate) overflow: bool,
    pub(crate) none_healthy: bool,
    /// From the request's end to that of the answer.
    pub(crate) time: Duration,
}

fn inc(counter: &Option<Counter>) {
    if let Some(counter) = counter {
        counter.inc();
    }
}

fn class(classes: &[Option<Counter>; 5], status: u16) {
    let place = usize::from(status / 100).checked_sub(1);
    if let Some(Some(counter)) = place.and_then(|place| classes.get(place)) {
        counter.inc();
    }
}

fn classes(stats: &Stats, scope: Scope<'_>, prefix: &str) -> [Option<Counter>; 5] {
    [1, 2, 3, 4, 5].map(|class| stats.class(scope, prefix, class))
}

impl HttpCounters {
    /// `None` when no counter is wanted.
    pub(crate) fn resolve(stats: &Stats, prefix: &str) -> Option<Self> {
        let scope = Scope {
            group: "http",
            tag: "http_conn_manager_prefix",
            value: prefix,
            within: None,
        };
        let counter = |name| stats.scoped(scope, name);
        let made = Self {
            total: counter("downstream_rq_total"),
            active: stats.scoped_gauge(scope, "downstream_rq_active"),
            completed: counter("downstream_rq_completed"),
            classes: classes(stats, scope, "downstream_rq_"),
            reset: counter("downstream_rq_rx_reset"),
            sampled: counter("tracing.random_sampling"),
            server_forced: counter("tracing.service_forced"),
            client_forced: counter("tracing.client_enabled"),
            not_traceable: counter("tracing.not_traceable"),
            connections: counter("downstream_cx_total"),
            active_connections: stats.scoped_gauge(scope, "downstream_cx_active"),
            destroyed_connections: counter("downstream_cx_destroy"),
            http1: counter("downstream_rq_http1_total"),
            http2: counter("downstream_rq_http2_total"),
            http3: counter("downstream_rq_http3_total"),
            http3_connections: counter("downstream_cx_http3_total"),
            active_http3_connections: stats.scoped_gauge(scope, "downstream_cx_http3_active"),
            time: stats.distribution(scope, "downstream_rq_time"),
            rare: Rare::default(),
        };
        made.is_wanted().then_some(made)
    }

    fn is_wanted(&self) -> bool {
        let counters = [
            &self.total,
            &self.completed,
            &self.reset,
            &self.sampled,
            &self.server_forced,
            &self.client_forced,
            &self.not_traceable,
            &self.connections,
            &self.destroyed_connections,
            &self.http1,
            &self.http2,
            &self.http3,
            &self.http3_connections,
        ];
        let gauges = [
            &self.active,
            &self.active_connections,
            &self.active_http3_connections,
        ];
        counters
            .into_iter()
            .chain(&self.classes)
            .any(Option::is_some)
            || gauges.into_iter().any(Option::is_some)
            || self.time.is_some()
    }

    pub(crate) fn connected(&self, http3: bool) {
        inc(&self.connections);
        if http3 {
            inc(&self.http3_connections);
            if let Some(active) = &self.active_http3_connections {
                active.add(1);
            }
        }
        if let Some(active) = &self.active_connections {
            active.add(1);
        }
    }

    pub(crate) fn disconnected(&self, http3: bool) {
        if http3 && let Some(active) = &self.active_http3_connections {
            active.sub(1);
        }
        inc(&self.destroyed_connections);
        if let Some(active) = &self.active_connections {
            active.sub(1);
        }
    }

    pub(crate) fn begin(&self, version: Version) {
        inc(&self.total);
        inc(match version {
            Version::HTTP_2 => &self.http2,
            Version::HTTP_3 => &self.http3,
            _ => &self.http1,
        });
        if let Some(active) = &self.active {
            active.add(1);
        }
    }

    pub(crate) fn end(&self, status: u16, complete: bool, time: Duration) {
        if let Some(times) = &self.time {
            times.observe(time);
        }
        if let Some(active) = &self.active {
            active.sub(1);
        }
        if status != 0 {
            inc(&self.completed);
            class(&self.classes, status);
        }
        if !complete {
            inc(&self.reset);
        }
    }

    /// A redirect that is passed on, and why.
    pub(crate) fn redirected(&self, stats: &Stats, prefix: &str, why: &'static str) {
        let scope = Scope {
            group: "http",
            tag: "http_conn_manager_prefix",
            value: prefix,
            within: None,
        };
        self.rare.inc(stats, scope, why);
    }

    pub(crate) fn traced(&self, reason: TraceCount) {
        inc(match reason {
            TraceCount::NotTraceable => &self.not_traceable,
            TraceCount::Sampled => &self.sampled,
            TraceCount::ServerForced => &self.server_forced,
            TraceCount::ClientForced => &self.client_forced,
        });
    }
}

impl ClusterCounters {
    /// `None` when no counter is wanted.
    pub(crate) fn resolve(stats: &Stats, name: &str) -> Option<Self> {
        let scope = scope(name);
        let counter = |name| stats.scoped(scope, name);
        let made = Self {
            scope: name.into(),
            total: counter("upstream_rq_total"),
            completed: counter("upstream_rq_completed"),
            retries: counter("upstream_rq_retry"),
            timeouts: counter("upstream_rq_timeout"),
            overflow: counter("upstream_rq_pending_overflow"),
            none_healthy: counter("upstream_cx_none_healthy"),
            time: stats.distribution(scope, "upstream_rq_time"),
            codes: RefCell::default(),
            rare: Rare::default(),
        };
        let counters = [
            &made.total,
            &made.completed,
            &made.retries,
            &made.timeouts,
            &made.overflow,
            &made.none_healthy,
        ];
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let wanted = counters.into_iter().any(Option::is_some)
            || classes
                .iter()
                .any(|class| stats.keeps(scope, &format!("upstream_rq_{class}")));
        (wanted || made.time.is_some()).then_some(made)
    }

    /// A redirect that a route would follow.
    pub(crate) fn redirected(&self, stats: &Stats, followed: bool) {
        let name = match followed {
            true => "upstream_internal_redirect_succeeded_total",
            false => "upstream_internal_redirect_failed_total",
        };
        self.rare.inc(stats, scope(&self.scope), name);
    }

    /// Counts a request that has ended.
    pub(crate) fn end(&self, stats: &Stats, ended: Ended) {
        if let Some(total) = &self.total {
            total.add(u64::from(ended.attempts));
        }
        if let Some(retries) = &self.retries {
            retries.add(u64::from(ended.attempts.saturating_sub(1)));
        }
        for (happened, counter) in [
            (ended.timed_out, &self.timeouts),
            (ended.overflow, &self.overflow),
            (ended.none_healthy, &self.none_healthy),
        ] {
            if happened {
                inc(counter);
            }
        }
        if ended.status == 0 {
            return;
        }
        inc(&self.completed);
        if let Some(times) = self.time.as_ref().filter(|_| ended.attempts > 0) {
            times.observe(ended.time);
        }
        let mut codes = self.codes.borrow_mut();
        let class = ended.status / 100;
        let counter = codes.entry(class).or_insert_with(|| {
            let class = u8::try_from(class).unwrap_or_default();
            stats.class(scope(&self.scope), "upstream_rq_", class)
        });
        inc(counter);
        let code = codes
            .entry(ended.status)
            .or_insert_with(|| stats.code(scope(&self.scope), "upstream_rq_", ended.status));
        inc(code);
    }
}

fn scope(name: &str) -> Scope<'_> {
    Scope {
        group: "cluster",
        tag: "cluster_name",
        value: name,
        within: None,
    }
}
