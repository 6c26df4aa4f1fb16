//! Whether a request was sent by a page of its own site, as Envoy's filter decides.

use http::header::{HeaderName, ORIGIN, REFERER};
use lateen_proxy_model::{CsrfPolicy, RequestView};

/// What became of a request that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Csrf {
    /// It is not looked at.
    Pass,
    /// It comes from its own site, or from one that may send it.
    Valid,
    /// It comes from elsewhere.
    Invalid {
        /// It does not say where from.
        unknown: bool,
        /// It is refused.
        refused: bool,
    },
}

/// Judges a request. `draw` gives numbers in `0..1_000_000`.
pub fn csrf(policy: &CsrfPolicy, request: &RequestView<'_>, draw: impl Fn() -> u32) -> Csrf {
    let refused = policy.enabled.holds(draw());
    if !refused && !policy.shadow.holds(draw()) {
        return Csrf::Pass;
    }
    if !matches!(request.method, "POST" | "PUT" | "DELETE" | "PATCH") {
        return Csrf::Pass;
    }
    let from = |name: &HeaderName| {
        let value = request.headers.get(name).and_then(|it| it.to_str().ok());
        value.unwrap_or_default()
    };
    let source = match from(&ORIGIN) {
        "" => site(from(&REFERER)),
        origin => site(origin),
    };
    let fits = source == site(request.authority)
        || policy.origins.iter().any(|origin| origin.matches(source));
    match source.is_empty() || !fits {
        true => Csrf::Invalid {
            unknown: source.is_empty(),
            refused,
        },
        false => Csrf::Valid,
    }
}

/// Host and port of a URL; text that is none is taken as it is.
fn site(text: &str) -> &str {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text;
    };
    if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return text;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use lateen_proxy_model::{Percentage, StringMatcher};

    use super::*;

    #[test]
    fn requests_of_other_sites_are_refused_when_they_change_something() {
        let policy = CsrfPolicy {
            enabled: Percentage::ALL,
            shadow: Percentage(0),
            origins: vec![StringMatcher::Exact {
                value: "friend:8080".into(),
                ignore_case: false,
            }],
        };
        let refused = Csrf::Invalid {
            unknown: false,
            refused: true,
        };
        let unknown = Csrf::Invalid {
            unknown: true,
            refused: true,
        };
        for (method, origin, referer, wanted) in [
            ("POST", "http://own", "", Csrf::Valid),
            ("POST", "", "https://own/a?b", Csrf::Valid),
            ("PUT", "http://friend:8080", "http://own/", Csrf::Valid),
            ("DELETE", "http://other", "http://own/", refused),
            ("PATCH", "null", "", refused),
            ("POST", "http://", "http://own/", unknown),
            ("POST", "", "", unknown),
            ("GET", "http://other", "", Csrf::Pass),
        ] {
            let mut headers = HeaderMap::new();
            if !origin.is_empty() {
                headers.insert(ORIGIN, origin.parse().expect("value"));
            }
            if !referer.is_empty() {
                headers.insert(REFERER, referer.parse().expect("value"));
            }
            let view = RequestView::of_head(method, "own", "/", &headers);
            assert_eq!(
                csrf(&policy, &view, || 0),
                wanted,
                "{method} {origin} {referer}"
            );
        }
    }
}
