//! Late-bound references between resources.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use arc_swap::{ArcSwapOption, Guard};

use crate::interned::OnUse;

/// A named place that holds the newest value of one resource, or nothing while it is unknown.
///
/// Routes hold the slot of their cluster, clusters the slot of their endpoints: one writer stores a new value, and every
/// reader sees it at its next load without a look-up by name and without a lock.
pub struct Slot<T> {
    name: Arc<str>,
    id: u64,
    value: ArcSwapOption<T>,
    /// Who waits for a first value; nobody but for route tables that are not there yet.
    waiting: OnUse<Mutex<BTreeMap<u64, Waker>>>,
}

/// Waits until a slot has a value.
#[derive(Debug)]
pub struct Known<'s, T> {
    slot: &'s Slot<T>,
    id: u64,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl<T> Slot<T> {
    /// An empty slot for the resource `name`.
    pub fn new(name: impl Into<Arc<str>>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            value: ArcSwapOption::empty(),
            waiting: OnUse::default(),
        })
    }

    /// A slot that already holds `value`, for resources given inline.
    pub fn filled(name: impl Into<Arc<str>>, value: Arc<T>) -> Arc<Self> {
        let slot = Self::new(name);
        slot.store(Some(value));
        slot
    }

    /// The resource's name, as xDS gives it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A number that no other slot of this process has: the key of per-worker tables.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The newest value; cheap, and held only for a short time.
    pub fn load(&self) -> Guard<Option<Arc<T>>> {
        self.value.load()
    }

    /// The newest value, to be kept.
    pub fn load_full(&self) -> Option<Arc<T>> {
        self.value.load_full()
    }

    /// Replaces the value; `None` removes it.
    pub fn store(&self, value: Option<Arc<T>>) {
        let there = value.is_some();
        self.value.store(value);
        if there && let Some(waiting) = self.waiting.made() {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, waker) in std::mem::take(&mut *waiting) {
                waker.wake();
            }
        }
    }

    /// Resolves when there is a value.
    pub fn known(&self) -> Known<'_, T> {
        Known {
            slot: self,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Future for Known<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.slot.load().is_some() {
            return Poll::Ready(());
        }
        let mut waiting = self.slot.waiting();
        waiting.insert(self.id, cx.waker().clone());
        drop(waiting);
        // A value may have come before this one was in the list.
        match self.slot.load().is_some() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl<T> Drop for Known<'_, T> {
    fn drop(&mut self) {
        if self.slot.waiting.made().is_some() {
            self.slot.waiting().remove(&self.id);
        }
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.name).finish()
    }
}
