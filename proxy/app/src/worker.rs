//! A worker: one thread with its own runtime, sockets, pools and counters. It follows the listeners of the state.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use lateen_proxy_balance::Balancer;
use lateen_proxy_dial::Pools;
use lateen_proxy_listen::{Drain, DrainTrigger, bind, drain, prepare};
use lateen_proxy_model::{HttpManager, Listener, ListenerBind, OriginalDst, TrafficDirection};
use lateen_proxy_relay::http::{HttpChain, RequestBody, Worker as HttpWorker};
use lateen_proxy_state::{ListenerChanges, State};
use lateen_proxy_telemetry::{AccessLog, Side};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use crate::connection;
use crate::logs::{LogTable, WorkerLogs};

/// Wait after a failed accept, when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all workers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// Serve.
    Serving,
    /// Serve on, but ask connections to end.
    Draining,
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
    pub(crate) own_uri: Option<Arc<str>>,
    /// Connections of a replaced listener end within this time.
    pub(crate) drain_time: Duration,
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
#[error("listener {name:?} cannot listen on {address}: {error}")]
pub(crate) struct BindFailure {
    pub(crate) name: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) error: std::io::Error,
}

/// One worker's state, shared by its connections.
pub(crate) struct Worker {
    pub(crate) blueprint: Blueprint,
    pub(crate) balancer: Rc<Balancer>,
    pub(crate) pools: Rc<Pools<RequestBody>>,
    pub(crate) http: Rc<HttpWorker>,
    logs: WorkerLogs,
    chains: RefCell<HashMap<usize, Rc<HttpChain>>>,
    drains: RefCell<HashMap<Arc<str>, (DrainTrigger, Drain)>>,
}

/// A bound listener: its newest value, and the tasks that accept for it.
struct Bound {
    listener: Rc<RefCell<Arc<Listener>>>,
    accepting: Vec<tokio::task::JoinHandle<()>>,
}

/// Runs a worker on the calling thread until the phase says that it ends.
pub(crate) fn run(blueprint: Blueprint, started: impl FnOnce()) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let worker = Rc::new(Worker::new(blueprint));
    LocalSet::new().block_on(&runtime, async {
        started();
        worker.follow().await;
    });
    Ok(())
}

impl Worker {
    fn new(blueprint: Blueprint) -> Self {
        let recorder = blueprint.metrics.recorder();
        Self {
            balancer: Rc::new(Balancer::system(blueprint.origin)),
            pools: Rc::default(),
            http: Rc::new(HttpWorker::new(
                recorder,
                blueprint.own.clone(),
                blueprint.own_uri.clone(),
            )),
            logs: WorkerLogs::new(Arc::clone(&blueprint.logs)),
            chains: RefCell::default(),
            drains: RefCell::default(),
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

    /// The end of connections that `listener` serves.
    pub(crate) fn drain_of(&self, listener: &Arc<Listener>) -> Drain {
        let mut drains = self.drains.borrow_mut();
        if let Some((_, view)) = drains.get(&listener.name) {
            return view.clone();
        }
        let (trigger, view) = drain();
        if *self.blueprint.phase.borrow() >= Phase::Draining {
            trigger.start();
        }
        drains.insert(Arc::clone(&listener.name), (trigger, view.clone()));
        view
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
            Rc::new(HttpChain::new(
                Arc::clone(manager),
                Rc::clone(&self.http),
                self.side(listener),
                logs,
            ))
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
            .filter_map(|place| self.logs.log(*place))
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
                        return;
                    }
                    self.drains.borrow().values().for_each(|(trigger, _)| trigger.start());
                }
            }
        }
    }

    fn apply(self: &Rc<Self>, changes: &ListenerChanges, bound: &mut HashMap<Arc<str>, Bound>) {
        self.chains.borrow_mut().clear();
        for listener in changes.removed.iter().chain(&changes.changed) {
            self.retire(&listener.name);
        }
        for listener in &changes.removed {
            if let Some(gone) = bound.remove(&listener.name) {
                gone.accepting
                    .iter()
                    .for_each(tokio::task::JoinHandle::abort);
            }
        }
        for listener in changes.changed.iter().chain(&changes.added) {
            self.update(listener, bound);
        }
    }

    /// Connections of the listener's value so far end in order: answers say so at once, idle ones go after the drain time.
    fn retire(&self, name: &Arc<str>) {
        let Some((trigger, _)) = self.drains.borrow_mut().remove(name) else {
            return;
        };
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
        if let Some(known) = bound.get(&listener.name) {
            let same_place = {
                let now = known.listener.borrow();
                now.address == listener.address && now.additional == listener.additional
            };
            if same_place {
                known.listener.replace(Arc::clone(listener));
                return;
            }
            known
                .accepting
                .iter()
                .for_each(tokio::task::JoinHandle::abort);
            bound.remove(&listener.name);
        }
        if matches!(listener.bind, ListenerBind::Socket { .. }) {
            bound.insert(Arc::clone(&listener.name), self.bind(listener));
        }
    }

    fn bind(self: &Rc<Self>, listener: &Arc<Listener>) -> Bound {
        let shared = Rc::new(RefCell::new(Arc::clone(listener)));
        let mut accepting = Vec::new();
        for address in std::iter::once(&listener.address).chain(&listener.additional) {
            match bind(*address) {
                Ok(socket) => accepting.push(spawn_local(
                    Rc::clone(self).accept(socket, Rc::clone(&shared)),
                )),
                Err(error) => {
                    let name = Arc::clone(&listener.name);
                    let failure = BindFailure {
                        name,
                        address: *address,
                        error,
                    };
                    let _ = self.blueprint.bind_failures.send(failure);
                }
            }
        }
        Bound {
            listener: shared,
            accepting,
        }
    }

    async fn accept(self: Rc<Self>, socket: TcpListener, listener: Rc<RefCell<Arc<Listener>>>) {
        loop {
            match socket.accept().await {
                Ok((stream, client)) => {
                    let _ = prepare(&stream);
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
