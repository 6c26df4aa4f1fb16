//! Statistics of clusters: circuit breakers, members, and what health checks and subsets counted.

use std::sync::atomic::Ordering::Relaxed;

use lateen_proxy_balance::endpoint_health;
use lateen_proxy_model::{
    Breakers, CircuitBreakers, Cluster, ClusterShared, Detector, Gauge, Health,
};
use lateen_proxy_state::State;
use lateen_proxy_telemetry::{Collector, Scope, Stats};

/// Parts of the names of those that go down too.
const GAUGES: [&str; 6] = [
    "circuit_breakers.",
    "membership_",
    "lb_subsets_active",
    "health_check.healthy",
    "health_check.degraded",
    "outlier_detection.ejections_active",
];

/// Tells the statistics of clusters, and forgets those of clusters that are gone; `now` is the balancer's clock.
pub(crate) fn collect(state: &State, collector: &mut Collector<'_>, now: u64) {
    dns_caches(state, collector.stats());
    let clusters = state.clusters().values();
    collector.stats().forget("cluster", "cluster_name", |gone| {
        let known = clusters.binary_search_by(|(name, _)| (**name).cmp(gone));
        known.is_ok() || gone == "xds-grpc"
    });
    for (name, cluster) in clusters {
        let scope = Scope {
            group: "cluster",
            tag: "cluster_name",
            value: &name,
            within: None,
        };
        let mut line = |stat: &str, value: u64| {
            let goes_down =
                stat.ends_with("_active") || GAUGES.iter().any(|prefix| stat.starts_with(prefix));
            if goes_down {
                collector.gauge(scope, stat, value);
            } else {
                collector.counter(scope, stat, value);
            }
        };
        let none = ClusterShared::default();
        let shared = cluster.shared.made().unwrap_or(&none);
        connections(shared, &mut line);
        for (priority, high) in [("default", false), ("high", true)] {
            let (limits, counted) = (cluster.limits_of(high), shared.of(high));
            breakers((limits, counted, &cluster, high), |stat, value| {
                line(&format!("circuit_breakers.{priority}.{stat}"), value);
            });
        }
        let refused = |of: fn(&Breakers) -> &Gauge| {
            u64::from(of(&shared.default).refused()) + u64::from(of(&shared.high).refused())
        };
        line("upstream_cx_overflow", refused(|it| &it.connections));
        line("upstream_cx_pool_overflow", refused(|it| &it.pools));
        line("upstream_rq_active_overflow", refused(|it| &it.requests));
        line("upstream_rq_pending_overflow", refused(|it| &it.pending));
        line("upstream_rq_retry_overflow", refused(|it| &it.retries));
        members(&cluster, now, &mut line);
        checks(&cluster, shared, &mut line);
    }
}

/// Statistics of the caches of names.
fn dns_caches(state: &State, stats: &Stats) {
    for cache in state.dns_caches().all() {
        let prefix = format!("dns_cache.{}", cache.settings.name);
        let own = &cache.stats;
        for (name, value) in [
            // Nothing is kept beyond the process.
            ("cache_load", &Default::default()),
            ("dns_query_attempt", &own.attempt),
            ("dns_query_success", &own.success),
            ("dns_query_failure", &own.failure),
            ("dns_query_timeout", &own.timeout),
            ("dns_address_filter_out", &own.filtered),
            ("host_address_changed", &own.address_changed),
            ("host_added", &own.added),
            ("host_removed", &own.removed),
            ("host_overflow", &own.overflow),
            ("dns_rq_pending_overflow", &own.pending_overflow),
        ] {
            stats
                .counter(&format!("{prefix}.{name}"))
                .follow(value.load(Relaxed));
        }
        let left = cache.pending_left();
        let most = cache.settings.max_pending;
        for (name, value) in [
            ("num_hosts", cache.hosts()),
            (
                "circuit_breakers.rq_pending_open",
                u64::from(left == 0 && most > 0),
            ),
            ("circuit_breakers.rq_pending_remaining", left.into()),
        ] {
            stats.gauge(&format!("{prefix}.{name}")).set(value);
        }
    }
}

fn connections(shared: &ClusterShared, line: &mut dyn FnMut(&str, u64)) {
    let totals = &shared.connections;
    for (name, value) in [
        ("upstream_cx_total", &totals.total),
        ("upstream_cx_http1_total", &totals.http1),
        ("upstream_cx_http2_total", &totals.http2),
        ("upstream_cx_connect_fail", &totals.connect_fail),
        ("upstream_cx_connect_timeout", &totals.connect_timeout),
        ("upstream_cx_destroy", &totals.destroyed),
    ] {
        line(name, value.load(Relaxed));
    }
    let of = |of: fn(&Breakers) -> &Gauge| {
        u64::from(of(&shared.default).now()) + u64::from(of(&shared.high).now())
    };
    line("upstream_cx_active", of(|it| &it.connections));
    line("upstream_rq_pending_active", of(|it| &it.pending));
}

