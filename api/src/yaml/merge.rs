//! Merge keys, and the size of what aliases write out.

use super::error::{SyntaxError, SyntaxErrorKind};
use super::tree::{Content, Entry, Node};

/// The merge key `<<` while its mapping is open; a quoted `<<` is a key like any other.
pub(super) const MERGE: &str = "\0<<";

/// Entries with those of merge keys added where the mapping does not have them itself.
pub(super) fn merged(entries: Vec<Entry>) -> Result<Vec<Entry>, SyntaxError> {
    if entries.iter().all(|entry| entry.key != MERGE) {
        return Ok(entries);
    }
    let (merges, mut own): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.key == MERGE);
    for merge in merges {
        let at = merge.value.at;
        let sources = match merge.value.content {
            Content::List(sources) => sources,
            content => vec![Node { at, content }],
        };
        for source in sources {
            let Content::Map(inherited) = source.content else {
                return Err(SyntaxError {
                    at: source.at,
                    kind: SyntaxErrorKind::Merge,
                });
            };
            for entry in inherited {
                if own.iter().all(|present| present.key != entry.key) {
                    own.push(entry);
                }
            }
        }
    }
    Ok(own)
}

/// The number of values in a tree.
pub(super) fn size(node: &Node) -> usize {
    1 + match &node.content {
        Content::Scalar(_) => 0,
        Content::List(items) => items.iter().map(size).sum(),
        Content::Map(entries) => entries.iter().map(|entry| size(&entry.value)).sum(),
    }
}

/// The levels of nesting below a value.
pub(super) fn depth(node: &Node) -> usize {
    match &node.content {
        Content::Scalar(_) => 0,
        Content::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Content::Map(entries) => {
            1 + entries
                .iter()
                .map(|entry| depth(&entry.value))
                .max()
                .unwrap_or(0)
        }
    }
}
