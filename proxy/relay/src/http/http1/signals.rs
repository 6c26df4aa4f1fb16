//! What the requests of an HTTP/1 connection tell the guard in front of it. hyper may hand a connection to another
//! thread after an upgrade, so these are atomics; nobody ever waits for them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// Shared by a connection, its guard and its requests.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Requests that hyper could read.
    begun: AtomicU32,
    /// Requests that are over.
    ended: AtomicU32,
    /// An upgrade was accepted: bytes pass as they are.
    raw: AtomicBool,
    /// The guard waits for a head of which nothing has come yet.
    rest: AtomicBool,
    /// Interim answers wait to be written.
    interim: AtomicBool,
    text: Mutex<Vec<u8>>,
    waker: Mutex<Option<Waker>>,
}

impl Signals {
    pub(in crate::http) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is over: what came behind it may go on.
    pub(in crate::http) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.wake();
    }

    pub(in crate::http) fn upgrade(&self) {
        self.raw.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// An interim answer to be written before the next bytes.
    pub(crate) fn interim(&self, head: &[u8]) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.extend_from_slice(head);
        drop(text);
        self.interim.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(super) fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn ended(&self) -> u32 {
        self.ended.load(Ordering::Relaxed)
    }

    pub(super) fn is_raw(&self) -> bool {
        self.raw.load(Ordering::Relaxed)
    }

    pub(in crate::http) fn is_at_rest(&self) -> bool {
        self.rest.load(Ordering::Relaxed)
    }

    pub(super) fn set_rest(&self, rest: bool) {
        self.rest.store(rest, Ordering::Relaxed);
    }

    pub(super) fn take_interim(&self) -> Option<Vec<u8>> {
        if !self.interim.load(Ordering::Relaxed) {
            return None;
        }
        self.interim.store(false, Ordering::Relaxed);
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut text))
    }

    pub(super) fn wait(&self, waker: &Waker) {
        let mut place = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &*place {
            Some(own) if own.will_wake(waker) => {}
            _ => *place = Some(waker.clone()),
        }
    }

    pub(super) fn wake(&self) {
        let mut place = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        let waker = place.take();
        drop(place);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
