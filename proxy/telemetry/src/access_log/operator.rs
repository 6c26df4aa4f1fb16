//! The commands of a format string, resolved once, evaluated for each record without allocating.

mod extra;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::HeaderName;
use lateen_proxy_model::Handshake;

use super::time::TimeFormat;
use crate::{Exchange, Flags, HeaderSource, HttpRecord};
use extra::Extra;

/// The record at hand: HTTP has the second part.
pub(crate) struct Subject<'a> {
    pub(crate) exchange: &'a Exchange<'a>,
    pub(crate) http: Option<&'a HttpRecord<'a>>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// A field of the record.
    Field(Field),
    StartTime(TimeFormat),
    Address {
        field: AddressField,
        part: AddressPart,
    },
    /// First of two headers that is there.
    Request {
        first: HeaderRef,
        second: Option<HeaderRef>,
        query: bool,
    },
    Response {
        first: HeaderRef,
        second: Option<HeaderRef>,
    },
    Trailer {
        first: HeaderName,
        second: Option<HeaderName>,
    },
    GrpcStatus {
        number: bool,
    },
    Extra(Box<Extra>),
}

/// Commands without an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Protocol,
    UpstreamProtocol,
    ResponseCode,
    ResponseFlags,
    ResponseFlagsLong,
    ResponseCodeDetails,
    TerminationDetails,
    UpstreamFailure,
    BytesReceived,
    BytesSent,
    Duration,
    RequestDuration,
    ResponseDuration,
    ResponseTxDuration,
    UpstreamCluster,
    UpstreamClusterRaw,
    Sni,
    RouteName,
    UpstreamPeerUri,
    Attempts,
    LocalReplyBody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressField {
    UpstreamHost,
    UpstreamLocal,
    DownstreamLocal,
    DownstreamRemote,
    DownstreamDirectRemote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressPart {
    Whole,
    Ip,
    Port,
}

/// A header or a pseudo header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderRef {
    Named(HeaderName),
    Method,
    Path,
    Authority,
    Status,
}

