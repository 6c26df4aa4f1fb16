//! Which records a log takes.

use std::cmp::Ordering;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use lateen_proxy_model::cel::Expression;
use lateen_proxy_model::{HeaderMatcher, HeaderSubject, RequestView, Share, StringMatcher};

use super::attributes::Facts;
use super::operator::Subject;
use crate::Flags;

/// A condition on records, compiled. Envoy's `AccessLogFilter`.
#[derive(Clone, Debug)]
pub enum LogFilter {
    /// The response code, 0 without one.
    Status(Comparison),
    /// Milliseconds from the arrival to the end.
    Duration(Comparison),
    /// Requests that are no health checks.
    NotHealthCheck,
    /// Requests that a server forced to be traced.
    Traceable,
    /// A share of the records, by the request's id or at random.
    Share {
        /// How many.
        share: Share,
        /// Never by the id.
        random: bool,
    },
    /// All of these.
    And(Vec<LogFilter>),
    /// One of these.
    Or(Vec<LogFilter>),
    /// A request header.
    Header(Arc<HeaderMatcher>),
    /// One of these response flags.
    Flags(Flags),
    /// gRPC status codes, given or told by the response code.
    GrpcStatus {
        /// A bit for each code.
        codes: u32,
        /// Records with other codes.
        exclude: bool,
    },
    /// An expression that holds.
    Cel(Arc<Expression>),
    /// What filters found out.
    Metadata {
        /// Namespace.
        namespace: Box<str>,
        /// Keys below it.
        path: Box<[Box<str>]>,
        /// The value, as text, must match; `None` asks only that there is one.
        value: Option<StringMatcher>,
        /// The value must not match.
        invert: bool,
        /// What holds where there is no such value.
        absent: bool,
    },
    /// Why the record is written.
    LogType {
        /// A bit for each type, by its number in Envoy's enumeration.
        types: u32,
        /// Records of other types.
        exclude: bool,
    },
}

/// A comparison with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Equal.
    pub op: CompareOp,
    /// The number.
    pub value: u64,
}

/// How numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// Equal.
    Equal,
    /// At least.
    AtLeast,
    /// At most.
    AtMost,
    /// Not equal.
    NotEqual,
}

impl Comparison {
    fn holds(self, number: u64) -> bool {
        let order = number.cmp(&self.value);
        match self.op {
            CompareOp::Equal => order == Ordering::Equal,
            CompareOp::AtLeast => order != Ordering::Less,
            CompareOp::AtMost => order != Ordering::Greater,
            CompareOp::NotEqual => order != Ordering::Equal,
        }
    }
}

impl LogFilter {
    /// Request headers that must be kept for the filter; `None` when it may ask for any.
    pub fn request_headers(&self) -> Option<Vec<HeaderName>> {
        match self {
            Self::And(filters) | Self::Or(filters) => {
                let mut all = Vec::new();
                for filter in filters {
                    all.extend(filter.request_headers()?);
                }
                Some(all)
            }
            Self::Header(matcher) => Some(match &matcher.name {
                HeaderSubject::Header(name) => vec![name.clone()],
                _ => Vec::new(),
            }),
            Self::Share { random: false, .. } => Some(vec![REQUEST_ID.clone()]),
            Self::Cel(expression) => expression.request_headers().map(<[_]>::to_vec),
            _ => Some(Vec::new()),
        }
    }

