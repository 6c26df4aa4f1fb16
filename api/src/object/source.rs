//! Where an object was read.

use std::ops::Range;
use std::sync::Arc;

use crate::yaml::{Mark, Node, parse_part};

/// The place in a file that an object was read from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file as it was named.
    pub file: Arc<str>,
    /// The line at which the object begins.
    pub line: u32,
    tree: Tree,
}

/// How the object's tree is had. A text is parsed again when it is asked for, since few objects are ever asked and a tree takes many
/// times the memory of its text.
#[derive(Debug, Clone)]
enum Tree {
    Text {
        text: Arc<str>,
        span: Range<usize>,
        first_line: u32,
        /// Which of the documents of the span.
        index: usize,
    },
    Kept(Arc<Node>),
}

impl Source {
    /// A document of a part of a text.
    pub(super) fn document(
        (file, line): (Arc<str>, u32),
        text: Arc<str>,
        span: Range<usize>,
        (first_line, index): (u32, usize),
    ) -> Self {
        let tree = Tree::Text {
            text,
            span,
            first_line,
            index,
        };
        Self { file, line, tree }
    }

    /// A tree that is not a document by itself, such as a list's item.
    pub(super) fn kept(file: Arc<str>, node: Node) -> Self {
        let line = node.at.line;
        let tree = Tree::Kept(Arc::new(node));
        Self { file, line, tree }
    }

    /// The object's tree.
    #[must_use]
    pub fn node(&self) -> Arc<Node> {
        match &self.tree {
            Tree::Kept(node) => Arc::clone(node),
            Tree::Text {
                text,
                span,
                first_line,
                index,
            } => {
                // The text was parsed before, so that what is missing here was never there.
                let part = text.get(span.clone()).unwrap_or_default();
                let root = parse_part(part, *first_line)
                    .ok()
                    .and_then(|documents| documents.into_iter().nth(*index))
                    .map(|document| document.root);
                Arc::new(root.unwrap_or_else(|| Node::null(Mark::default())))
            }
        }
    }

    /// The whole text of the file, where the object is a document of it.
    #[must_use]
    pub const fn text(&self) -> Option<&Arc<str>> {
        match &self.tree {
            Tree::Text { text, .. } => Some(text),
            Tree::Kept(_) => None,
        }
    }
}

impl PartialEq for Source {
    /// Whether the same text stands at the same place, whatever else the files hold.
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.tree, &other.tree) {
            (Tree::Kept(one), Tree::Kept(two)) => one == two,
            (
                Tree::Text {
                    text,
                    span,
                    first_line,
                    index,
                },
                Tree::Text {
                    text: other_text,
                    span: other_span,
                    first_line: other_line,
                    index: other_index,
                },
            ) => {
                first_line == other_line
                    && index == other_index
                    && text.get(span.clone()) == other_text.get(other_span.clone())
            }
            _ => false,
        };
        same && self.file == other.file && self.line == other.line
    }
}