/// What a command found.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Absent,
    /// Text made for this record: escaped when written.
    Owned(String),
    /// Bytes from outside: escaped when written.
    Bytes(&'a [u8]),
    Number(u64),
    Address(SocketAddr, AddressPart),
    Flags(Flags, bool),
    Time(SystemTime, &'a TimeFormat),
}

impl Operator {
    /// The command of this name; `Err` gives the reason why there is none.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Result<Self, String> {
        if let Some(extra) = Extra::parse(name, argument)? {
            return Ok(Self::Extra(Box::new(extra)));
        }
        match (name, argument) {
            ("START_TIME", argument) => {
                TimeFormat::parse(argument.unwrap_or_default()).map(Self::StartTime)
            }
            ("REQ", Some(argument)) => Self::request(argument, true),
            ("REQ_WITHOUT_QUERY", Some(argument)) => Self::request(argument, false),
            ("RESP", Some(argument)) => {
                let (first, second) = header_pair(argument, HeaderRef::parse)?;
                Ok(Self::Response { first, second })
            }
            ("TRAILER", Some(argument)) => {
                let (first, second) = header_pair(argument, named)?;
                Ok(Self::Trailer { first, second })
            }
            ("GRPC_STATUS", None | Some("" | "CAMEL_STRING")) => {
                Ok(Self::GrpcStatus { number: false })
            }
            ("GRPC_STATUS", Some("NUMBER")) | ("GRPC_STATUS_NUMBER", None) => {
                Ok(Self::GrpcStatus { number: true })
            }
            ("REQ" | "REQ_WITHOUT_QUERY" | "RESP" | "TRAILER", None) => {
                Err("it needs a header name in brackets".into())
            }
            (name, None) => Self::plain(name)
                .ok_or_else(|| "no such command, or one that this proxy does not support".into()),
            (name, Some(argument)) if Self::plain(name).is_some() => {
                Err(format!("it takes no argument, but has `{argument}`"))
            }
            _ => Err("no such command, or one that this proxy does not support".into()),
        }
    }

    /// Whether it may ask for any request header.
    pub(super) fn wants_all_headers(&self) -> bool {
        matches!(self, Self::Extra(extra) if extra.request_headers().is_none())
    }

    /// Names of the request headers this command reads.
    pub(super) fn request_headers(&self) -> Vec<HeaderName> {
        let (first, second) = match self {
            Self::Extra(extra) => return extra.request_headers().unwrap_or_default(),
            Self::Request { first, second, .. } => (Some(first), second.as_ref()),
            _ => (None, None),
        };
        first
            .into_iter()
            .chain(second)
            .filter_map(|header| match header {
                HeaderRef::Named(name) => Some(name.clone()),
                _ => None,
            })
            .collect()
    }

    /// What the record holds for this command.
    pub(super) fn value<'a>(&'a self, subject: &Subject<'a>) -> Value<'a> {
        let exchange = subject.exchange;
        match self {
            Self::Field(field) => field.value(subject),
            Self::StartTime(format) => Value::Time(exchange.start, format),
            Self::Address { field, part } => field
                .of(exchange)
                .map_or(Value::Absent, |address| Value::Address(address, *part)),
            Self::Request {
                first,
                second,
                query,
            } => {
                let value = either(first, second.as_ref(), |header| {
                    header.in_request(subject.http?)
                });
                match value {
                    Value::Bytes(bytes) if !query => Value::Bytes(without_query(bytes)),
                    value => value,
                }
            }
            Self::Response { first, second } => either(first, second.as_ref(), |header| {
                header.in_response(subject.http?)
            }),
            Self::Trailer { first, second } => either(first, second.as_ref(), |name| {
                header_value(subject.http?.response_trailers, name)
            }),
            Self::GrpcStatus { number } => grpc_status(subject, *number),
            Self::Extra(extra) => extra.value(subject),
        }
    }

    fn request(argument: &str, query: bool) -> Result<Self, String> {
        let (first, second) = header_pair(argument, HeaderRef::parse)?;
        Ok(Self::Request {
            first,
            second,
            query,
        })
    }

    fn plain(name: &str) -> Option<Self> {
        Field::named(name)
            .map(Self::Field)
            .or_else(|| AddressField::parse(name))
    }
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "PROTOCOL" => Self::Protocol,
            "UPSTREAM_PROTOCOL" => Self::UpstreamProtocol,
            "RESPONSE_CODE" => Self::ResponseCode,
            "RESPONSE_FLAGS" => Self::ResponseFlags,
            "RESPONSE_FLAGS_LONG" => Self::ResponseFlagsLong,
            "RESPONSE_CODE_DETAILS" => Self::ResponseCodeDetails,
            "CONNECTION_TERMINATION_DETAILS" => Self::TerminationDetails,
            "UPSTREAM_TRANSPORT_FAILURE_REASON" => Self::UpstreamFailure,
            "BYTES_RECEIVED" => Self::BytesReceived,
            "BYTES_SENT" => Self::BytesSent,
            "DURATION" => Self::Duration,
            "REQUEST_DURATION" => Self::RequestDuration,
            "RESPONSE_DURATION" => Self::ResponseDuration,
            "RESPONSE_TX_DURATION" => Self::ResponseTxDuration,
            "UPSTREAM_CLUSTER" => Self::UpstreamCluster,
            "UPSTREAM_CLUSTER_RAW" => Self::UpstreamClusterRaw,
            "REQUESTED_SERVER_NAME" => Self::Sni,
            "ROUTE_NAME" => Self::RouteName,
            "UPSTREAM_PEER_URI_SAN" => Self::UpstreamPeerUri,
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Self::Attempts,
            "LOCAL_REPLY_BODY" => Self::LocalReplyBody,
            _ => return None,
        })
    }

    fn value<'a>(self, subject: &Subject<'a>) -> Value<'a> {
        let exchange = subject.exchange;
        let http = subject.http;
        let inbound = exchange.side == crate::Side::Inbound;
        match self {
            Self::Protocol => text(http.map(|http| http.protocol.as_str())),
            Self::UpstreamProtocol => text(
                http.and_then(|http| http.upstream_protocol)
                    .map(crate::Protocol::as_str),
            ),
            Self::ResponseCode => Value::Number(http.map_or(0, |http| u64::from(http.status))),
            Self::ResponseFlags => Value::Flags(exchange.flags, false),
            Self::ResponseFlagsLong => Value::Flags(exchange.flags, true),
            Self::ResponseCodeDetails => text(exchange.details),
            Self::TerminationDetails => text(exchange.termination_details),
            Self::UpstreamFailure => unspaced(exchange.upstream_failure),
            Self::BytesReceived => Value::Number(exchange.bytes_received),
            Self::BytesSent => Value::Number(exchange.bytes_sent),
            Self::Duration => millis(Some(exchange.duration)),
            Self::RequestDuration => millis(http.and_then(|http| http.request_duration)),
            Self::ResponseDuration => millis(http.and_then(|http| http.response_duration)),
            Self::ResponseTxDuration => {
                let first_byte = http.and_then(|http| http.response_duration);
                millis(first_byte.map(|first| exchange.duration.saturating_sub(first)))
            }
            Self::UpstreamCluster => text(exchange.cluster_alt_name.or(exchange.cluster)),
            Self::UpstreamClusterRaw => text(exchange.cluster),
            Self::Sni => text(exchange.sni),
            Self::RouteName => text(exchange.route),
            Self::LocalReplyBody => http
                .and_then(|http| http.local_reply_body)
                .map_or(Value::Absent, Value::Bytes),
            Self::UpstreamPeerUri => match exchange.upstream_tls.and_then(Handshake::peer_leaf) {
                Some(leaf) if !leaf.uris.is_empty() => Value::Owned(leaf.uris.join(",")),
                _ => text(
                    exchange
                        .peer_principal
                        .filter(|_| !inbound)
                        .map(|uri| &**uri),
                ),
            },
            Self::Attempts => http.map_or(Value::Absent, |http| {
                Value::Number(u64::from(http.attempts))
            }),
        }
    }
}

