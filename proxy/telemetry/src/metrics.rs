//! All workers' counts, summed when somebody asks.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::histogram::{Histogram, HistogramSum};
use crate::labels::{Local, escape_into};
use crate::{Peer, Recorder, Stats};

/// Who this proxy is and how much it may count.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// This proxy's own workload.
    pub local: Arc<Peer>,
    /// This proxy's SPIFFE URI, shown where a connection is mutual TLS.
    pub principal: Option<Arc<str>>,
    /// Version shown by `istio_build`.
    pub version: String,
    /// Most series a worker keeps; what exceeds it is counted, not kept (S23).
    pub max_series: usize,
}

/// The process's metrics: one shard a worker, and the named statistics.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) local: Local,
    pub(crate) max_series: usize,
    version: String,
    stats: Stats,
    shards: Mutex<Vec<Arc<Shard>>>,
}

/// The series of one worker. The locks are taken when a series is born and when somebody scrapes.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) http: Mutex<Vec<Arc<HttpSeries>>>,
    pub(crate) messages: Mutex<Vec<Arc<MessageSeries>>>,
    pub(crate) tcp: Mutex<Vec<Arc<TcpSeries>>>,
    pub(crate) overflow: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct HttpSeries {
    /// Of requests and of the three histograms.
    pub(crate) labels: [Option<Arc<str>>; 4],
    pub(crate) requests: AtomicU64,
    pub(crate) duration: Histogram,
    pub(crate) request_bytes: Histogram,
    pub(crate) response_bytes: Histogram,
    pub(crate) messages: Option<Arc<MessageSeries>>,
}

