//! Access logs that go to services: what each record becomes, and the messages that carry many of them.

use std::fmt;
use std::time::Duration;

use http::HeaderName;
use lateen_proxy_model::{CustomTag, ServiceTarget, TagSource};
use prost::Message;

use super::format::{Format, FormatError};
use super::operator::Subject;
use super::{entry, otlp};
use crate::otlp::{AnyValue, KeyValue};

/// Envoy's roots of the counters of such logs.
pub const GRPC_STATS: &str = "access_logs.grpc_access_log.";
/// The same of OpenTelemetry logs.
pub const OTLP_STATS: &str = "access_logs.open_telemetry_access_log.";

/// A log that a service takes, compiled.
#[derive(Debug)]
pub struct ServiceLog {
    /// The service.
    pub target: ServiceTarget,
    /// What records become.
    pub kind: ServiceLogKind,
    /// Bytes of entries that are sent together.
    pub enough: usize,
    /// Longest time that entries wait for others.
    pub patience: Duration,
    /// Root of its counters `logs_written` and `logs_dropped`.
    pub stats: Box<str>,
}

/// Kinds of services.
#[derive(Debug)]
pub enum ServiceLogKind {
    /// OpenTelemetry's collectors.
    OpenTelemetry(OtlpLog),
    /// Envoy's access log service.
    Grpc(GrpcLog),
}

/// What both kinds may add to an entry.
#[derive(Clone, Debug, Default)]
pub struct EntryExtras {
    /// Tags.
    pub tags: Box<[CustomTag]>,
    /// Names of filter state: those of peers have a value, others never do.
    pub filter_state: Box<[Box<str>]>,
}

/// Records as OpenTelemetry's log records.
#[derive(Debug)]
pub struct OtlpLog {
    /// Who tells.
    pub resource: Vec<KeyValue>,
    /// The record's text or structure.
    pub body: Option<Template>,
    /// Its attributes.
    pub attributes: Vec<(String, Template)>,
    /// Further attributes.
    pub extras: EntryExtras,
}

/// Records as Envoy's access log service has them.
#[derive(Debug, Default)]
pub struct GrpcLog {
    /// `StreamAccessLogsMessage.Identifier`, encoded: the first message of a stream has it.
    pub identifier: Vec<u8>,
    /// Entries are those of TCP connections.
    pub tcp: bool,
    /// Headers of the request that entries have beside the usual ones.
    pub request_headers: Box<[HeaderName]>,
    /// Headers of the answer.
    pub response_headers: Box<[HeaderName]>,
    /// Trailers of the answer.
    pub response_trailers: Box<[HeaderName]>,
    /// Tags and filter state.
    pub extras: EntryExtras,
}

/// A value whose texts are formats.
#[derive(Clone, Debug)]
pub enum Template {
    /// A format.
    Text(Format),
    /// A list.
    List(Vec<Template>),
    /// A map.
    Map(Vec<(String, Template)>),
}

/// Why a value was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// A format in it.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A number, a truth value or bytes.
    #[error("values are texts, lists and maps")]
    Kind,
    /// More nesting than any real value has.
    #[error("nested too deep")]
    Depth,
}

/// Takes the entries of one log on one worker.
pub trait LogEntries: fmt::Debug {
    /// Takes an entry; one that finds no room is dropped and counted.
    fn push(&self, entry: Vec<u8>);
}

impl ServiceLog {
    /// Entries with the message that carries them; the first of a stream says who sends it.
    #[must_use]
    pub fn message(&self, entries: Vec<Vec<u8>>, first: bool) -> Vec<u8> {
        match &self.kind {
            ServiceLogKind::OpenTelemetry(log) => otlp::message(log, entries),
            ServiceLogKind::Grpc(log) => entry::message(log, entries, first),
        }
    }

    pub(super) fn entry(&self, subject: &Subject<'_>) -> Vec<u8> {
        match &self.kind {
            ServiceLogKind::OpenTelemetry(log) => otlp::record(log, subject),
            ServiceLogKind::Grpc(log) if log.tcp => entry::tcp(log, subject).encode_to_vec(),
            ServiceLogKind::Grpc(log) => entry::http(log, subject).encode_to_vec(),
        }
    }

