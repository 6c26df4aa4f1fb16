//! Path templates of Envoy's `uri_template` matcher: `*` is one segment, `**` any number, `{name}` one segment with a
//! name, `{name=…}` a pattern with a name.

use regex::Regex;

/// Characters of one segment besides `/`, by RFC 3986.
const SEGMENT: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@*=]+";
/// Characters of a path.
const PATH: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@*=/]*";
/// Longest template.
const MAX: usize = 1024;

/// The expression that a template stands for; `None` when it is no template.
pub(super) fn compile(template: &str) -> Option<Regex> {
    let rest = template.strip_prefix('/')?;
    if template.len() > MAX || template.contains("//") {
        return None;
    }
    let mut out = String::from("^/");
    let mut rest = rest;
    let mut glob_seen = false;
    while !rest.is_empty() {
        rest = match rest.strip_prefix('{') {
            Some(variable) => {
                let (variable, after) = variable.split_once('}')?;
                let (name, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
                let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                if name.is_empty() || !name.bytes().all(legal) || pattern.is_empty() {
                    return None;
                }
                part(pattern, &mut out, &mut glob_seen)?;
                after
            }
            None => {
                let end = rest.find('{').unwrap_or(rest.len());
                let (literal, after) = rest.split_at_checked(end)?;
                part(literal, &mut out, &mut glob_seen)?;
                after
            }
        };
    }
    out.push('$');
    Regex::new(&out).ok()
}

/// Literal text and wildcards. `**` must be the last wildcard.
fn part(text: &str, out: &mut String, glob_seen: &mut bool) -> Option<()> {
    let mut rest = text;
    while let Some(place) = rest.find('*') {
        let (literal, wild) = rest.split_at_checked(place)?;
        if *glob_seen {
            return None;
        }
        out.push_str(&regex::escape(literal));
        rest = match wild.strip_prefix("**") {
            Some(after) => {
                *glob_seen = true;
                out.push_str(PATH);
                after
            }
            None => {
                out.push_str(SEGMENT);
                wild.strip_prefix('*')?
            }
        };
    }
    out.push_str(&regex::escape(rest));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_segments_and_paths() {
        for (template, path, wanted) in [
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/x/c", false),
            ("/a/{id}", "/a/7", true),
            ("/a/{id}", "/a/", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**/z", "/a/b/c/z", true),
            ("/a/{rest=**}", "/a/b/c", true),
            ("/a.b", "/axb", false),
        ] {
            let regex = compile(template).expect(template);
            assert_eq!(regex.is_match(path), wanted, "{template} {path}");
        }
        for wrong in ["a", "/{", "/{}", "/**/**", "/a//b"] {
            assert!(compile(wrong).is_none(), "{wrong}");
        }
    }
}
