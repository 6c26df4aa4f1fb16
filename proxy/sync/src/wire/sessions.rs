//! Small filters around bodies and headers: the buffer, changes of headers, sessions that stay with one endpoint.

use std::mem::take;
use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::buffer::v3 as buffer;
use envoy_types::pb::envoy::extensions::filters::http::header_mutation::v3 as mutation;
use envoy_types::pb::envoy::extensions::filters::http::stateful_session::v3 as session;
use envoy_types::pb::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use envoy_types::pb::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use http::StatusCode;
use lateen_proxy_model::{MutationFilter, MutationLevels, SessionState, StatefulSession};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, unpack};
use super::matcher::header_name;
use super::mutation::listed;

/// Most bytes of a request that is waited for.
pub(super) fn buffer(at: &At<'_>, message: buffer::Buffer) -> Result<u32, Refused> {
    let place = at.field("max_request_bytes");
    let most = message.max_request_bytes.map(|it| it.value);
    most.filter(|most| *most > 0)
        .ok_or_else(|| place.refuse("missing"))
}

/// The same for a route; `None` does not wait.
pub(super) fn buffer_per_route(
    at: &At<'_>,
    message: buffer::BufferPerRoute,
) -> Result<Option<u32>, Refused> {
    use buffer::buffer_per_route::Override;
    match message.r#override {
        Some(Override::Disabled(true)) => Ok(None),
        Some(Override::Disabled(false)) => Err(at.field("disabled").refuse("not true")),
        Some(Override::Buffer(own)) => buffer(&at.field("buffer"), own).map(Some),
        None => Err(at.field("override").refuse("missing")),
    }
}

/// Changes of headers.
pub(super) fn mutations(
    at: &At<'_>,
    message: mutation::HeaderMutation,
) -> Result<MutationFilter, Refused> {
    let mut made = changes(&at.field("mutations"), message.mutations)?;
    made.specific_last = message.most_specific_header_mutations_wins;
    Ok(made)
}

/// Changes of headers that one level adds.
pub(super) fn mutations_per_route(
    at: &At<'_>,
    message: mutation::HeaderMutationPerRoute,
) -> Result<MutationLevels, Refused> {
    let made = changes(&at.field("mutations"), message.mutations)?;
    Ok(MutationLevels([Arc::new(made)].into()))
}

