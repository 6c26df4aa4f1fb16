//! Access logs: formats compiled when configuration arrives, lines written off the request path.

mod escape;
mod format;
mod json;
mod operator;
mod sink;
mod time;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use format::{DEFAULT_TEXT, Format, FormatError};
pub use sink::{LogSink, LogSinks, LogWriter, SinkError};

use crate::{Flags, HttpRecord, TcpRecord};
use operator::Subject;

/// One configured access log as a worker holds it: what to write, where, and when.
#[derive(Clone, Debug)]
pub struct AccessLog {
    format: Arc<Format>,
    writer: LogWriter,
    only: Option<Flags>,
}

impl AccessLog {
    /// Writes every record.
    #[must_use]
    pub fn new(format: Arc<Format>, writer: LogWriter) -> Self {
        Self {
            format,
            writer,
            only: None,
        }
    }

    /// Writes only records with at least one of these flags (Envoy's `response_flag_filter`).
    #[must_use]
    pub fn only_with(mut self, flags: Flags) -> Self {
        self.only = Some(flags);
        self
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
        self.format.request_headers()
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
        if self
            .only
            .is_none_or(|only| subject.exchange.flags.intersects(only))
        {
            self.writer
                .write_with(|out| self.format.write(subject, out));
        }
    }
}
