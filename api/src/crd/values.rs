//! How the twins of CEL rules look at values.

use std::collections::BTreeSet;

use crate::yaml::{Node, Resolved};

/// CEL's `has(self.key)`: the field is there, be it empty. The server drops a null before it looks.
pub(super) fn has(node: &Node, key: &str) -> bool {
    field(node, key).is_some()
}

/// A field that is there and not null.
pub(super) fn field<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.get(key).filter(|value| !value.is_null())
}

/// How many of these fields are there.
pub(super) fn given(node: &Node, keys: &[&str]) -> usize {
    keys.iter().filter(|key| has(node, key)).count()
}

/// The value as text, if it is text.
pub(super) fn as_text(node: &Node) -> Option<&str> {
    match node.resolved() {
        Some(Resolved::Text(text)) => Some(text),
        _ => None,
    }
}

/// The text of a field; empty where there is none.
pub(super) fn text<'a>(node: &'a Node, key: &str) -> &'a str {
    field(node, key).and_then(as_text).unwrap_or_default()
}

/// The value as a number; `None` for all else. Beyond 2^53 the nearest that a float holds.
#[allow(clippy::cast_precision_loss)]
pub(super) fn as_number(node: &Node) -> Option<f64> {
    match node.resolved()? {
        Resolved::Int(number) => Some(number as f64),
        Resolved::UInt(number) => Some(number as f64),
        Resolved::Float(number) => Some(number),
        Resolved::Null | Resolved::Bool(_) | Resolved::Text(_) => None,
    }
}

/// Whether the value is a whole number; `1.0` and `1e3` are.
pub(super) fn is_whole(node: &Node) -> bool {
    match node.resolved() {
        Some(Resolved::Int(_) | Resolved::UInt(_)) => true,
        Some(Resolved::Float(number)) => number.fract() == 0.0,
        _ => false,
    }
}

/// Whether a number is within these bounds; what is no number is.
pub(super) fn is_within(node: &Node, least: f64, greatest: f64) -> bool {
    as_number(node).is_none_or(|number| least <= number && number <= greatest)
}

/// Whether every key of a mapping is so; a null value's key is gone before rules see it.
pub(super) fn all_keys(node: &Node, is_so: impl Fn(&str) -> bool) -> bool {
    let mut entries = node.entries().iter().filter(|entry| !entry.value.is_null());
    entries.all(|entry| is_so(&entry.key))
}

/// What items of a list are told apart by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Text(&'a str),
    Number(u64),
}

fn key<'a>(item: &'a Node, name: &str) -> Option<Key<'a>> {
    let value = field(item, name)?;
    as_text(value)
        .map(Key::Text)
        .or_else(|| as_number(value).map(|number| Key::Number(number.to_bits())))
}

/// The first item whose field has the value that it has in an earlier item.
pub(super) fn repeated(items: &[Node], name: &str) -> Option<usize> {
    // Comparing all with all needs no memory, and for a handful of items no more time.
    const FEW: usize = 16;
    let mut keys = items.iter().map(|item| key(item, name)).enumerate();
    if items.len() <= FEW {
        let earlier = |at: usize| items.iter().take(at).map(|item| key(item, name));
        return keys
            .find(|(at, key)| key.is_some() && earlier(*at).any(|other| other == *key))
            .map(|(at, _)| at);
    }
    let mut seen = BTreeSet::new();
    keys.find(|(_, key)| key.is_some_and(|key| !seen.insert(key)))
        .map(|(at, _)| at)
}