    pub(super) fn request_headers(&self) -> Vec<HeaderName> {
        let mut names = Vec::new();
        match &self.kind {
            ServiceLogKind::OpenTelemetry(log) => {
                let templates = log.attributes.iter().map(|(_, value)| value);
                for template in templates.chain(&log.body) {
                    template.each_format(&mut |format| {
                        names.extend_from_slice(format.request_headers());
                    });
                }
                names.extend(log.extras.request_headers());
            }
            ServiceLogKind::Grpc(log) => {
                names.extend(log.request_headers.iter().cloned());
                names.extend(log.extras.request_headers());
                names.extend(entry::REQUEST_HEADERS.map(HeaderName::from_static));
            }
        }
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        names
    }

    pub(super) fn wants_all_headers(&self) -> bool {
        match &self.kind {
            ServiceLogKind::OpenTelemetry(log) => {
                let mut all = false;
                let templates = log.attributes.iter().map(|(_, value)| value);
                for template in templates.chain(&log.body) {
                    template.each_format(&mut |format| all |= format.wants_all_headers());
                }
                all
            }
            // Entries tell the size of all of them.
            ServiceLogKind::Grpc(log) => !log.tcp,
        }
    }
}

impl EntryExtras {
    fn request_headers(&self) -> impl Iterator<Item = HeaderName> {
        self.tags.iter().filter_map(|tag| match &tag.source {
            TagSource::RequestHeader { name, .. } => Some(name.clone()),
            _ => None,
        })
    }

    /// The tags that a record has, with their values.
    pub(super) fn values<'a>(&'a self, subject: &Subject<'_>) -> Vec<(&'a str, String)> {
        let value = |source: &TagSource| {
            let (found, default) = match source {
                TagSource::Literal(text) => return Some(text.to_string()),
                TagSource::RequestHeader { name, default } => {
                    let headers = subject.http.and_then(|http| http.request_headers);
                    let value = headers.and_then(|headers| headers.header(name));
                    let text = value.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
                    (text, default)
                }
                TagSource::RequestMetadata {
                    namespace,
                    path,
                    default,
                } => {
                    let keys = path.iter().map(|key| &**key);
                    let metadata = subject.exchange.metadata;
                    let value = metadata.and_then(|it| it.value(namespace, keys));
                    let text =
                        value.map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned));
                    (text, default)
                }
            };
            found.or_else(|| (!default.is_empty()).then(|| default.to_string()))
        };
        self.tags
            .iter()
            .filter_map(|tag| Some((&*tag.name, value(&tag.source)?)))
            .collect()
    }
}

impl Template {
    /// Deepest nesting.
    const DEPTH: usize = 16;

    /// Compiles the texts of a value.
    ///
    /// # Errors
    /// Names the first thing in it that cannot be had.
    pub fn compile(value: &AnyValue) -> Result<Self, TemplateError> {
        Self::below(value, Self::DEPTH)
    }

    fn below(value: &AnyValue, depth: usize) -> Result<Self, TemplateError> {
        use crate::otlp::AnyKind;
        let depth = depth.checked_sub(1).ok_or(TemplateError::Depth)?;
        Ok(match &value.value {
            Some(AnyKind::Text(text)) => Self::Text(Format::text(text)?),
            Some(AnyKind::List(list)) => {
                let values = list.values.iter();
                Self::List(
                    values
                        .map(|it| Self::below(it, depth))
                        .collect::<Result<_, _>>()?,
                )
            }
            Some(AnyKind::Map(map)) => Self::Map(Self::pairs(&map.values, depth)?),
            _ => return Err(TemplateError::Kind),
        })
    }

    /// Compiles the texts of attributes.
    ///
    /// # Errors
    /// Names the first thing in them that cannot be had.
    pub fn attributes(pairs: &[KeyValue]) -> Result<Vec<(String, Self)>, TemplateError> {
        Self::pairs(pairs, Self::DEPTH)
    }

    fn pairs(pairs: &[KeyValue], depth: usize) -> Result<Vec<(String, Self)>, TemplateError> {
        let compiled = pairs.iter().map(|pair| {
            let value = pair.value.as_ref().ok_or(TemplateError::Kind)?;
            Ok((pair.key.clone(), Self::below(value, depth)?))
        });
        compiled.collect()
    }

    fn each_format(&self, see: &mut dyn FnMut(&Format)) {
        match self {
            Self::Text(format) => see(format),
            Self::List(values) => values.iter().for_each(|value| value.each_format(see)),
            Self::Map(pairs) => pairs.iter().for_each(|(_, value)| value.each_format(see)),
        }
    }
}