#[derive(Debug)]
pub(crate) struct MessageSeries {
    pub(crate) labels: [Option<Arc<str>>; 2],
    pub(crate) request: AtomicU64,
    pub(crate) response: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct TcpSeries {
    pub(crate) labels: [Option<Arc<str>>; 4],
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

/// A counter's values by label block.
type Family = BTreeMap<Arc<str>, u64>;

/// Everything of all shards.
#[derive(Default)]
struct Sums {
    requests: [Family; 1],
    histograms: [BTreeMap<Arc<str>, HistogramSum>; 3],
    messages: [Family; 2],
    tcp: [Family; 4],
    overflow: u64,
}

const REQUESTS: [&str; 1] = ["istio_requests_total"];

const HISTOGRAMS: [&str; 3] = [
    "istio_request_duration_milliseconds",
    "istio_request_bytes",
    "istio_response_bytes",
];

const TCP_FAMILIES: [&str; 4] = [
    "istio_tcp_connections_opened_total",
    "istio_tcp_connections_closed_total",
    "istio_tcp_sent_bytes_total",
    "istio_tcp_received_bytes_total",
];

const MESSAGE_FAMILIES: [&str; 2] = [
    "istio_request_messages_total",
    "istio_response_messages_total",
];

impl Metrics {
    /// Empty metrics for this proxy.
    #[must_use]
    pub fn new(config: MetricsConfig) -> Arc<Self> {
        Arc::new(Self {
            local: Local {
                peer: config.local,
                principal: config.principal,
            },
            max_series: config.max_series,
            version: config.version,
            stats: Stats::default(),
            shards: Mutex::default(),
        })
    }

    /// A new worker's recorder, with a shard of its own.
    #[must_use]
    pub fn recorder(self: &Arc<Self>) -> Recorder {
        let shard = Arc::new(Shard::default());
        self.shards.lock().push(Arc::clone(&shard));
        Recorder::new(Arc::clone(self), shard)
    }

    /// The named statistics (listeners, clusters, server).
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Everything as Prometheus text (format 0.0.4). Families without a series are left out.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = self.render_mesh();
        self.stats.render_prometheus(&|_| true, &mut out);
        out
    }

    /// The mesh's metrics alone, as Prometheus text.
    #[must_use]
    pub fn render_mesh(&self) -> String {
        let sums = self.sums();
        let mut out = String::with_capacity(4096);
        render_columns(&REQUESTS, &sums.requests, &mut out);
        render_histograms(&sums.histograms, &mut out);
        render_columns(&MESSAGE_FAMILIES, &sums.messages, &mut out);
        render_columns(&TCP_FAMILIES, &sums.tcp, &mut out);
        out.push_str("# TYPE istio_build gauge\nistio_build{component=\"proxy\",tag=\"");
        escape_into(&self.version, &mut out);
        out.push_str("\"} 1\n");
        out.push_str("# TYPE lateen_metrics_series_overflow_total counter\n");
        let _ = writeln!(
            out,
            "lateen_metrics_series_overflow_total {}",
            sums.overflow
        );
        out
    }

    /// Shows the mesh's counters as the admin page `stats` does, with their labels inside the name.
    pub fn each_of_mesh(&self, see: &mut dyn FnMut(&str, u64)) {
        let sums = self.sums();
        let requests = REQUESTS.iter().zip(&sums.requests);
        let messages = MESSAGE_FAMILIES.iter().zip(&sums.messages);
        let tcp = TCP_FAMILIES.iter().zip(&sums.tcp);
        for (family, values) in requests.chain(messages).chain(tcp) {
            for (labels, value) in values {
                see(&plain_name(family, labels), *value);
            }
        }
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for shard in &*self.shards.lock() {
            sums.add(shard);
        }
        sums
    }
}

impl Sums {
    fn add(&mut self, shard: &Shard) {
        for series in &*shard.http.lock() {
            let [requests, histograms @ ..] = &series.labels;
            add(
                &mut self.requests,
                std::slice::from_ref(requests),
                [&series.requests],
            );
            let parts = [
                &series.duration,
                &series.request_bytes,
                &series.response_bytes,
            ];
            for ((sums, labels), part) in self.histograms.iter_mut().zip(histograms).zip(parts) {
                if let Some(labels) = labels {
                    sums.entry(Arc::clone(labels)).or_default().add(part);
                }
            }
        }
        for series in &*shard.messages.lock() {
            let columns = [&series.request, &series.response];
            add(&mut self.messages, &series.labels, columns);
        }
        for series in &*shard.tcp.lock() {
            let columns = [
                &series.opened,
                &series.closed,
                &series.sent,
                &series.received,
            ];
            add(&mut self.tcp, &series.labels, columns);
        }
        self.overflow = self.overflow.saturating_add(shard.overflow.load(Relaxed));
    }
}

fn add<const N: usize>(
    sums: &mut [Family; N],
    labels: &[Option<Arc<str>>],
    columns: [&AtomicU64; N],
) {
    for ((family, labels), column) in sums.iter_mut().zip(labels).zip(columns) {
        if let Some(labels) = labels {
            let total = family.entry(Arc::clone(labels)).or_default();
            *total = total.saturating_add(column.load(Relaxed));
        }
    }
}

fn render_histograms(families: &[BTreeMap<Arc<str>, HistogramSum>; 3], out: &mut String) {
    for (name, series) in HISTOGRAMS.iter().zip(families) {
        if series.is_empty() {
            continue;
        }
        let _ = writeln!(out, "# TYPE {name} histogram");
        for (labels, sum) in series.iter().filter(|(_, sum)| sum.count() > 0) {
            sum.render(name, labels, out);
        }
    }
}

fn render_columns<const N: usize>(names: &[&str; N], families: &[Family; N], out: &mut String) {
    for (name, series) in names.iter().zip(families) {
        if series.is_empty() {
            continue;
        }
        let _ = writeln!(out, "# TYPE {name} counter");
        for (labels, value) in series {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    }
}

/// `name="value",…` becomes `name=.=value;.;…`, the separators that the mesh's statistics have in their names.
fn plain_name(family: &str, labels: &str) -> String {
    let mut out = format!("istiocustom.{family}.");
    let mut quoted = false;
    let mut characters = labels.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.extend(
                characters
                    .next()
                    .map(|escaped| if escaped == 'n' { '_' } else { escaped }),
            ),
            '"' if quoted => {
                quoted = false;
                out.push_str(";.;");
            }
            '"' => quoted = true,
            ',' if !quoted => {}
            '=' if !quoted => out.push_str("=.="),
            other => out.push(other),
        }
    }
    out
}
