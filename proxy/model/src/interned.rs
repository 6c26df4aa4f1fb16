//! Values that many clusters or endpoints have alike, kept once; and those that few of them ever need.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::breakers::CircuitBreakers;
use crate::cluster::{ConnectionOptions, TcpKeepalive};
use crate::codec::UpstreamCodec;
use crate::endpoint::{EndpointMetadata, Locality};
use crate::outlier::OutlierDetection;
use crate::plan::Balancing;
use crate::tls::{Algorithms, PeerChecks};

/// Different values of one type that are looked at for an equal one; more than any mesh has of settings.
const REMEMBERED: usize = 64;

/// A value that is shared with those that are equal, found when it is made. A change makes it its holder's own.
pub struct Interned<T>(Arc<T>);

/// What can be [`Interned`].
pub trait Intern: Clone + PartialEq + Sized + 'static {
    /// Where values of this type are remembered.
    fn remembered() -> &'static Remembered<Self>;
}

/// The values of one type that somebody holds.
#[derive(Debug)]
pub struct Remembered<T>(Mutex<Ring<T>>);

#[derive(Debug)]
struct Ring<T> {
    values: Vec<Weak<T>>,
    /// The place that is given up next.
    next: usize,
}

impl<T: PartialEq> Remembered<T> {
    const fn new() -> Self {
        Self(Mutex::new(Ring {
            values: Vec::new(),
            next: 0,
        }))
    }

    fn same_as(&self, value: T) -> Arc<T> {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ring.values.iter().filter_map(Weak::upgrade);
        if let Some(known) = { known }.find(|known| **known == value) {
            return known;
        }
        let made = Arc::new(value);
        let weak = Arc::downgrade(&made);
        let free = ring.values.iter().position(|one| one.strong_count() == 0);
        if free.is_none() && ring.values.len() < REMEMBERED {
            ring.values.push(weak);
            return made;
        }
        let place = free.unwrap_or(ring.next);
        ring.next = (place + 1) % REMEMBERED;
        if let Some(slot) = ring.values.get_mut(place) {
            *slot = weak;
        }
        made
    }
}

macro_rules! interned {
    ($($kind:ty),* $(,)?) => {$(
        impl Intern for $kind {
            fn remembered() -> &'static Remembered<Self> {
                static REMEMBERED: Remembered<$kind> = Remembered::new();
                &REMEMBERED
            }
        }
    )*};
}

interned!(
    Algorithms,
    Balancing,
    CircuitBreakers,
    ConnectionOptions,
    EndpointMetadata,
    Locality,
    OutlierDetection,
    PeerChecks,
    TcpKeepalive,
    UpstreamCodec,
    Vec<Vec<u8>>,
);

impl<T: Intern> From<T> for Interned<T> {
    fn from(value: T) -> Self {
        Self(T::remembered().same_as(value))
    }
}

impl<T: Intern + Default> Default for Interned<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<T> Clone for Interned<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Interned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Interned<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: PartialEq> PartialEq for Interned<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl<T: Eq> Eq for Interned<T> {}

impl<T: fmt::Debug> fmt::Debug for Interned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value that is made when it is first used: what is never called has no counters.
pub struct OnUse<T>(OnceLock<Box<T>>);

impl<T> OnUse<T> {
    /// The value, if it was ever used. For those who only look.
    pub fn made(&self) -> Option<&T> {
        self.0.get().map(|made| &**made)
    }
}

impl<T: Default> Deref for OnUse<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get_or_init(Box::default)
    }
}

impl<T> Default for OnUse<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T: fmt::Debug> fmt::Debug for OnUse<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one() {
        let of = |max_retries| CircuitBreakers {
            max_retries,
            ..CircuitBreakers::default()
        };
        let one: Interned<CircuitBreakers> = of(7).into();
        let mut other: Interned<CircuitBreakers> = of(7).into();
        assert!(Arc::ptr_eq(&one.0, &other.0));
        other.max_pending = 3;
        assert!(one != other && one.max_pending == u32::MAX);
        // Many others do not part those that are held.
        let many: Vec<Interned<CircuitBreakers>> = (100..400).map(|one| of(one).into()).collect();
        assert_eq!(many.len(), 300);
        let remembered = CircuitBreakers::remembered().0.lock().expect("lock");
        assert!(remembered.values.len() <= REMEMBERED);
    }

    #[test]
    fn what_is_not_used_is_not_made() {
        let lazy: OnUse<Vec<u8>> = OnUse::default();
        assert!(lazy.made().is_none());
        assert!(lazy.is_empty());
        assert!(lazy.made().is_some());
    }
}
