//! The process's statistics as filters of the model count into them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lateen_proxy_model::CounterTable;
use lateen_proxy_telemetry::Stats;

/// Counters by name.
#[derive(Clone, Copy, Debug)]
pub struct Cells<'a>(pub &'a Stats);

impl CounterTable for Cells<'_> {
    fn cell(&self, name: &str) -> Arc<AtomicU64> {
        self.0.counter(name).cell()
    }
}
