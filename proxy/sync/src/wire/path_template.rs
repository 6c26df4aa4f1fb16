//! Path templates (`/a/{b=*}/**`), compiled to expressions.

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use envoy_types::pb::envoy::extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig;
use regex::Regex;

use super::at::{At, Refused};
use super::common::unpack;
use super::re2;

/// Characters of a segment, beside those with a meaning of their own.
const SEGMENT: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=]";
/// The same and slashes.
const REST: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@=/]";
/// Longest name of a variable, and most of them.
const NAME: usize = 16;
const VARIABLES: usize = 5;

/// A path condition that an extension names.
pub(super) fn condition(at: &At<'_>, message: TypedExtensionConfig) -> Result<Regex, Refused> {
    let at = at.field("typed_config");
    let packed = message.typed_config.unwrap_or_default();
    let config: UriTemplateMatchConfig = unpack(&at, &packed)?;
    let at = at.field("path_template");
    let pattern = pattern(&config.path_template).map_err(|reason| at.refuse(reason))?;
    re2::compile(&at, &pattern, true)
}

/// A rewrite that an extension names: the text of a replacement for the whole path. `condition` is the route's own.
pub(super) fn rewrite(
    at: &At<'_>,
    message: TypedExtensionConfig,
    condition: &Regex,
) -> Result<Box<str>, Refused> {
    let at = at.field("typed_config");
    let packed = message.typed_config.unwrap_or_default();
    let config: UriTemplateRewriteConfig = unpack(&at, &packed)?;
    let at = at.field("path_template_rewrite");
    let text = replacement(&config.path_template_rewrite).map_err(|reason| at.refuse(reason))?;
    for name in names(&config.path_template_rewrite) {
        if !condition.capture_names().flatten().any(|it| it == name) {
            return Err(at.refuse(format!("the match has no variable {name:?}")));
        }
    }
    Ok(text.into())
}

fn pattern(template: &str) -> Result<String, &'static str> {
    let Some(mut rest) = template.strip_prefix('/') else {
        return Err("a template begins with a slash");
    };
    let mut out = String::from("/");
    let mut seen: Vec<&str> = Vec::new();
    let mut ended = false;
    while !rest.is_empty() {
        let operator = rest.starts_with('*') || rest.starts_with('{');
        if ended && operator {
            return Err("nothing but text may follow **");
        }
        if let Some(inside) = rest.strip_prefix('{') {
            let (variable, after) = inside.split_once('}').ok_or("a brace that does not end")?;
            let (name, shape) = variable.split_once('=').unwrap_or((variable, "*"));
            check_name(name, &seen)?;
            seen.push(name);
            let (shape, rest_of_path) = shape_of(shape)?;
            ended |= rest_of_path;
            out.push_str(&format!("(?P<{name}>{shape})"));
            rest = after;
        } else if let Some(after) = rest.strip_prefix("**") {
            out.push_str(&format!("{REST}*"));
            ended = true;
            rest = after;
        } else if let Some(after) = rest.strip_prefix('*') {
            out.push_str(&format!("{SEGMENT}+"));
            rest = after;
        } else {
            let mut characters = rest.chars();
            let literal = characters.next().ok_or("empty")?;
            push_literal(literal, &mut out)?;
            rest = characters.as_str();
        }
    }
    Ok(out)
}

/// What a variable takes: segments, of which the last may be the rest of the path.
fn shape_of(shape: &str) -> Result<(String, bool), &'static str> {
    if shape.is_empty() {
        return Err("a variable that takes nothing");
    }
    let mut out = String::new();
    let mut ended = false;
    for (index, segment) in shape.split('/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        if ended {
            return Err("nothing but text may follow **");
        }
        match segment {
            "**" => {
                out.push_str(&format!("{REST}*"));
                ended = true;
            }
            "*" => out.push_str(&format!("{SEGMENT}+")),
            text => {
                for literal in text.chars() {
                    push_literal(literal, &mut out)?;
                }
            }
        }
    }
    Ok((out, ended))
}

fn push_literal(literal: char, out: &mut String) -> Result<(), &'static str> {
    let plain = literal.is_ascii_alphanumeric() || "-._~%!$&'()+,;:@=/".contains(literal);
    if !plain {
        return Err("a character that no path has");
    }
    if !literal.is_ascii_alphanumeric() {
        out.push('\\');
    }
    out.push(literal);
    Ok(())
}

fn check_name(name: &str, seen: &[&str]) -> Result<(), &'static str> {
    let mut bytes = name.bytes();
    let good = bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !good || name.len() > NAME {
        return Err("no name of a variable");
    }
    if seen.contains(&name) {
        return Err("a variable twice");
    }
    if seen.len() >= VARIABLES {
        return Err("more than five variables");
    }
    Ok(())
}

fn replacement(template: &str) -> Result<String, &'static str> {
    if !template.starts_with('/') {
        return Err("a template begins with a slash");
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a brace that does not end")?;
        check_name(name, &[])?;
        push_text(text, &mut out)?;
        out.push_str(&format!("${{{name}}}"));
        rest = after;
    }
    push_text(rest, &mut out)?;
    Ok(out)
}

fn push_text(text: &str, out: &mut String) -> Result<(), &'static str> {
    if text.contains(['}', '*']) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a character that no path has");
    }
    out.push_str(&text.replace('$', "$$"));
    Ok(())
}

fn names(template: &str) -> impl Iterator<Item = &str> {
    template
        .split('{')
        .skip(1)
        .filter_map(|part| Some(part.split_once('}')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_take_segments_and_the_rest() {
        for (template, path, wanted) in [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/*", "/a/", false),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/{x}/c", "/a/b/c", true),
            ("/{x=a/*}/{y=**}", "/a/b/c/d", true),
            ("/a/{x}.json", "/a/b.json", true),
            ("/a.b", "/axb", false),
        ] {
            let regex = re2::compile(&At::ROOT, &pattern(template).expect(template), true);
            assert_eq!(
                regex.expect(template).is_match(path),
                wanted,
                "{template} {path}"
            );
        }
        for template in [
            "a",
            "/{",
            "/{1}",
            "/{a}/{a}",
            "/**/*",
            "/{a=**}/{b}",
            "/a b",
            "/{a=}",
        ] {
            assert!(pattern(template).is_err(), "{template}");
        }
    }

    #[test]
    fn rewrites_name_variables() {
        assert_eq!(replacement("/x/{a}$").as_deref(), Ok("/x/${a}$$"));
        assert!(replacement("x").is_err() && replacement("/*").is_err());
    }
}
