//! Slots by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ahash::RandomState;
use lateen_proxy_model::Slot;

use crate::lock;

/// Interned slots of one kind: a name has one slot for as long as somebody holds it or it has a value.
#[derive(Debug)]
pub struct Table<T> {
    slots: Mutex<HashMap<Arc<str>, Arc<Slot<T>>, RandomState>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
        }
    }
}

impl<T> Table<T> {
    /// The slot of `name`, made when unknown.
    pub fn slot(&self, name: &str) -> Arc<Slot<T>> {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(name) {
            return Arc::clone(slot);
        }
        let slot = Slot::new(name);
        slots.insert(Arc::clone(slot.name()), Arc::clone(&slot));
        slot
    }

    /// The slot of `name`, when there is one: names that come from outside make none.
    pub fn known(&self, name: &str) -> Option<Arc<Slot<T>>> {
        lock(&self.slots).get(name).cloned()
    }

    /// The value of `name`, when it has one.
    pub fn value(&self, name: &str) -> Option<Arc<T>> {
        lock(&self.slots)
            .get(name)
            .and_then(|slot| slot.load_full())
    }

    /// Stores the value of `name`; whoever holds its slot sees it.
    pub fn set(&self, name: &str, value: Arc<T>) {
        self.slot(name).store(Some(value));
    }

    /// Takes the value of `name` away; its slot stays with those who hold it.
    pub fn remove(&self, name: &str) {
        if let Some(slot) = lock(&self.slots).get(name) {
            slot.store(None);
        }
    }

    /// All values, by name.
    pub fn values(&self) -> Vec<(Arc<str>, Arc<T>)> {
        let slots = lock(&self.slots);
        let mut values: Vec<_> = slots
            .iter()
            .filter_map(|(name, slot)| Some((Arc::clone(name), slot.load_full()?)))
            .collect();
        drop(slots);
        values.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        values
    }

    /// The values that pass a test, in no order.
    pub fn matching(&self, test: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        lock(&self.slots)
            .values()
            .filter(|slot| slot.load().as_deref().is_some_and(&test))
            .filter_map(|slot| slot.load_full())
            .collect()
    }

    /// Names that somebody holds but that have no value.
    pub fn missing(&self) -> Vec<Arc<str>> {
        lock(&self.slots)
            .iter()
            .filter(|(_, slot)| Arc::strong_count(slot) > 1 && slot.load().is_none())
            .map(|(name, _)| Arc::clone(name))
            .collect()
    }

    /// Whether somebody beside this table holds the slot of `name`.
    pub fn is_held(&self, name: &str) -> bool {
        lock(&self.slots)
            .get(name)
            .is_some_and(|slot| Arc::strong_count(slot) > 1)
    }

    /// Drops slots without value that nobody holds; gives how many.
    pub fn sweep(&self) -> usize {
        let mut slots = lock(&self.slots);
        let before = slots.len();
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.load().is_some());
        let dropped = before - slots.len();
        if slots.capacity() > 4 * (slots.len() + 16) {
            slots.shrink_to_fit();
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_sees_later_values() {
        let table = Table::default();
        let held = table.slot("a");
        assert_eq!(table.missing(), ["a".into()]);
        table.set("a", Arc::new(1));
        assert_eq!(held.load_full(), Some(Arc::new(1)));
        table.remove("a");
        assert_eq!(held.load_full(), None);
    }

    #[test]
    fn the_sweep_keeps_what_is_held_or_filled() {
        let table = Table::default();
        let held = table.slot("held");
        table.set("filled", Arc::new(1));
        drop(table.slot("loose"));
        assert_eq!(table.sweep(), 1);
        assert!(Arc::ptr_eq(&held, &table.slot("held")));
        assert_eq!(table.values(), [("filled".into(), Arc::new(1))]);
    }
}
