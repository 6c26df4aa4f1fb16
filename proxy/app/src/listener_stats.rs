//! Envoy's statistics of listeners and TCP proxies, resolved when configuration arrives.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use lateen_proxy_model::{Listener, TcpProxy};
use lateen_proxy_relay::tcp::Transferred;
use lateen_proxy_telemetry::{Counter, Distribution, Gauge, Scope, Stats};

/// Counters of a listener that have a value of 0 before anything happened.
const LISTENER: [&str; 12] = [
    "downstream_cx_destroy",
    "downstream_cx_overflow",
    "downstream_cx_overload_reject",
    "downstream_cx_total",
    "downstream_cx_transport_socket_connect_timeout",
    "downstream_global_cx_overflow",
    "downstream_listener_filter_error",
    "downstream_listener_filter_remote_close",
    "downstream_pre_cx_timeout",
    "extension_config_missing",
    "network_extension_config_missing",
    "no_filter_chain_match",
];
/// The same of a TCP proxy; nothing is buffered or paused beyond what the kernel holds.
const TCP: [&str; 9] = [
    "downstream_cx_no_route",
    "downstream_cx_rx_bytes_total",
    "downstream_cx_total",
    "downstream_cx_tx_bytes_total",
    "downstream_flow_control_paused_reading_total",
    "downstream_flow_control_resumed_reading_total",
    "idle_timeout",
    "max_downstream_connection_duration",
    "upstream_flush_total",
];
const TCP_GAUGES: [&str; 3] = [
    "downstream_cx_rx_bytes_buffered",
    "downstream_cx_tx_bytes_buffered",
    "upstream_flush_active",
];

/// What one worker has resolved; forgotten when listeners change.
#[derive(Debug, Default)]
pub(crate) struct Known {
    listeners: RefCell<HashMap<SocketAddr, Rc<ListenerCounters>>>,
    proxies: RefCell<HashMap<Arc<str>, Option<Rc<TcpCounters>>>>,
}

/// Counters of one listener.
#[derive(Debug)]
pub(crate) struct ListenerCounters {
    total: Option<Counter>,
    active: Option<Gauge>,
    destroyed: Option<Counter>,
    length: Option<Distribution>,
}

/// Counts a listener's connection for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Rc<ListenerCounters>, Instant);

/// Counters of one TCP proxy.
#[derive(Debug)]
pub(crate) struct TcpCounters {
    total: Option<Counter>,
    no_route: Option<Counter>,
    received: Option<Counter>,
    sent: Option<Counter>,
    idle: Option<Counter>,
    too_long: Option<Counter>,
}

/// A listener's address as it stands in names.
pub(crate) fn place(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => format!("{}_{}", address.ip(), address.port()),
        SocketAddr::V6(address) => format!("[{}]_{}", address.ip(), address.port()),
    }
}

fn scope(place: &str) -> Scope<'_> {
    Scope {
        group: "listener",
        tag: "listener_address",
        value: place,
        within: None,
    }
}

/// Counts something rare that happened to a listener's connection.
pub(crate) fn count(stats: &Stats, listener: &Listener, what: &str) {
    if let Some(counter) = stats.scoped(scope(&place(listener.address)), what) {
        counter.inc();
    }
}

impl Known {
    /// Forgets what belongs to listeners that may be gone.
    pub(crate) fn clear(&self) {
        self.listeners.borrow_mut().clear();
        self.proxies.borrow_mut().clear();
    }

    /// Counts a connection that a chain takes.
    pub(crate) fn connected(&self, stats: &Stats, listener: &Listener) -> Counted {
        let mut known = self.listeners.borrow_mut();
        let counters = known.entry(listener.address);
        let counters =
            counters.or_insert_with(|| Rc::new(ListenerCounters::resolve(stats, listener)));
        inc(counters.total.as_ref());
        if let Some(active) = &counters.active {
            active.add(1);
        }
        Counted(Rc::clone(counters), Instant::now())
    }

    /// Resolves the statistics of a listener before it has connections.
    pub(crate) fn resolve(&self, stats: &Stats, listener: &Listener) {
        let mut known = self.listeners.borrow_mut();
        known
            .entry(listener.address)
            .or_insert_with(|| Rc::new(ListenerCounters::resolve(stats, listener)));
    }

    /// The counters of a TCP proxy; `None` when none is wanted.
    pub(crate) fn tcp(&self, stats: &Stats, proxy: &TcpProxy) -> Option<Rc<TcpCounters>> {
        let mut known = self.proxies.borrow_mut();
        if let Some(counters) = known.get(&proxy.stat_prefix) {
            return counters.clone();
        }
        let counters = TcpCounters::resolve(stats, &proxy.stat_prefix).map(Rc::new);
        known.insert(Arc::clone(&proxy.stat_prefix), counters.clone());
        counters
    }
}

impl ListenerCounters {
    fn resolve(stats: &Stats, listener: &Listener) -> Self {
        let place = place(listener.address);
        let scope = scope(&place);
        for name in LISTENER {
            stats.scoped(scope, name);
        }
        stats.scoped_gauge(scope, "downstream_pre_cx_active");
        Self {
            total: stats.scoped(scope, "downstream_cx_total"),
            active: stats.scoped_gauge(scope, "downstream_cx_active"),
            destroyed: stats.scoped(scope, "downstream_cx_destroy"),
            length: stats.distribution(scope, "downstream_cx_length_ms"),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counters = &self.0;
        inc(counters.destroyed.as_ref());
        if let Some(active) = &counters.active {
            active.sub(1);
        }
        if let Some(length) = &counters.length {
            length.observe(self.1.elapsed());
        }
    }
}

impl TcpCounters {
    fn resolve(stats: &Stats, prefix: &str) -> Option<Self> {
        let scope = Scope {
            group: "tcp",
            tag: "tcp_prefix",
            value: prefix,
            within: None,
        };
        let kept = TCP
            .iter()
            .filter(|name| stats.scoped(scope, name).is_some())
            .count();
        for name in TCP_GAUGES {
            stats.scoped_gauge(scope, name);
        }
        let counter = |name| stats.scoped(scope, name);
        (kept > 0).then(|| Self {
            total: counter("downstream_cx_total"),
            no_route: counter("downstream_cx_no_route"),
            received: counter("downstream_cx_rx_bytes_total"),
            sent: counter("downstream_cx_tx_bytes_total"),
            idle: counter("idle_timeout"),
            too_long: counter("max_downstream_connection_duration"),
        })
    }

    pub(crate) fn begin(&self) {
        inc(self.total.as_ref());
    }

    pub(crate) fn no_route(&self) {
        inc(self.no_route.as_ref());
    }

    pub(crate) fn idle(&self) {
        inc(self.idle.as_ref());
    }

    pub(crate) fn too_long(&self) {
        inc(self.too_long.as_ref());
    }

    /// Adds what went through the connection since `told`, which then has it.
    pub(crate) fn moved(&self, counts: &Transferred, told: &mut (u64, u64)) {
        let now = (counts.up.get(), counts.down.get());
        if let Some(received) = &self.received {
            received.add(now.0.saturating_sub(told.0));
        }
        if let Some(sent) = &self.sent {
            sent.add(now.1.saturating_sub(told.1));
        }
        *told = now;
    }
}

fn inc(counter: Option<&Counter>) {
    if let Some(counter) = counter {
        counter.inc();
    }
}