    pub(super) fn holds(&self, subject: &Subject<'_>) -> bool {
        let http = subject.http;
        match self {
            Self::Status(comparison) => {
                comparison.holds(http.map_or(0, |http| u64::from(http.status)))
            }
            Self::Duration(comparison) => {
                let millis = subject.exchange.duration.as_millis();
                comparison.holds(u64::try_from(millis).unwrap_or(u64::MAX))
            }
            Self::NotHealthCheck => http.is_none_or(|http| !http.health_check),
            Self::Traceable => http.is_some_and(|http| http.traceable),
            Self::Share { share, random } => {
                let id = http.filter(|_| !random).and_then(|http| {
                    let id = http.request_headers?.header(&REQUEST_ID)?;
                    let digits = id.as_bytes().get(..8)?;
                    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
                });
                share.holds(id.unwrap_or_else(|| fastrand::u64(..)))
            }
            Self::And(filters) => filters.iter().all(|filter| filter.holds(subject)),
            Self::Or(filters) => filters.iter().any(|filter| filter.holds(subject)),
            Self::Header(matcher) => header(matcher, subject),
            Self::Flags(flags) => subject.exchange.flags.intersects(*flags),
            Self::GrpcStatus { codes, exclude } => {
                let code = http.map_or(2, grpc_code);
                (code < 32 && codes & (1 << code) != 0) != *exclude
            }
            Self::Cel(expression) => expression.holds(&Facts::of(subject)),
            Self::Metadata {
                namespace,
                path,
                value,
                invert,
                absent,
            } => {
                let keys = path.iter().map(|key| &**key);
                let metadata = subject.exchange.metadata;
                let found = metadata.and_then(|metadata| metadata.value(namespace, keys));
                match (found, value) {
                    (None, _) => *absent,
                    (Some(_), None) => !invert,
                    (Some(found), Some(wanted)) => {
                        let holds = match found.as_str() {
                            Some(text) => wanted.matches(text),
                            None => wanted.matches(&found.to_string()),
                        };
                        holds != *invert
                    }
                }
            }
            Self::LogType { types, exclude } => {
                let this = subject.exchange.log_type.number(http.is_some());
                (types & (1 << this) != 0) != *exclude
            }
        }
    }
}

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn header(matcher: &HeaderMatcher, subject: &Subject<'_>) -> bool {
    let Some(http) = subject.http else {
        return false;
    };
    let mut headers = HeaderMap::new();
    if let HeaderSubject::Header(name) = &matcher.name
        && let Some(value) = http.request_headers.and_then(|source| source.header(name))
    {
        headers.insert(name, value.clone());
    }
    let authority = http.authority.unwrap_or_default();
    let view = RequestView::of_head(http.method, authority, http.path, &headers);
    matcher.matches(&view)
}

/// The status of a gRPC answer; of another one what its code means (gRPC's mapping of HTTP codes).
fn grpc_code(http: &crate::HttpRecord<'_>) -> u32 {
    http.grpc_status.unwrap_or(match http.status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Exchange, HttpRecord};

    fn cel(text: &str) -> LogFilter {
        LogFilter::Cel(Arc::new(Expression::compile(text).expect(text)))
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    #[test]
    fn filters_choose_records() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", "ann".parse().expect("a value"));
        headers.insert("x-request-id", "0000000a-x".parse().expect("a value"));
        let record = HttpRecord {
            exchange: Exchange {
                duration: Duration::from_millis(20),
                flags: Flags::NO_ROUTE,
                ..Exchange::default()
            },
            method: "GET",
            path: "/a?b=c",
            status: 404,
            traceable: true,
            request_headers: Some(&headers),
            ..HttpRecord::default()
        };
        let subject = Subject {
            exchange: &record.exchange,
            http: Some(&record),
        };
        let status = |op, value| LogFilter::Status(Comparison { op, value });
        let share = |numerator| LogFilter::Share {
            share: Share {
                numerator,
                denominator: 100,
            },
            random: false,
        };
        for (filter, wanted) in [
            (status(CompareOp::AtLeast, 400), true),
            (status(CompareOp::AtMost, 400), false),
            (status(CompareOp::NotEqual, 404), false),
            (
                LogFilter::Duration(Comparison {
                    op: CompareOp::Equal,
                    value: 20,
                }),
                true,
            ),
            (LogFilter::NotHealthCheck, true),
            (LogFilter::Traceable, true),
            (share(11), true),
            (share(10), false),
            (LogFilter::Flags(Flags::NO_ROUTE | Flags::DNS_FAILED), true),
            (
                LogFilter::GrpcStatus {
                    codes: 1 << 12,
                    exclude: false,
                },
                true,
            ),
            (
                LogFilter::LogType {
                    types: 1 << 3,
                    exclude: false,
                },
                false,
            ),
            (
                LogFilter::And(vec![LogFilter::Traceable, LogFilter::Flags(Flags::NONE)]),
                false,
            ),
            (
                LogFilter::Or(vec![LogFilter::Traceable, LogFilter::Flags(Flags::NONE)]),
                true,
            ),
            (
                cel("response.code == 404 && request.headers['x-user'] == 'ann'"),
                true,
            ),
            (
                cel("request.url_path == '/a' && request.query == 'b=c'"),
                true,
            ),
            (cel("request.duration < duration('1s')"), true),
            (cel("response.grpc_status == 0"), false),
            (
                LogFilter::Metadata {
                    namespace: "x".into(),
                    path: Box::default(),
                    value: None,
                    invert: false,
                    absent: true,
                },
                true,
            ),
        ] {
            assert_eq!(filter.holds(&subject), wanted, "{filter:?}");
        }
        let names = cel("request.headers['x-user'] == 'a'").request_headers();
        assert_eq!(names.expect("known").len(), 1);
    }
}
