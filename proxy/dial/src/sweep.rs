//! Closes idle connections that are too old, or whose endpoint left the cluster.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lateen_proxy_model::ClusterKind;

use crate::pool::{Inner, Pool};

/// Time between two looks; nothing runs while no pool exists.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sweeps until no pool is left.
pub(crate) fn start<B: 'static>(inner: &Rc<Inner<B>>) {
    if inner.sweeping.replace(true) {
        return;
    }
    let inner = Rc::downgrade(inner);
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if !sweep(&inner) {
                return;
            }
        }
    });
}

fn sweep<B>(inner: &Weak<Inner<B>>) -> bool {
    let Some(inner) = inner.upgrade() else {
        return false;
    };
    let pools: Vec<_> = inner.pools.borrow().values().cloned().collect();
    let now = Instant::now();
    for pool in pools {
        if !pool.is_current() {
            pool.clear();
        }
        pool.expire(now);
    }
    let mut pools = inner.pools.borrow_mut();
    pools.retain(|_, pool| pool.open.get() > 0 || Rc::strong_count(pool) > 1);
    let more = !pools.is_empty();
    inner.sweeping.set(more);
    more
}

impl<B> Pool<B> {
    /// Whether the cluster still is the one this pool was made for and has this endpoint.
    fn is_current(&self) -> bool {
        let cluster = self.slot.load();
        let Some(cluster) = &*cluster else {
            return false;
        };
        if !Arc::ptr_eq(cluster, &self.cluster.borrow()) {
            return false;
        }
        if let ClusterKind::Forward { cache, .. } = &cluster.kind {
            return cache.has(&self.endpoint);
        }
        let Some(slot) = cluster.endpoints() else {
            return true;
        };
        let set = slot.load();
        let Some(set) = &*set else {
            return false;
        };
        let mut seen = self.seen.borrow_mut();
        if seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, set)) {
            return true;
        }
        let known = set.iter().any(|endpoint| endpoint.id == self.endpoint.id);
        *seen = known.then(|| Arc::clone(set));
        known
    }
}
