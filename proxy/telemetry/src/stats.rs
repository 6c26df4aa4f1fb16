//! The proxy's own counters and gauges: the part of Envoy's statistics that a mesh keeps by default.

mod distribution;
mod gather;
mod log_linear;
mod objects;
mod tags;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use lateen_proxy_model::StringMatcher;
use objects::{Cut, Objects, Value};
use parking_lot::Mutex;

use crate::labels::escape_into;
pub use distribution::Distribution;
pub use gather::{Collector, PageRow, Sample, SampleValue, StatsPage, summary};
pub use log_linear::{Bin, QUANTILES, Spread};
pub use tags::StatsTag;

/// Names every mesh proxy shows from its start, at 0 (contract/telemetry.md, "Envoy native stats kept by default").
const COUNTERS: [&str; 20] = [
    "cluster_manager.cds.update_attempt",
    "cluster_manager.cds.update_failure",
    "cluster_manager.cds.update_rejected",
    "cluster_manager.cds.update_success",
    "cluster_manager.cluster_added",
    "cluster_manager.cluster_modified",
    "cluster_manager.cluster_removed",
    "cluster_manager.cluster_updated",
    "listener_manager.lds.update_attempt",
    "listener_manager.lds.update_failure",
    "listener_manager.lds.update_rejected",
    "listener_manager.lds.update_success",
    "listener_manager.listener_added",
    "listener_manager.listener_create_failure",
    "listener_manager.listener_create_success",
    "listener_manager.listener_modified",
    "listener_manager.listener_removed",
    "listener_manager.listener_stopped",
    "server.envoy_bug_failures",
    "server.debug_assertion_failures",
];

const GAUGES: [&str; 15] = [
    "cluster_manager.active_clusters",
    "cluster_manager.warming_clusters",
    "listener_manager.total_filter_chains_draining",
    "listener_manager.total_listeners_active",
    "listener_manager.total_listeners_draining",
    "listener_manager.total_listeners_warming",
    "listener_manager.workers_started",
    "server.concurrency",
    "server.days_until_first_cert_expiring",
    "server.live",
    "server.memory_allocated",
    "server.memory_physical_size",
    "server.state",
    "server.total_connections",
    "server.uptime",
];

/// A monotonic counter; clones count into the same value.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// A value that goes up and down; clones set the same value.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

/// Which of Envoy's own statistics are kept, and how their tags are named.
#[derive(Debug, Default)]
pub struct StatsConfig {
    /// Names that are kept, or left out; `None` keeps all.
    pub matcher: Option<StatsMatcher>,
    /// Tags have Envoy's default names, `envoy_cluster_name` and so on; a mesh has them without `envoy_`.
    pub default_tags: bool,
    /// Labels besides.
    pub tags: Vec<StatsTag>,
    /// Upper bounds of the buckets of histograms with such a name, the first that matches; others have Envoy's.
    pub buckets: Vec<(StringMatcher, Arc<[f64]>)>,
}

/// A list of names.
#[derive(Clone, Debug)]
pub struct StatsMatcher {
    /// Those that match are kept, or all others.
    pub include: bool,
    /// The names.
    pub patterns: Vec<StringMatcher>,
}

/// One of many like objects: a cluster, a connection manager.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `cluster`, `http`.
    pub group: &'static str,
    /// The tag that its name becomes.
    pub tag: &'static str,
    /// Its name.
    pub value: &'a str,
    /// An object within that one, such as a route of a virtual host.
    pub within: Option<Within<'a>>,
}

/// One of the objects in an object.
#[derive(Clone, Copy, Debug)]
pub struct Within<'a> {
    /// `route`, `vcluster`.
    pub group: &'static str,
    /// The tag that its name becomes.
    pub tag: &'static str,
    /// Its name.
    pub value: &'a str,
}

type Collecting = Box<dyn Fn(&mut Collector<'_>) + Send + Sync>;

/// Tells what is counted elsewhere.
#[derive(Default)]
struct Elsewhere(OnceLock<Collecting>);

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Elsewhere").finish()
    }
}

/// All named statistics of the process. Asking for a name again gives the same value.
#[derive(Debug)]
pub struct Stats {
    table: Mutex<BTreeMap<String, Stat>>,
    objects: Mutex<Objects>,
    collecting: Elsewhere,
    /// Set once; before, as in a mesh without settings, of Envoy's own per-object statistics none is kept.
    config: OnceLock<StatsConfig>,
}

