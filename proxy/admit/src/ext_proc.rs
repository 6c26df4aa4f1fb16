//! External processing: what a service is shown of a head, and what it may change of it. Talking to it is not done here.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3 as settings;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::{
    BodySendMode, HeaderSendMode,
};
use envoy_types::pb::envoy::service::ext_proc::v3::{self as wire, body_mutation};
use envoy_types::pb::google::protobuf as wkt;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use lateen_proxy_model::{
    BodyMode, DynamicMetadata, ExtProc, MutationRules, ProcessingModes, StringMatcher,
};
use serde_json::{Map, Value};

use crate::ext_authz::{object, values};

/// Values within values that are read.
const DEPTH: usize = 32;

/// A head that a service may change.
#[derive(Debug)]
pub struct ProcessedHead<'a> {
    /// Names that begin with a colon, and their values.
    pub pseudo: Vec<(&'static str, String)>,
    /// The others; of requests without `host`, which is `:authority`.
    pub headers: &'a mut HeaderMap,
}

/// A change that fails the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadMutation(pub &'static str);

/// What a service is shown of a head.
pub fn shown_headers(filter: &ExtProc, head: &ProcessedHead<'_>) -> core::HeaderMap {
    let pseudo = head.pseudo.iter();
    let pseudo = pseudo.map(|(name, value)| (*name, value.as_bytes()));
    let others = head.headers.iter();
    let others = others.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let others = others.filter(|(name, _)| *name != "host" || head.pseudo.is_empty());
    let all = pseudo.chain(others);
    let shown = all.filter(|(name, _)| is_shown(filter, name));
    core::HeaderMap {
        headers: shown
            .map(|(name, value)| core::HeaderValue {
                key: name.to_owned(),
                raw_value: value.to_vec(),
                ..core::HeaderValue::default()
            })
            .collect(),
    }
}

fn is_shown(filter: &ExtProc, name: &str) -> bool {
    let listed = |list: &[StringMatcher]| list.iter().any(|one| one.matches(name));
    filter.allowed_headers.as_deref().is_none_or(listed) && !listed(&filter.disallowed_headers)
}

/// Changes a head. `length`: `content-length` may be set. Changes that are not allowed are counted.
///
/// # Errors
/// When a change cannot be, or is not allowed where that fails the request.
pub fn change_head(
    rules: &MutationRules,
    change: wire::HeaderMutation,
    head: &mut ProcessedHead<'_>,
    length: bool,
    rejected: &mut dyn FnMut(),
) -> Result<(), BadMutation> {
    for name in change.remove_headers {
        let name = name.to_ascii_lowercase();
        let valid = name.starts_with(':') || HeaderName::try_from(&*name).is_ok();
        if !valid {
            rejected();
            return Err(BadMutation(
                "header_mutation_remove_contains_invalid_character",
            ));
        }
        if rules.allows(&name, true) {
            head.headers.remove(&*name);
        } else {
            rejected();
            if rules.disallow_is_error {
                return Err(BadMutation("header_mutation_remove_headers_failed"));
            }
        }
    }
    for option in change.set_headers {
        set(rules, option, head, length, rejected)?;
    }
    Ok(())
}

