//! A worker: one thread with its own runtime, sockets, pools and counters. It follows the listeners of the state.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use lateen_proxy_balance::Balancer;
use lateen_proxy_dial::Pools;
use lateen_proxy_listen::{Drain, DrainTrigger, Lease, Listening, Place, Sockets, drain};
use lateen_proxy_model::{
    FilterChain, HttpManager, Listener, ListenerBind, OriginalDst, TrafficDirection,
};
use lateen_proxy_relay::http::{
    HttpChain, Node, RequestBody, ServiceCalls, Shedding, Upstreams, Worker as HttpWorker,
};
use lateen_proxy_state::{ListenerChanges, State};
use lateen_proxy_telemetry::{AccessLog, Side};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use crate::logs::{LogTable, WorkerLogs};
use crate::{connection, listener_stats, quic};

/// Wait after a failed accept, when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time to tell clients of QUIC that the process ends.
const QUIC_CLOSE: Duration = Duration::from_millis(20);

/// What all workers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// Serve.
    Serving,
    /// Serve on, but ask connections of inbound listeners to end.
    DrainingInbound,
    /// Serve on, but ask connections to end.
    Draining,
    /// Another process has taken the sockets over: accept no more, and end what there is.
    Handing,
    /// End.
    Ending,
}

/// What a worker is made of, besides its number.
#[derive(Clone)]
pub(crate) struct Blueprint {
    pub(crate) state: Arc<State>,
    pub(crate) metrics: Arc<lateen_proxy_telemetry::Metrics>,
    pub(crate) logs: Arc<LogTable>,
    /// This proxy is a gateway.
    pub(crate) router: bool,
    /// Metadata told to peers, serialized.
    pub(crate) own: Option<lateen_proxy_relay::http::OwnMetadata>,
    /// The frame of TCP metadata exchange.
    pub(crate) own_frame: Arc<[u8]>,
    /// Who this proxy is, for spans and logs.
    pub(crate) identity: Node,
    /// Connections of a replaced chain end within this time.
    pub(crate) drain_time: Duration,
    /// HTTP connections that drain are asked to end at times spread over this one.
    pub(crate) drain_over: Duration,
    /// Listening sockets of all workers.
    pub(crate) sockets: Arc<Sockets>,
    /// Worker threads.
    pub(crate) workers: usize,
    /// The service cluster that the node is of.
    pub(crate) service_cluster: Arc<str>,
    /// How overloaded the process is, where somebody looks.
    pub(crate) overload: Option<Shedding>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Told when a socket could not be bound.
    pub(crate) bind_failures: tokio::sync::mpsc::UnboundedSender<BindFailure>,
    /// The clock all workers share.
    pub(crate) origin: Instant,
    /// Downstream connections of all workers.
    pub(crate) active: Arc<AtomicU64>,
}

/// A listener whose socket is not there.
#[derive(Debug, thiserror::Error)]
#[error("listener {name:?} cannot listen on {place}: {error}")]
pub(crate) struct BindFailure {
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    pub(crate) error: std::io::Error,
}

/// One worker's state, shared by its connections.
pub(crate) struct Worker {
    pub(crate) blueprint: Blueprint,
    pub(crate) balancer: Rc<Balancer>,
    pub(crate) pools: Rc<Pools<RequestBody>>,
    pub(crate) http: Rc<HttpWorker>,
    /// Statistics of listeners and TCP proxies.
    pub(crate) known: listener_stats::Known,
    logs: WorkerLogs,
    chains: RefCell<HashMap<usize, Rc<HttpChain>>>,
    drains: RefCell<HashMap<usize, Draining>>,
    number: usize,
}

/// The connections of a chain, and how they are told to end. Holds the chain, so that its address stays its own.
struct Draining {
    listener: Arc<str>,
    chain: Arc<FilterChain>,
    trigger: DrainTrigger,
    view: Drain,
}

