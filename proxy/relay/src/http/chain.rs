//! A filter chain's HTTP side, taken apart once: what a request asks for costs one look.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderName;
use lateen_proxy_model::{
    AdmissionWindow, FilterEntry, HttpFilter, HttpManager, RouteTable, StatsFilter,
};
use lateen_proxy_telemetry::{AccessLog, Counter, Side, Stats};

use super::counters::HttpCounters;
use super::overload::ChainOverload;
use super::switches::Switches;
use super::tracer::Tracer;
use super::worker::{KnownTable, Worker};

/// One HTTP connection manager on one worker.
#[derive(Debug)]
pub struct HttpChain {
    /// The connection manager.
    pub manager: Arc<HttpManager>,
    /// The worker.
    pub worker: Rc<Worker>,
    /// Which way requests go.
    pub side: Side,
    /// The filters that do something with a request on its way, in the order of the chain.
    pub filters: Box<[ChainFilter]>,
    /// Overload, where the listener is not exempt.
    pub overload: Option<Box<ChainOverload>>,
    pub(crate) exchange: PeerExchange,
    pub(crate) stats: Option<StatsFilter>,
    /// Filters that do nothing in a place of their own.
    pub(crate) switches: Switches,
    pub(crate) counters: Option<HttpCounters>,
    pub(crate) tracer: Option<Rc<Tracer>>,
    pub(crate) logs: Vec<AccessLog>,
    /// Request headers that some log asks for.
    pub(crate) logged_headers: Vec<HeaderName>,
    /// Some log may ask for any request header.
    pub(crate) all_headers_logged: bool,
    inline: OnceCell<Rc<KnownTable>>,
}

/// A filter that does something with a request on its way.
#[derive(Debug)]
pub struct ChainFilter {
    /// The filter.
    pub entry: FilterEntry,
    /// What it counts, in the order of [`HttpFilter::counters`].
    counters: FilterCounters,
    /// What admission control has seen on this worker.
    pub window: Option<Rc<RefCell<AdmissionWindow>>>,
    /// What fills the place of a discovered filter now, with its counters.
    filled: RefCell<Option<(Arc<HttpFilter>, Rc<ChainFilter>)>>,
}

/// What a filter counts.
#[derive(Clone, Debug)]
pub struct FilterCounters(Rc<[Counter]>);

impl FilterCounters {
    /// The counter at `place`.
    pub fn counter(&self, place: usize) -> Option<&Counter> {
        self.0.get(place)
    }

    /// Counts one more of what stands at `place`.
    pub fn count(&self, place: usize) {
        if let Some(counter) = self.0.get(place) {
            counter.inc();
        }
    }
}

impl ChainFilter {
    fn new(entry: &FilterEntry, prefix: &str, stats: &Stats) -> Self {
        let tag = ("http_conn_manager_prefix", prefix);
        let counters = entry.filter.counters();
        Self {
            entry: entry.clone(),
            counters: FilterCounters(
                counters
                    .iter()
                    .map(|name| stats.counter_of("http", tag, name))
                    .collect(),
            ),
            window: matches!(entry.filter, HttpFilter::AdmissionControl(_)).then(Rc::default),
            filled: RefCell::default(),
        }
    }

    /// Counts one more of what stands at `place`.
    pub fn count(&self, place: usize) {
        self.counters.count(place);
    }

    /// The counters, for what outlives the walk.
    pub fn counters(&self) -> FilterCounters {
        self.counters.clone()
    }
}

/// The `istio.metadata_exchange` filter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerExchange {
    pub(crate) downstream: bool,
    pub(crate) upstream: bool,
    pub(crate) skip_external: bool,
}

