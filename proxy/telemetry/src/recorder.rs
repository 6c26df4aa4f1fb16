//! A worker's way in: one hash lookup finds the series, and nothing is allocated for one that was seen before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use indexmap::IndexMap;
use lateen_proxy_model::MetricOverrides;
use parking_lot::Mutex;

use crate::access_log::{Facts, Subject};
use crate::histogram::{Histogram, bump};
use crate::labels::{self, LabelSet, RequestProtocol, SEPARATOR, SeriesKey, SeriesRef};
use crate::metrics::{HttpSeries, MessageSeries, Metrics, Shard, TcpSeries};
use crate::{Exchange, HttpRecord, Service, TcpRecord};

/// Names of metrics as changes have them.
const HTTP_METRICS: [&str; 4] = [
    "requests_total",
    "request_duration_milliseconds",
    "request_bytes",
    "response_bytes",
];
const MESSAGE_METRICS: [&str; 2] = ["request_messages_total", "response_messages_total"];
const TCP_METRICS: [&str; 4] = [
    "tcp_connections_opened_total",
    "tcp_connections_closed_total",
    "tcp_sent_bytes_total",
    "tcp_received_bytes_total",
];

/// How often an open TCP connection reports its bytes (contract/telemetry.md §1).
pub const TCP_REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Counts for one worker. The lock inside is that worker's own and so never contended on the request path.
#[derive(Debug)]
pub struct Recorder {
    metrics: Arc<Metrics>,
    shard: Arc<Shard>,
    state: Mutex<State>,
}

/// What one TCP connection has reported so far: turns totals into differences.
#[derive(Debug, Default)]
pub struct TcpReporter {
    opened: bool,
    sent: u64,
    received: u64,
}

#[derive(Debug, Default)]
struct State {
    http: IndexMap<SeriesKey, Arc<HttpSeries>, ahash::RandomState>,
    messages: HashMap<SeriesKey, Arc<MessageSeries>, ahash::RandomState>,
    tcp: IndexMap<SeriesKey, Arc<TcpSeries>, ahash::RandomState>,
    /// Changes that keys refer to by their addresses, which must not be used again.
    kept: Vec<Arc<MetricOverrides>>,
    /// Services made up from authorities, for clusters that name none.
    hosts: HashMap<Box<str>, Arc<Service>, ahash::RandomState>,
}

impl Recorder {
    pub(crate) fn new(metrics: Arc<Metrics>, shard: Arc<Shard>) -> Self {
        Self {
            metrics,
            shard,
            state: Mutex::default(),
        }
    }

    /// The named statistics of the process.
    pub fn stats(&self) -> &crate::stats::Stats {
        self.metrics.stats()
    }

    /// Counts one finished HTTP exchange.
    pub fn http(&self, record: &HttpRecord<'_>) {
        let subject = Subject {
            exchange: &record.exchange,
            http: Some(record),
        };
        let custom = custom(&subject);
        let mut state = self.state.lock();
        let made_up = match state.made_up_service(record, self.metrics.max_series) {
            Ok(service) => service,
            Err(Full) => return self.overflow(),
        };
        let protocol = if record.grpc {
            RequestProtocol::Grpc
        } else {
            RequestProtocol::Http
        };
        let mut key = key_of(&record.exchange, protocol);
        key.status = record.status;
        key.grpc_status = record.grpc_status.filter(|_| record.grpc);
        key.service = made_up.as_ref().or(record.exchange.service);
        key.custom = custom.as_ref().map(|(id, values)| (*id, &**values));
        let overrides = record.exchange.metric_overrides;
        let Some(series) = state.http_series((key, overrides), &self.metrics, &self.shard) else {
            return self.overflow();
        };
        bump(&series.requests, 1);
        let millis = u64::try_from(record.exchange.duration.as_millis()).unwrap_or(u64::MAX);
        series.duration.observe(millis);
        series.request_bytes.observe(record.exchange.bytes_received);
        series.response_bytes.observe(record.exchange.bytes_sent);
        if let (Some((request, response)), Some(messages)) =
            (record.grpc_messages, &series.messages)
        {
            bump(&messages.request, request);
            bump(&messages.response, response);
        }
    }

