//! Header changes.

use envoy_types::pb::envoy::config::common::mutation_rules::v3 as rules;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use http::{HeaderName, HeaderValue};
use lateen_proxy_model::{AppendAction, HeaderMutations, HeaderRule, HeaderText};

use super::at::{At, Refused};
use super::matcher::header_name;
use super::template;

/// Headers to add (or set) and to remove; the names of the two fields are for errors.
pub(crate) fn mutations(
    at: &At<'_>,
    (add_field, add): (&str, Vec<core::HeaderValueOption>),
    (remove_field, remove): (&str, Vec<String>),
) -> Result<HeaderMutations, Refused> {
    let place = at.field(remove_field);
    let remove = remove
        .iter()
        .enumerate()
        .map(|(index, name)| changeable(&place.item(index), name))
        .collect::<Result<_, _>>()?;
    let place = at.field(add_field);
    let add = add
        .into_iter()
        .enumerate()
        .map(|(index, option)| rule(&place.item(index), option))
        .collect::<Result<_, _>>()?;
    Ok(HeaderMutations::new(remove, add))
}

/// The four fields that tables, virtual hosts, routes and weighted clusters have alike: changes of requests and of
/// answers.
macro_rules! both_mutations {
    ($at:expr, $message:expr) => {{
        let (at, message) = ($at, $message);
        let request = $crate::wire::mutation::mutations(
            at,
            (
                "request_headers_to_add",
                std::mem::take(&mut message.request_headers_to_add),
            ),
            (
                "request_headers_to_remove",
                std::mem::take(&mut message.request_headers_to_remove),
            ),
        )?;
        let response = $crate::wire::mutation::mutations(
            at,
            (
                "response_headers_to_add",
                std::mem::take(&mut message.response_headers_to_add),
            ),
            (
                "response_headers_to_remove",
                std::mem::take(&mut message.response_headers_to_remove),
            ),
        )?;
        (request, response)
    }};
}
pub(super) use both_mutations;

/// A list of single changes, which are made in the order given.
pub(super) fn listed(
    at: &At<'_>,
    messages: Vec<rules::HeaderMutation>,
) -> Result<Vec<HeaderMutations>, Refused> {
    use rules::header_mutation::Action;
    messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| {
            let at = at.item(index);
            match message.action {
                Some(Action::Remove(name)) => {
                    let name = changeable(&at.field("remove"), &name)?;
                    Ok(HeaderMutations::new(vec![name], Vec::new()))
                }
                Some(Action::Append(option)) => {
                    let rule = rule(&at.field("append"), option)?;
                    Ok(HeaderMutations::new(Vec::new(), vec![rule]))
                }
                Some(Action::RemoveOnMatch(_)) => Err(at.field("remove_on_match").unsupported()),
                None => Err(at.refuse("no action")),
            }
        })
        .collect()
}

fn rule(at: &At<'_>, option: core::HeaderValueOption) -> Result<HeaderRule, Refused> {
    let wire = match option.append.map(|append| append.value) {
        Some(true) => HeaderAppendAction::AppendIfExistsOrAdd,
        Some(false) => HeaderAppendAction::OverwriteIfExistsOrAdd,
        None => option.append_action(),
    };
    let action = match wire {
        HeaderAppendAction::AppendIfExistsOrAdd => AppendAction::AppendOrAdd,
        HeaderAppendAction::AddIfAbsent => AppendAction::AddIfAbsent,
        HeaderAppendAction::OverwriteIfExistsOrAdd => AppendAction::OverwriteOrAdd,
        HeaderAppendAction::OverwriteIfExists => AppendAction::OverwriteIfExists,
    };
    let header = option
        .header
        .ok_or_else(|| at.field("header").refuse("missing"))?;
    Ok(HeaderRule {
        name: changeable(&at.field("header").field("key"), &header.key)?,
        text: value(at, &header)?,
        action,
        keep_empty: option.keep_empty_value,
    })
}

/// Pseudo-headers and `Host` are changed by rewrites, never by header rules.
fn changeable(at: &At<'_>, name: &str) -> Result<HeaderName, Refused> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(at.refuse(format!("{name:?} may not be changed by a header rule")));
    }
    header_name(at, name)
}

fn value(at: &At<'_>, header: &core::HeaderValue) -> Result<HeaderText, Refused> {
    let header_at = at.field("header");
    if header.raw_value.is_empty() {
        return template::text(&header_at.field("value"), &header.value);
    }
    let at = header_at.field("raw_value");
    match std::str::from_utf8(&header.raw_value) {
        Ok(text) => template::text(&at, text),
        Err(_) => HeaderValue::from_bytes(&header.raw_value)
            .map(HeaderText::Literal)
            .map_err(|_| at.refuse("holds bytes no header may have")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use lateen_proxy_model::NoTemplates;

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
    fn values_are_formats() {
        let done = add(vec![
            option("x-a", "100%%", HeaderAppendAction::OverwriteIfExistsOrAdd),
            option("x-b", "", HeaderAppendAction::AppendIfExistsOrAdd),
        ])
        .expect("valid");
        let mut headers = HeaderMap::new();
        done.apply(&mut headers, &NoTemplates);
        assert!(headers.len() == 1 && headers["x-a"] == "100%" && !done.has_templates());
        let operators = add(vec![option(
            "x-a",
            "%START_TIME%",
            HeaderAppendAction::AddIfAbsent,
        )]);
        assert!(operators.expect("valid").has_templates());
        for (key, value, path) in [
            ("x-a", "%NO_SUCH_THING%", "add[0].header.value"),
            ("x-a", "%", "add[0].header.value"),
            (":path", "/", "add[0].header.key"),
            ("Host", "a", "add[0].header.key"),
            ("a b", "a", "add[0].header.key"),
        ] {
            let refused = add(vec![option(key, value, HeaderAppendAction::AddIfAbsent)]);
            assert_eq!(refused.map_err(|e| e.path).err().as_deref(), Some(path));
        }
    }
}
