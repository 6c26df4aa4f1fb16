//! Counters of one filter's settings, joined to the process's table of statistics at their first use.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Some counters under one prefix.
#[derive(Debug)]
pub struct FilterStats<const N: usize> {
    prefix: Arc<str>,
    names: &'static [&'static str; N],
    cells: OnceLock<[Arc<AtomicU64>; N]>,
}

/// Gives the counter of a name; the process's table of statistics.
pub trait CounterTable {
    /// The counter, the same one for the same name.
    fn cell(&self, name: &str) -> Arc<AtomicU64>;
}

impl<const N: usize> FilterStats<N> {
    /// Counters named `prefix` and one of `names` each.
    pub fn new(prefix: impl Into<Arc<str>>, names: &'static [&'static str; N]) -> Self {
        Self {
            prefix: prefix.into(),
            names,
            cells: OnceLock::new(),
        }
    }

    /// Adds one to the counter at this place of the names.
    pub fn inc(&self, place: usize, table: &dyn CounterTable) {
        let cells = self.cells.get_or_init(|| {
            self.names
                .map(|name| table.cell(&format!("{}{name}", self.prefix)))
        });
        if let Some(cell) = cells.get(place) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts the counters into the table, at zero.
    pub fn join(&self, table: &dyn CounterTable) {
        self.cells.get_or_init(|| {
            self.names
                .map(|name| table.cell(&format!("{}{name}", self.prefix)))
        });
    }
}