#[allow(deprecated, reason = "older services answer with the older field")]
fn set(
    rules: &MutationRules,
    option: core::HeaderValueOption,
    head: &mut ProcessedHead<'_>,
    length: bool,
    rejected: &mut dyn FnMut(),
) -> Result<(), BadMutation> {
    // Envoy reads the older flag alone, and not the action.
    let append = option.append.as_ref().is_some_and(|append| append.value);
    let Some(header) = option.header else {
        return Ok(());
    };
    let name = header.key.to_ascii_lowercase();
    let bytes = match header.raw_value.is_empty() {
        true => header.value.into_bytes(),
        false => header.raw_value,
    };
    let plain = HeaderName::try_from(name.strip_prefix(':').unwrap_or(&name));
    let (Ok(_), Ok(value)) = (&plain, HeaderValue::from_bytes(&bytes)) else {
        rejected();
        return Err(BadMutation(
            "header_mutation_set_contains_invalid_character",
        ));
    };
    if name == "content-length" && !length {
        return Ok(());
    }
    if !rules.allows(&name, false) || !is_possible(&name, &value) {
        rejected();
        return match rules.disallow_is_error {
            true => Err(BadMutation("header_mutation_set_headers_failed")),
            false => Ok(()),
        };
    }
    let pseudo = if name == "host" && !head.pseudo.is_empty() {
        ":authority"
    } else {
        &*name
    };
    if let Some((_, own)) = head.pseudo.iter_mut().find(|(known, _)| *known == pseudo) {
        if let Ok(text) = value.to_str() {
            text.clone_into(own);
        }
        return Ok(());
    }
    let Ok(name) = HeaderName::try_from(&name) else {
        return Ok(());
    };
    match append {
        true => drop(head.headers.append(name, value)),
        false => drop(head.headers.insert(name, value)),
    }
    Ok(())
}

/// Whether a value may stand in a header that this proxy reads itself.
fn is_possible(name: &str, value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    match name {
        ":method" => http::Method::from_bytes(text.as_bytes()).is_ok(),
        ":scheme" => matches!(text, "http" | "https"),
        ":path" => text.starts_with('/') && text.parse::<http::Uri>().is_ok(),
        ":authority" | "host" => text.parse::<http::uri::Authority>().is_ok(),
        ":status" => text
            .parse()
            .is_ok_and(|code: u16| (200..600).contains(&code)),
        _ => true,
    }
}

/// The body in place of another; `None` leaves it.
///
/// # Errors
/// For changes of a mode that is not in force.
pub fn changed_body(change: Option<wire::BodyMutation>) -> Result<Option<Vec<u8>>, BadMutation> {
    match change.and_then(|change| change.mutation) {
        None | Some(body_mutation::Mutation::ClearBody(false)) => Ok(None),
        Some(body_mutation::Mutation::Body(data)) => Ok(Some(data)),
        Some(body_mutation::Mutation::ClearBody(true)) => Ok(Some(Vec::new())),
        Some(body_mutation::Mutation::StreamedResponse(_)) => Err(BadMutation("spurious_message")),
    }
}

/// Whether a new body has the length that the head says.
pub fn fits_length(headers: &HeaderMap, length: usize) -> bool {
    let said = headers.get(header::CONTENT_LENGTH);
    let said = said.map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    said.is_none_or(|said| said == Some(length))
}

/// The modes that a service asks for; `None` for those that are not supported.
pub fn asked_modes(modes: &settings::ProcessingMode) -> Option<ProcessingModes> {
    Some(ProcessingModes {
        request_headers: modes.request_header_mode() != HeaderSendMode::Skip,
        response_headers: modes.response_header_mode() != HeaderSendMode::Skip,
        request_body: body_mode(modes.request_body_mode())?,
        response_body: body_mode(modes.response_body_mode())?,
        request_trailers: modes.request_trailer_mode() == HeaderSendMode::Send,
        response_trailers: modes.response_trailer_mode() == HeaderSendMode::Send,
    })
}

fn body_mode(mode: BodySendMode) -> Option<BodyMode> {
    Some(match mode {
        BodySendMode::None => BodyMode::None,
        BodySendMode::Streamed => BodyMode::Streamed,
        BodySendMode::Buffered => BodyMode::Buffered,
        BodySendMode::BufferedPartial => BodyMode::BufferedPartial,
        BodySendMode::FullDuplexStreamed | BodySendMode::Grpc => return None,
    })
}

/// What a service is told of the modes with its first message.
pub fn protocol_config(modes: ProcessingModes) -> wire::ProtocolConfiguration {
    let told = |mode| match mode {
        BodyMode::None => BodySendMode::None,
        BodyMode::Streamed => BodySendMode::Streamed,
        BodyMode::Buffered => BodySendMode::Buffered,
        BodyMode::BufferedPartial => BodySendMode::BufferedPartial,
    };
    wire::ProtocolConfiguration {
        request_body_mode: told(modes.request_body) as i32,
        response_body_mode: told(modes.response_body) as i32,
        send_body_without_waiting_for_header_response: false,
    }
}

