//! Slots by name.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use ahash::RandomState;
use lateen_proxy_model::Slot;

use crate::lock;

/// Interned slots of one kind: a name has one slot for as long as somebody holds it or it has a value.
#[derive(Debug)]
pub struct Table<T> {
    slots: Mutex<HashSet<Named<T>, RandomState>>,
}

/// A slot that is found by the name it holds.
#[derive(Debug)]
struct Named<T>(Arc<Slot<T>>);

impl<T> Borrow<str> for Named<T> {
    fn borrow(&self) -> &str {
        self.0.name()
    }
}

impl<T> Hash for Named<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Hash::hash(&**self.0.name(), state);
    }
}

impl<T> PartialEq for Named<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl<T> Eq for Named<T> {}

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
        self.slot_by(name, || name.into())
    }

    /// The same where somebody holds the name already: a service's names are most of what is known of it.
    pub fn slot_of(&self, name: &Arc<str>) -> Arc<Slot<T>> {
        self.slot_by(name, || Arc::clone(name))
    }

    fn slot_by(&self, name: &str, kept: impl FnOnce() -> Arc<str>) -> Arc<Slot<T>> {
        let mut slots = lock(&self.slots);
        if let Some(Named(slot)) = slots.get(name) {
            return Arc::clone(slot);
        }
        let slot = Slot::new(kept());
        slots.insert(Named(Arc::clone(&slot)));
        slot
    }

    /// The slot of `name`, when there is one: names that come from outside make none.
    pub fn known(&self, name: &str) -> Option<Arc<Slot<T>>> {
        let slots = lock(&self.slots);
        slots.get(name).map(|Named(slot)| Arc::clone(slot))
    }

    /// The value of `name`, when it has one.
    pub fn value(&self, name: &str) -> Option<Arc<T>> {
        lock(&self.slots)
            .get(name)
            .and_then(|Named(slot)| slot.load_full())
    }

    /// Stores the value of `name`; whoever holds its slot sees it.
    pub fn set(&self, name: &str, value: Arc<T>) {
        self.slot(name).store(Some(value));
    }

    /// Takes the value of `name` away; its slot stays with those who hold it.
    pub fn remove(&self, name: &str) {
        if let Some(Named(slot)) = lock(&self.slots).get(name) {
            slot.store(None);
        }
    }

    /// All values, by name.
    pub fn values(&self) -> Vec<(Arc<str>, Arc<T>)> {
        let slots = lock(&self.slots);
        let mut values: Vec<_> = slots
            .iter()
            .filter_map(|Named(slot)| Some((Arc::clone(slot.name()), slot.load_full()?)))
            .collect();
        drop(slots);
        values.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        values
    }

    /// The values that pass a test, in no order.
    pub fn matching(&self, test: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        lock(&self.slots)
            .iter()
            .filter(|Named(slot)| slot.load().as_deref().is_some_and(&test))
            .filter_map(|Named(slot)| slot.load_full())
            .collect()
    }

    /// Names that somebody holds but that have no value.
    pub fn missing(&self) -> Vec<Arc<str>> {
        lock(&self.slots)
            .iter()
            .filter(|Named(slot)| Arc::strong_count(slot) > 1 && slot.load().is_none())
            .map(|Named(slot)| Arc::clone(slot.name()))
            .collect()
    }

    /// Whether somebody beside this table holds the slot of `name`.
    pub fn is_held(&self, name: &str) -> bool {
        lock(&self.slots)
            .get(name)
            .is_some_and(|Named(slot)| Arc::strong_count(slot) > 1)
    }

    /// Drops slots without value that nobody holds; gives how many.
    pub fn sweep(&self) -> usize {
        let mut slots = lock(&self.slots);
        let before = slots.len();
        slots.retain(|Named(slot)| Arc::strong_count(slot) > 1 || slot.load().is_some());
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