#[derive(Debug)]
struct Stat {
    kind: Kind,
    /// Prometheus family, and its labels with braces (or nothing).
    family: String,
    labels: String,
    value: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
}

impl Default for Stats {
    fn default() -> Self {
        let stats = Self {
            table: Mutex::default(),
            objects: Mutex::default(),
            collecting: Elsewhere::default(),
            config: OnceLock::new(),
        };
        for name in COUNTERS {
            stats.counter(name);
        }
        for name in GAUGES {
            stats.gauge(name);
        }
        stats
    }
}

impl Stats {
    /// The counter of this Envoy name (`listener_manager.lds.update_success`), shown as `envoy_<name with _>`.
    pub fn counter(&self, name: &str) -> Counter {
        Counter(self.value(name.to_owned(), Kind::Counter, || {
            (family(name), String::new())
        }))
    }

    /// The gauge of this Envoy name.
    pub fn gauge(&self, name: &str) -> Gauge {
        Gauge(self.value(name.to_owned(), Kind::Gauge, || {
            (family(name), String::new())
        }))
    }

    /// A counter of one of many like objects: `counter_of("cluster", ("cluster_name", "xds-grpc"), "upstream_cx_total")`
    /// is `cluster.xds-grpc.upstream_cx_total`, in Prometheus `envoy_cluster_upstream_cx_total{cluster_name="xds-grpc"}`.
    pub fn counter_of(&self, group: &str, tag: (&str, &str), name: &str) -> Counter {
        Counter(self.tagged(group, tag, name, Kind::Counter))
    }

    /// A gauge of one of many like objects, named as in [`Stats::counter_of`].
    pub fn gauge_of(&self, group: &str, tag: (&str, &str), name: &str) -> Gauge {
        Gauge(self.tagged(group, tag, name, Kind::Gauge))
    }

    /// Sets all counters to zero, and forgets the values of histograms.
    pub fn reset_counters(&self) {
        for stat in self.table.lock().values() {
            if matches!(stat.kind, Kind::Counter) {
                stat.value.store(0, Relaxed);
            }
        }
        let objects = self.objects.lock();
        for kept in objects.by_prefix.values().flat_map(|it| &it.stats) {
            match &kept.value {
                Value::Number(Kind::Counter, value) => value.store(0, Relaxed),
                Value::Number(Kind::Gauge, _) => {}
                Value::Times(times) => times.reset(),
            }
        }
    }

    /// Has `collect` asked for what is counted elsewhere whenever somebody looks; only the first call counts.
    pub fn collected_by(&self, collect: impl Fn(&mut Collector<'_>) + Send + Sync + 'static) {
        let _ = self.collecting.0.set(Box::new(collect));
    }

    /// Says which per-object statistics are kept. Only the first call counts; it comes before configuration does.
    pub fn configure(&self, config: StatsConfig) {
        let _ = self.config.set(config);
    }

    /// A counter of an object, if it is kept.
    pub fn scoped(&self, scope: Scope<'_>, name: &str) -> Option<Counter> {
        self.kept(scope, name, || None, Kind::Counter).map(Counter)
    }

    /// A gauge of an object, if it is kept.
    pub fn scoped_gauge(&self, scope: Scope<'_>, name: &str) -> Option<Gauge> {
        self.kept(scope, name, || None, Kind::Gauge).map(Gauge)
    }

    /// The counter of a class of response codes: `<prefix>2xx`, with a tag for the class.
    pub fn class(&self, scope: Scope<'_>, prefix: &str, class: u8) -> Option<Counter> {
        let name = format!("{prefix}{class}xx");
        let cut = || Some(Cut::class(prefix));
        self.kept(scope, &name, cut, Kind::Counter).map(Counter)
    }

    /// The counter of a response code: `<prefix>200`, with a tag for the code.
    pub fn code(&self, scope: Scope<'_>, prefix: &str, code: u16) -> Option<Counter> {
        let name = format!("{prefix}{code}");
        let cut = || Some(Cut::code(prefix, &name));
        self.kept(scope, &name, cut, Kind::Counter).map(Counter)
    }

    fn kept(
        &self,
        scope: Scope<'_>,
        name: &str,
        cut: impl FnOnce() -> Option<Cut>,
        kind: Kind,
    ) -> Option<Arc<AtomicU64>> {
        let prefix = scope.prefix();
        self.prefix_if_kept(&format!("{prefix}.{name}"))?;
        let made = || Value::Number(kind, Arc::default());
        let mut objects = self.objects.lock();
        match objects.value((scope, prefix), name, cut, made) {
            Value::Number(_, value) => Some(value),
            Value::Times(_) => None,
        }
    }

    /// What tags of a statistic that is kept begin with.
    fn prefix_if_kept(&self, full: &str) -> Option<&'static str> {
        let config = self.config.get()?;
        if let Some(matcher) = &config.matcher {
            let matches = matcher.patterns.iter().any(|it| it.matches(full));
            if matches != matcher.include {
                return None;
            }
        }
        Some(if config.default_tags { "envoy_" } else { "" })
    }