/// A bound listener: its newest value, and the tasks that accept for it.
struct Bound {
    listener: Rc<RefCell<Arc<Listener>>>,
    accepting: Vec<tokio::task::JoinHandle<()>>,
    _leases: Vec<Lease>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.accepting
            .iter()
            .for_each(tokio::task::JoinHandle::abort);
    }
}

/// Whether connections of a listener are asked to end.
fn asks_to_end(phase: Phase, direction: TrafficDirection) -> bool {
    match phase {
        Phase::Serving => false,
        Phase::DrainingInbound => direction == TrafficDirection::Inbound,
        Phase::Draining | Phase::Handing | Phase::Ending => true,
    }
}

/// Runs a worker on the calling thread until the phase says that it ends.
pub(crate) fn run(
    blueprint: Blueprint,
    number: usize,
    started: impl FnOnce(),
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let worker = Rc::new(Worker::new(blueprint, number));
    LocalSet::new().block_on(&runtime, async {
        started();
        worker.follow().await;
    });
    Ok(())
}

impl Worker {
    fn new(blueprint: Blueprint, number: usize) -> Self {
        let recorder = blueprint.metrics.recorder();
        let balancer = Rc::new(Balancer::system(blueprint.origin));
        let pools: Rc<Pools<RequestBody>> = Rc::default();
        let state = Arc::clone(&blueprint.state);
        let find = move |name: &str| {
            let slot = state.clusters().known(name)?;
            let there = slot.load().is_some();
            there.then_some(slot)
        };
        let mut http = HttpWorker::new(recorder, blueprint.own.clone()).finding(find);
        http.service_cluster = Arc::clone(&blueprint.service_cluster);
        http.overload.clone_from(&blueprint.overload);
        http.node = blueprint.identity.clone();
        let http = Rc::new(http);
        let upstreams = Upstreams {
            balance: Rc::clone(&balancer),
            dial: Rc::clone(&pools),
        };
        http.reach(Rc::new(ServiceCalls::new(upstreams, Rc::clone(&http))));
        Self {
            balancer,
            pools,
            http,
            known: listener_stats::Known::default(),
            logs: WorkerLogs::new(Arc::clone(&blueprint.logs)),
            chains: RefCell::default(),
            drains: RefCell::default(),
            number,
            blueprint,
        }
    }

    /// The listener that serves connections to `destination` in place of `listener`.
    pub(crate) fn hand_over(
        &self,
        listener: &Arc<Listener>,
        destination: OriginalDst,
    ) -> Arc<Listener> {
        if !matches!(
            listener.bind,
            ListenerBind::Socket {
                use_original_dst: true
            }
        ) {
            return Arc::clone(listener);
        }
        let listeners = self.blueprint.state.listeners();
        match listeners.for_destination(destination) {
            Some(other) if other.direction == listener.direction => Arc::clone(other),
            _ => Arc::clone(listener),
        }
    }

    /// The end of connections of a chain.
    pub(crate) fn drain_of(&self, listener: &Arc<Listener>, chain: &Arc<FilterChain>) -> Drain {
        let key = Arc::as_ptr(chain) as usize;
        if let Some(known) = self.drains.borrow().get(&key) {
            return known.view.clone();
        }
        let (trigger, view) = drain();
        let phase = *self.blueprint.phase.borrow();
        if asks_to_end(phase, listener.direction) {
            trigger.start();
        }
        if !self.is_current(&listener.name, chain) {
            // It went while the connection's first bytes were looked at.
            self.end(trigger);
            return view;
        }
        let draining = Draining {
            listener: Arc::clone(&listener.name),
            chain: Arc::clone(chain),
            trigger,
            view: view.clone(),
        };
        self.drains.borrow_mut().insert(key, draining);
        view
    }

    /// Whether a chain belongs to its listener's newest value.
    fn is_current(&self, listener: &str, chain: &Arc<FilterChain>) -> bool {
        let listeners = self.blueprint.state.listeners();
        let now = listeners.named(listener);
        now.is_some_and(|now| now.chains.all().any(|own| Arc::ptr_eq(own, chain)))
    }

