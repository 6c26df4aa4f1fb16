//! String, header and query matchers, compiled once and allocation free at match time.

use http::HeaderMap;
use http::header::HeaderName;
use regex::Regex;

use crate::facts::{NoFacts, RequestFacts};

/// How a text is compared. Envoy's `StringMatcher`; `regex` is a full match.
#[derive(Clone, Debug)]
pub enum StringMatcher {
    /// Equal to; with `ignore_case`, ASCII case does not count.
    Exact {
        /// Text to equal.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// Starts with.
    Prefix {
        /// Text to start with.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// Ends with.
    Suffix {
        /// Text to end with.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// Contains.
    Contains {
        /// Text to contain.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// Matches in full; the builder anchors the expression (`^(?:…)$`).
    Regex(Regex),
}

impl StringMatcher {
    /// Whether `text` satisfies the matcher.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact {
                value,
                ignore_case: false,
            } => text == &**value,
            Self::Exact {
                value,
                ignore_case: true,
            } => text.eq_ignore_ascii_case(value),
            Self::Prefix { value, ignore_case } => {
                starts_with(text.as_bytes(), value.as_bytes(), *ignore_case)
            }
            Self::Suffix { value, ignore_case } => {
                ends_with(text.as_bytes(), value.as_bytes(), *ignore_case)
            }
            Self::Contains {
                value,
                ignore_case: false,
            } => text.contains(&**value),
            Self::Contains {
                value,
                ignore_case: true,
            } => {
                value.is_empty()
                    || text
                        .as_bytes()
                        .windows(value.len())
                        .any(|part| part.eq_ignore_ascii_case(value.as_bytes()))
            }
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// What a header's value must satisfy. Envoy's `HeaderMatcher`, S4: each value counts, values are never joined.
#[derive(Clone, Debug)]
pub enum HeaderTest {
    /// The header is present, or, with `false`, absent.
    Present(bool),
    /// Some value satisfies the matcher.
    Value(StringMatcher),
    /// Some value is an integer in `start..end`.
    Range {
        /// First integer that matches.
        start: i64,
        /// First integer above that does not match.
        end: i64,
    },
}

/// A condition on one header or pseudo-header.
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    /// What is looked at.
    pub name: HeaderSubject,
    /// The condition.
    pub test: HeaderTest,
    /// The condition must not hold.
    pub invert: bool,
    /// An absent header counts as an empty value.
    pub missing_as_empty: bool,
}

/// The header or pseudo-header that a [`HeaderMatcher`] looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSubject {
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:authority`.
    Authority,
    /// `:path`, with the query.
    Path,
    /// A regular header.
    Header(HeaderName),
}

/// The parts of a request that matchers read.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// `:method`.
    pub method: &'a str,
    /// `:scheme`.
    pub scheme: &'a str,
    /// `:authority`, or the `Host` header.
    pub authority: &'a str,
    /// Path and query, normalised.
    pub path: &'a str,
    /// Regular headers.
    pub headers: &'a HeaderMap,
    /// What is known beside the head.
    pub facts: &'a dyn RequestFacts,
}

impl<'a> RequestView<'a> {
    /// A head of which nothing else is known.
    pub fn of_head(
        method: &'a str,
        authority: &'a str,
        path: &'a str,
        headers: &'a HeaderMap,
    ) -> Self {
        Self {
            method,
            scheme: "http",
            authority,
            path,
            headers,
            facts: &NoFacts,
        }
    }
}

impl HeaderMatcher {
    /// Whether the request satisfies the condition.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        let held = match &self.name {
            HeaderSubject::Method => self.test_one(Some(request.method)),
            HeaderSubject::Scheme => self.test_one(Some(request.scheme)),
            HeaderSubject::Authority => self.test_one(Some(request.authority)),
            HeaderSubject::Path => self.test_one(Some(request.path)),
            HeaderSubject::Header(name) => {
                let mut values = request.headers.get_all(name).iter().peekable();
                if values.peek().is_none() {
                    let presence = matches!(self.test, HeaderTest::Present(_));
                    if !presence && !self.missing_as_empty {
                        // Neither a condition nor its opposite holds for what is not there.
                        return false;
                    }
                    self.test_one(None)
                } else {
                    values.any(|value| self.test_one(Some(value.to_str().unwrap_or_default())))
                }
            }
        };
        held != self.invert
    }

    fn test_one(&self, value: Option<&str>) -> bool {
        let value = value.or(if self.missing_as_empty {
            Some("")
        } else {
            None
        });
        match (&self.test, value) {
            (HeaderTest::Present(wanted), value) => value.is_some() == *wanted,
            (_, None) => false,
            (HeaderTest::Value(matcher), Some(value)) => matcher.matches(value),
            (HeaderTest::Range { start, end }, Some(value)) => value
                .parse::<i64>()
                .is_ok_and(|number| (*start..*end).contains(&number)),
        }
    }
}

/// A condition on one query parameter of the path.
#[derive(Clone, Debug)]
pub struct QueryMatcher {
    /// Parameter name, compared as written.
    pub name: Box<str>,
    /// Condition on its first value; `None` asks only for presence.
    pub value: Option<StringMatcher>,
    /// It must not be there.
    pub absent: bool,
}

impl QueryMatcher {
    /// Whether `path` (with its query) satisfies the condition.
    pub fn matches(&self, path: &str) -> bool {
        let Some((_, query)) = path.split_once('?') else {
            return self.absent;
        };
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(name, _)| *name == &*self.name)
            .map_or(self.absent, |(_, value)| {
                !self.absent
                    && self
                        .value
                        .as_ref()
                        .is_none_or(|matcher| matcher.matches(value))
            })
    }
}

/// A condition on a cookie; one that is absent satisfies no condition, and every inverted one.
#[derive(Clone, Debug)]
pub struct CookieMatcher {
    /// Name.
    pub name: Box<str>,
    /// Condition on its value.
    pub value: StringMatcher,
    /// The condition must not hold.
    pub invert: bool,
}

impl CookieMatcher {
    /// Whether the request's cookies satisfy the condition.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        let value = cookie(headers, &self.name);
        let held = value
            .and_then(|value| std::str::from_utf8(value).ok())
            .is_some_and(|value| self.value.matches(value));
        held != self.invert
    }
}

/// The first value of a cookie; quotes around it do not count.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let lines = headers.get_all(http::header::COOKIE).iter();
    let value = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .find_map(|pair| {
            pair.trim_ascii()
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
        })?;
    let bare = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    Some(bare.unwrap_or(value))
}

fn starts_with(text: &[u8], value: &[u8], ignore_case: bool) -> bool {
    text.get(..value.len()).is_some_and(|head| {
        if ignore_case {
            head.eq_ignore_ascii_case(value)
        } else {
            head == value
        }
    })
}

fn ends_with(text: &[u8], value: &[u8], ignore_case: bool) -> bool {
    text.len()
        .checked_sub(value.len())
        .and_then(|start| text.get(start..))
        .is_some_and(|tail| {
            if ignore_case {
                tail.eq_ignore_ascii_case(value)
            } else {
                tail == value
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_a_header_counts() {
        let mut headers = HeaderMap::new();
        headers.append("end-user", http::HeaderValue::from_static("jason"));
        headers.append("end-user", http::HeaderValue::from_static("root"));
        let view = RequestView::of_head("GET", "a", "/", &headers);
        let matcher = |text: &str| HeaderMatcher {
            name: HeaderSubject::Header(HeaderName::from_static("end-user")),
            test: HeaderTest::Value(StringMatcher::Exact {
                value: text.into(),
                ignore_case: false,
            }),
            invert: false,
            missing_as_empty: false,
        };
        assert!(matcher("jason").matches(&view));
        assert!(matcher("root").matches(&view));
        assert!(!matcher("jason,root").matches(&view));
    }

    #[test]
    fn a_missing_header_is_empty_only_when_asked() {
        let headers = HeaderMap::new();
        let view = RequestView::of_head("GET", "a", "/", &headers);
        let mut matcher = HeaderMatcher {
            name: HeaderSubject::Header(HeaderName::from_static("x")),
            test: HeaderTest::Value(StringMatcher::Exact {
                value: "v".into(),
                ignore_case: false,
            }),
            invert: true,
            missing_as_empty: true,
        };
        assert!(matcher.matches(&view));
        matcher.test = HeaderTest::Value(StringMatcher::Exact {
            value: "".into(),
            ignore_case: false,
        });
        assert!(!matcher.matches(&view));
    }

    #[test]
    fn query_parameters_match_by_name_and_value() {
        let matcher = QueryMatcher {
            name: "v".into(),
            value: Some(StringMatcher::Exact {
                value: "2".into(),
                ignore_case: false,
            }),
            absent: false,
        };
        assert!(matcher.matches("/a?x=1&v=2"));
        assert!(!matcher.matches("/a?v=3"));
        assert!(!matcher.matches("/a"));
    }
}
