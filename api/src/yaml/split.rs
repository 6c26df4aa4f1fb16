//! Cuts a text at its document markers, so that each part is parsed by itself: a fault in one leaves the others whole.

use std::ops::Range;

/// A part of a text that holds whole documents, mostly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its bytes in the text.
    pub span: Range<usize>,
    /// The line at which it begins, from 1.
    pub first_line: u32,
}

/// Cuts a text before each line that begins with `---`. YAML allows such a line nowhere inside a document, quoted text and blocks
/// included, so that the parts together mean what the text means. Comments and directives stay with the document that follows.
#[must_use]
pub fn split(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let (mut at, mut line) = (0, 1_u32);
    let mut has_content = false;
    for row in text.split_inclusive('\n') {
        let marker = is_marker(row);
        if marker && has_content {
            let span = start..at;
            parts.push(Part { span, first_line });
            (start, first_line) = (at, line);
        }
        let row_text = row.trim_start_matches('\u{feff}').trim();
        let prelude = row_text.is_empty() || row_text.starts_with(['#', '%']);
        has_content = if marker {
            true
        } else {
            has_content || !prelude
        };
        at += row.len();
        line = line.saturating_add(1);
    }
    if start < text.len() || parts.is_empty() {
        let span = start..text.len();
        parts.push(Part { span, first_line });
    }
    parts
}

/// Whether a line begins a document.
fn is_marker(row: &str) -> bool {
    row.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_where_documents_begin() {
        for (text, expected) in [
            ("", vec![""]),
            ("a: 1\n", vec!["a: 1\n"]),
            ("---\na: 1\n---\nb: 2\n", vec!["---\na: 1\n", "---\nb: 2\n"]),
            (
                "# c\n---\na: 1\n--- # d\nb: 2",
                vec!["# c\n---\na: 1\n", "--- # d\nb: 2"],
            ),
            ("%YAML 1.2\n---\na: 1\n", vec!["%YAML 1.2\n---\na: 1\n"]),
            ("a: |\n  ---\n  x\n----\n", vec!["a: |\n  ---\n  x\n----\n"]),
            (
                "a: 1\r\n---\r\nb: 2\r\n",
                vec!["a: 1\r\n", "---\r\nb: 2\r\n"],
            ),
        ] {
            let parts = split(text);
            let texts: Vec<&str> = parts.iter().map(|part| &text[part.span.clone()]).collect();
            assert_eq!(texts, expected, "{text:?}");
            for part in parts {
                let before = text[..part.span.start].matches('\n').count();
                assert_eq!(part.first_line as usize, before + 1, "{text:?}");
            }
        }
    }
}
