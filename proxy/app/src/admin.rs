//! The admin pages on localhost, in Envoy's shapes (contract/xds.md §14).

pub(crate) mod cluster_stats;
mod clusters;
mod dump;
mod dump_fixed;
mod dump_part;
mod guard;
mod histograms;
mod listeners;
mod pages;
mod query;
mod secrets;
mod server;
mod stats;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use lateen_proxy_agent::serve::{Answer, Call, serve, text, typed};
use lateen_proxy_agent::{Ask, DrainHandle, Readiness};
use lateen_proxy_listen::Sockets;
use lateen_proxy_model::{StringMatcher, TrafficDirection};
use lateen_proxy_state::State;
use lateen_proxy_sync::Layer;
use lateen_proxy_telemetry::Metrics;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::logging::LogControl;

pub(crate) use dump::{Shown, node_bootstrap, render};

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
    /// Its listening sockets.
    pub(crate) sockets: Arc<Sockets>,
    /// Paths, with queries, that are answered; empty is all.
    pub(crate) paths: Vec<StringMatcher>,
    /// Its connections.
    pub(crate) drain: Arc<dyn DrainHandle>,
    /// What it was started with.
    pub(crate) bootstrap: Shown,
    /// How it was started, in the shape of `CommandLineOptions`.
    pub(crate) options: Value,
    /// Layers of runtime keys, the strongest last.
    pub(crate) runtime: Vec<Layer>,
    /// How long connections are drained before listeners stop.
    pub(crate) drain_time: Duration,
    /// Where requests to end the process go; `None` refuses them.
    pub(crate) quit: Option<mpsc::Sender<Ask>>,
    /// When it started.
    pub(crate) started: (Instant, SystemTime),
    /// This program, for the child that renders dumps.
    pub(crate) program: &'static str,
}

use query::Query;

