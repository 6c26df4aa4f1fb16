//! The data path: its worker threads, and what the rest of the process may ask of them.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use lateen_proxy_agent::DrainHandle;
use lateen_proxy_relay::exchange::own_frame;
use lateen_proxy_relay::http::{Node, OwnMetadata, Shedding};
use lateen_proxy_telemetry::{Gauge, PeerFields};
use tokio::sync::{mpsc, watch};

use crate::chores::Core;
use crate::logs::LogTable;
use crate::worker::{self, BindFailure, Blueprint, Phase};

/// Stack of a worker: connections live on the heap, only their polling is here.
const STACK: usize = 1024 * 1024;

/// What the data path is started with.
pub(crate) struct DataPathConfig {
    /// Worker threads.
    pub(crate) workers: NonZero<usize>,
    /// This proxy is a gateway.
    pub(crate) router: bool,
    /// Node id and workload, told to peers; `None` tells nothing.
    pub(crate) own: Option<(String, PeerFields)>,
    /// Who this proxy is, for spans and logs.
    pub(crate) identity: Node,
    /// Connections of a replaced chain end within this time.
    pub(crate) drain_time: Duration,
    /// HTTP connections that drain are asked to end at times spread over this one.
    pub(crate) drain_over: Duration,
    /// The service cluster that the node is of.
    pub(crate) service_cluster: Arc<str>,
    /// How overloaded the process is, where somebody looks.
    pub(crate) overload: Option<Shedding>,
}

/// Running workers. They end when the value is dropped.
pub(crate) struct DataPath {
    control: Arc<Control>,
    workers: Vec<JoinHandle<()>>,
}

/// The handle that the pod's side drains by.
pub(crate) struct Control {
    phase: watch::Sender<Phase>,
    active: Arc<AtomicU64>,
}

/// Counts one downstream connection for as long as it lives.
#[derive(Debug)]
pub(crate) struct Active(Arc<AtomicU64>);

impl Active {
    /// Starts counting.
    pub(crate) fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }

    /// Starts counting, unless as many are counted already.
    pub(crate) fn within(count: &Arc<AtomicU64>, most: u64) -> Option<Self> {
        let next = |count| (count < most).then(|| count + 1);
        let counted = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        counted.is_ok().then(|| Self(Arc::clone(count)))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DataPath {
    /// Starts the workers; they follow the listeners of the core's state. Also gives the sockets that could not be bound.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
        core: &Core,
        logs: Arc<LogTable>,
        config: DataPathConfig,
    ) -> anyhow::Result<(Self, mpsc::UnboundedReceiver<BindFailure>)> {
        let (phase, seen) = watch::channel(Phase::Serving);
        let (bind_failures, failed) = mpsc::unbounded_channel();
        let active = Arc::<AtomicU64>::default();
        let blueprint = Blueprint {
            state: Arc::clone(&core.state),
            metrics: Arc::clone(&core.metrics),
            logs,
            router: config.router,
            own: config
                .own
                .as_ref()
                .and_then(|(id, fields)| OwnMetadata::new(id, fields)),
            own_frame: config
                .own
                .as_ref()
                .map(|(id, fields)| own_frame(id, fields))
                .unwrap_or_default()
                .into(),
            identity: config.identity,
            drain_time: config.drain_time,
            drain_over: config.drain_over,
            sockets: Arc::clone(&core.sockets),
            workers: config.workers.get(),
            service_cluster: config.service_cluster,
            overload: config.overload,
            phase: seen,
            bind_failures,
            origin: core.started.0,
            active: Arc::clone(&active),
        };
        let started = core
            .metrics
            .stats()
            .gauge("listener_manager.workers_started");
        let started = Started::new(config.workers, &started);
        let workers = (0..config.workers.get())
            .map(|number| spawn(number, blueprint.clone(), started.clone()))
            .collect::<Result<_, _>>()
            .context("start a worker thread")?;
        Ok((
            Self {
                control: Arc::new(Control { phase, active }),
                workers,
            },
            failed,
        ))
    }

    /// What the pod's side drains by.
    pub(crate) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }
}

impl Drop for DataPath {
    fn drop(&mut self) {
        self.control.phase.send_replace(Phase::Ending);
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Control {
    /// Another process accepts connections from now on: those that are here end in order.
    pub(crate) fn hand_over(&self) {
        self.phase.send_if_modified(|phase| {
            let first = *phase < Phase::Handing;
            if first {
                *phase = Phase::Handing;
            }
            first
        });
    }
}

impl DrainHandle for Control {
    fn drain(&self) {
        self.phase.send_if_modified(|phase| {
            let first = *phase < Phase::Draining;
            if first {
                *phase = Phase::Draining;
            }
            first
        });
    }

    fn drain_inbound(&self) {
        self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Serving;
            if first {
                *phase = Phase::DrainingInbound;
            }
            first
        });
    }

    fn active_connections(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }
}

/// Tells when every worker runs.
#[derive(Clone)]
struct Started {
    gauge: Gauge,
    wanted: u64,
    running: Arc<AtomicU64>,
}

impl Started {
    fn new(workers: NonZero<usize>, gauge: &Gauge) -> Self {
        Self {
            gauge: gauge.clone(),
            wanted: workers.get() as u64,
            running: Arc::default(),
        }
    }

    fn one(&self) {
        if self.running.fetch_add(1, Ordering::Relaxed) + 1 == self.wanted {
            self.gauge.set(1);
        }
    }
}

fn spawn(number: usize, blueprint: Blueprint, started: Started) -> std::io::Result<JoinHandle<()>> {
    let begin = Instant::now();
    std::thread::Builder::new()
        .name(format!("worker-{number}"))
        .stack_size(STACK)
        .spawn(move || {
            let outcome = worker::run(blueprint, number, || started.one());
            if let Err(error) = outcome {
                tracing::error!(%error, number, after = ?begin.elapsed(), "a worker could not run");
            }
        })
}
