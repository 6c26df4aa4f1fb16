//! Access logs: formats compiled when configuration arrives, lines written off the request path.

mod attributes;
mod entry;
mod escape;
mod filter;
mod format;
mod json;
mod operator;
mod otlp;
mod service;
mod sink;
mod time;

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) use attributes::Facts;
pub use filter::{CompareOp, Comparison, LogFilter};
pub use format::{DEFAULT_TEXT, Format, FormatError};
pub(crate) use operator::Subject;
pub use service::{
    EntryExtras, GRPC_STATS, GrpcLog, LogEntries, OTLP_STATS, OtlpLog, ServiceLog, ServiceLogKind,
    Template, TemplateError,
};
pub use sink::{LogSink, LogSinks, LogWriter, SinkError};

use crate::{HttpRecord, TcpRecord};

/// One configured access log as a worker holds it: what to write, where, and when.
#[derive(Clone, Debug)]
pub struct AccessLog {
    output: Output,
    filter: Option<Arc<LogFilter>>,
    request_headers: Arc<[HeaderName]>,
}

/// Where records go, and as what.
#[derive(Clone, Debug)]
enum Output {
    Lines(Arc<Format>, LogWriter),
    Entries(Arc<ServiceLog>, Rc<dyn LogEntries>),
}

impl AccessLog {
    /// Writes every record.
    #[must_use]
    pub fn new(format: Arc<Format>, writer: LogWriter) -> Self {
        Self {
            request_headers: format.request_headers().into(),
            output: Output::Lines(format, writer),
            filter: None,
        }
    }

    /// Gives every record to a service.
    #[must_use]
    pub fn service(log: Arc<ServiceLog>, entries: Rc<dyn LogEntries>) -> Self {
        Self {
            request_headers: log.request_headers().into(),
            output: Output::Entries(log, entries),
            filter: None,
        }
    }

    /// Writes only records that the filter takes.
    #[must_use]
    pub fn filtered(mut self, filter: Arc<LogFilter>) -> Self {
        let mut names = self.request_headers.to_vec();
        for name in filter.request_headers().unwrap_or_default() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        self.request_headers = names.into();
        self.filter = Some(filter);
        self
    }

    /// Whether the filter may ask for any request header.
    #[must_use]
    pub fn wants_all_headers(&self) -> bool {
        let filter = self.filter.as_ref();
        filter.is_some_and(|filter| filter.request_headers().is_none())
            || match &self.output {
                Output::Lines(format, _) => format.wants_all_headers(),
                Output::Entries(log, _) => log.wants_all_headers(),
            }
    }

    /// Writes one HTTP exchange. Never blocks; a line that finds no room is counted as dropped.
    pub fn http(&self, record: &HttpRecord<'_>) {
        self.write(&Subject {
            exchange: &record.exchange,
            http: Some(record),
        });
    }

    /// Writes one TCP connection. Never blocks; a line that finds no room is counted as dropped.
    pub fn tcp(&self, record: &TcpRecord<'_>) {
        self.write(&Subject {
            exchange: &record.exchange,
            http: None,
        });
    }

    /// Request headers the format asks for, beyond the pseudo headers: nothing else need be kept till the end.
    #[must_use]
    pub fn request_headers(&self) -> &[HeaderName] {
        &self.request_headers
    }

    /// The values of [`AccessLog::request_headers`], kept while the request itself moves on: reference counts, and one
    /// small vector.
    #[must_use]
    pub fn capture(&self, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let wanted = self.request_headers();
        wanted
            .iter()
            .filter_map(|name| headers.get(name).map(|value| (name.clone(), value.clone())))
            .collect()
    }

    fn write(&self, subject: &Subject<'_>) {
        let taken = |filter: &Arc<LogFilter>| filter.holds(subject);
        if !self.filter.as_ref().is_none_or(taken) {
            return;
        }
        match &self.output {
            Output::Lines(format, writer) => {
                writer.write_with(|out| format.write(subject, out));
            }
            Output::Entries(log, entries) => entries.push(log.entry(subject)),
        }
    }
}
