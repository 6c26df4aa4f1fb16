//! From a text to trees.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::cut::{Begun, cut};
use super::error::{SyntaxError, SyntaxErrorKind};
use super::merge::{MERGE, depth, merged, size};
use super::resolve::Scalar;
use super::tree::{Content, Document, Entry, Mark, Node};

/// How much of a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes.
    pub bytes: usize,
    /// The most levels of nesting.
    pub depth: usize,
    /// The most values in all documents, with aliases written out.
    pub nodes: usize,
}

impl Default for Limits {
    /// 32 MiB, 128 levels, two million values: far beyond any manifest, and at most some hundred MiB of memory.
    fn default() -> Self {
        Self {
            bytes: 32 << 20,
            depth: 128,
            nodes: 2_000_000,
        }
    }
}

/// Parses all documents of a YAML or JSON text within the default [`Limits`].
///
/// # Errors
/// When the text is not YAML, has a key twice, or exceeds a limit; with the place.
pub fn parse(text: &str) -> Result<Vec<Document>, SyntaxError> {
    parse_with(text, Limits::default())
}

/// Parses all documents of a part of a text within the default [`Limits`]; `first_line` is the line of the text at which the part
/// begins, from 1, so that places count from the whole text's beginning. The documents' spans are those within the part.
///
/// # Errors
/// When the part is not YAML, has a key twice, or exceeds a limit; with the place.
pub fn parse_part(part: &str, first_line: u32) -> Result<Vec<Document>, SyntaxError> {
    let lines = first_line.saturating_sub(1);
    match parse(part) {
        Ok(mut documents) => {
            if lines > 0 {
                for document in &mut documents {
                    document.root.move_down(lines);
                }
            }
            Ok(documents)
        }
        Err(mut error) => {
            error.at = error.at.down(lines);
            if let SyntaxErrorKind::DuplicateKey { first, .. } = &mut error.kind {
                *first = first.saturating_add(lines);
            }
            Err(error)
        }
    }
}

/// Parses all documents of a YAML or JSON text within limits.
///
/// # Errors
/// When the text is not YAML, has a key twice, or exceeds a limit; with the place.
pub fn parse_with(text: &str, limits: Limits) -> Result<Vec<Document>, SyntaxError> {
    if text.len() > limits.bytes {
        let kind = SyntaxErrorKind::TooLarge {
            size: text.len(),
            limit: limits.bytes,
        };
        return Err(SyntaxError {
            at: Mark { line: 1, column: 1 },
            kind,
        });
    }
    // A byte order mark is no content, but its bytes are the first document's.
    let bom = text.len() - text.trim_start_matches('\u{feff}').len();
    let mut builder = Builder::new(limits);
    let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(&text[bom..]);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| malformed(&error))?;
        builder.take(event, span)?;
    }
    Ok(cut(text, builder.finished))
}

fn malformed(error: &ScanError) -> SyntaxError {
    SyntaxError {
        at: mark(error.marker()),
        kind: SyntaxErrorKind::Malformed(error.info().to_owned()),
    }
}

fn mark(marker: &saphyr_parser::Marker) -> Mark {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Mark {
        line: narrow(marker.line()),
        column: narrow(marker.col().saturating_add(1)),
    }
}

/// A list or a mapping whose end has not come yet.
enum Open {
    List {
        at: Mark,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        at: Mark,
        anchor: usize,
        entries: Vec<Entry>,
        key: Option<Key>,
        keys: Keys,
    },
}

struct Key {
    text: String,
    at: Mark,
    is_text: bool,
}

/// The keys of an open mapping, looked up one by one while they are few.
#[derive(Default)]
struct Keys {
    index: HashMap<String, u32>,
}

impl Keys {
    const FEW: usize = 24;

    /// The line of an earlier use of a key.
    fn first_use(&mut self, entries: &[Entry], key: &str) -> Option<u32> {
        if entries.len() < Self::FEW {
            return entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| entry.key_at.line);
        }
        for entry in &entries[self.index.len()..] {
            self.index.insert(entry.key.clone(), entry.key_at.line);
        }
        self.index.get(key).copied()
    }
}

struct Builder {
    limits: Limits,
    nodes: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    begun: Option<(u32, bool)>,
    root: Option<Node>,
    finished: Vec<Begun>,
}