impl HttpChain {
    /// `logs` are the manager's access logs, resolved.
    pub fn new(
        manager: Arc<HttpManager>,
        worker: Rc<Worker>,
        side: Side,
        logs: Vec<AccessLog>,
    ) -> Self {
        let mut logged_headers: Vec<HeaderName> = Vec::new();
        for name in logs.iter().flat_map(AccessLog::request_headers) {
            if !logged_headers.contains(name) {
                logged_headers.push(name.clone());
            }
        }
        let stats = worker.recorder.stats();
        let acting = manager.filters.iter().filter(|it| it.filter.acts());
        let filters = acting
            .map(|entry| ChainFilter::new(entry, &manager.stat_prefix, stats))
            .collect();
        let overload = worker.overload.clone();
        let overload = overload.map(|it| Box::new(ChainOverload::new(it, &manager.stat_prefix)));
        let provider = manager.tracing.as_ref().and_then(|it| it.provider.as_ref());
        let tracer = provider
            .map(|provider| Rc::new(Tracer::start(Arc::clone(provider), worker.caller(), stats)));
        let counters = HttpCounters::resolve(stats, &manager.stat_prefix);
        let mut chain = Self {
            overload,
            manager: Arc::clone(&manager),
            worker,
            side,
            filters,
            exchange: PeerExchange::default(),
            stats: None,
            switches: Switches::new(&manager.filters),
            counters,
            tracer,
            all_headers_logged: logs.iter().any(AccessLog::wants_all_headers),
            logs,
            logged_headers,
            inline: OnceCell::new(),
        };
        for entry in &manager.filters {
            chain.add(&entry.filter);
        }
        chain
    }

    /// What fills the place of a discovered filter now; `None` while its settings are missing.
    pub fn discovered(&self, filter: &ChainFilter) -> Option<Rc<ChainFilter>> {
        let HttpFilter::Discovered(slot) = &filter.entry.filter else {
            return None;
        };
        let now = slot.load_full()?;
        let mut filled = filter.filled.borrow_mut();
        if let Some((known, made)) = &*filled
            && Arc::ptr_eq(known, &now)
        {
            return Some(Rc::clone(made));
        }
        let entry = FilterEntry {
            filter: (*now).clone(),
            ..filter.entry.clone()
        };
        let stats = self.worker.recorder.stats();
        let made = Rc::new(ChainFilter::new(&entry, &self.manager.stat_prefix, stats));
        *filled = Some((now, Rc::clone(&made)));
        Some(made)
    }

    /// The inline table, counted on this thread only.
    pub fn inline_table(&self, table: &Arc<RouteTable>) -> Rc<KnownTable> {
        Rc::clone(self.inline.get_or_init(|| self.worker.met(table)))
    }

    fn add(&mut self, filter: &HttpFilter) {
        match filter {
            HttpFilter::PeerMetadata {
                downstream,
                upstream,
                skip_external,
            } => {
                self.exchange = PeerExchange {
                    downstream: *downstream,
                    upstream: *upstream,
                    skip_external: *skip_external,
                };
            }
            HttpFilter::Stats(stats) => self.stats = Some(stats.clone()),
            // Bits of `switches`, or run by the walk through `filters`.
            HttpFilter::GrpcStats
            | HttpFilter::IstioAlpn
            | HttpFilter::AdmissionControl(_)
            | HttpFilter::Csrf(_)
            | HttpFilter::ExtProc(_)
            | HttpFilter::Fault(_)
            | HttpFilter::Cors
            | HttpFilter::Rbac(_)
            | HttpFilter::Jwt(_)
            | HttpFilter::ExtAuthz(_)
            | HttpFilter::LocalRateLimit(_)
            | HttpFilter::RateLimit(_)
            | HttpFilter::HealthCheck(_)
            | HttpFilter::GrpcWeb
            | HttpFilter::Compress(_)
            | HttpFilter::Decompress(_)
            | HttpFilter::Buffer(_)
            | HttpFilter::Mutate(_)
            | HttpFilter::Session(_)
            | HttpFilter::ForwardProxy(_)
            | HttpFilter::Discovered(_) => {}
        }
    }
}
