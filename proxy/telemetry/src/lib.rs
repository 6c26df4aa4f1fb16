//! Events in; metrics, access log and spans out.
//!
//! The data path fills an [`HttpRecord`] or a [`TcpRecord`] from what it already holds and gives it to its worker's
//! [`Recorder`] and to the [`AccessLog`]s of the filter chain. Neither allocates on a series or a format seen before;
//! what workers count stays in shards of their own that meet only when somebody scrapes ([`Metrics::render`]).

pub mod access_log;
mod flags;
mod histogram;
mod labels;
mod metrics;
pub mod otlp;
mod peer;
mod record;
mod recorder;
mod stats;
pub mod trace;

pub use access_log::{
    AccessLog, CompareOp, Comparison, Format, FormatError, LogEntries, LogFilter, LogSink,
    LogSinks, ServiceLog, ServiceLogKind,
};
pub use flags::Flags;
pub use histogram::BOUNDS;
pub use metrics::{Metrics, MetricsConfig};
pub use peer::{Peer, PeerFields, Service};
pub use record::{Exchange, HeaderSource, HttpRecord, LogType, Protocol, Side, TcpRecord};
pub use recorder::{Recorder, TCP_REPORT_INTERVAL, TcpReporter};
pub use stats::{
    Bin, Collector, Counter, Distribution, Gauge, PageRow, QUANTILES, Sample, SampleValue, Scope,
    Spread, Stats, StatsConfig, StatsMatcher, StatsPage, StatsTag, Within, summary,
};