impl Builder {
    fn new(limits: Limits) -> Self {
        let (open, finished) = (Vec::new(), Vec::new());
        Self {
            limits,
            nodes: 0,
            open,
            anchors: HashMap::new(),
            begun: None,
            root: None,
            finished,
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let at = mark(&span.start);
        match event {
            Event::DocumentStart(explicit) => {
                self.begun = Some((at.line, explicit));
                self.anchors.clear();
            }
            Event::DocumentEnd => {
                let (line, explicit) = self.begun.take().unwrap_or((at.line, false));
                let root = self.root.take().unwrap_or_else(|| Node::null(at));
                self.finished.push(Begun {
                    line,
                    explicit,
                    root,
                });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag
                    .as_deref()
                    .map_or(style != ScalarStyle::Plain, |tag| is_text(tag, style));
                let node = Node {
                    at,
                    content: Content::Scalar(Scalar {
                        text: text.into_owned(),
                        is_text,
                    }),
                };
                self.place(node, anchor)?;
            }
            Event::SequenceStart(anchor, _) => self.descend(
                at,
                Open::List {
                    at,
                    anchor,
                    items: Vec::new(),
                },
            )?,
            Event::MappingStart(anchor, _) => {
                let (entries, keys) = (Vec::new(), Keys::default());
                self.descend(
                    at,
                    Open::Map {
                        at,
                        anchor,
                        entries,
                        key: None,
                        keys,
                    },
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.ascend()?,
            Event::Alias(anchor) => self.expand(anchor, at)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
        }
        Ok(())
    }

    fn descend(&mut self, at: Mark, open: Open) -> Result<(), SyntaxError> {
        if self.open.len() >= self.limits.depth {
            return Err(SyntaxError {
                at,
                kind: SyntaxErrorKind::TooDeep(self.limits.depth),
            });
        }
        self.open.push(open);
        Ok(())
    }

    fn ascend(&mut self) -> Result<(), SyntaxError> {
        match self.open.pop() {
            Some(Open::List { at, anchor, items }) => self.place(
                Node {
                    at,
                    content: Content::List(items),
                },
                anchor,
            ),
            Some(Open::Map {
                at,
                anchor,
                entries,
                ..
            }) => {
                let entries = merged(entries)?;
                self.place(
                    Node {
                        at,
                        content: Content::Map(entries),
                    },
                    anchor,
                )
            }
            None => Ok(()),
        }
    }

    fn expand(&mut self, anchor: usize, at: Mark) -> Result<(), SyntaxError> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(SyntaxError {
                at,
                kind: SyntaxErrorKind::Alias,
            });
        };
        let size = size(node);
        if depth(node) + self.open.len() > self.limits.depth {
            return Err(SyntaxError {
                at,
                kind: SyntaxErrorKind::TooDeep(self.limits.depth),
            });
        }
        let node = node.clone();
        self.count(size, at)?;
        self.place(node, 0)
    }

    fn count(&mut self, nodes: usize, at: Mark) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.limits.nodes {
            return Err(SyntaxError {
                at,
                kind: SyntaxErrorKind::TooMany(self.limits.nodes),
            });
        }
        Ok(())
    }

    /// Puts a complete value where it belongs: into the list or mapping that is open, else as the document's root.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        self.count(1, node.at)?;
        if anchor != 0 {
            self.count(size(&node), node.at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map {
                entries, key, keys, ..
            }) => match key.take() {
                Some(Key { text, at, is_text }) => {
                    if let Some(first) = keys.first_use(entries, &text) {
                        return Err(SyntaxError {
                            at,
                            kind: SyntaxErrorKind::DuplicateKey { key: text, first },
                        });
                    }
                    // A quoted << is a key like any other; it is told apart by a byte that no key can hold.
                    let text = if text == "<<" && !is_text {
                        MERGE.to_owned()
                    } else {
                        text
                    };
                    entries.push(Entry {
                        key: text,
                        key_at: at,
                        value: node,
                    });
                }
                None => *key = Some(as_key(node)?),
            },
        }
        Ok(())
    }
}

fn as_key(node: Node) -> Result<Key, SyntaxError> {
    match node.content {
        Content::Scalar(Scalar { text, is_text }) => Ok(Key {
            text,
            at: node.at,
            is_text,
        }),
        Content::List(_) | Content::Map(_) => Err(SyntaxError {
            at: node.at,
            kind: SyntaxErrorKind::ComplexKey,
        }),
    }
}

fn is_text(tag: &Tag, style: ScalarStyle) -> bool {
    if tag.is_yaml_core_schema() && tag.suffix != "str" {
        false
    } else {
        tag.suffix == "str" || style != ScalarStyle::Plain
    }
}
