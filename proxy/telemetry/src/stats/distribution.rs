//! Histograms of objects: times, where they are kept.

use std::sync::Arc;
use std::time::Duration;

use super::log_linear::LogLinear;
use super::objects::Value;
use super::{Scope, Stats};

/// How values are spread; clones count into the same bins.
#[derive(Clone, Debug)]
pub struct Distribution(Arc<LogLinear>);

impl Distribution {
    /// Adds a time, in milliseconds.
    pub fn observe(&self, time: Duration) {
        self.add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// Adds a number.
    pub fn add(&self, value: u64) {
        self.0.observe(value);
    }
}

impl Stats {
    /// A histogram of an object, if it is kept.
    pub fn distribution(&self, scope: Scope<'_>, name: &str) -> Option<Distribution> {
        let prefix = scope.prefix();
        self.prefix_if_kept(&format!("{prefix}.{name}"))?;
        let mut objects = self.objects.lock();
        let made = || Value::Times(Arc::default());
        match objects.value((scope, prefix), name, || None, made) {
            Value::Times(times) => Some(Distribution(times)),
            Value::Number(..) => None,
        }
    }
}
