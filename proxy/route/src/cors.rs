//! Cross-origin resource sharing, as Envoy's `cors` filter does it.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_model::{CorsPolicy, RequestView};

static PRIVATE_ASKED: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
static PRIVATE_GRANTED: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// What a cross-origin policy makes of a request.
#[derive(Clone, Debug)]
pub enum Cors<'a> {
    /// Not a cross-origin request, or one that goes on unchanged.
    Pass,
    /// Sent on; the grant's headers go into the answer.
    Granted(CorsGrant<'a>),
    /// A pre-flight that is answered here with 200 and these headers.
    Preflight(HeaderMap),
}

/// The right to show an answer to an origin.
#[derive(Clone, Debug)]
pub struct CorsGrant<'a> {
    policy: &'a CorsPolicy,
    origin: HeaderValue,
}

impl CorsGrant<'_> {
    /// Puts the headers of the grant into an answer.
    pub fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        if self.policy.credentials == Some(true) {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        if let Some(expose) = &self.policy.expose {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

/// Applies a policy to a request.
pub fn cors<'a>(policy: &'a CorsPolicy, request: &RequestView<'_>) -> Cors<'a> {
    let origin = request
        .headers
        .get(header::ORIGIN)
        .filter(|origin| !origin.is_empty());
    let Some(origin) = origin else {
        return Cors::Pass;
    };
    let allowed = origin
        .to_str()
        .is_ok_and(|text| policy.origins.iter().any(|matcher| matcher.matches(text)));
    let preflight = request.method == "OPTIONS"
        && request
            .headers
            .get(header::ACCESS_CONTROL_REQUEST_METHOD)
            .is_some_and(|method| !method.is_empty());
    match (allowed, preflight) {
        (true, true) => Cors::Preflight(preflight_answer(policy, Some(origin), request.headers)),
        (true, false) => Cors::Granted(CorsGrant {
            policy,
            origin: origin.clone(),
        }),
        (false, true) if policy.forward_unmatched_preflights == Some(false) => {
            Cors::Preflight(preflight_answer(policy, None, request.headers))
        }
        (false, _) => Cors::Pass,
    }
}

fn preflight_answer(
    policy: &CorsPolicy,
    origin: Option<&HeaderValue>,
    request: &HeaderMap,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    if policy.credentials == Some(true) {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, &policy.methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, &policy.headers),
        (header::ACCESS_CONTROL_MAX_AGE, &policy.max_age),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            if origin.is_some() {
                &policy.expose
            } else {
                &None
            },
        ),
    ] {
        if let Some(value) = value {
            headers.insert(name, value.clone());
        }
    }
    let asked = request.get(&PRIVATE_ASKED).is_some_and(|it| it == "true");
    if asked && policy.private_network == Some(true) {
        headers.insert(&PRIVATE_GRANTED, HeaderValue::from_static("true"));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use lateen_proxy_model::StringMatcher;

    fn policy(forward: bool) -> CorsPolicy {
        CorsPolicy {
            origins: vec![StringMatcher::Exact {
                value: "https://a".into(),
                ignore_case: false,
            }],
            methods: Some(HeaderValue::from_static("GET,POST")),
            expose: Some(HeaderValue::from_static("x-e")),
            credentials: Some(true),
            forward_unmatched_preflights: Some(forward),
            ..CorsPolicy::default()
        }
    }

    fn ask(policy: &CorsPolicy, method: &str, origin: Option<&'static str>) -> Cors<'static> {
        let policy: &'static CorsPolicy = Box::leak(Box::new(policy.clone()));
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCESS_CONTROL_REQUEST_METHOD,
            HeaderValue::from_static("GET"),
        );
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        cors(policy, &RequestView::of_head(method, "a", "/", &headers))
    }

    #[test]
    fn a_preflight_is_answered_here() {
        let Cors::Preflight(headers) = ask(&policy(true), "OPTIONS", Some("https://a")) else {
            panic!("not answered");
        };
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://a");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET,POST");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(headers[header::ACCESS_CONTROL_EXPOSE_HEADERS], "x-e");
    }

    #[test]
    fn foreign_origins_get_no_grant() {
        assert!(matches!(
            ask(&policy(true), "OPTIONS", Some("https://b")),
            Cors::Pass
        ));
        let Cors::Preflight(headers) = ask(&policy(false), "OPTIONS", Some("https://b")) else {
            panic!("not answered");
        };
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET,POST");
        assert!(matches!(
            ask(&policy(true), "GET", Some("https://b")),
            Cors::Pass
        ));
        assert!(matches!(ask(&policy(true), "GET", None), Cors::Pass));
    }

    #[test]
    fn an_allowed_request_shows_its_answer() {
        let Cors::Granted(grant) = ask(&policy(true), "GET", Some("https://a")) else {
            panic!("not granted");
        };
        let mut headers = HeaderMap::new();
        grant.apply(&mut headers);
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://a");
        assert_eq!(headers[header::ACCESS_CONTROL_EXPOSE_HEADERS], "x-e");
    }
}
