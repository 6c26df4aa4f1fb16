//! A two-level map with cheap snapshots: cloning shares everything, a change copies one namespace's row of pointers.

use std::collections::BTreeMap;
use std::sync::Arc;

type Row<V> = BTreeMap<Arc<str>, Arc<V>>;

/// Values by namespace and name.
#[derive(Debug)]
pub struct Table<V> {
    rows: Arc<BTreeMap<Arc<str>, Arc<Row<V>>>>,
}

impl<V> Clone for Table<V> {
    fn clone(&self) -> Self {
        Self {
            rows: Arc::clone(&self.rows),
        }
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            rows: Arc::default(),
        }
    }
}

impl<V> Table<V> {
    /// The value of a namespace and name.
    #[must_use]
    pub fn value(&self, namespace: &str, name: &str) -> Option<&Arc<V>> {
        self.rows.get(namespace)?.get(name)
    }

    /// Puts a value; the one it replaces comes back.
    pub fn insert(
        &mut self,
        namespace: &Arc<str>,
        name: &Arc<str>,
        value: Arc<V>,
    ) -> Option<Arc<V>> {
        let rows = Arc::make_mut(&mut self.rows);
        Arc::make_mut(rows.entry(Arc::clone(namespace)).or_default())
            .insert(Arc::clone(name), value)
    }

    /// Takes a value out.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<V>> {
        self.value(namespace, name)?;
        let rows = Arc::make_mut(&mut self.rows);
        let row = Arc::make_mut(rows.get_mut(namespace)?);
        let old = row.remove(name);
        if row.is_empty() {
            rows.remove(namespace);
        }
        old
    }

    /// Every value of one namespace, by name.
    pub fn row(&self, namespace: &str) -> impl Iterator<Item = &Arc<V>> {
        self.rows
            .get(namespace)
            .into_iter()
            .flat_map(|row| row.values())
    }

    /// Every value with its namespace, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<V>)> {
        self.rows
            .iter()
            .flat_map(|(namespace, row)| row.values().map(move |value| (namespace, value)))
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.values().map(|row| row.len()).sum()
    }

    /// True without values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// True when both are the very same state.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_snapshots_and_other_rows_alone() {
        let (a, b, x) = (Arc::from("a"), Arc::from("b"), Arc::from("x"));
        let mut table = Table::default();
        table.insert(&a, &x, Arc::new(1));
        table.insert(&b, &x, Arc::new(2));
        let before = table.clone();
        table.insert(&a, &x, Arc::new(3));
        assert_eq!(before.value("a", "x").map(|v| **v), Some(1));
        assert!(Arc::ptr_eq(&before.rows["b"], &table.rows["b"]));
        assert_eq!(table.remove("b", "x").map(|v| *v), Some(2));
        assert_eq!((table.len(), before.len()), (1, 2));
    }
}
