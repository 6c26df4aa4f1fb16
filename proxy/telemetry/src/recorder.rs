//! A worker's way in: one hash lookup finds the series, and nothing is allocated for one that was seen before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::Mutex;

use crate::histogram::{Histogram, bump};
use crate::labels::{self, LabelSet, RequestProtocol, SeriesKey, SeriesRef};
use crate::metrics::{HttpSeries, MessageSeries, Metrics, Shard, TcpSeries};
use crate::{Exchange, HttpRecord, Service, TcpRecord};

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
        let Some(series) = state.http_series(key, &self.metrics, &self.shard) else {
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
        let mut state = self.state.lock();
        let key = key_of(&record.exchange, RequestProtocol::Tcp);
        let Some(series) = state.tcp_series(key, &self.metrics, &self.shard) else {
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

    fn http_series(
        &mut self,
        key: SeriesRef<'_>,
        metrics: &Metrics,
        shard: &Shard,
    ) -> Option<&HttpSeries> {
        let place = match self.http.get_index_of(&key) {
            Some(place) => place,
            None if self.http.len() >= metrics.max_series => return None,
            None => {
                let key = SeriesKey::from(key);
                let made = self.new_http_series(&key, metrics, shard);
                self.http.insert_full(key, made).0
            }
        };
        self.http.get_index(place).map(|(_, series)| &**series)
    }

    fn new_http_series(
        &mut self,
        key: &SeriesKey,
        metrics: &Metrics,
        shard: &Shard,
    ) -> Arc<HttpSeries> {
        let messages = (key.protocol == RequestProtocol::Grpc)
            .then(|| self.message_series(key, metrics, shard));
        let made = Arc::new(HttpSeries {
            labels: labels::render(key, &metrics.local, LabelSet::Http),
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
        key: &SeriesKey,
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
                labels: labels::render(key, &metrics.local, LabelSet::Messages),
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
        key: SeriesRef<'_>,
        metrics: &Metrics,
        shard: &Shard,
    ) -> Option<&TcpSeries> {
        let place = match self.tcp.get_index_of(&key) {
            Some(place) => place,
            None if self.tcp.len() >= metrics.max_series => return None,
            None => {
                let key = SeriesKey::from(key);
                let made = new_tcp_series(&key, metrics, shard);
                self.tcp.insert_full(key, made).0
            }
        };
        self.tcp.get_index(place).map(|(_, series)| &**series)
    }
}

fn new_tcp_series(key: &SeriesKey, metrics: &Metrics, shard: &Shard) -> Arc<TcpSeries> {
    let made = Arc::new(TcpSeries {
        labels: labels::render(key, &metrics.local, LabelSet::Tcp),
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
    }
}

#[cfg(test)]
mod tests;
