//! Header changes.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use http::{HeaderName, HeaderValue};
use lateen_proxy_model::HeaderMutations;

use super::at::{At, Refused};
use super::matcher::header_name;

/// Headers to add (or set) and to remove; the names of the two fields are for errors.
pub(crate) fn mutations(
    at: &At<'_>,
    (add_field, add): (&str, Vec<core::HeaderValueOption>),
    (remove_field, remove): (&str, Vec<String>),
) -> Result<HeaderMutations, Refused> {
    let mut changes = HeaderMutations::default();
    let place = at.field(remove_field);
    for (index, name) in remove.iter().enumerate() {
        changes.remove.push(changeable(&place.item(index), name)?);
    }
    let place = at.field(add_field);
    for (index, option) in add.into_iter().enumerate() {
        add_one(&place.item(index), option, &mut changes)?;
    }
    Ok(changes)
}

fn add_one(
    at: &At<'_>,
    option: core::HeaderValueOption,
    changes: &mut HeaderMutations,
) -> Result<(), Refused> {
    let action = match option.append.map(|append| append.value) {
        Some(true) => HeaderAppendAction::AppendIfExistsOrAdd,
        Some(false) => HeaderAppendAction::OverwriteIfExistsOrAdd,
        None => option.append_action(),
    };
    let keep_empty = option.keep_empty_value;
    let header = option
        .header
        .ok_or_else(|| at.field("header").refuse("missing"))?;
    let name = changeable(&at.field("header").field("key"), &header.key)?;
    let value = literal(at, header)?;
    if value.is_empty() && !keep_empty {
        return Ok(());
    }
    match action {
        HeaderAppendAction::AppendIfExistsOrAdd => changes.append.push((name, value)),
        HeaderAppendAction::OverwriteIfExistsOrAdd => changes.set.push((name, value)),
        HeaderAppendAction::AddIfAbsent => changes.add_if_absent.push((name, value)),
        HeaderAppendAction::OverwriteIfExists => {
            return Err(at
                .field("append_action")
                .refuse("OVERWRITE_IF_EXISTS is not supported"));
        }
    }
    Ok(())
}

/// Pseudo-headers and `Host` are changed by rewrites, never by header rules.
fn changeable(at: &At<'_>, name: &str) -> Result<HeaderName, Refused> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(at.refuse(format!("{name:?} may not be changed by a header rule")));
    }
    header_name(at, name)
}

/// The text with `%%` as `%`; operators are refused.
fn literal(at: &At<'_>, header: core::HeaderValue) -> Result<HeaderValue, Refused> {
    let header_at = at.field("header");
    let (at, bytes) = if header.raw_value.is_empty() {
        (header_at.field("value"), header.value.into_bytes())
    } else {
        (header_at.field("raw_value"), header.raw_value)
    };
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        plain.push(byte);
        if byte == b'%' && rest.next() != Some(b'%') {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Err(at.refuse(format!(
                "format operators are not supported in {text:?}; write %% for a percent sign"
            )));
        }
    }
    HeaderValue::from_bytes(&plain).map_err(|_| at.refuse("holds bytes no header may have"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(key: &str, value: &str, action: HeaderAppendAction) -> core::HeaderValueOption {
        core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: key.into(),
                value: value.into(),
                raw_value: Vec::new(),
            }),
            append_action: action as i32,
            ..core::HeaderValueOption::default()
        }
    }

    fn add(options: Vec<core::HeaderValueOption>) -> Result<HeaderMutations, Refused> {
        mutations(&At::ROOT, ("add", options), ("remove", Vec::new()))
    }

    #[test]
    fn values_are_literals() {
        let done = add(vec![
            option("x-a", "100%%", HeaderAppendAction::OverwriteIfExistsOrAdd),
            option("x-b", "", HeaderAppendAction::AppendIfExistsOrAdd),
        ])
        .expect("valid");
        assert_eq!(done.set.len(), 1);
        assert_eq!(done.set[0].1, "100%");
        assert!(done.append.is_empty());
        for (key, value, path) in [
            ("x-a", "%START_TIME%", "add[0].header.value"),
            (":path", "/", "add[0].header.key"),
            ("Host", "a", "add[0].header.key"),
            ("a b", "a", "add[0].header.key"),
        ] {
            let refused = add(vec![option(key, value, HeaderAppendAction::AddIfAbsent)]);
            assert_eq!(refused.map_err(|e| e.path).err().as_deref(), Some(path));
        }
    }
}