    /// Counts something that happened to a listener's connection.
    pub(crate) fn count(&self, listener: &Listener, what: &str) {
        listener_stats::count(self.blueprint.metrics.stats(), listener, what);
    }

    /// A connection manager as this worker holds it.
    pub(crate) fn http_chain(
        &self,
        manager: &Arc<HttpManager>,
        listener: &Listener,
    ) -> Rc<HttpChain> {
        // The chain holds its manager, so an address is not used again while it is a key.
        let key = Arc::as_ptr(manager) as usize;
        let mut chains = self.chains.borrow_mut();
        let chain = chains.entry(key).or_insert_with(|| {
            let logs = self.access_logs(&manager.access_log);
            let (worker, side) = (Rc::clone(&self.http), self.side(listener));
            let mut chain = HttpChain::new(Arc::clone(manager), worker, side, logs);
            if listener.exempt.overload {
                chain.overload = None;
            }
            Rc::new(chain)
        });
        Rc::clone(chain)
    }

    /// The access logs behind these places.
    pub(crate) fn access_logs(
        &self,
        places: &[lateen_proxy_model::AccessLogRef],
    ) -> Vec<AccessLog> {
        places
            .iter()
            .filter_map(|place| self.logs.log(*place, &self.http))
            .collect()
    }

    /// Which way a listener's traffic goes.
    pub(crate) fn side(&self, listener: &Listener) -> Side {
        match listener.direction {
            TrafficDirection::Inbound => Side::Inbound,
            _ if self.blueprint.router => Side::Gateway,
            _ => Side::Outbound,
        }
    }

    async fn follow(self: &Rc<Self>) {
        let mut listeners = self.blueprint.state.watch_listeners();
        let mut phase = self.blueprint.phase.clone();
        let mut bound = HashMap::new();
        loop {
            tokio::select! {
                changes = listeners.next() => match changes {
                    Some(changes) => self.apply(&changes, &mut bound),
                    None => return,
                },
                changed = phase.changed() => {
                    let now = *phase.borrow_and_update();
                    if changed.is_err() || now == Phase::Ending {
                        if self.blueprint.sockets.close_quic() {
                            // Clients are told by packets that are still to be sent.
                            tokio::time::sleep(QUIC_CLOSE).await;
                        }
                        return;
                    }
                    self.drain(now);
                    if now == Phase::Handing {
                        // Another process accepts from the same sockets now.
                        bound.clear();
                        self.end_all();
                    }
                }
            }
        }
    }

    fn drain(&self, phase: Phase) {
        let listeners = self.blueprint.state.listeners();
        for one in self.drains.borrow().values() {
            let direction = listeners
                .named(&one.listener)
                .map(|listener| listener.direction);
            // A listener that is gone drains anyway.
            if direction.is_none_or(|direction| asks_to_end(phase, direction)) {
                one.trigger.start();
            }
        }
    }

    fn apply(self: &Rc<Self>, changes: &ListenerChanges, bound: &mut HashMap<Arc<str>, Bound>) {
        self.chains.borrow_mut().clear();
        self.known.clear();
        let changed = changes.removed.iter().chain(&changes.changed);
        self.retire(&changed.map(|one| &*one.name).collect::<Vec<_>>());
        for listener in &changes.removed {
            bound.remove(&listener.name);
        }
        for listener in changes.changed.iter().chain(&changes.added) {
            self.update(listener, bound);
        }
    }

