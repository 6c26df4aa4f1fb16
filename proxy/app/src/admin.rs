//! The admin pages on localhost, in Envoy's shapes (contract/xds.md §14).

mod clusters;
mod dump;
mod listeners;
mod secrets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{Method, StatusCode};
use lateen_proxy_agent::serve::{Answer, Call, serve, text, typed};
use lateen_proxy_agent::{DrainHandle, Readiness, refresh_stats};
use lateen_proxy_state::State;
use lateen_proxy_telemetry::Metrics;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::config::VERSION;
use crate::logging::LogControl;

pub(crate) use dump::{node_bootstrap, render};

/// What the pages show and change.
pub(crate) struct Admin {
    /// The proxy's configuration.
    pub(crate) state: Arc<State>,
    /// Its metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// Whether it is ready.
    pub(crate) readiness: Arc<Readiness>,
    /// Its log levels.
    pub(crate) log: Arc<LogControl>,
    /// Its connections.
    pub(crate) drain: Arc<dyn DrainHandle>,
    /// What it was started with, as bootstrap JSON.
    pub(crate) bootstrap: Value,
    /// Worker threads.
    pub(crate) concurrency: usize,
    /// When it started.
    pub(crate) started: (Instant, SystemTime),
    /// This program, for the child that renders dumps.
    pub(crate) program: &'static str,
}

/// A page: its name, whether it changes something (then only POST is taken), and what it is for.
type Page = (&'static str, bool, &'static str);

const PAGES: [Page; 14] = [
    ("certs", false, "print certificates in use"),
    (
        "clusters",
        false,
        "upstream clusters and their endpoints (format=json)",
    ),
    (
        "config_dump",
        false,
        "the configuration in use (include_eds)",
    ),
    ("drain_listeners", true, "drain connections (graceful)"),
    ("healthcheck/fail", true, "make the health check fail"),
    ("healthcheck/ok", true, "make the health check pass again"),
    ("help", false, "print this list"),
    (
        "listeners",
        false,
        "listeners and their addresses (format=json)",
    ),
    (
        "logging",
        false,
        "log levels; POST with level=, paths= or <logger>= changes them",
    ),
    ("ready", false, "200 if the proxy is ready"),
    ("server_info", false, "version, state and node"),
    ("stats", false, "statistics (filter=text, format=json)"),
    ("stats/prometheus", false, "statistics in Prometheus format"),
    (
        "quitquitquit",
        true,
        "not offered: ask the agent on its own port",
    ),
];

