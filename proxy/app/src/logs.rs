//! Access logs: compiled once for the process, written by each worker through a buffer of its own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use lateen_proxy_model::AccessLogRef;
use lateen_proxy_relay::http::{ServiceEntries, Worker};
use lateen_proxy_sync::{AccessLogFormat, AccessLogSpec, AccessLogs, LogOutput};
use lateen_proxy_telemetry::{AccessLog, Format, LogFilter, LogSink, LogSinks, ServiceLog};

/// The format of a log that names none (Envoy's documentation of access logs).
const ENVOY_DEFAULT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ",
    "\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" ",
    "\"%UPSTREAM_HOST%\"\n",
);

/// All access logs of the process. A place, once given, keeps its meaning; equal specifications share one.
#[derive(Debug)]
pub(crate) struct LogTable {
    sinks: Arc<LogSinks>,
    entries: Mutex<Vec<(AccessLogSpec, Entry)>>,
}

/// One compiled access log.
#[derive(Clone, Debug)]
struct Entry {
    output: Output,
    filter: Option<Arc<LogFilter>>,
}

#[derive(Clone, Debug)]
enum Output {
    File(Arc<Format>, Arc<LogSink>),
    Service(Arc<ServiceLog>),
}

/// One worker's writers, opened when first used.
#[derive(Debug)]
pub(crate) struct WorkerLogs {
    table: Arc<LogTable>,
    open: RefCell<Vec<(AccessLogRef, AccessLog)>>,
}

impl LogTable {
    /// An empty table that opens files through `sinks`.
    pub(crate) fn new(sinks: Arc<LogSinks>) -> Arc<Self> {
        Arc::new(Self {
            sinks,
            entries: Mutex::default(),
        })
    }

    fn compile(&self, spec: &AccessLogSpec) -> Result<Entry, String> {
        let output = match &spec.output {
            LogOutput::Service(service) => Output::Service(Arc::clone(&service.log)),
            LogOutput::File {
                path,
                format,
                omit_empty,
            } => self.file(path, format, *omit_empty)?,
        };
        Ok(Entry {
            output,
            filter: spec.filter.as_ref().map(|spec| Arc::clone(&spec.filter)),
        })
    }

    fn file(
        &self,
        path: &str,
        format: &AccessLogFormat,
        omit_empty: bool,
    ) -> Result<Output, String> {
        let format = match format {
            AccessLogFormat::Default => Format::text(ENVOY_DEFAULT),
            AccessLogFormat::Text(text) => Format::text(text),
            AccessLogFormat::Json(serde_json::Value::Object(fields)) => Format::json(fields),
            AccessLogFormat::Json(other) => {
                return Err(format!("a JSON format is an object, not {other}"));
            }
        };
        let format = format
            .map_err(|error| error.to_string())?
            .omit_empty(omit_empty);
        let sink = self.sinks.open(path).map_err(|error| error.to_string())?;
        Ok(Output::File(Arc::new(format), sink))
    }

    fn entry(&self, place: AccessLogRef) -> Option<Entry> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(place.0 as usize)
            .map(|(_, entry)| entry.clone())
    }
}

impl AccessLogs for LogTable {
    fn register(&self, spec: AccessLogSpec) -> Result<AccessLogRef, String> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match entries.iter().position(|(known, _)| *known == spec) {
            Some(index) => index,
            None => {
                let entry = self.compile(&spec)?;
                entries.push((spec, entry));
                entries.len() - 1
            }
        };
        u32::try_from(index)
            .map(AccessLogRef)
            .map_err(|_| "too many access logs".to_owned())
    }
}

impl WorkerLogs {
    /// Writers of the table's logs, none open yet.
    pub(crate) fn new(table: Arc<LogTable>) -> Self {
        Self {
            table,
            open: RefCell::default(),
        }
    }

    /// The log at a place; asked for once a filter chain or connection, not for each request.
    pub(crate) fn log(&self, place: AccessLogRef, worker: &Worker) -> Option<AccessLog> {
        let mut open = self.open.borrow_mut();
        if let Some((_, log)) = open.iter().find(|(known, _)| *known == place) {
            return Some(log.clone());
        }
        let entry = self.table.entry(place)?;
        let mut log = match entry.output {
            Output::File(format, sink) => AccessLog::new(format, sink.writer()),
            Output::Service(service) => {
                let entries = ServiceEntries::start(Arc::clone(&service), worker);
                AccessLog::service(service, Rc::new(entries))
            }
        };
        if let Some(filter) = entry.filter {
            log = log.filtered(filter);
        }
        open.push((place, log.clone()));
        Some(log)
    }
}
