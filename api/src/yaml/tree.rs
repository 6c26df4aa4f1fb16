//! The tree of a document, and paths through it.

use std::fmt;
use std::ops::Range;

use super::resolve::{Resolved, Scalar, resolve};
use crate::proto::json_name;

/// A place in a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl Mark {
    /// The place so many lines further down.
    #[must_use]
    pub(super) const fn down(self, lines: u32) -> Self {
        Self {
            line: self.line.saturating_add(lines),
            column: self.column,
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.line, self.column)
    }
}

/// One document of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its content; an empty document holds a null.
    pub root: Node,
    /// Its bytes in the text with the `---` line before it. The spans of all documents together are the whole text.
    pub span: Range<usize>,
    /// Its bytes without the `---` line before it.
    pub body: Range<usize>,
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub at: Mark,
    /// What it is.
    pub content: Content,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text, a number, a boolean or null.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub key_at: Mark,
    /// The value.
    pub value: Node,
}

/// A step on a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To a mapping's value.
    Key(String),
    /// To a list's item.
    Index(usize),
}

impl Document {
    /// Whether the document holds nothing but perhaps comments.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_null()
    }
}

impl Node {
    /// A null at a place.
    #[must_use]
    pub const fn null(at: Mark) -> Self {
        Self {
            at,
            content: Content::Scalar(Scalar {
                text: String::new(),
                is_text: false,
            }),
        }
    }

    /// Moves the value and all in it so many lines down.
    pub(super) fn move_down(&mut self, lines: u32) {
        self.at = self.at.down(lines);
        match &mut self.content {
            Content::Scalar(_) => {}
            Content::List(items) => items.iter_mut().for_each(|item| item.move_down(lines)),
            Content::Map(entries) => {
                for entry in entries {
                    entry.key_at = entry.key_at.down(lines);
                    entry.value.move_down(lines);
                }
            }
        }
    }

    /// Whether the value is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.resolved(), Some(Resolved::Null))
    }

    /// What a scalar means; `None` for a list or a mapping.
    #[must_use]
    pub fn resolved(&self) -> Option<Resolved<'_>> {
        match &self.content {
            Content::Scalar(scalar) => Some(resolve(scalar)),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    /// The text of a scalar as it is written, whatever it means; `None` for a list, a mapping or null.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(scalar) if !self.is_null() => Some(&scalar.text),
            _ => None,
        }
    }

    /// The items of a list; empty for all else.
    #[must_use]
    pub fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of a mapping; empty for all else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entry of a mapping with exactly this key.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of a mapping's key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// What the value is, for error texts.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match (&self.content, self.resolved()) {
            (Content::List(_), _) => "a list",
            (Content::Map(_), _) => "a mapping",
            (_, Some(Resolved::Null)) => "null",
            (_, Some(Resolved::Bool(_))) => "a boolean",
            (_, Some(Resolved::Text(_))) => "text",
            _ => "a number",
        }
    }

    /// Where the value at a path such as `spec.http[0].route[0].destination.subset` stands: the key's place for a mapping's value,
    /// the item's for a list's. Keys may be in either spelling of the API. `None` if there is no such value.
    #[must_use]
    pub fn mark_of(&self, path: &str) -> Option<Mark> {
        let (mark, whole) = self.walk(path);
        whole.then_some(mark)
    }

    /// The place of the value at a path, or of the closest value around it that is there.
    #[must_use]
    pub fn mark_near(&self, path: &str) -> Mark {
        self.walk(path).0
    }

    fn walk(&self, path: &str) -> (Mark, bool) {
        let mut node = self;
        let mut mark = self.at;
        for step in path_steps(path) {
            let next = match &step {
                Step::Key(key) => node
                    .entry_like(key)
                    .map(|entry| (entry.key_at, &entry.value)),
                Step::Index(index) => node.items().get(*index).map(|item| (item.at, item)),
            };
            let Some((at, value)) = next else {
                return (mark, false);
            };
            mark = at;
            node = value;
        }
        (mark, true)
    }

    fn entry_like(&self, key: &str) -> Option<&Entry> {
        self.entry(key).or_else(|| {
            let wanted = json_name(key);
            self.entries()
                .iter()
                .find(|entry| json_name(&entry.key) == wanted)
        })
    }
}

/// The steps of a path: keys separated by dots, indexes in brackets, odd keys as `["a.b/c"]`.
#[must_use]
pub fn path_steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let end = quoted.find("\"]").unwrap_or(quoted.len());
            steps.push(Step::Key(quoted[..end].to_owned()));
            rest = quoted.get(end + 2..).unwrap_or("");
        } else if let Some(bracketed) = rest.strip_prefix('[') {
            let end = bracketed.find(']').unwrap_or(bracketed.len());
            // A number that does not parse names no item.
            steps.push(Step::Index(bracketed[..end].parse().unwrap_or(usize::MAX)));
            rest = bracketed.get(end + 1..).unwrap_or("");
        } else if let Some(after) = rest.strip_prefix('.') {
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    steps
}

/// A key as part of a path's text: `.key`, or `["key"]` where the key itself has dots or brackets.
#[must_use]
pub fn key_step(key: &str) -> String {
    if key.is_empty() || key.contains(['.', '[', ']', '/', ' ']) {
        format!("[\"{key}\"]")
    } else {
        format!(".{key}")
    }
}
