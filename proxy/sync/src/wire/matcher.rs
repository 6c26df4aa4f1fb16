//! String, header and query matchers.

use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use http::HeaderName;
use lateen_proxy_model::{
    CookieMatcher, HeaderMatcher, HeaderSubject, HeaderTest, QueryMatcher, StringMatcher,
};
use regex::Regex;

use super::at::{At, Refused};
use super::re2;

/// An expression that must match in full.
pub(crate) fn full_regex(at: &At<'_>, value: &matcher::RegexMatcher) -> Result<Regex, Refused> {
    re2::compile(at, &value.regex, true)
}

/// An expression that may match anywhere.
pub(crate) fn any_regex(at: &At<'_>, value: &matcher::RegexMatcher) -> Result<Regex, Refused> {
    re2::compile(at, &value.regex, false)
}

/// Pattern and replacement of a substitution, the latter in the `regex` crate's syntax.
pub(crate) fn substitution(
    at: &At<'_>,
    value: &matcher::RegexMatchAndSubstitute,
) -> Result<(Regex, Box<str>), Refused> {
    let pattern = value
        .pattern
        .as_ref()
        .ok_or_else(|| at.field("pattern").refuse("missing"))?;
    let regex = any_regex(&at.field("pattern"), pattern)?;
    let groups = regex.captures_len();
    let replacement = replacement(&value.substitution, groups)
        .ok_or_else(|| at.field("substitution").refuse("not a valid RE2 rewrite"))?;
    Ok((regex, replacement.into()))
}

/// RE2's `\1` and `\\` as `${1}` and `\`.
fn replacement(text: &str, groups: usize) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 4);
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '$' => out.push_str("$$"),
            '\\' => match chars.next()? {
                '\\' => out.push('\\'),
                digit => {
                    let group = usize::try_from(digit.to_digit(10)?).ok()?;
                    if group >= groups {
                        return None;
                    }
                    out.push_str(&format!("${{{group}}}"));
                }
            },
            other => out.push(other),
        }
    }
    Some(out)
}

/// A string matcher.
pub(crate) fn string(
    at: &At<'_>,
    value: &matcher::StringMatcher,
) -> Result<StringMatcher, Refused> {
    let ignore_case = value.ignore_case;
    let text = |value: &String| value.as_str().into();
    Ok(match &value.match_pattern {
        Some(MatchPattern::Exact(value)) => StringMatcher::Exact {
            value: text(value),
            ignore_case,
        },
        Some(MatchPattern::Prefix(value)) => StringMatcher::Prefix {
            value: text(value),
            ignore_case,
        },
        Some(MatchPattern::Suffix(value)) => StringMatcher::Suffix {
            value: text(value),
            ignore_case,
        },
        Some(MatchPattern::Contains(value)) => StringMatcher::Contains {
            value: text(value),
            ignore_case,
        },
        Some(MatchPattern::SafeRegex(value)) => {
            StringMatcher::Regex(full_regex(&at.field("safe_regex"), value)?)
        }
        Some(MatchPattern::Custom(_)) => return Err(at.field("custom").unsupported()),
        None => return Err(at.refuse("no pattern")),
    })
}

/// Header matchers.
pub(crate) fn headers(
    at: &At<'_>,
    values: &[route::HeaderMatcher],
) -> Result<Vec<HeaderMatcher>, Refused> {
    values
        .iter()
        .enumerate()
        .map(|(index, value)| header(&at.item(index), value))
        .collect()
}

