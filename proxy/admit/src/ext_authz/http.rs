//! Questions to an HTTP server, and its answers.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use lateen_proxy_model::{AuthzHttp, CallAnswer, ExtAuthz, RequestView, StringMatcher};
use serde_json::{Map, Value};

use super::{
    AuthzAnswer, AuthzChanges, AuthzExtras, HeaderChange, PARTIAL_BODY, is_removable, visible,
};

/// Header of an answer that names headers to remove, which no request takes from elsewhere.
const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

/// The question; `None` when the request's path does not make one.
pub fn http_request(
    filter: &ExtAuthz,
    service: &AuthzHttp,
    request: &RequestView<'_>,
    extras: &AuthzExtras<'_>,
) -> Option<Request<Bytes>> {
    let body = extras.body.as_ref().map(|(body, _)| body.clone());
    let mut question = Request::new(body.unwrap_or_default());
    *question.method_mut() = Method::from_bytes(request.method.as_bytes()).ok()?;
    *question.uri_mut() = match &service.path_override {
        Some(path) => path.clone(),
        None => format!("{}{}", service.path_prefix, request.path)
            .parse::<Uri>()
            .ok()?,
    };
    let length = question.body().len();
    let headers = question.headers_mut();
    for (name, value) in visible(filter, request) {
        if name.starts_with(':') || is_hop(&name) {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    if let Some((_, partial)) = &extras.body {
        let partial = if *partial { "true" } else { "false" };
        headers.insert(PARTIAL_BODY, HeaderValue::from_static(partial));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let host = HeaderValue::from_str(request.authority).ok()?;
    headers.insert(header::HOST, host);
    for (name, value) in &service.headers_to_add {
        headers.append(name, value.clone());
    }
    Some(question)
}

fn is_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "content-length" | "transfer-encoding" | "te" | "upgrade" | "keep-alive"
    )
}

/// What an answer means.
pub fn http_answer(filter: &ExtAuthz, service: &AuthzHttp, answer: CallAnswer) -> AuthzAnswer {
    if answer.status.is_server_error() {
        return AuthzAnswer::Error;
    }
    let metadata = metadata(filter, service, &answer.headers);
    if answer.status == StatusCode::OK {
        return allowed(service, &answer.headers, metadata);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        let kept = match &service.client_headers {
            None => true,
            Some(list) => {
                listed(list, name) || [header::WWW_AUTHENTICATE, header::LOCATION].contains(name)
            }
        };
        if kept && !is_hop(name.as_str()) && name != header::HOST {
            headers.append(name, value.clone());
        }
    }
    AuthzAnswer::Denied {
        status: answer.status,
        headers,
        body: answer.body,
        metadata,
    }
}

fn allowed(service: &AuthzHttp, headers: &HeaderMap, metadata: Map<String, Value>) -> AuthzAnswer {
    let mut changes = AuthzChanges {
        metadata,
        ..AuthzChanges::default()
    };
    for (name, value) in headers {
        if is_hop(name.as_str()) {
            continue;
        }
        if listed(&service.upstream_headers, name) {
            let change = HeaderChange::Set(name.clone(), value.clone());
            changes.headers.push(change);
        }
        if listed(&service.upstream_headers_to_append, name) {
            let change = HeaderChange::Add(name.clone(), value.clone());
            changes.headers.push(change);
        }
        if listed(&service.client_headers_on_success, name) {
            let change = HeaderChange::Add(name.clone(), value.clone());
            changes.response.push(change);
        }
    }
    let remove = headers.get_all(TO_REMOVE).iter();
    let remove = remove
        .filter_map(|names| names.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter(|name| is_removable(name.trim()))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok());
    changes.headers.extend(remove.map(HeaderChange::Remove));
    AuthzAnswer::Allowed(Box::new(changes))
}

fn metadata(filter: &ExtAuthz, service: &AuthzHttp, headers: &HeaderMap) -> Map<String, Value> {
    let mut values = Map::new();
    if !filter.takes_metadata {
        return values;
    }
    for (name, value) in headers {
        if listed(&service.metadata_headers, name)
            && let Ok(value) = value.to_str()
        {
            values.insert(name.as_str().to_owned(), value.into());
        }
    }
    values
}

fn listed(list: &[StringMatcher], name: &HeaderName) -> bool {
    list.iter().any(|one| one.matches(name.as_str()))
}
