//! What is counted, under istiod's names (contract telemetry.md).

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use lateen_xds::names::ResourceType;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

const SECONDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0,
];
const BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 4e6, 1e7, 4e7];

/// Label `type`: the short name of a resource type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TypeLabel {
    /// `cds`, `eds`…; `other` for a type the contract does not name, so that clients cannot add series (security case S23).
    pub r#type: &'static str,
}

impl TypeLabel {
    /// The label of a type URL.
    #[must_use]
    pub fn of(type_url: &str) -> Self {
        Self {
            r#type: ResourceType::from_type_url(type_url).map_or("other", ResourceType::short),
        }
    }
}

/// Label `version`: what a client says it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: String,
}

/// Versions that get a series of their own; further ones count as `other`.
const MAX_VERSIONS: usize = 64;

/// The control plane's metrics.
pub struct Metrics {
    registry: Mutex<Registry>,
    started: Instant,
    streams: Family<VersionLabel, Gauge>,
    versions: Mutex<Vec<String>>,
    /// Responses sent, a type.
    pub pushes: Family<TypeLabel, Counter>,
    /// Responses refused, a type.
    pub rejects: Family<TypeLabel, Counter>,
    rejects_of: [(&'static str, Counter); 4],
    /// Requests about a response that was replaced, a type.
    pub expired_nonces: Family<TypeLabel, Counter>,
    /// Faults of our own while serving.
    pub internal_errors: Counter,
    /// Updates of the configuration that were pushed, by what caused them.
    pub triggers: Family<TypeLabel, Counter>,
    /// Changes received from the sources, by kind: `config`, `svc`, `eds`.
    pub inbound_updates: Family<TypeLabel, Counter>,
    /// Seconds from an update to the last response of it sent to a proxy.
    pub convergence: Histogram,
    /// Seconds an update waited for its proxy's stream.
    pub queue: Histogram,
    /// Seconds to make a response, a type.
    pub push_time: Family<TypeLabel, Histogram>,
    /// Seconds to hand a response to the transport.
    pub send_time: Histogram,
    /// Bytes of a response, a type.
    pub config_size: Family<TypeLabel, Histogram>,
    /// Services known.
    pub services: Gauge,
    /// VirtualServices known.
    pub virtual_services: Gauge,
    /// Objects and fields left out of the configuration.
    pub rejected_configs: Gauge,
}

impl Metrics {
    /// Metrics of a control plane of this version.
    #[must_use]
    pub fn new(version: &str) -> Arc<Self> {
        let reject = |short| (short, Counter::default());
        let metrics = Self {
            registry: Mutex::new(Registry::default()),
            started: Instant::now(),
            streams: Family::default(),
            versions: Mutex::default(),
            pushes: Family::default(),
            rejects: Family::default(),
            rejects_of: [reject("cds"), reject("eds"), reject("lds"), reject("rds")],
            expired_nonces: Family::default(),
            internal_errors: Counter::default(),
            triggers: Family::default(),
            inbound_updates: Family::default(),
            convergence: Histogram::new(SECONDS),
            queue: Histogram::new(SECONDS),
            push_time: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            send_time: Histogram::new(SECONDS),
            config_size: Family::new_with_constructor(|| Histogram::new(BYTES)),
            services: Gauge::default(),
            virtual_services: Gauge::default(),
            rejected_configs: Gauge::default(),
        };
        metrics.register(version);
        Arc::new(metrics)
    }

    fn register(&self, version: &str) {
        let mut registry = self.registry.lock();
        let info = Family::<VersionLabel, Gauge>::default();
        info.get_or_create(&VersionLabel {
            version: version.to_owned(),
        })
        .set(1);
        registry.register("pilot_info", "Version of the control plane", info);
        registry.register("pilot_xds", "Connected xDS clients", self.streams.clone());
        registry.register("pilot_xds_pushes", "Responses sent", self.pushes.clone());
        registry.register(
            "pilot_total_xds_rejects",
            "Responses refused by clients",
            self.rejects.clone(),
        );
        for (short, counter) in &self.rejects_of {
            registry.register(
                format!("pilot_xds_{short}_reject"),
                "Responses of the type refused by clients",
                counter.clone(),
            );
        }
        registry.register(
            "pilot_xds_expired_nonce",
            "Requests about a response that was replaced",
            self.expired_nonces.clone(),
        );
        registry.register(
            "pilot_total_xds_internal_errors",
            "Faults while serving",
            self.internal_errors.clone(),
        );
        drop(registry);
        self.register_pushes();
        self.register_state();
    }

    fn register_pushes(&self) {
        let mut registry = self.registry.lock();
        registry.register(
            "pilot_push_triggers",
            "Pushes by what caused them",
            self.triggers.clone(),
        );
        registry.register(
            "pilot_inbound_updates",
            "Changes received by kind",
            self.inbound_updates.clone(),
        );
        registry.register(
            "pilot_proxy_convergence_time",
            "Seconds from a change to the proxy",
            self.convergence.clone(),
        );
        registry.register(
            "pilot_proxy_queue_time",
            "Seconds a change waited for the proxy's stream",
            self.queue.clone(),
        );
        registry.register(
            "pilot_xds_push_time",
            "Seconds to make a response",
            self.push_time.clone(),
        );
        registry.register(
            "pilot_xds_send_time",
            "Seconds to hand a response over",
            self.send_time.clone(),
        );
        registry.register(
            "pilot_xds_config_size_bytes",
            "Bytes of a response",
            self.config_size.clone(),
        );
    }

    fn register_state(&self) {
        let mut registry = self.registry.lock();
        registry.register("pilot_services", "Services known", self.services.clone());
        registry.register(
            "pilot_virt_services",
            "VirtualServices known",
            self.virtual_services.clone(),
        );
        registry.register(
            "pilot_total_rejected_configs",
            "Objects and fields left out",
            self.rejected_configs.clone(),
        );
        let started = self.started;
        let uptime = Sampled::new(
            "istiod_uptime_seconds",
            "Seconds since the start",
            Kind::Gauge,
            move || started.elapsed().as_secs(),
        );
        registry.register_collector(Box::new(uptime));
    }

    /// Adds a counter that another part keeps.
    pub fn sample_counter(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.registry
            .lock()
            .register_collector(Box::new(Sampled::new(name, help, Kind::Counter, read)));
    }

    /// Adds a gauge that another part keeps.
    pub fn sample_gauge(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.registry
            .lock()
            .register_collector(Box::new(Sampled::new(name, help, Kind::Gauge, read)));
    }

    /// Counts a change of a kind that a source gave: `config`, `svc` or `eds`.
    pub fn count_inbound(&self, kind: &'static str) {
        self.inbound_updates
            .get_or_create(&TypeLabel { r#type: kind })
            .inc();
    }

    /// Counts a response that a client refused.
    pub(crate) fn reject(&self, type_url: &str) {
        let label = TypeLabel::of(type_url);
        if let Some((_, counter)) = self
            .rejects_of
            .iter()
            .find(|(short, _)| *short == label.r#type)
        {
            counter.inc();
        }
        self.rejects.get_or_create(&label).inc();
    }

    /// Counts a connected client of a version, until the result is dropped.
    pub(crate) fn connected(&self, version: &str) -> Connected {
        let mut versions = self.versions.lock();
        let version: String = version.chars().take(64).collect();
        let known = versions.contains(&version);
        let label = if known || versions.len() < MAX_VERSIONS {
            version
        } else {
            "other".to_owned()
        };
        if !known && label != "other" {
            versions.push(label.clone());
        }
        let gauge = self
            .streams
            .get_or_create_owned(&VersionLabel { version: label });
        gauge.inc();
        Connected(gauge)
    }

    /// The metrics in Prometheus' text format.
    ///
    /// The encoder writes OpenMetrics, which ends the name of each counter in `_total`; istiod's counters are not called so.
    #[must_use]
    pub fn text(&self) -> String {
        let mut open = String::new();
        if encode(&mut open, &self.registry.lock()).is_err() {
            return String::new();
        }
        let mut counters: Vec<String> = Vec::new();
        let mut text = String::with_capacity(open.len());
        for line in open.lines().filter(|line| *line != "# EOF") {
            if let Some(name) = line
                .strip_prefix("# TYPE ")
                .and_then(|rest| rest.strip_suffix(" counter"))
            {
                counters.push(name.to_owned());
            }
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            match name
                .strip_suffix("_total")
                .filter(|plain| counters.iter().any(|counter| counter == plain))
            {
                Some(plain) => text.push_str(plain),
                None => text.push_str(name),
            }
            text.push_str(rest);
            text.push('\n');
        }
        text
    }
}

/// A connected client, for as long as it lives.
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

struct Sampled {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Sampled {
    fn new(
        name: &'static str,
        help: &'static str,
        kind: Kind,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            help,
            kind,
            read: Box::new(read),
        }
    }
}

impl fmt::Debug for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampled")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Collector for Sampled {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let value = (self.read)();
        match self.kind {
            Kind::Counter => {
                let metric = ConstCounter::new(value);
                metric.encode(encoder.encode_descriptor(
                    self.name,
                    self.help,
                    None,
                    metric.metric_type(),
                )?)
            }
            Kind::Gauge => {
                let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                metric.encode(encoder.encode_descriptor(
                    self.name,
                    self.help,
                    None,
                    metric.metric_type(),
                )?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_istiods() {
        let metrics = Metrics::new("0.1.0");
        metrics.reject(lateen_xds::names::type_url::CLUSTER);
        metrics
            .pushes
            .get_or_create(&TypeLabel::of("made.up/Type"))
            .inc();
        metrics.sample_counter("citadel_server_csr_count", "Requests", || 7);
        metrics.sample_counter("sidecar_injection_requests_total", "Requests", || 3);
        let connected = metrics.connected("1.27.0");
        let text = metrics.text();
        for line in [
            "# TYPE pilot_xds_pushes counter",
            "pilot_xds_pushes{type=\"other\"} 1",
            "pilot_total_xds_rejects{type=\"cds\"} 1",
            "pilot_xds_cds_reject 1",
            "pilot_xds{version=\"1.27.0\"} 1",
            "pilot_info{version=\"0.1.0\"} 1",
            "citadel_server_csr_count 7",
            "sidecar_injection_requests_total 3",
            "pilot_proxy_convergence_time_count 0",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line} is missing in\n{text}"
            );
        }
        drop(connected);
        assert!(metrics.text().contains("pilot_xds{version=\"1.27.0\"} 0"));
    }

    #[test]
    fn clients_cannot_add_series_without_end() {
        let metrics = Metrics::new("0.1.0");
        let held: Vec<Connected> = (0..1000)
            .map(|i| metrics.connected(&format!("v{i}")))
            .collect();
        assert!(
            metrics
                .text()
                .lines()
                .filter(|line| line.starts_with("pilot_xds{"))
                .count()
                <= MAX_VERSIONS + 1
        );
        drop(held);
    }
}
