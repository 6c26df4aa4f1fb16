//! Commands that few formats have.

mod tls;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderName;
use lateen_proxy_model::cel::Expression;

use super::{Subject, Value};
use crate::access_log::attributes::Facts;
use crate::access_log::time::TimeFormat;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Extra {
    TraceId,
    SpanId,
    /// Known when the format was compiled.
    Constant(String),
    LogType,
    QueryParams,
    QueryParam(String),
    Path {
        query: bool,
        original: Original,
    },
    StreamId,
    UniqueId,
    EmitTime(TimeFormat),
    Common {
        from: Point,
        to: Point,
        unit: Unit,
    },
    Metadata {
        namespace: String,
        path: Vec<String>,
    },
    Cel(Arc<Expression>),
    Tls(tls::TlsOperator),
}

/// Which path is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Original {
    Only,
    Never,
    First,
}

/// A point in time of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Point {
    DownstreamBegin,
    DownstreamEnd,
    UpstreamBegin,
    SentEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Extra {
    /// The command of this name; `Ok(None)` when there is none.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Result<Option<Self>, String> {
        let needed = || argument.ok_or_else(|| "it needs an argument in brackets".to_owned());
        Ok(Some(match (name, argument) {
            ("TRACE_ID", None) => Self::TraceId,
            ("SPAN_ID", None) => Self::SpanId,
            ("ACCESS_LOG_TYPE", None) => Self::LogType,
            ("STREAM_ID", None) => Self::StreamId,
            ("UNIQUE_ID", None) => Self::UniqueId,
            ("QUERY_PARAMS", _) => Self::QueryParams,
            ("HOSTNAME", None) => Self::Constant(hostname()),
            ("ENVIRONMENT", _) => {
                let (name, _) = split_length(needed()?);
                Self::Constant(std::env::var(name).unwrap_or_else(|_| "-".to_owned()))
            }
            ("QUERY_PARAM", _) => Self::QueryParam(needed()?.to_owned()),
            ("EMIT_TIME", argument) => Self::EmitTime(TimeFormat::parse(argument.unwrap_or(""))?),
            ("PATH", argument) => path(argument.unwrap_or("WQ"))?,
            ("COMMON_DURATION", _) => common(needed()?)?,
            ("DYNAMIC_METADATA", _) => metadata(needed()?)?,
            ("METADATA", _) => match needed()?.split_once(':') {
                Some(("DYNAMIC", rest)) => metadata(rest)?,
                _ => return Err("only METADATA(DYNAMIC:…) is supported".to_owned()),
            },
            ("CEL", _) => {
                let source = needed()?;
                let source = source.strip_prefix("typed:").unwrap_or(source);
                let expression = Expression::compile(source).map_err(|error| error.to_string())?;
                Self::Cel(Arc::new(expression))
            }
            _ => return Ok(tls::TlsOperator::parse(name, argument)?.map(Self::Tls)),
        }))
    }

    /// Request headers that must be kept; `None` when it may ask for any.
    pub(super) fn request_headers(&self) -> Option<Vec<HeaderName>> {
        match self {
            Self::StreamId => Some(vec![REQUEST_ID.clone()]),
            Self::Path { original, .. } if *original != Original::Never => {
                Some(vec![ORIGINAL_PATH.clone()])
            }
            Self::Cel(expression) => expression.request_headers().map(<[_]>::to_vec),
            _ => Some(Vec::new()),
        }
    }

    pub(super) fn value<'a>(&'a self, subject: &Subject<'a>) -> Value<'a> {
        let exchange = subject.exchange;
        let owned = |text: Option<String>| {
            text.filter(|text| !text.is_empty())
                .map_or(Value::Absent, Value::Owned)
        };
        let bytes = |text: Option<&'a str>| {
            text.filter(|text| !text.is_empty())
                .map_or(Value::Absent, |text| Value::Bytes(text.as_bytes()))
        };
        match self {
            Self::TraceId => owned(exchange.trace.map(|(id, _)| match u64::try_from(id) {
                Ok(low) => format!("{low:016x}"),
                Err(_) => format!("{id:032x}"),
            })),
            Self::SpanId => owned(exchange.trace.map(|(_, id)| format!("{id:016x}"))),
            Self::Constant(text) => bytes(Some(text)),
            Self::LogType => bytes(Some(exchange.log_type.name(subject.http.is_some()))),
            Self::QueryParams => bytes(query(subject)),
            Self::QueryParam(name) => {
                let found = query(subject).and_then(|query| {
                    query
                        .split('&')
                        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                        .find(|(own, _)| own == name)
                });
                bytes(found.map(|(_, value)| value))
            }
            Self::Path { query, original } => requested(subject, *query, *original),
            Self::StreamId => header(subject, &REQUEST_ID),
            Self::UniqueId => owned(Some(unique())),
            Self::EmitTime(format) => Value::Time(SystemTime::now(), format),
            Self::Common { from, to, unit } => {
                let time = to.of(subject).zip(from.of(subject));
                time.map_or(Value::Absent, |(to, from)| {
                    Value::Number(unit.of(to.saturating_sub(from)))
                })
            }
            Self::Metadata { namespace, path } => {
                let keys = path.iter().map(String::as_str);
                let metadata = exchange.metadata;
                let found = match path.is_empty() {
                    true => metadata
                        .and_then(|metadata| metadata.find(namespace))
                        .and_then(|values| serde_json::to_string(values).ok()),
                    false => metadata
                        .and_then(|metadata| metadata.value(namespace, keys))
                        .map(|value| {
                            value
                                .as_str()
                                .map_or_else(|| value.to_string(), str::to_owned)
                        }),
                };
                owned(found)
            }
            Self::Cel(expression) => owned(expression.text(&Facts::of(subject))),
            Self::Tls(operator) => operator.value(exchange),
        }
    }
}