impl Admin {
    /// Serves until the task is dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        serve(listener, move |call| {
            let admin = Arc::clone(&self);
            async move {
                let mut answer = admin.answer(call).await;
                let headers = answer.headers_mut();
                let fresh = HeaderValue::from_static("no-cache, max-age=0");
                headers.insert(CACHE_CONTROL, fresh);
                let typed = HeaderValue::from_static("nosniff");
                headers.insert(X_CONTENT_TYPE_OPTIONS, typed);
                answer
            }
        })
        .await;
    }

    async fn answer(self: Arc<Self>, call: Call) -> Answer {
        let uri = call.request.uri().clone();
        let path = uri.path().trim_matches('/');
        let method = call.request.method();
        tracing::debug!(target: "lateen_proxy::admin", %method, %uri, from = %call.from, "asked");
        if let Some(reason) = guard::foreign(&call) {
            return text(StatusCode::FORBIDDEN, reason);
        }
        let asked = uri.path_and_query().map_or("/", |asked| asked.as_str());
        if !self.paths.is_empty() && !self.paths.iter().any(|path| path.matches(asked)) {
            let reason = format!("request to path {asked} not allowed");
            return text(StatusCode::FORBIDDEN, reason);
        }
        let query = Query::parse(uri.query().unwrap_or_default());
        let Some(page) = pages::find(path) else {
            let list = pages::list();
            return text(
                StatusCode::NOT_FOUND,
                format!("invalid path. admin commands are:\n{list}"),
            );
        };
        let post = method == Method::POST;
        if page.changes && !post {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("Method {method} not allowed, POST required."),
            );
        }
        match path {
            "config_dump" => self.config_dump(&query).await,
            "logging" => self.logging(&query),
            // A page of many clusters is large: the allocator gives back what a thread had when it ends.
            "stats" | "stats/prometheus" => {
                let path = path.to_owned();
                let page = tokio::task::spawn_blocking(move || self.stats(&path, &query));
                page.await.unwrap_or_else(|error| {
                    text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        format!("stats: {error}\n"),
                    )
                })
            }
            "drain_listeners" => self.drain_listeners(&query),
            "quitquitquit" => self.end(),
            _ => self.simple(path, &query),
        }
    }

    fn simple(&self, path: &str, query: &Query) -> Answer {
        match path {
            "" => typed(StatusCode::OK, "text/html; charset=UTF-8", pages::index()),
            "certs" => json_answer(&secrets::certs(self.state.secrets())),
            "clusters" if query.json() => {
                json_answer(&clusters::as_json(&self.state, self.clock()))
            }
            "clusters" => text(StatusCode::OK, clusters::as_text(&self.state, self.clock())),
            "listeners" if query.json() => {
                json_answer(&listeners::as_json(&self.state, &self.sockets))
            }
            "listeners" => text(
                StatusCode::OK,
                listeners::as_text(&self.state, &self.sockets),
            ),
            "ready" => self.ready(),
            "server_info" => json_answer(&self.server_info()),
            "memory" => json_answer(&server::memory()),
            "runtime" => json_answer(&server::runtime(&self.runtime)),
            "runtime_modify" => self.runtime_modify(),
            "init_dump" => json_answer(&server::init_dump(&self.state, query.value("mask"))),
            "hot_restart_version" => text(StatusCode::OK, "disabled\n"),
            "contention" => text(
                StatusCode::OK,
                "Mutex contention is not traced: workers share no mutex.\n",
            ),
            "stats/recentlookups" => text(
                StatusCode::BAD_REQUEST,
                "lookups are not tracked: statistics are found once, when configuration comes\n",
            ),
            "reset_counters" => {
                self.metrics.stats().reset_counters();
                self.state.readiness().reset_counts();
                text(StatusCode::OK, "OK\n")
            }
            "healthcheck/fail" | "healthcheck/ok" => {
                self.readiness.fail(path.ends_with("fail"));
                text(StatusCode::OK, "OK\n")
            }
            _ => text(
                StatusCode::OK,
                format!("admin commands are:\n{}", pages::list()),
            ),
        }
    }

    /// Everything in use, or the part that is asked for.
    async fn config_dump(self: Arc<Self>, query: &Query) -> Answer {
        let known = ["include_eds", "resource", "mask", "name_regex"];
        if let Some(name) = query.other_than(&known) {
            let text_of = format!("config_dump: `{name}` is none of {}\n", known.join(", "));
            return text(StatusCode::BAD_REQUEST, text_of);
        }
        let part = dump_part::Part {
            resource: query.value("resource").map(ToOwned::to_owned),
            mask: query.value("mask").map(ToOwned::to_owned),
            name_regex: query.value("name_regex").map(ToOwned::to_owned),
        };
        let snapshot = dump::Snapshot::take(&self, query.has("include_eds"), part);
        let dump = tokio::task::spawn_blocking(move || snapshot.page(self.program)).await;
        match dump {
            Ok(Ok(Ok(dump))) => typed(StatusCode::OK, "application/json", dump),
            Ok(Ok(Err(refusal))) => {
                let status = StatusCode::from_u16(refusal.status);
                let status = status.unwrap_or(StatusCode::BAD_REQUEST);
                typed(status, "text/plain", refusal.reason)
            }
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

    fn logging(&self, query: &Query) -> Answer {
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
                    return text(StatusCode::BAD_REQUEST, format!("error: {error}\n"));
                }
            }
        }
        text(StatusCode::OK, self.log.show())
    }

    /// Connections are asked to end; without `skip_exit` listeners stop too: at once, or (`graceful`) after the drain
    /// time. `inboundonly` leaves all but inbound listeners as they are.
    fn drain_listeners(&self, query: &Query) -> Answer {
        if let Some(name) = query.other_than(&["graceful", "skip_exit", "inboundonly"]) {
            let known = "graceful, skip_exit, inboundonly";
            let text_of = format!("drain_listeners: `{name}` is none of {known}\n");
            return text(StatusCode::BAD_REQUEST, text_of);
        }
        let inbound = query.has("inboundonly");
        if inbound {
            self.drain.drain_inbound();
        } else {
            self.drain.drain();
        }
        if query.has("skip_exit") {
            return text(StatusCode::OK, "OK\n");
        }
        let state = Arc::clone(&self.state);
        let wait = match query.has("graceful") {
            true => self.drain_time,
            false => Duration::ZERO,
        };
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let listeners = state.listeners();
            let all = listeners.iter();
            let stopped = all.filter(|one| !inbound || one.direction == TrafficDirection::Inbound);
            let names: Vec<Arc<str>> = stopped.map(|one| Arc::clone(&one.name)).collect();
            drop(listeners);
            state.update_listeners(Vec::new(), &names);
        });
        text(StatusCode::OK, "OK\n")
    }

    fn end(&self) -> Answer {
        match &self.quit {
            Some(asks) => {
                // A full channel means that somebody asked before.
                let _ = asks.try_send(Ask::Quit);
                text(StatusCode::OK, "OK\n")
            }
            None => text(
                StatusCode::FORBIDDEN,
                "ending the process from here is not enabled\n",
            ),
        }
    }

    fn runtime_modify(&self) -> Answer {
        if self.runtime.iter().any(|layer| layer.is_admin) {
            return text(
                StatusCode::BAD_REQUEST,
                "no runtime key takes effect while the proxy runs; change the bootstrap\n",
            );
        }
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            "No admin layer specified\n",
        )
    }

    /// The balancer's clock, which starts with the process.
    fn clock(&self) -> u64 {
        u64::try_from(self.started.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn ready(&self) -> Answer {
        match self.readiness.check() {
            Ok(()) => text(StatusCode::OK, "LIVE\n"),
            Err(reason) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{}\n{reason}\n", self.stage()),
            ),
        }
    }
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