    fn tcp(&self, record: &TcpRecord<'_>, event: &TcpEvent) {
        let subject = Subject {
            exchange: &record.exchange,
            http: None,
        };
        let custom = custom(&subject);
        let mut state = self.state.lock();
        let mut key = key_of(&record.exchange, RequestProtocol::Tcp);
        key.custom = custom.as_ref().map(|(id, values)| (*id, &**values));
        let overrides = record.exchange.metric_overrides;
        let Some(series) = state.tcp_series((key, overrides), &self.metrics, &self.shard) else {
            return self.overflow();
        };
        bump(&series.opened, u64::from(event.opened));
        bump(&series.closed, u64::from(event.closed));
        bump(&series.sent, event.sent);
        bump(&series.received, event.received);
    }

    fn overflow(&self) {
        bump(&self.shard.overflow, 1);
    }
}

impl TcpReporter {
    /// Reports what is new since the last call; the first call counts the connection as opened. Call it when the peer is
    /// known (or will not be), then every [`TCP_REPORT_INTERVAL`].
    pub fn progress(&mut self, recorder: &Recorder, record: &TcpRecord<'_>) {
        self.report(recorder, record, false);
    }

    /// Reports the rest and the end of the connection.
    pub fn finish(mut self, recorder: &Recorder, record: &TcpRecord<'_>) {
        self.report(recorder, record, true);
    }

    fn report(&mut self, recorder: &Recorder, record: &TcpRecord<'_>, closed: bool) {
        let event = TcpEvent {
            opened: !self.opened,
            closed,
            sent: record.exchange.bytes_sent.saturating_sub(self.sent),
            received: record.exchange.bytes_received.saturating_sub(self.received),
        };
        recorder.tcp(record, &event);
        self.opened = true;
        self.sent = record.exchange.bytes_sent.max(self.sent);
        self.received = record.exchange.bytes_received.max(self.received);
    }
}

/// The cap on made-up services is reached.
struct Full;

struct TcpEvent {
    opened: bool,
    closed: bool,
    sent: u64,
    received: u64,
}

impl State {
    /// The service named by the authority, where the cluster names none and the listener allows it.
    fn made_up_service(
        &mut self,
        record: &HttpRecord<'_>,
        cap: usize,
    ) -> Result<Option<Arc<Service>>, Full> {
        let service = record.exchange.service;
        let Some(authority) = record.authority.filter(|_| record.host_header_fallback) else {
            return Ok(None);
        };
        if service.is_some_and(|service| !service.host.is_empty()) {
            return Ok(None);
        }
        let name = service.map_or("", |service| &*service.name);
        if let Some(known) = self.hosts.get(authority)
            && (name.is_empty() || *known.name == *name)
        {
            return Ok(Some(Arc::clone(known)));
        }
        if self.hosts.len() >= cap {
            return Err(Full);
        }
        let host: Arc<str> = authority.to_ascii_lowercase().into();
        let made = Arc::new(Service {
            name: if name.is_empty() {
                Arc::clone(&host)
            } else {
                name.into()
            },
            host,
            namespace: service.map_or_else(|| "".into(), |service| Arc::clone(&service.namespace)),
        });
        self.hosts.insert(authority.into(), Arc::clone(&made));
        Ok(Some(made))
    }

    fn keep(&mut self, overrides: Option<&Arc<MetricOverrides>>) {
        if let Some(overrides) = overrides
            && !self.kept.iter().any(|known| Arc::ptr_eq(known, overrides))
        {
            self.kept.push(Arc::clone(overrides));
        }
    }

