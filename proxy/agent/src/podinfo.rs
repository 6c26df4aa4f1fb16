//! Files of the downward API: labels and annotations, a `key="value"` line each.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Source;

/// Labels of the pod.
pub(crate) const LABELS: &str = "/etc/istio/pod/labels";
/// Annotations of the pod.
pub(crate) const ANNOTATIONS: &str = "/etc/istio/pod/annotations";

/// Reads such a file; a file that is absent is empty, a line that does not parse is left out and logged.
pub(crate) fn read(source: &dyn Source, path: &str) -> BTreeMap<String, String> {
    let Ok(text) = source.file(Path::new(path)) else {
        return BTreeMap::new();
    };
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .filter_map(|line| {
            let entry = entry(line);
            if entry.is_none() {
                tracing::warn!(path, line, "this line is not key=\"value\" and is left out");
            }
            entry
        })
        .collect()
}

fn entry(line: &str) -> Option<(String, String)> {
    let (key, quoted) = line.split_once('=')?;
    let inner = quoted.trim_end().strip_prefix('"')?.strip_suffix('"')?;
    Some((key.to_owned(), unquote(inner)?))
}

/// Undoes Go's `strconv.Quote`, in which the kubelet writes values.
fn unquote(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next()? {
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'v' => out.push('\u{b}'),
            'x' => out.push(hex(&mut characters, 2)?),
            'u' => out.push(hex(&mut characters, 4)?),
            'U' => out.push(hex(&mut characters, 8)?),
            same @ ('\\' | '"' | '\'') => out.push(same),
            _ => return None,
        }
    }
    Some(out)
}

fn hex(characters: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let text: String = characters.take(digits).collect();
    char::from_u32(
        u32::from_str_radix(&text, 16)
            .ok()
            .filter(|_| text.len() == digits)?,
    )
}

#[cfg(test)]
mod tests {
    use super::entry;

    #[test]
    fn lines_are_unquoted() {
        let pair = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
        assert_eq!(entry("app=\"reviews\""), pair("app", "reviews"));
        assert_eq!(
            entry(r#"a.b/c="{\"x\":\n1}""#),
            pair("a.b/c", "{\"x\":\n1}")
        );
        assert_eq!(entry(r#"u="\u00e9""#), pair("u", "é"));
        assert_eq!(entry("app=reviews"), None);
        assert_eq!(entry(r#"bad="\q""#), None);
    }
}