impl AddressField {
    fn parse(name: &str) -> Option<Operator> {
        // `X_ADDRESS`, `X_ADDRESS_WITHOUT_PORT` and `X_PORT`.
        let (stem, part) = if let Some(stem) = name.strip_suffix("_ADDRESS_WITHOUT_PORT") {
            (stem, AddressPart::Ip)
        } else if let Some(stem) = name.strip_suffix("_PORT") {
            (stem, AddressPart::Port)
        } else {
            (
                name.strip_suffix("_ADDRESS").unwrap_or(name),
                AddressPart::Whole,
            )
        };
        let field = match stem {
            "UPSTREAM_HOST" if stem == name => Self::UpstreamHost,
            "UPSTREAM_REMOTE" if stem != name => Self::UpstreamHost,
            "UPSTREAM_LOCAL" if stem != name => Self::UpstreamLocal,
            "DOWNSTREAM_LOCAL" if stem != name => Self::DownstreamLocal,
            "DOWNSTREAM_REMOTE" if stem != name => Self::DownstreamRemote,
            "DOWNSTREAM_DIRECT_REMOTE" if stem != name => Self::DownstreamDirectRemote,
            _ => return None,
        };
        Some(Operator::Address { field, part })
    }

    fn of(self, exchange: &Exchange<'_>) -> Option<SocketAddr> {
        match self {
            Self::UpstreamHost => exchange.upstream_host,
            Self::UpstreamLocal => exchange.upstream_local,
            Self::DownstreamLocal => exchange.downstream_local,
            Self::DownstreamRemote => exchange.downstream_remote,
            Self::DownstreamDirectRemote => exchange
                .downstream_direct_remote
                .or(exchange.downstream_remote),
        }
    }
}

impl HeaderRef {
    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name.to_ascii_lowercase().as_str() {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" => Self::Authority,
            ":status" => Self::Status,
            _ => Self::Named(named(name)?),
        })
    }

    fn in_request<'a>(&self, http: &'a HttpRecord<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Named(name) => header_value(http.request_headers, name),
            Self::Method => Some(http.method.as_bytes()),
            Self::Path => Some(http.path.as_bytes()),
            Self::Authority => http.authority.map(str::as_bytes),
            Self::Status => None,
        }
    }

    fn in_response<'a>(&self, http: &'a HttpRecord<'a>) -> Option<&'a [u8]> {
        match self {
            Self::Named(name) => header_value(http.response_headers, name),
            _ => None,
        }
    }
}

fn named(name: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(name).map_err(|_| format!("`{name}` is no header name"))
}

/// The machine's name.
fn header_pair<T>(
    argument: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<(T, Option<T>), String> {
    match argument.split_once('?') {
        None => Ok((parse(argument)?, None)),
        Some((first, second)) => Ok((parse(first)?, Some(parse(second)?))),
    }
}

fn either<'a, T>(first: &T, second: Option<&T>, get: impl Fn(&T) -> Option<&'a [u8]>) -> Value<'a> {
    get(first)
        .or_else(|| second.and_then(&get))
        .filter(|value| !value.is_empty())
        .map_or(Value::Absent, Value::Bytes)
}

fn header_value<'a>(source: Option<&'a dyn HeaderSource>, name: &HeaderName) -> Option<&'a [u8]> {
    source?.header(name).map(http::HeaderValue::as_bytes)
}

fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

fn text(value: Option<&str>) -> Value<'_> {
    value
        .filter(|text| !text.is_empty())
        .map_or(Value::Absent, |text| Value::Bytes(text.as_bytes()))
}

/// A reason as one word, so that it stays one field of a line.
fn unspaced(value: Option<&str>) -> Value<'_> {
    match value {
        Some(reason) if reason.contains(' ') => Value::Owned(reason.replace(' ', "_")),
        other => text(other),
    }
}

fn millis<'a>(duration: Option<Duration>) -> Value<'a> {
    duration.map_or(Value::Absent, |duration| {
        Value::Number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    })
}

fn grpc_status<'a>(subject: &Subject<'a>, number: bool) -> Value<'a> {
    /// Names of the codes 0 to 16, as Envoy writes them.
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    let Some(status) = subject
        .http
        .filter(|http| http.grpc)
        .and_then(|http| http.grpc_status)
    else {
        return Value::Absent;
    };
    match NAMES.get(status as usize) {
        Some(name) if !number => text(Some(name)),
        _ => Value::Number(u64::from(status)),
    }
}