/// The metadata that a service is told.
pub fn told_metadata(names: &[Box<str>], metadata: &DynamicMetadata) -> Option<core::Metadata> {
    let known = names.iter();
    let known = known.filter_map(|name| Some((name.to_string(), object(metadata.find(name)?))));
    let filter_metadata: HashMap<String, wkt::Struct> = known.collect();
    (!filter_metadata.is_empty()).then(|| core::Metadata {
        filter_metadata,
        ..core::Metadata::default()
    })
}

/// The metadata that a service sets, by namespace.
pub fn set_metadata(names: &[Box<str>], fields: wkt::Struct) -> Vec<(String, Map<String, Value>)> {
    let allowed = |name: &str| names.iter().any(|known| **known == *name);
    let fields = fields.fields.into_iter();
    fields
        .filter(|(name, _)| allowed(name))
        .filter_map(|(name, value)| match value.kind {
            Some(wkt::value::Kind::StructValue(own)) => Some((name, values(own, DEPTH))),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(deprecated, reason = "the field that is read")]
    fn option(key: &str, value: &str, append: bool) -> core::HeaderValueOption {
        core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: key.into(),
                raw_value: value.into(),
                ..core::HeaderValue::default()
            }),
            append: Some(wkt::BoolValue { value: append }),
            ..core::HeaderValueOption::default()
        }
    }

    fn changed(
        rules: &MutationRules,
        set: Vec<core::HeaderValueOption>,
        remove: &[&str],
    ) -> (Result<(), BadMutation>, String, u32) {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("1"));
        let mut head = ProcessedHead {
            pseudo: vec![(":path", "/".to_owned()), (":authority", "a".to_owned())],
            headers: &mut headers,
        };
        let change = wire::HeaderMutation {
            set_headers: set,
            remove_headers: remove.iter().map(ToString::to_string).collect(),
        };
        let mut rejected = 0;
        let done = change_head(rules, change, &mut head, false, &mut || rejected += 1);
        let all = head
            .pseudo
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let mut all: Vec<String> = all.collect();
        let others = headers.iter();
        all.extend(others.map(|(name, value)| format!("{name}={}", value.to_str().unwrap())));
        (done, all.join(" "), rejected)
    }

    #[test]
    fn heads_are_changed_within_the_rules() {
        let plain = MutationRules::default();
        let set = vec![
            option(":path", "/b", false),
            option("host", "b", false),
            option("x-A", "2", true),
            option("x-b", "3", false),
            option("x-envoy-b", "3", false),
            option("content-length", "3", false),
        ];
        let (done, all, rejected) = changed(&plain, set.clone(), &[]);
        assert_eq!(
            (done, &*all, rejected),
            (Ok(()), ":path=/b :authority=a x-a=1 x-a=2 x-b=3", 2)
        );
        let (_, all, rejected) = changed(&MutationRules::ALL, set.clone(), &["X-A", ":path"]);
        assert_eq!(all, ":path=/b :authority=b x-a=2 x-b=3 x-envoy-b=3");
        assert_eq!(rejected, 1);
        let strict = MutationRules {
            disallow_is_error: true,
            ..MutationRules::default()
        };
        assert!(changed(&strict, set, &[]).0.is_err());
        assert!(
            changed(&plain, vec![option("a b", "1", false)], &[])
                .0
                .is_err()
        );
        assert!(changed(&plain, Vec::new(), &["a b"]).0.is_err());
    }

    #[test]
    fn new_bodies_have_the_length_that_is_said() {
        let mut headers = HeaderMap::new();
        assert!(fits_length(&headers, 4));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("4"));
        assert!(fits_length(&headers, 4) && !fits_length(&headers, 5));
    }
}