    /// Whether a statistic of this name is kept.
    pub fn keeps(&self, scope: Scope<'_>, name: &str) -> bool {
        let full = format!("{}.{name}", scope.prefix());
        self.prefix_if_kept(&full).is_some()
    }

    /// Forgets the statistics of objects that are gone: of those of this group, whose names `stays` denies.
    pub fn forget(&self, group: &str, tag: &str, stays: impl Fn(&str) -> bool) {
        let prefix = format!("{group}.");
        let label = format!("{tag}=\"");
        let value_of = |name: &str, labels: &str| -> Option<String> {
            name.strip_prefix(&prefix)?;
            let (_, rest) = labels.rsplit_once(&label)?;
            rest.split('"').next().map(str::to_owned)
        };
        let mut table = self.table.lock();
        table.retain(|name, stat| {
            let value = value_of(name, &stat.labels);
            value.is_none_or(|value| stays(&value))
        });
        drop(table);
        self.objects.lock().forget(group, stays);
    }

    fn tagged(
        &self,
        group: &str,
        (tag, value): (&str, &str),
        name: &str,
        kind: Kind,
    ) -> Arc<AtomicU64> {
        self.value(format!("{group}.{value}.{name}"), kind, || {
            let mut labels = format!("{{{tag}=\"");
            escape_into(value, &mut labels);
            labels.push_str("\"}");
            (family(&format!("{group}.{name}")), labels)
        })
    }

    fn value(
        &self,
        name: String,
        kind: Kind,
        names: impl FnOnce() -> (String, String),
    ) -> Arc<AtomicU64> {
        let mut table = self.table.lock();
        let stat = table.entry(name).or_insert_with(|| {
            let (family, labels) = names();
            Stat {
                kind,
                family,
                labels,
                value: Arc::default(),
            }
        });
        Arc::clone(&stat.value)
    }
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `by`.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// Takes over a total that is counted elsewhere; it does not go down.
    pub fn follow(&self, total: u64) {
        self.0.fetch_max(total, Relaxed);
    }