fn changes(at: &At<'_>, message: Option<mutation::Mutations>) -> Result<MutationFilter, Refused> {
    let mut message = message.unwrap_or_default();
    let (request, response) = (
        at.field("request_mutations"),
        at.field("response_mutations"),
    );
    let made = MutationFilter {
        request: listed(&request, take(&mut message.request_mutations))?,
        response: listed(&response, take(&mut message.response_mutations))?,
        specific_last: false,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// A session.
pub(super) fn session(
    at: &At<'_>,
    mut message: session::StatefulSession,
) -> Result<StatefulSession, Refused> {
    let place = at.field("session_state");
    let state = match message.session_state.take() {
        None => None,
        Some(named) => {
            let at = place.field("typed_config");
            let packed = named.typed_config.ok_or_else(|| at.refuse("missing"))?;
            if any::holds::<CookieBasedSessionState>(&packed) {
                Some(cookie(&at, unpack(&at, &packed)?)?)
            } else if any::holds::<HeaderBasedSessionState>(&packed) {
                let message: HeaderBasedSessionState = unpack(&at, &packed)?;
                let name = header_name(&at.field("name"), &message.name)?;
                Some(SessionState::Header(name))
            } else {
                let kind = any::full_name(&packed.type_url);
                return Err(at.refuse(format!("{kind} is not supported")));
            }
        }
    };
    let code = take(&mut message.status_on_strict_destination_not_found);
    let status = match code {
        0 => None,
        code => {
            let status = u16::try_from(code).ok();
            let status = status.and_then(|status| StatusCode::from_u16(status).ok());
            let place = at.field("status_on_strict_destination_not_found");
            Some(status.ok_or_else(|| place.refuse(format!("{code} is no HTTP status")))?)
        }
    };
    let strict = take(&mut message.strict);
    nothing_left(at, &message)?;
    Ok(StatefulSession {
        state,
        strict,
        status,
    })
}

/// The session of a route; `None` is none.
pub(super) fn session_per_route(
    at: &At<'_>,
    message: session::StatefulSessionPerRoute,
) -> Result<Option<Arc<StatefulSession>>, Refused> {
    use session::stateful_session_per_route::Override;
    match message.r#override {
        Some(Override::Disabled(true)) => Ok(None),
        Some(Override::Disabled(false)) => Err(at.field("disabled").refuse("not true")),
        Some(Override::StatefulSession(own)) => {
            let own = session(&at.field("stateful_session"), own)?;
            Ok(Some(Arc::new(own)))
        }
        None => Err(at.field("override").refuse("missing")),
    }
}

fn cookie(at: &At<'_>, message: CookieBasedSessionState) -> Result<SessionState, Refused> {
    let at = at.field("cookie");
    let cookie = message.cookie.ok_or_else(|| at.refuse("missing"))?;
    if cookie.name.is_empty() {
        return Err(at.field("name").refuse("empty"));
    }
    let ttl = duration(&at.field("ttl"), cookie.ttl)?;
    let mut attributes = String::new();
    for attribute in &cookie.attributes {
        attributes.push_str("; ");
        attributes.push_str(&attribute.name);
        if !attribute.value.is_empty() {
            attributes.push('=');
            attributes.push_str(&attribute.value);
        }
    }
    Ok(SessionState::Cookie {
        name: cookie.name.into(),
        path: cookie.path.into(),
        ttl: ttl.filter(|ttl| !ttl.is_zero()),
        attributes: attributes.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::core::v3 as core;
    use envoy_types::pb::envoy::r#type::http::v3 as http_type;

    fn with_cookie(cookie: http_type::Cookie) -> session::StatefulSession {
        let state = CookieBasedSessionState {
            cookie: Some(cookie),
        };
        session::StatefulSession {
            session_state: Some(core::TypedExtensionConfig {
                name: "s".into(),
                typed_config: Some(any::pack(&state)),
            }),
            ..session::StatefulSession::default()
        }
    }

    #[test]
    fn sessions_are_read() {
        let cookie = http_type::Cookie {
            name: "s".into(),
            attributes: vec![http_type::CookieAttribute {
                name: "Secure".into(),
                value: String::new(),
            }],
            ..http_type::Cookie::default()
        };
        let made = session(&At::ROOT, with_cookie(cookie)).expect("supported");
        let Some(SessionState::Cookie {
            ttl, attributes, ..
        }) = made.state
        else {
            panic!("no cookie");
        };
        assert!(ttl.is_none() && &*attributes == "; Secure");
        let refused = session(&At::ROOT, with_cookie(http_type::Cookie::default()));
        let path = "session_state.typed_config.cookie.name";
        assert_eq!(refused.err().map(|it| it.path).as_deref(), Some(path));
    }

    #[test]
    fn mutations_that_are_not_made_are_refused() {
        let message = mutation::HeaderMutation {
            mutations: Some(mutation::Mutations {
                query_parameter_mutations: vec![core::KeyValueMutation::default()],
                ..mutation::Mutations::default()
            }),
            ..mutation::HeaderMutation::default()
        };
        let refused = mutations(&At::ROOT, message).err().map(|it| it.path);
        assert_eq!(
            refused.as_deref(),
            Some("mutations.query_parameter_mutations")
        );
        let none = buffer(&At::ROOT, buffer::Buffer::default());
        assert_eq!(
            none.err().map(|it| it.path).as_deref(),
            Some("max_request_bytes")
        );
    }
}