/// A header matcher.
pub(crate) fn header(at: &At<'_>, value: &route::HeaderMatcher) -> Result<HeaderMatcher, Refused> {
    let exact = |value: &String| StringMatcher::Exact {
        value: value.as_str().into(),
        ignore_case: false,
    };
    let test = match &value.header_match_specifier {
        None => HeaderTest::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(wanted)) => HeaderTest::Present(*wanted),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => HeaderTest::Range {
            start: range.start,
            end: range.end,
        },
        Some(HeaderMatchSpecifier::ExactMatch(value)) => HeaderTest::Value(exact(value)),
        Some(HeaderMatchSpecifier::PrefixMatch(value)) => {
            HeaderTest::Value(StringMatcher::Prefix {
                value: value.as_str().into(),
                ignore_case: false,
            })
        }
        Some(HeaderMatchSpecifier::SuffixMatch(value)) => {
            HeaderTest::Value(StringMatcher::Suffix {
                value: value.as_str().into(),
                ignore_case: false,
            })
        }
        Some(HeaderMatchSpecifier::ContainsMatch(value)) => {
            HeaderTest::Value(StringMatcher::Contains {
                value: value.as_str().into(),
                ignore_case: false,
            })
        }
        Some(HeaderMatchSpecifier::SafeRegexMatch(value)) => HeaderTest::Value(
            StringMatcher::Regex(full_regex(&at.field("safe_regex_match"), value)?),
        ),
        Some(HeaderMatchSpecifier::StringMatch(value)) => {
            HeaderTest::Value(string(&at.field("string_match"), value)?)
        }
    };
    Ok(HeaderMatcher {
        name: subject(&at.field("name"), &value.name)?,
        test,
        invert: value.invert_match,
        missing_as_empty: value.treat_missing_header_as_empty,
    })
}

/// A header or pseudo-header.
pub(crate) fn subject(at: &At<'_>, name: &str) -> Result<HeaderSubject, Refused> {
    Ok(match name {
        ":method" => HeaderSubject::Method,
        ":scheme" => HeaderSubject::Scheme,
        ":authority" | "host" | "Host" => HeaderSubject::Authority,
        ":path" => HeaderSubject::Path,
        name => HeaderSubject::Header(header_name(at, name)?),
    })
}

/// A regular header's name.
pub(crate) fn header_name(at: &At<'_>, name: &str) -> Result<HeaderName, Refused> {
    HeaderName::try_from(name).map_err(|_| at.refuse(format!("{name:?} is no header name")))
}

/// Cookie matchers.
pub(crate) fn cookies(
    at: &At<'_>,
    values: Vec<route::CookieMatcher>,
) -> Result<Vec<CookieMatcher>, Refused> {
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            let at = at.item(index);
            let place = at.field("string_match");
            let wanted = value.string_match.ok_or_else(|| place.refuse("missing"))?;
            Ok(CookieMatcher {
                name: value.name.into(),
                value: string(&place, &wanted)?,
                invert: value.invert_match,
            })
        })
        .collect()
}

/// Query matchers.
pub(crate) fn queries(
    at: &At<'_>,
    values: &[route::QueryParameterMatcher],
) -> Result<Vec<QueryMatcher>, Refused> {
    values
        .iter()
        .enumerate()
        .map(|(index, value)| query(&at.item(index), value))
        .collect()
}

fn query(at: &At<'_>, value: &route::QueryParameterMatcher) -> Result<QueryMatcher, Refused> {
    let condition = match &value.query_parameter_match_specifier {
        None | Some(QueryParameterMatchSpecifier::PresentMatch(_)) => None,
        Some(QueryParameterMatchSpecifier::StringMatch(value)) => {
            Some(string(&at.field("string_match"), value)?)
        }
    };
    Ok(QueryMatcher {
        name: value.name.as_str().into(),
        value: condition,
        absent: matches!(
            value.query_parameter_match_specifier,
            Some(QueryParameterMatchSpecifier::PresentMatch(false))
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_of_re2_become_those_of_the_regex_crate() {
        assert_eq!(replacement(r"/v1/\1$x", 2).as_deref(), Some("/v1/${1}$$x"));
        assert_eq!(replacement(r"\\", 1).as_deref(), Some(r"\"));
        assert_eq!(replacement(r"\2", 2), None);
        assert_eq!(replacement(r"\x", 2), None);
        assert_eq!(replacement("\\", 2), None);
    }

    #[test]
    fn expressions_are_bounded_and_anchored() {
        let regex = |text: &str| matcher::RegexMatcher {
            regex: text.into(),
            ..matcher::RegexMatcher::default()
        };
        let ok = full_regex(&At::ROOT, &regex("a|b")).expect("valid");
        assert!(ok.is_match("a") && !ok.is_match("ab"));
        assert!(full_regex(&At::ROOT, &regex("(")).is_err());
        assert!(full_regex(&At::ROOT, &regex("(a{1000}){1000}")).is_err());
    }
}
