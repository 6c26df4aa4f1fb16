//! External authorisation: the question as a service gets it, and what its answer means. Asking is not done here.

mod connection;
mod grpc;
mod http;

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use lateen_proxy_model::{ExtAuthz, RequestView, StringMatcher};
use serde_json::{Map, Value};

pub use self::connection::{ConnectionAnswer, check_connection, connection_answer};
pub use self::grpc::{check_request, grpc_answer};
pub(crate) use self::grpc::{object, values};
pub use self::http::{http_answer, http_request};

/// Says whether the body in a question is a part only.
const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

/// What a service is told beside the request's head.
#[derive(Clone, Debug, Default)]
pub struct AuthzExtras<'a> {
    /// The protocol, such as `HTTP/1.1`.
    pub protocol: &'static str,
    /// A number of the request.
    pub id: u64,
    /// The body or the start of it, and whether it is the start only; `None` when it is not sent along.
    pub body: Option<(Bytes, bool)>,
    /// Bytes of the body that have arrived.
    pub received: usize,
    /// The body is sent as bytes.
    pub as_bytes: bool,
    /// What routes add.
    pub context: &'a [(Box<str>, Box<str>)],
}

/// What a service decided.
#[derive(Debug)]
pub enum AuthzAnswer {
    /// The request passes, changed so.
    Allowed(Box<AuthzChanges>),
    /// It is refused with this answer.
    Denied {
        /// Status.
        status: StatusCode,
        /// Headers.
        headers: HeaderMap,
        /// Body.
        body: Bytes,
        /// Values for later filters and logs.
        metadata: Map<String, Value>,
    },
    /// The service could not decide.
    Error,
    /// The answer has headers that cannot be, and the filter looks at that.
    Invalid,
}

/// What an answer changes in a request and its response.
#[derive(Debug, Default)]
pub struct AuthzChanges {
    /// Request headers, in order.
    pub headers: Vec<HeaderChange>,
    /// Query parameters to set.
    pub query_set: Vec<(String, String)>,
    /// Query parameters to remove.
    pub query_remove: Vec<String>,
    /// Response headers, in order.
    pub response: Vec<HeaderChange>,
    /// Values for later filters and logs.
    pub metadata: Map<String, Value>,
}

/// One change of headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    /// Replaces what was there.
    Set(HeaderName, HeaderValue),
    /// One more value.
    Add(HeaderName, HeaderValue),
    /// Goes behind the first value that was there, after a comma; nothing is done without one.
    Append(HeaderName, HeaderValue),
    /// Set where nothing was there.
    AddIfAbsent(HeaderName, HeaderValue),
    /// Replaces what was there; nothing is done without it.
    Overwrite(HeaderName, HeaderValue),
    /// Taken away.
    Remove(HeaderName),
}

impl HeaderChange {
    /// Changes `headers`.
    pub fn apply(&self, headers: &mut HeaderMap) {
        match self {
            Self::Set(name, value) => {
                headers.insert(name, value.clone());
            }
            Self::Add(name, value) => {
                headers.append(name, value.clone());
            }
            Self::Append(name, value) => {
                if let Some(first) = headers.get_mut(name)
                    && let Ok(joined) = HeaderValue::from_bytes(
                        &[first.as_bytes(), b",", value.as_bytes()].concat(),
                    )
                {
                    *first = joined;
                }
            }
            Self::AddIfAbsent(name, value) => {
                headers.entry(name).or_insert_with(|| value.clone());
            }
            Self::Overwrite(name, value) => {
                if headers.contains_key(name) {
                    headers.insert(name, value.clone());
                }
            }
            Self::Remove(name) => {
                headers.remove(name);
            }
        }
    }
}

/// The headers that a service may see, with pseudo-headers; several values of one name are joined by commas.
fn visible(filter: &ExtAuthz, request: &RequestView<'_>) -> Vec<(String, String)> {
    let pseudo = [
        (":authority", request.authority),
        (":method", request.method),
        (":path", request.path),
        (":scheme", request.scheme),
    ];
    let mut seen: Vec<(String, String)> = Vec::new();
    for (name, value) in pseudo {
        if is_visible(filter, name) {
            seen.push((name.to_owned(), value.to_owned()));
        }
    }
    for name in request.headers.keys() {
        let text = name.as_str();
        if matches!(text, "host" | PARTIAL_BODY) || !is_visible(filter, text) {
            continue;
        }
        let values = request.headers.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        seen.push((text.to_owned(), values.join(",")));
    }
    seen
}

fn is_visible(filter: &ExtAuthz, name: &str) -> bool {
    let listed = |list: &[StringMatcher]| list.iter().any(|one| one.matches(name));
    if listed(&filter.disallowed_headers) {
        return false;
    }
    let Some(allowed) = &filter.allowed_headers else {
        return true;
    };
    let always = matches!(filter.service, lateen_proxy_model::AuthzService::Http(_))
        && matches!(name, ":authority" | ":method" | ":path" | "authorization");
    always || listed(allowed)
}

/// Names that no answer may take away.
fn is_removable(name: &str) -> bool {
    !name.starts_with(':') && !name.eq_ignore_ascii_case("host")
}

#[cfg(test)]
mod tests;
