//! Connected proxies and the newest configuration.
//!
//! A proxy has one slot for what it still has to be told; updates that come while it is busy join in that slot, so a slow proxy
//! skips to the newest configuration and delays nobody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwapOption;
use lateen_controlplane_model::affected::Affected;
use lateen_controlplane_model::caller::{Caller, Connection};
use lateen_controlplane_model::generate::{Generate, Update};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::identity::SharedProxy;
use crate::metrics::{Metrics, TypeLabel};
use crate::session::{Protocol, Session};

/// Causes that a slot holds before it says "everything".
const MAX_CAUSES: usize = 1024;

/// The server's state, shared by streams and pages.
pub struct Hub {
    current: ArcSwapOption<Held>,
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    next: AtomicU64,
    ready: watch::Sender<bool>,
    stopping: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

struct Held {
    config: Arc<dyn Generate>,
}

/// What a proxy still has to be told.
pub(crate) struct Pending {
    /// All that changed since it was told last.
    pub(crate) affected: Affected,
    /// When the oldest of that came.
    pub(crate) since: Instant,
}

/// One stream.
pub(crate) struct Client {
    number: u64,
    pub(crate) connection: Connection,
    pub(crate) caller: Option<Caller>,
    pub(crate) since: SystemTime,
    /// Known once the first request that is no debug request was read.
    pub(crate) proxy: OnceLock<SharedProxy>,
    pub(crate) session: Mutex<Session>,
    pending: Mutex<Option<Pending>>,
    pub(crate) wake: Notify,
}

/// Keeps a client in the hub; it leaves when this is dropped.
pub(crate) struct Registration {
    hub: Arc<Hub>,
    pub(crate) client: Arc<Client>,
}

impl Hub {
    /// A hub without configuration: not ready.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwapOption::empty(),
            clients: Mutex::default(),
            next: AtomicU64::new(1),
            ready: watch::Sender::new(false),
            stopping: watch::Sender::new(false),
            metrics,
        })
    }

    /// Serves a new configuration. The first one, which must be complete, makes the server ready.
    pub fn publish(&self, update: &Update) {
        let now = Instant::now();
        self.metrics
            .triggers
            .get_or_create(&TypeLabel {
                r#type: trigger(&update.affected),
            })
            .inc();
        self.metrics
            .rejected_configs
            .set(i64::try_from(update.config.rejections().len()).unwrap_or(i64::MAX));
        self.current.store(Some(Arc::new(Held {
            config: Arc::clone(&update.config),
        })));
        self.ready.send_replace(true);
        for client in self.clients.lock().values() {
            client.tell(&update.affected, now);
        }
    }

    /// Whether a complete configuration is served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow() && !*self.stopping.borrow()
    }

    /// Ends every stream; clients then reconnect to another replica.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// The configuration served now.
    #[must_use]
    pub fn current(&self) -> Option<Arc<dyn Generate>> {
        self.current
            .load()
            .as_ref()
            .map(|held| Arc::clone(&held.config))
    }

    /// Metrics of the server.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns when a configuration is served.
    pub(crate) async fn until_ready(&self) {
        // The sender lives as long as this hub.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Returns when the server stops.
    pub(crate) async fn until_stopping(&self) {
        let _ = self
            .stopping
            .subscribe()
            .wait_for(|stopping| *stopping)
            .await;
    }

    /// Enters a stream; from now on updates reach its slot.
    pub(crate) fn register(
        self: &Arc<Self>,
        connection: Connection,
        caller: Option<Caller>,
        protocol: Protocol,
    ) -> Registration {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let client = Arc::new(Client {
            number,
            connection,
            caller,
            since: SystemTime::now(),
            proxy: OnceLock::new(),
            session: Mutex::new(Session::new(protocol)),
            pending: Mutex::new(None),
            wake: Notify::new(),
        });
        self.clients.lock().insert(number, Arc::clone(&client));
        Registration {
            hub: Arc::clone(self),
            client,
        }
    }

    /// Every stream of a proxy, in the order of connecting.
    pub(crate) fn proxies(&self) -> Vec<Arc<Client>> {
        self.clients
            .lock()
            .values()
            .filter(|client| client.proxy.get().is_some())
            .cloned()
            .collect()
    }

    /// The newest stream of a proxy by `<pod>.<namespace>`.
    pub(crate) fn proxy(&self, name: &str) -> Option<Arc<Client>> {
        let clients = self.clients.lock();
        clients
            .values()
            .rev()
            .find(|client| client.proxy.get().is_some_and(|proxy| &*proxy.name == name))
            .cloned()
    }
}

impl Client {
    /// Takes what the slot holds.
    pub(crate) fn take_pending(&self) -> Option<Pending> {
        self.pending.lock().take()
    }

    fn tell(&self, affected: &Affected, now: Instant) {
        let mut slot = self.pending.lock();
        let pending = slot.get_or_insert_with(|| Pending {
            affected: Affected::default(),
            since: now,
        });
        if pending
            .affected
            .causes
            .len()
            .saturating_add(affected.causes.len())
            > MAX_CAUSES
        {
            pending.affected = Affected::everything();
        } else {
            pending.affected.merge(affected);
        }
        drop(slot);
        self.wake.notify_one();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.clients.lock().remove(&self.client.number);
    }
}

/// Why a push happens, as `pilot_push_triggers` says it: endpoints alone, or configuration.
fn trigger(affected: &Affected) -> &'static str {
    let only_endpoints = affected
        .causes
        .iter()
        .all(|cause| cause.types.is_empty() && !cause.endpoints.is_empty());
    if only_endpoints && !affected.is_empty() {
        "endpoint"
    } else {
        "config"
    }
}
