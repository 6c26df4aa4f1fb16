//! The lines of a file around a message's place.

use std::fmt::Write as _;

use lateen_controlplane_analyze::output::printable;

/// Longer lines are cut off.
const WIDEST: usize = 160;

/// The line of a place with the one before it, and a mark under the field.
pub(super) fn excerpt(text: &str, line: u32, column: u32, colour: bool) -> Option<String> {
    let number = usize::try_from(line).ok()?.checked_sub(1)?;
    let mut rows = text.lines().skip(number.saturating_sub(1));
    let before = if number > 0 { rows.next() } else { None };
    let row = rows.next()?;
    let (blue, red, plain) = if colour {
        ("\u{1b}[1;34m", "\u{1b}[1;31m", "\u{1b}[0m")
    } else {
        ("", "", "")
    };
    let width = line.to_string().len();
    let mut out = String::new();
    let _ = writeln!(out, "{:width$} {blue}|{plain}", "");
    if let Some(before) = before {
        let _ = writeln!(out, "{blue}{:>width$} |{plain} {}", line - 1, shown(before));
    }
    let _ = writeln!(out, "{blue}{line:>width$} |{plain} {}", shown(row));
    let (start, length) = field(row, column);
    if start + length <= WIDEST {
        let _ = writeln!(
            out,
            "{:width$} {blue}|{plain} {:start$}{red}{}{plain}",
            "",
            "",
            "^".repeat(length.max(1))
        );
    }
    Some(out)
}

/// Where the field of a column begins in what is shown, and how long it is: to the end of its line without a comment, or, within
/// brackets, to the next field.
fn field(row: &str, column: u32) -> (usize, usize) {
    let start = usize::try_from(column)
        .unwrap_or_default()
        .saturating_sub(1);
    let indent = row.chars().take_while(|letter| *letter == ' ').count();
    let start = start.max(indent);
    let rest: String = row.chars().skip(start).collect();
    let rest = rest.split(" #").next().unwrap_or_default().trim_end();
    let before: String = row.chars().take(start).collect();
    let rest = if before.contains(['{', '[']) {
        within_brackets(rest)
    } else {
        rest
    };
    (shown(&before).chars().count(), shown(rest).chars().count())
}

/// The text up to the comma or the bracket that ends it.
fn within_brackets(text: &str) -> &str {
    let (mut depth, mut quote) = (0_u32, None);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']' | ',') if depth == 0 => return &text[..at],
            (None, '}' | ']') => depth -= 1,
            (None, _) => {}
        }
    }
    text
}

fn shown(row: &str) -> String {
    let shown = printable(&row.trim_end_matches('\r').replace('\t', "    "));
    if shown.chars().count() <= WIDEST {
        return shown;
    }
    shown.chars().take(WIDEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_marked() {
        let text = "a:\n  b: 1 # one\n";
        assert_eq!(
            excerpt(text, 2, 3, false).unwrap_or_default(),
            "  |\n1 | a:\n2 |   b: 1 # one\n  |   ^^^^\n"
        );
        assert_eq!(
            excerpt(text, 1, 1, false).unwrap_or_default(),
            "  |\n1 | a:\n  | ^^\n"
        );
        assert_eq!(
            excerpt("- {a: {b: [1, '}']}, c: 2}", 1, 4, false).unwrap_or_default(),
            "  |\n1 | - {a: {b: [1, '}']}, c: 2}\n  |    ^^^^^^^^^^^^^^^^\n"
        );
        assert_eq!(excerpt(text, 9, 1, false), None);
        assert_eq!(excerpt(text, 0, 1, false), None);
        let wild = excerpt("a: \u{1b}[2Jx\n", 1, 1, false).unwrap_or_default();
        assert!(!wild.contains('\u{1b}'), "{wild}");
    }
}
