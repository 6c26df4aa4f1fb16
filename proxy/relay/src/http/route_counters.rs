//! Envoy's counters of routes that have a name in statistics, and of the kinds of requests of a virtual host.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use lateen_proxy_model::RouteStats;
use lateen_proxy_telemetry::{Counter, Distribution, Scope, Stats, Within};

/// What requests without a kind of their own are counted as.
const OTHER: &str = "other";

/// Counters of one route on one worker.
#[derive(Debug)]
pub(crate) struct RouteCounters {
    host: Box<str>,
    route: Option<Counters>,
    /// By place of the kind, the others last.
    kinds: Vec<Counters>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteEnded {
    pub(crate) status: u16,
    /// Tries.
    pub(crate) attempts: u32,
    /// There was a connection.
    pub(crate) sent: bool,
    pub(crate) timed_out: bool,
    /// No try was left.
    pub(crate) limited: bool,
    /// There are too many retries.
    pub(crate) overflow: bool,
    /// From the request's end to that of the answer.
    pub(crate) time: Duration,
}

#[derive(Debug)]
struct Counters {
    group: &'static str,
    tag: &'static str,
    name: Box<str>,
    total: Option<Counter>,
    timeouts: Option<Counter>,
    retries: Option<Counter>,
    limited: Option<Counter>,
    overflow: Option<Counter>,
    success: Option<Counter>,
    /// Made when there is a first time.
    time: OnceCell<Option<Distribution>>,
    /// By status and by its class, made when they are first counted.
    codes: RefCell<HashMap<u16, Option<Counter>>>,
}

impl RouteCounters {
    pub(crate) fn resolve(stats: &Stats, of: &RouteStats) -> Self {
        let host = &*of.host.host;
        let route = (!of.route.is_empty())
            .then(|| Counters::resolve(stats, host, ("route", "route"), &of.route));
        let kinds = of.host.clusters.iter().map(|cluster| &*cluster.name);
        let other = (!of.host.clusters.is_empty()).then_some(OTHER);
        let tag = ("vcluster", "virtual_cluster");
        let kinds = kinds.chain(other);
        Self {
            host: host.into(),
            route,
            kinds: kinds
                .map(|name| Counters::resolve(stats, host, tag, name))
                .collect(),
        }
    }

    /// Counts a request that has ended.
    pub(crate) fn end(&self, stats: &Stats, kind: usize, ended: RouteEnded) {
        for counters in self.route.iter().chain(self.kinds.get(kind)) {
            counters.end(stats, &self.host, ended);
        }
    }
}

impl Counters {
    fn resolve(
        stats: &Stats,
        host: &str,
        (group, tag): (&'static str, &'static str),
        name: &str,
    ) -> Self {
        let scope = scope(host, (group, tag), name);
        let counter = |name| stats.scoped(scope, name);
        Self {
            group,
            tag,
            name: name.into(),
            total: counter("upstream_rq_total"),
            timeouts: counter("upstream_rq_timeout"),
            retries: counter("upstream_rq_retry"),
            limited: counter("upstream_rq_retry_limit_exceeded"),
            overflow: counter("upstream_rq_retry_overflow"),
            success: counter("upstream_rq_retry_success"),
            time: OnceCell::new(),
            codes: RefCell::default(),
        }
    }

    fn end(&self, stats: &Stats, host: &str, ended: RouteEnded) {
        let retries = ended.attempts.saturating_sub(1);
        let success = retries > 0 && (1..500).contains(&ended.status);
        for (counter, by) in [
            (&self.total, if ended.sent { ended.attempts } else { 0 }),
            (&self.retries, retries),
            (&self.timeouts, u32::from(ended.timed_out)),
            (&self.limited, u32::from(ended.limited)),
            (&self.overflow, u32::from(ended.overflow)),
            (&self.success, u32::from(success)),
        ] {
            if let Some(counter) = counter.as_ref().filter(|_| by > 0) {
                counter.add(u64::from(by));
            }
        }
        if ended.status == 0 {
            return;
        }
        let scope = scope(host, (self.group, self.tag), &self.name);
        let mut codes = self.codes.borrow_mut();
        for (key, counter) in [
            (0, Key::Completed),
            (ended.status / 100, Key::Class),
            (ended.status, Key::Code),
        ] {
            let known = codes.entry(key).or_insert_with(|| match counter {
                Key::Completed => stats.scoped(scope, "upstream_rq_completed"),
                Key::Class => {
                    stats.class(scope, "upstream_rq_", u8::try_from(key).unwrap_or_default())
                }
                Key::Code => stats.code(scope, "upstream_rq_", key),
            });
            if let Some(counter) = known {
                counter.inc();
            }
        }
        let made = || stats.distribution(scope, "upstream_rq_time");
        if ended.attempts > 0
            && let Some(times) = self.time.get_or_init(made)
        {
            times.observe(ended.time);
        }
    }
}

enum Key {
    Completed,
    Class,
    Code,
}

fn scope<'a>(
    host: &'a str,
    (group, tag): (&'static str, &'static str),
    name: &'a str,
) -> Scope<'a> {
    Scope {
        group: "vhost",
        tag: "virtual_host",
        value: host,
        within: Some(Within {
            group,
            tag,
            value: name,
        }),
    }
}
