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
    pub(crate) labels: Box<str>,
    pub(crate) requests: AtomicU64,
    pub(crate) duration: Histogram,
    pub(crate) request_bytes: Histogram,
    pub(crate) response_bytes: Histogram,
    pub(crate) messages: Option<Arc<MessageSeries>>,
}

#[derive(Debug)]
pub(crate) struct MessageSeries {
    pub(crate) labels: Box<str>,
    pub(crate) request: AtomicU64,
    pub(crate) response: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct TcpSeries {
    pub(crate) labels: Box<str>,
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

#[derive(Default)]
struct HttpSum {
    requests: u64,
    duration: HistogramSum,
    request_bytes: HistogramSum,
    response_bytes: HistogramSum,
}

/// Everything of all shards, by label block.
#[derive(Default)]
struct Sums {
    http: BTreeMap<Box<str>, HttpSum>,
    messages: BTreeMap<Box<str>, [u64; 2]>,
    tcp: BTreeMap<Box<str>, [u64; 4]>,
    overflow: u64,
}

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
        let sums = self.sums();
        let mut out = String::with_capacity(4096);
        render_http(&sums.http, &mut out);
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
        self.stats.render_prometheus(&mut out);
        out
    }

    /// Everything as the admin page `stats` shows it: named statistics, then the mesh's counters with their labels inside the name.
    #[must_use]
    pub fn render_plain(&self) -> String {
        let sums = self.sums();
        let mut out = String::new();
        self.stats.render_plain(&mut out);
        for (labels, sum) in &sums.http {
            plain_line("istio_requests_total", labels, sum.requests, &mut out);
        }
        for (labels, values) in &sums.messages {
            for (family, value) in MESSAGE_FAMILIES.iter().zip(values) {
                plain_line(family, labels, *value, &mut out);
            }
        }
        for (labels, values) in &sums.tcp {
            for (family, value) in TCP_FAMILIES.iter().zip(values) {
                plain_line(family, labels, *value, &mut out);
            }
        }
        out
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
            let sum = self.http.entry(series.labels.clone()).or_default();
            sum.requests = sum.requests.saturating_add(series.requests.load(Relaxed));
            sum.duration.add(&series.duration);
            sum.request_bytes.add(&series.request_bytes);
            sum.response_bytes.add(&series.response_bytes);
        }
        for series in &*shard.messages.lock() {
            let sum = self.messages.entry(series.labels.clone()).or_default();
            add_columns(sum, [&series.request, &series.response]);
        }
        for series in &*shard.tcp.lock() {
            let sum = self.tcp.entry(series.labels.clone()).or_default();
            add_columns(
                sum,
                [
                    &series.opened,
                    &series.closed,
                    &series.sent,
                    &series.received,
                ],
            );
        }
        self.overflow = self.overflow.saturating_add(shard.overflow.load(Relaxed));
    }
}

/// One of the histograms of a sum.
type Pick = fn(&HttpSum) -> &HistogramSum;

fn add_columns<const N: usize>(sum: &mut [u64; N], columns: [&AtomicU64; N]) {
    for (total, column) in sum.iter_mut().zip(columns) {
        *total = total.saturating_add(column.load(Relaxed));
    }
}

fn render_http(series: &BTreeMap<Box<str>, HttpSum>, out: &mut String) {
    if series.is_empty() {
        return;
    }
    out.push_str("# TYPE istio_requests_total counter\n");
    for (labels, sum) in series {
        let _ = writeln!(out, "istio_requests_total{{{labels}}} {}", sum.requests);
    }
    let families: [(&str, Pick); 3] = [
        ("istio_request_duration_milliseconds", |sum| &sum.duration),
        ("istio_request_bytes", |sum| &sum.request_bytes),
        ("istio_response_bytes", |sum| &sum.response_bytes),
    ];
    for (family, pick) in families {
        let _ = writeln!(out, "# TYPE {family} histogram");
        for (labels, sum) in series.iter().filter(|(_, sum)| pick(sum).count() > 0) {
            pick(sum).render(family, labels, out);
        }
    }
}

fn render_columns<const N: usize>(
    families: &[&str; N],
    series: &BTreeMap<Box<str>, [u64; N]>,
    out: &mut String,
) {
    if series.is_empty() {
        return;
    }
    for (column, family) in families.iter().enumerate() {
        let _ = writeln!(out, "# TYPE {family} counter");
        for (labels, values) in series {
            if let Some(value) = values.get(column) {
                let _ = writeln!(out, "{family}{{{labels}}} {value}");
            }
        }
    }
}

/// `name="value",…` becomes `name=.=value;.;…`, the separators that the mesh's statistics have in their names.
fn plain_line(family: &str, labels: &str, value: u64, out: &mut String) {
    let _ = write!(out, "istiocustom.{family}.");
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
    let _ = writeln!(out, ": {value}");
}