    /// Connections of chains that these listeners do not have any more end in order; all others are left alone.
    fn retire(&self, listeners: &[&str]) {
        let mut drains = self.drains.borrow_mut();
        let gone: Vec<usize> = drains
            .iter()
            .filter(|(_, one)| {
                listeners.contains(&&*one.listener) && !self.is_current(&one.listener, &one.chain)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            if let Some(one) = drains.remove(&key) {
                self.end(one.trigger);
            }
        }
    }

    /// All connections end in order.
    fn end_all(&self) {
        let all: Vec<_> = self.drains.borrow_mut().drain().collect();
        for (_, one) in all {
            self.end(one.trigger);
        }
    }

    /// Connections are asked to end; idle ones go after the drain time.
    fn end(&self, trigger: DrainTrigger) {
        trigger.start();
        let patience = self.blueprint.drain_time;
        spawn_local(async move {
            tokio::select! {
                () = trigger.idle() => {}
                () = tokio::time::sleep(patience) => trigger.close(),
            }
        });
    }

    fn update(self: &Rc<Self>, listener: &Arc<Listener>, bound: &mut HashMap<Arc<str>, Bound>) {
        self.known.resolve(self.blueprint.metrics.stats(), listener);
        if let Some(known) = bound.get(&listener.name) {
            let same_place = {
                let now = known.listener.borrow();
                now.address == listener.address
                    && now.additional == listener.additional
                    && now.socket.binds_as(&listener.socket)
            };
            if same_place && listener.bind != ListenerBind::HandOver {
                known.listener.replace(Arc::clone(listener));
                return;
            }
            bound.remove(&listener.name);
        }
        let handed = *self.blueprint.phase.borrow() == Phase::Handing;
        if matches!(listener.bind, ListenerBind::Socket { .. }) && !handed {
            bound.insert(Arc::clone(&listener.name), self.bind(listener));
        }
    }

    fn bind(self: &Rc<Self>, listener: &Arc<Listener>) -> Bound {
        let mut made = Bound {
            listener: Rc::new(RefCell::new(Arc::clone(listener))),
            accepting: Vec::new(),
            _leases: Vec::new(),
        };
        let places: Vec<Place> = match &listener.socket.pipe {
            Some(pipe) => vec![Place::Pipe(pipe.path.clone())],
            None => listener.addresses().copied().map(Place::Tcp).collect(),
        };
        if listener.socket.quic.is_some() {
            self.bind_quic(listener, &mut made);
            return made;
        }
        let own = (self.number, self.blueprint.workers);
        for place in places {
            match self.blueprint.sockets.open(&place, &listener.socket, own) {
                Ok((sockets, lease)) => {
                    for socket in sockets {
                        let accept = Rc::clone(self).accept(socket, Rc::clone(&made.listener));
                        made.accepting.push(spawn_local(accept));
                    }
                    made._leases.push(lease);
                }
                Err(error) => {
                    let name = Arc::clone(&listener.name);
                    let failure = BindFailure { name, place, error };
                    let _ = self.blueprint.bind_failures.send(failure);
                }
            }
        }
        made
    }

    fn bind_quic(self: &Rc<Self>, listener: &Listener, made: &mut Bound) {
        for address in listener.addresses() {
            let sockets = &self.blueprint.sockets;
            match sockets.open_quic(*address, &listener.socket, quic::first_packets) {
                Ok((listening, lease)) => {
                    let shared = Rc::clone(&made.listener);
                    let accept = quic::accept(Rc::clone(self), listening, shared);
                    made.accepting.push(spawn_local(accept));
                    made._leases.push(lease);
                }
                Err(error) => {
                    let failure = BindFailure {
                        name: Arc::clone(&listener.name),
                        place: Place::Quic(*address),
                        error,
                    };
                    let _ = self.blueprint.bind_failures.send(failure);
                }
            }
        }
    }

    async fn accept(self: Rc<Self>, socket: Listening, listener: Rc<RefCell<Arc<Listener>>>) {
        let mut in_turn = 0;
        loop {
            let exempt = listener.borrow().exempt.overload;
            match self.next(&socket, exempt).await {
                Ok((stream, client)) => {
                    let most = listener.borrow().socket.accepts;
                    in_turn += 1;
                    if most.is_some_and(|most| in_turn >= most) {
                        in_turn = 0;
                        tokio::task::yield_now().await;
                    }
                    let listener = Arc::clone(&listener.borrow());
                    spawn_local(connection::serve(
                        Rc::clone(&self),
                        listener,
                        stream,
                        client,
                    ));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
