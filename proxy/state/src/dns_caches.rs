//! Caches of names, shared by all who name the same one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use lateen_proxy_model::{DnsCache, DnsCacheSettings};

use crate::lock;

/// The caches that somebody holds, by name.
#[derive(Debug, Default)]
pub struct DnsCaches {
    caches: Mutex<HashMap<Arc<str>, Weak<DnsCache>>>,
}

/// A cache is in use with other settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache is in use with other settings")]
pub struct OtherSettings;

impl DnsCaches {
    /// The cache of this name, made when nobody holds one.
    ///
    /// # Errors
    /// When those who hold it say something else of it.
    pub fn join(&self, settings: DnsCacheSettings) -> Result<Arc<DnsCache>, OtherSettings> {
        let mut caches = lock(&self.caches);
        if let Some(known) = caches.get(&settings.name).and_then(Weak::upgrade) {
            return match known.settings == settings {
                true => Ok(known),
                false => Err(OtherSettings),
            };
        }
        caches.retain(|_, cache| cache.strong_count() > 0);
        let name = Arc::clone(&settings.name);
        let made = DnsCache::new(settings);
        caches.insert(name, Arc::downgrade(&made));
        Ok(made)
    }

    /// All caches that somebody holds.
    pub fn all(&self) -> Vec<Arc<DnsCache>> {
        let caches = lock(&self.caches);
        caches.values().filter_map(Weak::upgrade).collect()
    }
}