    /// The value itself, for those who count without this type.
    #[must_use]
    pub fn cell(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0)
    }

    /// The count so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `by`.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// Takes `by` away, not below 0.
    pub fn sub(&self, by: u64) {
        let _ = self
            .0
            .fetch_update(Relaxed, Relaxed, |value| Some(value.saturating_sub(by)));
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

fn family(name: &str) -> String {
    let plain = name.chars().map(|c| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        }
    });
    "envoy_".chars().chain(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::Stats;

    #[test]
    fn only_what_is_kept_is_allocated() {
        use lateen_proxy_model::StringMatcher;

        use super::{Scope, StatsConfig, StatsMatcher};
        let stats = Stats::default();
        let scope = Scope {
            group: "cluster",
            tag: "cluster_name",
            value: "main",
            within: None,
        };
        assert!(
            stats.scoped(scope, "upstream_rq_total").is_none(),
            "nothing is kept before it is said"
        );
        stats.configure(StatsConfig {
            matcher: Some(StatsMatcher {
                include: true,
                patterns: vec![StringMatcher::Prefix {
                    value: "cluster.main.upstream_rq_".into(),
                    ignore_case: false,
                }],
            }),
            default_tags: true,
            ..StatsConfig::default()
        });
        assert!(stats.scoped(scope, "upstream_cx_total").is_none());
        assert!(stats.objects.lock().by_prefix.is_empty());
        stats.class(scope, "upstream_rq_", 2).expect("kept").inc();
        stats.code(scope, "upstream_rq_", 204).expect("kept").inc();
        let (mut text, mut plain) = (String::new(), String::new());
        stats.render_prometheus(&|_| true, &mut text);
        stats.render_plain(&mut plain);
        for line in [
            "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"main\"} 1\n",
            "envoy_cluster_upstream_rq{envoy_response_code=\"204\",envoy_cluster_name=\"main\"} 1\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(plain.contains("cluster.main.upstream_rq_204: 1\n"));
    }

    #[test]
    fn names_map_to_envoys_prometheus_families() {
        let stats = Stats::default();
        stats
            .counter_of("cluster", ("cluster_name", "xds-grpc"), "upstream_cx_total")
            .add(2);
        stats.counter("listener_manager.lds.update_success").inc();
        let mut text = String::new();
        stats.render_prometheus(&|_| true, &mut text);
        assert!(text.contains("envoy_cluster_upstream_cx_total{cluster_name=\"xds-grpc\"} 2\n"));
        assert!(text.contains("# TYPE envoy_listener_manager_lds_update_success counter\nenvoy_listener_manager_lds_update_success 1\n"));
        let mut plain = String::new();
        stats.render_plain(&mut plain);
        assert!(plain.contains("cluster.xds-grpc.upstream_cx_total: 2\n"));
    }

    #[test]
    fn what_is_counted_elsewhere_takes_no_memory_and_is_shown_once() {
        use super::{Scope, StatsConfig};
        let stats = Stats::default();
        stats.configure(StatsConfig {
            default_tags: true,
            ..StatsConfig::default()
        });
        let scope = Scope {
            group: "cluster",
            tag: "cluster_name",
            value: "a.b",
            within: None,
        };
        stats.collected_by(move |collector| {
            collector.counter(scope, "upstream_cx_total", 3);
            collector.gauge(scope, "membership_total", 1);
        });
        let (mut text, mut plain) = (String::new(), String::new());
        stats.render_prometheus(&|_| true, &mut text);
        assert!(text.contains(
            "# TYPE envoy_cluster_membership_total gauge\nenvoy_cluster_membership_total{envoy_cluster_name=\"a.b\"} 1\n"
        ));
        assert!(stats.objects.lock().by_prefix.is_empty());
        stats
            .scoped(scope, "upstream_cx_total")
            .expect("kept")
            .add(2);
        stats.render_plain(&mut plain);
        assert!(
            plain.contains("\ncluster.a.b.upstream_cx_total: 3\n"),
            "{plain}"
        );
        assert_eq!(plain.matches("upstream_cx_total").count(), 1);
    }

    #[test]
    fn labels_come_from_names() {
        use lateen_proxy_model::StringMatcher;

        use super::{Scope, StatsConfig, StatsTag, Within};
        let stats = Stats::default();
        let pattern = regex::Regex::new(r"route\.r(\.upstream)").expect("regex");
        stats.configure(StatsConfig {
            default_tags: true,
            tags: vec![
                StatsTag::fixed_value("my.place", "x".into()),
                StatsTag::found_by("what", pattern),
            ],
            buckets: vec![(
                StringMatcher::Prefix {
                    value: "vhost.".into(),
                    ignore_case: false,
                },
                [7.0].into(),
            )],
            ..StatsConfig::default()
        });
        let scope = Scope {
            group: "vhost",
            tag: "virtual_host",
            value: "v",
            within: Some(Within {
                group: "route",
                tag: "route",
                value: "r",
            }),
        };
        stats
            .scoped(scope, "upstream_rq_total")
            .expect("kept")
            .inc();
        stats.distribution(scope, "time").expect("kept").add(8);
        let (mut text, mut plain) = (String::new(), String::new());
        stats.render_prometheus(&|_| true, &mut text);
        stats.render_plain(&mut plain);
        assert!(plain.contains("vhost.v.route.r.upstream_rq_total: 1\n"));
        for line in [
            "envoy_vhost_route_rq_total{envoy_virtual_host=\"v\",envoy_route=\"r\",my_place=\"x\",what=\".upstream\"} 1\n",
            "envoy_vhost_route_time_bucket{envoy_virtual_host=\"v\",envoy_route=\"r\",my_place=\"x\",le=\"7\"} 0\n",
            "envoy_server_live{my_place=\"x\"} 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
