//! The listeners of one moment, and what changes between two moments.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ahash::RandomState;
use lateen_proxy_model::{Listener, OriginalDst};
use tokio::sync::watch;

/// All listeners at one moment.
#[derive(Debug, Default)]
pub struct ListenerSet {
    by_name: BTreeMap<Arc<str>, Arc<Listener>>,
    by_address: HashMap<SocketAddr, Arc<Listener>, RandomState>,
}

/// What changed between two sets.
#[derive(Clone, Debug, Default)]
pub struct ListenerChanges {
    /// Names that are new.
    pub added: Vec<Arc<Listener>>,
    /// Names whose listener has a new value.
    pub changed: Vec<Arc<Listener>>,
    /// Names that are gone, with their last value.
    pub removed: Vec<Arc<Listener>>,
}

/// Follows the listeners; a slow follower sees the sum of what it missed.
#[derive(Debug)]
pub struct ListenerWatch {
    source: watch::Receiver<Arc<ListenerSet>>,
    seen: Arc<ListenerSet>,
}

impl ListenerSet {
    /// A set of these listeners. Of two with one address the first by name serves it.
    pub(crate) fn new(by_name: BTreeMap<Arc<str>, Arc<Listener>>) -> Self {
        let mut by_address: HashMap<_, _, RandomState> = HashMap::default();
        for listener in by_name.values() {
            // A Unix socket is nobody's destination.
            let addresses = listener.socket.pipe.is_none().then(|| listener.addresses());
            for address in addresses.into_iter().flatten() {
                by_address
                    .entry(*address)
                    .or_insert_with(|| Arc::clone(listener));
            }
        }
        Self {
            by_name,
            by_address,
        }
    }

    /// The listener for connections to `destination`: its exact address, or else the wildcard address of its port
    /// (`0.0.0.0`, then `[::]`).
    pub fn for_destination(&self, destination: OriginalDst) -> Option<&Arc<Listener>> {
        let port = destination.port();
        let ip = destination.ip().to_canonical();
        let at = |ip: IpAddr| self.by_address.get(&SocketAddr::new(ip, port));
        let wildcard_v4 = || {
            ip.is_ipv4()
                .then(|| at(Ipv4Addr::UNSPECIFIED.into()))
                .flatten()
        };
        at(ip)
            .or_else(wildcard_v4)
            .or_else(|| at(Ipv6Addr::UNSPECIFIED.into()))
    }

    /// The listener of a name.
    pub fn named(&self, name: &str) -> Option<&Arc<Listener>> {
        self.by_name.get(name)
    }

    /// All listeners by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.by_name.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// What is different from `old`.
    pub fn changes_since(&self, old: &Self) -> ListenerChanges {
        let mut changes = ListenerChanges::default();
        for (name, listener) in &self.by_name {
            match old.by_name.get(name) {
                None => changes.added.push(Arc::clone(listener)),
                Some(before) if !Arc::ptr_eq(before, listener) => {
                    changes.changed.push(Arc::clone(listener));
                }
                Some(_) => {}
            }
        }
        changes.removed = old
            .by_name
            .iter()
            .filter(|(name, _)| !self.by_name.contains_key(*name))
            .map(|(_, listener)| Arc::clone(listener))
            .collect();
        changes
    }

    pub(crate) fn names(&self) -> &BTreeMap<Arc<str>, Arc<Listener>> {
        &self.by_name
    }
}

impl ListenerWatch {
    pub(crate) fn new(source: watch::Receiver<Arc<ListenerSet>>) -> Self {
        Self {
            source,
            seen: Arc::default(),
        }
    }

    /// Waits for a change; the first call gives every listener there is as added, at once when there are any. `None`
    /// when the state is gone.
    pub async fn next(&mut self) -> Option<ListenerChanges> {
        loop {
            let now = Arc::clone(&self.source.borrow_and_update());
            if !Arc::ptr_eq(&now, &self.seen) {
                let changes = now.changes_since(&self.seen);
                self.seen = now;
                if !changes.is_empty() {
                    return Some(changes);
                }
            }
            self.source.changed().await.ok()?;
        }
    }
}

impl ListenerChanges {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}
