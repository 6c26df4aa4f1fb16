//! Values as YAML, in the form that Kubernetes' tools print: sorted keys, lists not indented, text quoted only where it must be.

use serde_json::{Map, Value};

use super::resolve::{Resolved, Scalar, resolve};

/// The most bytes of a key without a question mark, with some room for the colon.
const LONGEST_PLAIN_KEY: usize = 1_000;

/// The value as a YAML document, ending with a line break.
///
/// ```
/// let value = serde_json::json!({"b": ["x", "80"], "a": {}});
/// assert_eq!(lateen_api::yaml::to_text(&value), "a: {}\nb:\n- x\n- \"80\"\n");
/// ```
#[must_use]
pub fn to_text(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => print_map(&mut out, map, 0, false),
        Value::Array(items) if !items.is_empty() => print_list(&mut out, items, 0, false),
        scalar => {
            print_scalar(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    out
}

/// The entries; the first one stands where the output is when `inline`.
fn print_map(out: &mut String, map: &Map<String, Value>, depth: usize, inline: bool) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (at, (key, value)) in entries.into_iter().enumerate() {
        if at > 0 || !inline {
            indent(out, depth);
        }
        print_key(out, key, depth);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                print_map(out, inner, depth + 1, false);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                print_list(out, items, depth, false);
            }
            scalar => {
                out.push(' ');
                print_scalar(out, scalar, depth + 1);
                out.push('\n');
            }
        }
    }
}

/// A key up to where its colon stands. YAML takes a key without a question mark only on one line of at most 1,024 characters.
fn print_key(out: &mut String, key: &str, depth: usize) {
    let start = out.len();
    print_text(out, key, depth, true);
    if out.len() - start > LONGEST_PLAIN_KEY {
        out.insert_str(start, "? ");
        out.push('\n');
        indent(out, depth);
    }
}

fn print_list(out: &mut String, items: &[Value], depth: usize, inline: bool) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 || !inline {
            indent(out, depth);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => print_map(out, inner, depth + 1, true),
            Value::Array(inner) if !inner.is_empty() => print_list(out, inner, depth + 1, true),
            scalar => {
                print_scalar(out, scalar, depth + 1);
                out.push('\n');
            }
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn print_scalar(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(text) => print_text(out, text, depth, false),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

fn print_text(out: &mut String, text: &str, depth: usize, is_key: bool) {
    if text.contains('\n') && !is_key && is_block(text) {
        print_block(out, text, depth);
    } else if text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'))
    {
        // JSON's quoting is YAML's.
        out.push_str(&Value::String(text.to_owned()).to_string());
    } else if means_other(text) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else if is_plain(text) {
        out.push_str(text);
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

/// Whether a text of several lines keeps every character as a literal block.
fn is_block(text: &str) -> bool {
    !text.trim().is_empty()
        && text.chars().all(|c| {
            c == '\n'
                || (!c.is_control()
                    && !matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'))
        })
        && !text.lines().any(|line| line.ends_with(' '))
        && !text.starts_with('\n')
}

fn print_block(out: &mut String, text: &str, depth: usize) {
    out.push('|');
    if text.starts_with(' ') {
        out.push('2');
    }
    let ends = text.len() - text.trim_end_matches('\n').len();
    match ends {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    let body = text.strip_suffix('\n').unwrap_or(text);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth.max(1));
            out.push_str(line);
        }
    }
}

/// Whether the text, unquoted, would be read as something else, by YAML 1.1 or 1.2.
fn means_other(text: &str) -> bool {
    let old = ["y", "n", "yes", "no", "on", "off"];
    if text.is_empty() || old.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return true;
    }
    let plain = Scalar {
        text: text.to_owned(),
        is_text: false,
    };
    if !matches!(resolve(&plain), Resolved::Text(_)) {
        return true;
    }
    // Numbers with `_`, base 60 and dates are YAML 1.1's.
    let starts = text
        .trim_start_matches(['-', '+', '.'])
        .starts_with(|c: char| c.is_ascii_digit());
    starts
        && text.chars().all(|c| {
            c.is_ascii_hexdigit()
                || matches!(c, '-' | '+' | '_' | ':' | '.' | 'x' | 'o' | 'T' | 'Z')
        })
}

fn is_plain(text: &str) -> bool {
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return false;
    };
    let second = chars.next();
    let opens = match first {
        '-' | '?' | ':' => second.is_none_or(|c| c == ' '),
        '~' | '<' | '=' => second.is_none() || text == "<<",
        other => "!&*#|>@%`\"'{}[],".contains(other) || other == ' ',
    };
    !opens
        && !text.starts_with("---")
        && !text.starts_with("...")
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::yaml::{parse, read};

    #[test]
    fn text_is_quoted_only_where_it_must_be() {
        for (text, printed) in [
            ("plain", "plain"),
            ("a b/c", "a b/c"),
            ("$(POD).svc", "$(POD).svc"),
            ("", "\"\""),
            ("true", "\"true\""),
            ("yes", "\"yes\""),
            ("15090", "\"15090\""),
            ("1e3", "\"1e3\""),
            ("15090,15021", "15090,15021"),
            ("100m", "100m"),
            ("*", "'*'"),
            ("{}", "'{}'"),
            ("-p", "-p"),
            ("- p", "'- p'"),
            ("a: b", "'a: b'"),
            ("it's: ", "'it''s: '"),
            ("a #b", "'a #b'"),
            ("a\tb", "\"a\\tb\""),
            ("2024-01-01", "\"2024-01-01\""),
            ("12:30", "\"12:30\""),
            ("1_000", "\"1_000\""),
            ("a\nb", "|-\n  a\n  b"),
            ("a\nb\n", "|\n  a\n  b"),
            ("a\n\nb\n\n", "|+\n  a\n\n  b\n"),
            (" a\nb", "|2-\n   a\n  b"),
        ] {
            assert_eq!(to_text(&json!(text)), format!("{printed}\n"), "{text:?}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_as_it_was() {
        let texts = [
            "a\nb", "a\nb\n\n", " a\n b", "\na", "a \nb", "~", "null", "0x1f", "---", "- a",
            "é: ü", "a'b\"c", "a\\b", ":", "<<", "=", "% a",
        ];
        let value = json!({
            "list": [[1, [2]], {"a": 1, "b": [{"c": null}]}, [], {}, "x"],
            "texts": texts,
            "nested": {"deep": {"text": "line 1\n  line 2\nline 3", "n": -1.5, "t": true}},
            "odd: key": 1, "": 2, "true": 3
        });
        let printed = to_text(&value);
        let documents = parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
        let back: Value = read(&documents[0].root).unwrap_or_else(|e| panic!("{e}\n{printed}"));
        assert_eq!(back, value, "{printed}");
    }
}
