//! Which bytes of a text belong to which document.

use super::tree::{Document, Node};

/// A document that was read, before its bytes are known.
pub(super) struct Begun {
    /// The line at which it begins.
    pub(super) line: u32,
    /// Whether it begins with `---`.
    pub(super) explicit: bool,
    /// Its content.
    pub(super) root: Node,
}

/// Gives each document its bytes: from its `---` line, or the text's beginning, to the next document's.
pub(super) fn cut(text: &str, begun: Vec<Begun>) -> Vec<Document> {
    let mut line_starts = vec![0];
    line_starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
    let start_of = |line: u32| {
        line_starts
            .get(line.saturating_sub(1) as usize)
            .copied()
            .unwrap_or(text.len())
    };
    let starts: Vec<usize> = begun
        .iter()
        .enumerate()
        .map(|(i, document)| if i == 0 { 0 } else { start_of(document.line) })
        .collect();
    let mut documents = Vec::with_capacity(begun.len());
    for (i, document) in begun.into_iter().enumerate() {
        let span = starts[i]
            ..starts
                .get(i + 1)
                .copied()
                .unwrap_or(text.len())
                .max(starts[i]);
        let body = body(
            text,
            &span,
            document.explicit.then(|| start_of(document.line)),
        );
        documents.push(Document {
            root: document.root,
            span,
            body,
        });
    }
    documents
}

/// The span without its `---` line, where the marker stands alone on it.
fn body(
    text: &str,
    span: &std::ops::Range<usize>,
    marker: Option<usize>,
) -> std::ops::Range<usize> {
    let Some(rest) = marker
        .and_then(|at| text.get(at..span.end))
        .and_then(|rest| rest.strip_prefix("---"))
    else {
        return span.clone();
    };
    let line_len = rest.find('\n').map_or(rest.len(), |at| at + 1);
    let alone = rest[..line_len].trim().is_empty();
    let start = span.end - rest.len() + if alone { line_len } else { 0 };
    start..span.end
}