    fn http_series(
        &mut self,
        (key, overrides): (SeriesRef<'_>, Option<&Arc<MetricOverrides>>),
        metrics: &Metrics,
        shard: &Shard,
    ) -> Option<&HttpSeries> {
        let place = match self.http.get_index_of(&key) {
            Some(place) => place,
            None if self.http.len() >= metrics.max_series => return None,
            None => {
                self.keep(overrides);
                let key = SeriesKey::from(key);
                let made = self.new_http_series((&key, overrides), metrics, shard);
                self.http.insert_full(key, made).0
            }
        };
        self.http.get_index(place).map(|(_, series)| &**series)
    }

    fn new_http_series(
        &mut self,
        (key, overrides): (&SeriesKey, Option<&Arc<MetricOverrides>>),
        metrics: &Metrics,
        shard: &Shard,
    ) -> Arc<HttpSeries> {
        let messages = (key.protocol == RequestProtocol::Grpc)
            .then(|| self.message_series((key, overrides), metrics, shard));
        let made = Arc::new(HttpSeries {
            labels: labels::blocks(
                key,
                &metrics.local,
                LabelSet::Http,
                overrides.map(|it| &**it),
                HTTP_METRICS,
            ),
            requests: AtomicU64::default(),
            duration: Histogram::default(),
            request_bytes: Histogram::default(),
            response_bytes: Histogram::default(),
            messages,
        });
        shard.http.lock().push(Arc::clone(&made));
        made
    }

    fn message_series(
        &mut self,
        (key, overrides): (&SeriesKey, Option<&Arc<MetricOverrides>>),
        metrics: &Metrics,
        shard: &Shard,
    ) -> Arc<MessageSeries> {
        let key = SeriesKey {
            status: 0,
            grpc_status: None,
            flags: crate::Flags::NONE,
            ..key.clone()
        };
        let series = self.messages.entry(key).or_insert_with_key(|key| {
            let made = Arc::new(MessageSeries {
                labels: labels::blocks(
                    key,
                    &metrics.local,
                    LabelSet::Messages,
                    overrides.map(|it| &**it),
                    MESSAGE_METRICS,
                ),
                request: AtomicU64::default(),
                response: AtomicU64::default(),
            });
            shard.messages.lock().push(Arc::clone(&made));
            made
        });
        Arc::clone(series)
    }

    fn tcp_series(
        &mut self,
        (key, overrides): (SeriesRef<'_>, Option<&Arc<MetricOverrides>>),
        metrics: &Metrics,
        shard: &Shard,
    ) -> Option<&TcpSeries> {
        let place = match self.tcp.get_index_of(&key) {
            Some(place) => place,
            None if self.tcp.len() >= metrics.max_series => return None,
            None => {
                self.keep(overrides);
                let key = SeriesKey::from(key);
                let made = new_tcp_series((&key, overrides), metrics, shard);
                self.tcp.insert_full(key, made).0
            }
        };
        self.tcp.get_index(place).map(|(_, series)| &**series)
    }
}

fn new_tcp_series(
    (key, overrides): (&SeriesKey, Option<&Arc<MetricOverrides>>),
    metrics: &Metrics,
    shard: &Shard,
) -> Arc<TcpSeries> {
    let made = Arc::new(TcpSeries {
        labels: labels::blocks(
            key,
            &metrics.local,
            LabelSet::Tcp,
            overrides.map(|it| &**it),
            TCP_METRICS,
        ),
        opened: AtomicU64::default(),
        closed: AtomicU64::default(),
        sent: AtomicU64::default(),
        received: AtomicU64::default(),
    });
    shard.tcp.lock().push(Arc::clone(&made));
    made
}

fn key_of<'a>(exchange: &Exchange<'a>, protocol: RequestProtocol) -> SeriesRef<'a> {
    SeriesRef {
        side: exchange.side,
        mtls: exchange.mtls,
        protocol,
        status: 0,
        grpc_status: None,
        flags: exchange.flags,
        peer: exchange.peer,
        principal: exchange.peer_principal,
        service: exchange.service,
        custom: None,
    }
}

/// What tells records apart that changes give other labels: which changes, and the values of their expressions.
fn custom(subject: &Subject<'_>) -> Option<(usize, String)> {
    let overrides = subject.exchange.metric_overrides?;
    let values = overrides.values(&Facts::of(subject));
    let joined = values.join(SEPARATOR.encode_utf8(&mut [0; 4]));
    Some((Arc::as_ptr(overrides) as usize, joined))
}

#[cfg(test)]
mod tests;