impl Admin {
    /// Serves until the task is dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        serve(listener, move |call| {
            let admin = Arc::clone(&self);
            async move { admin.answer(call).await }
        })
        .await;
    }

    async fn answer(self: Arc<Self>, call: Call) -> Answer {
        let uri = call.request.uri().clone();
        let path = uri.path().trim_matches('/');
        let query = Query::parse(uri.query().unwrap_or_default());
        let Some((_, changes, _)) = PAGES.iter().find(|(name, ..)| *name == path) else {
            return if path.is_empty() {
                help()
            } else {
                text(StatusCode::NOT_FOUND, "invalid path. admin commands are:\n")
            };
        };
        let post = call.request.method() == Method::POST;
        if *changes && !post {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                format!(
                    "Method {} not allowed, POST required.\n",
                    call.request.method()
                ),
            );
        }
        match path {
            "config_dump" => self.config_dump(&query).await,
            "logging" => self.logging(&query, post),
            "stats" => self.stats(&query),
            "drain_listeners" => self.drain_listeners(&query),
            _ => self.simple(path, &query),
        }
    }

    fn simple(&self, path: &str, query: &Query) -> Answer {
        match path {
            "certs" => json_answer(&secrets::certs(self.state.secrets())),
            "clusters" if query.json() => {
                json_answer(&clusters::as_json(&self.state, self.clock()))
            }
            "clusters" => text(StatusCode::OK, clusters::as_text(&self.state, self.clock())),
            "listeners" if query.json() => json_answer(&listeners::as_json(&self.state)),
            "listeners" => text(StatusCode::OK, listeners::as_text(&self.state)),
            "ready" => self.ready(),
            "server_info" => json_answer(&self.server_info()),
            "stats/prometheus" => typed(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.prometheus(),
            ),
            "healthcheck/fail" | "healthcheck/ok" => {
                self.readiness.fail(path.ends_with("fail"));
                text(StatusCode::OK, "OK\n")
            }
            "quitquitquit" => text(StatusCode::FORBIDDEN, "shutting down is not offered here\n"),
            _ => help(),
        }
    }

    /// Everything in use.
    async fn config_dump(self: Arc<Self>, query: &Query) -> Answer {
        if let Some(name) = query.other_than(&["include_eds"]) {
            return text(
                StatusCode::BAD_REQUEST,
                format!("config_dump: `{name}` is not supported; include_eds is\n"),
            );
        }
        let include_eds = query.has("include_eds");
        let snapshot = dump::Snapshot::take(&self, include_eds);
        let dump = tokio::task::spawn_blocking(move || snapshot.page(self.program)).await;
        match dump {
            Ok(Ok(dump)) => typed(StatusCode::OK, "application/json", dump),
            Ok(Err(error)) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("config_dump: {error}\n"),
            ),
            Err(error) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("config_dump: {error}\n"),
            ),
        }
    }

    fn logging(&self, query: &Query, post: bool) -> Answer {
        if !query.is_empty() && !post {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                "POST is required to change log levels.\n",
            );
        }
        for (name, value) in &query.0 {
            let changes: Vec<(Option<&str>, &str)> = match name.as_str() {
                "level" => vec![(None, value)],
                "paths" => value
                    .split(',')
                    .filter_map(|pair| pair.split_once(':'))
                    .map(|(name, level)| (Some(name), level))
                    .collect(),
                logger => vec![(Some(logger), value)],
            };
            for (logger, level) in changes {
                if let Err(error) = self.log.set(logger, level) {
                    return text(StatusCode::BAD_REQUEST, format!("{error}\n"));
                }
            }
        }
        text(StatusCode::OK, self.log.show())
    }

    fn stats(&self, query: &Query) -> Answer {
        if let Some(name) = query.other_than(&["filter", "format", "usedonly"]) {
            return text(
                StatusCode::BAD_REQUEST,
                format!("stats: `{name}` is not supported; filter, format and usedonly are\n"),
            );
        }
        if query.value("format") == Some("prometheus") {
            return typed(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.prometheus(),
            );
        }
        refresh_stats(&self.state, self.metrics.stats());
        let plain = self.metrics.render_plain();
        let filter = query.value("filter").unwrap_or_default();
        let lines = plain.lines().filter(|line| line.contains(filter));
        let used = |line: &&str| !query.has("usedonly") || !line.ends_with(": 0");
        if !query.json() {
            let lines: String = lines.filter(used).map(|line| format!("{line}\n")).collect();
            return text(StatusCode::OK, lines);
        }
        let stats: Vec<Value> = lines
            .filter(used)
            .filter_map(|line| line.rsplit_once(": "))
            .map(|(name, value)| json!({ "name": name, "value": value.parse::<u64>().unwrap_or_default() }))
            .collect();
        json_answer(&json!({ "stats": stats }))
    }

    fn drain_listeners(&self, query: &Query) -> Answer {
        if !query.has("graceful") {
            return text(
                StatusCode::BAD_REQUEST,
                "drain_listeners: only drain_listeners?graceful is offered; it breaks no request\n",
            );
        }
        self.drain.drain();
        text(StatusCode::OK, "OK\n")
    }

    /// The balancer's clock, which starts with the process.
    fn clock(&self) -> u64 {
        u64::try_from(self.started.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn prometheus(&self) -> String {
        refresh_stats(&self.state, self.metrics.stats());
        self.metrics.render()
    }

    fn ready(&self) -> Answer {
        match self.readiness.check() {
            Ok(()) => text(StatusCode::OK, "LIVE\n"),
            Err(reason) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("INITIALIZING\n{reason}\n"),
            ),
        }
    }

    fn server_info(&self) -> Value {
        let uptime = format!("{}s", self.started.0.elapsed().as_secs());
        json!({
            "version": format!("{VERSION}/lateen-proxy"),
            "state": if self.readiness.check().is_ok() { "LIVE" } else { "INITIALIZING" },
            "uptime_current_epoch": uptime,
            "uptime_all_epochs": uptime,
            "hot_restart_version": "disabled",
            "command_line_options": { "concurrency": self.concurrency },
            "node": self.bootstrap.get("node").cloned().unwrap_or_else(|| json!({})),
        })
    }
}

/// The query of a request, in order; a name alone has an empty value.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn json(&self) -> bool {
        self.value("format") == Some("json")
    }

    /// A name that is none of these.
    fn other_than(&self, known: &[&str]) -> Option<&str> {
        self.0
            .iter()
            .map(|(name, _)| name.as_str())
            .find(|name| !known.contains(name))
    }
}

/// Percent-decoding; what is no escape stays.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        let escaped = if byte == b'%' {
            let rest = bytes.as_slice();
            rest.get(..2)
                .and_then(|hex| std::str::from_utf8(hex).ok())
                .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        } else {
            None
        };
        if escaped.is_some() {
            bytes.nth(1);
        }
        out.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn help() -> Answer {
    let pages: BTreeMap<_, _> = PAGES
        .iter()
        .map(|(name, changes, what)| (*name, (*changes, *what)))
        .collect();
    let lines: String = pages
        .into_iter()
        .map(|(name, (changes, what))| {
            format!(
                "  /{name}{}: {what}\n",
                if changes { " (POST)" } else { "" }
            )
        })
        .collect();
    text(StatusCode::OK, format!("admin commands are:\n{lines}"))
}

fn json_answer(value: &Value) -> Answer {
    match serde_json::to_vec_pretty(value) {
        Ok(body) => typed(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// A moment as proto JSON writes it, to the millisecond.
fn timestamp(time: SystemTime) -> String {
    let stamp = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{stamp:.3}")
}

/// An address as proto JSON writes it.
fn socket_address(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

#[cfg(test)]
mod tests;