impl Point {
    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "DS_RX_BEG" => Self::DownstreamBegin,
            "DS_RX_END" => Self::DownstreamEnd,
            "US_RX_BEG" => Self::UpstreamBegin,
            "DS_TX_END" => Self::SentEnd,
            _ => return Err(format!("the point in time `{name}` is not supported")),
        })
    }

    fn of(self, subject: &Subject<'_>) -> Option<Duration> {
        match self {
            Self::DownstreamBegin => Some(Duration::ZERO),
            Self::DownstreamEnd => subject.http?.request_duration,
            Self::UpstreamBegin => subject.http?.response_duration,
            Self::SentEnd => Some(subject.exchange.duration),
        }
    }
}

impl Unit {
    fn of(self, time: Duration) -> u64 {
        let count = match self {
            Self::Millis => time.as_millis(),
            Self::Micros => time.as_micros(),
            Self::Nanos => time.as_nanos(),
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

fn path(argument: &str) -> Result<Extra, String> {
    let (query, original) = argument.split_once(':').unwrap_or((argument, ""));
    Ok(Extra::Path {
        query: match query {
            "WQ" | "" => true,
            "NQ" => false,
            other => return Err(format!("`{other}` is neither WQ nor NQ")),
        },
        original: match original {
            "ORIG" => Original::Only,
            "PATH" => Original::Never,
            "ORIG_OR_PATH" | "" => Original::First,
            other => return Err(format!("`{other}` is none of ORIG, PATH, ORIG_OR_PATH")),
        },
    })
}

fn common(argument: &str) -> Result<Extra, String> {
    let mut parts = argument.split(':');
    let mut next = || parts.next().unwrap_or_default();
    let (from, to) = (Point::parse(next())?, Point::parse(next())?);
    let unit = match next() {
        "ms" => Unit::Millis,
        "us" => Unit::Micros,
        "ns" => Unit::Nanos,
        other => return Err(format!("`{other}` is none of ms, us, ns")),
    };
    Ok(Extra::Common { from, to, unit })
}

fn metadata(argument: &str) -> Result<Extra, String> {
    let mut parts = argument.split(':').map(str::to_owned);
    let namespace = parts.next().unwrap_or_default();
    if namespace.is_empty() {
        return Err("it needs a namespace".to_owned());
    }
    Ok(Extra::Metadata {
        namespace,
        path: parts.collect(),
    })
}

fn split_length(argument: &str) -> (&str, &str) {
    argument.split_once(':').unwrap_or((argument, ""))
}

fn header<'a>(subject: &Subject<'a>, name: &HeaderName) -> Value<'a> {
    let source = subject.http.and_then(|http| http.request_headers);
    let value = source.and_then(|source| source.header(name));
    value.map_or(Value::Absent, |value| Value::Bytes(value.as_bytes()))
}

fn query<'a>(subject: &Subject<'a>) -> Option<&'a str> {
    Some(subject.http?.path.split_once('?')?.1)
}

fn requested<'a>(subject: &Subject<'a>, query: bool, original: Original) -> Value<'a> {
    let own = subject.http.map(|http| http.path.as_bytes());
    let kept = match header(subject, &ORIGINAL_PATH) {
        Value::Bytes(bytes) if original != Original::Never => Some(bytes),
        _ => None,
    };
    let found = match original {
        Original::Only => kept,
        Original::Never | Original::First => kept.or(own),
    };
    match found {
        Some(path) if query => Value::Bytes(path),
        Some(path) => Value::Bytes(path.split(|byte| *byte == b'?').next().unwrap_or(path)),
        None => Value::Absent,
    }
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// A random UUID of version 4.
fn unique() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{bits:032x}");
    let mut text = String::with_capacity(36);
    for (at, digit) in digits.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            let _ = text.write_char('-');
        }
        text.push(digit);
    }
    text
}
