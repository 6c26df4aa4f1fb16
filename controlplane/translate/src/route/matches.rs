//! Conditions of HTTP routes.

use lateen_api::networking::{HttpMatchRequest, StringMatch, StringMatchKind};

use crate::pb::matcher::{StringMatcher, string_matcher};
use crate::pb::route::header_matcher::HeaderMatchSpecifier;
use crate::pb::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use crate::pb::route::route_match::PathSpecifier;
use crate::pb::route::{HeaderMatcher, QueryParameterMatcher, RouteMatch};
use crate::wire::{exact, flag, prefix, regex};

/// The match of a route; `None` when it holds a regular expression that no proxy would take.
pub(super) fn route_match(wanted: &HttpMatchRequest) -> Option<RouteMatch> {
    let path = match wanted.uri.as_ref().and_then(|uri| uri.kind.as_ref()) {
        None => PathSpecifier::Prefix("/".into()),
        Some(StringMatchKind::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(StringMatchKind::Prefix(path)) => PathSpecifier::Prefix(path.clone()),
        Some(StringMatchKind::Regex(pattern)) => {
            PathSpecifier::SafeRegex(valid_regex(pattern).then(|| regex(pattern))?)
        }
    };
    let mut headers = Vec::new();
    for (name, value) in &wanted.headers {
        headers.push(header(name, value)?);
    }
    for (name, value) in &wanted.without_headers {
        let matcher = header(name, value)?;
        let present = matches!(
            matcher.header_match_specifier,
            Some(HeaderMatchSpecifier::PresentMatch(_))
        );
        headers.push(HeaderMatcher {
            invert_match: true,
            treat_missing_header_as_empty: !present,
            ..matcher
        });
    }
    for (name, value) in [
        (":method", &wanted.method),
        (":authority", &wanted.authority),
        (":scheme", &wanted.scheme),
    ] {
        if let Some(value) = value {
            headers.push(header(name, value)?);
        }
    }
    let query_parameters = wanted
        .query_params
        .iter()
        .map(|(name, value)| query(name, value))
        .collect::<Option<Vec<_>>>()?;
    Some(RouteMatch {
        path_specifier: Some(path),
        case_sensitive: flag(!wanted.ignore_uri_case),
        headers,
        query_parameters,
        ..Default::default()
    })
}

/// A text as a matcher; nothing given, or the regular expression `*`, means that something must be there.
pub(super) fn text(value: &StringMatch) -> Option<Option<StringMatcher>> {
    Some(match &value.kind {
        None => None,
        Some(StringMatchKind::Exact(text)) => Some(exact(text)),
        Some(StringMatchKind::Prefix(text)) => Some(prefix(text)),
        Some(StringMatchKind::Regex(pattern)) if pattern == "*" => None,
        Some(StringMatchKind::Regex(pattern)) => Some(StringMatcher {
            match_pattern: Some(string_matcher::MatchPattern::SafeRegex(
                valid_regex(pattern).then(|| regex(pattern))?,
            )),
            ignore_case: false,
        }),
    })
}

/// True when a regular expression can be compiled; proxies refuse a whole route table for one that cannot.
pub(crate) fn valid_regex(pattern: &str) -> bool {
    regex::RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .is_ok()
}

/// True when proxies take a name as the domain of a virtual host.
pub(crate) fn valid_domain(domain: &str) -> bool {
    let inner = domain.strip_prefix('*').unwrap_or(domain);
    !domain.is_empty() && !inner.contains('*') && domain.bytes().all(|byte| byte.is_ascii_graphic())
}

fn header(name: &str, value: &StringMatch) -> Option<HeaderMatcher> {
    let specifier = match text(value)? {
        Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
        None => HeaderMatchSpecifier::PresentMatch(true),
    };
    // Claims of a token are no header; routes on them are refused as a whole.
    if name.is_empty() || name.starts_with('@') {
        return None;
    }
    Some(HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    })
}

fn query(name: &str, value: &StringMatch) -> Option<QueryParameterMatcher> {
    let specifier = match text(value)? {
        Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
        None => QueryParameterMatchSpecifier::PresentMatch(true),
    };
    Some(QueryParameterMatcher {
        name: name.to_owned(),
        query_parameter_match_specifier: Some(specifier),
    })
}