/// Whether each limit is reached, and what is left of it where that is asked for.
fn breakers(
    (limits, counted, cluster, high): (&CircuitBreakers, &Breakers, &Cluster, bool),
    mut line: impl FnMut(&str, u64),
) {
    let retries = cluster.max_retries(high);
    for (open, left, gauge, limit) in [
        (
            "cx_open",
            "remaining_cx",
            &counted.connections,
            limits.max_connections,
        ),
        (
            "cx_pool_open",
            "remaining_cx_pools",
            &counted.pools,
            limits.max_pools,
        ),
        (
            "rq_open",
            "remaining_rq",
            &counted.requests,
            limits.max_requests,
        ),
        (
            "rq_pending_open",
            "remaining_pending",
            &counted.pending,
            limits.max_pending,
        ),
        (
            "rq_retry_open",
            "remaining_retries",
            &counted.retries,
            retries,
        ),
    ] {
        let now = gauge.now();
        line(open, u64::from(now >= limit));
        if limits.track_remaining {
            line(left, u64::from(limit.saturating_sub(now)));
        }
    }
}

fn members(cluster: &Cluster, now: u64, mut line: impl FnMut(&str, u64)) {
    let set = cluster.endpoints().and_then(|slot| slot.load_full());
    let of = |health: Health| {
        let members = set.iter().flat_map(|set| set.iter());
        let count = members.filter(|one| endpoint_health(cluster, one, now) == health);
        count.count() as u64
    };
    line("membership_degraded", of(Health::Degraded));
    line("membership_excluded", of(Health::Draining));
    line("membership_healthy", of(Health::Healthy));
    line(
        "membership_total",
        set.as_ref().map_or(0, |set| set.len() as u64),
    );
    let out = set.iter().flat_map(|set| set.iter());
    let out = out.filter(|one| one.is_out(now)).count() as u64;
    if cluster.outlier.is_some() {
        line("outlier_detection.ejections_active", out);
    }
}

fn checks(cluster: &Cluster, shared: &ClusterShared, mut line: impl FnMut(&str, u64)) {
    if cluster.outlier.is_some() {
        let stats = shared.outlier();
        let mut total = 0;
        for detector in Detector::ALL {
            let of = |list: &[std::sync::atomic::AtomicU64]| {
                list.get(detector as usize)
                    .map_or(0, |one| one.load(Relaxed))
            };
            let name = detector.text();
            let enforced = of(&stats.enforced);
            total += enforced;
            let prefix = "outlier_detection.ejections";
            line(&format!("{prefix}_detected_{name}"), of(&stats.detected));
            line(&format!("{prefix}_enforced_{name}"), enforced);
        }
        line("outlier_detection.ejections_enforced_total", total);
        let overflow = stats.overflow.load(Relaxed);
        line("outlier_detection.ejections_overflow", overflow);
    }
    if cluster.health_check.is_some() {
        let stats = shared.checks();
        for (name, value) in [
            ("attempt", &stats.attempt),
            ("failure", &stats.failure),
            ("network_failure", &stats.network_failure),
            ("passive_failure", &stats.passive_failure),
            ("success", &stats.success),
            ("verify_cluster", &stats.verify_cluster),
        ] {
            line(&format!("health_check.{name}"), value.load(Relaxed));
        }
        let set = cluster.endpoints().and_then(|slot| slot.load_full());
        let well = |bits: u8| {
            let all = set.iter().flat_map(|set| set.iter());
            all.filter(|one| !one.found.has(bits)).count() as u64
        };
        let failed = lateen_proxy_model::ActiveHealth::FAILED;
        line("health_check.healthy", well(failed));
        let degraded = lateen_proxy_model::ActiveHealth::DEGRADED;
        let all = set.as_ref().map_or(0, |set| set.len() as u64);
        line("health_check.degraded", all - well(degraded).min(all));
    }
    if cluster.subsets.is_some() {
        let stats = shared.subsets();
        line("lb_subsets_active", stats.active.load(Relaxed));
        line("lb_subsets_fallback", stats.fallback.load(Relaxed));
        line(
            "lb_subsets_fallback_panic",
            stats.fallback_panic.load(Relaxed),
        );
        line("lb_subsets_selected", stats.selected.load(Relaxed));
    }
}
