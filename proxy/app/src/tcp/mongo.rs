//! MongoDB's messages counted on their way through.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use lateen_proxy_model::{ConnectionFilter, FilterChain, MongoFilter};
use lateen_proxy_relay::mongo::{
    MongoDecoder, MongoKind, MongoMessage, MongoQuery, MongoQueryKind,
};
use lateen_proxy_telemetry::{Counter, Gauge, Scope, Stats};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Questions of one connection whose answers are waited for; older ones are forgotten.
const MAX_ACTIVE: usize = 1024;
/// Longest name of a collection or command that is counted under its own name.
const MAX_NAME: usize = 128;

/// Counters that have a value of 0 before anything happened.
const NAMES: [&str; 22] = [
    "cx_destroy_local_with_active_rq",
    "cx_destroy_remote_with_active_rq",
    "cx_drain_close",
    "decoding_error",
    "delays_injected",
    "op_command",
    "op_command_reply",
    "op_get_more",
    "op_insert",
    "op_kill_cursors",
    "op_query",
    "op_query_await_data",
    "op_query_exhaust",
    "op_query_multi_get",
    "op_query_no_cursor_timeout",
    "op_query_no_max_time",
    "op_query_scatter_get",
    "op_query_tailable_cursor",
    "op_reply",
    "op_reply_cursor_not_found",
    "op_reply_query_failure",
    "op_reply_valid_cursor",
];

/// Counts the messages of one connection.
pub(super) struct Meter<'s> {
    filter: Arc<MongoFilter>,
    stats: &'s Stats,
    counters: Vec<Option<Counter>>,
    active_total: Option<Gauge>,
    asks: MongoDecoder,
    answers: MongoDecoder,
    /// What came was no MongoDB: nothing is counted any more.
    broken: bool,
    active: VecDeque<Active>,
    delay: Option<Pin<Box<Sleep>>>,
}

/// A question that is not answered yet.
struct Active {
    id: i32,
    /// What its answer is counted under.
    place: String,
    since: Instant,
}

/// A connection whose messages are counted.
pub(super) struct Metered<'a, 's, S> {
    pub(super) stream: &'a mut S,
    pub(super) meter: &'a mut Meter<'s>,
    held: BytesMut,
}

impl<'s> Meter<'s> {
    /// A meter, where the chain has one.
    pub(super) fn of(chain: &FilterChain, stats: &'s Stats) -> Option<Self> {
        let filter = chain.filters.iter().find_map(|entry| match &entry.filter {
            ConnectionFilter::Mongo(filter) => Some(Arc::clone(filter)),
            _ => None,
        })?;
        let scope = scope(&filter);
        Some(Self {
            counters: NAMES.iter().map(|name| stats.scoped(scope, name)).collect(),
            active_total: stats.scoped_gauge(scope, "op_query_active"),
            stats,
            asks: MongoDecoder::default(),
            answers: MongoDecoder::default(),
            broken: false,
            active: VecDeque::new(),
            delay: None,
            filter,
        })
    }

    /// Bytes of the client, or of the server.
    fn see(&mut self, bytes: &[u8], asks: bool) {
        if self.broken {
            return;
        }
        let mut messages = Vec::new();
        let decoder = match asks {
            true => &mut self.asks,
            false => &mut self.answers,
        };
        let fed = decoder.feed(bytes, |message| messages.push(message));
        for message in &messages {
            self.count(message);
            let answer = matches!(
                message.kind,
                MongoKind::Reply { .. } | MongoKind::CommandReply | MongoKind::Message(None)
            );
            if !answer {
                self.hold_up();
            }
        }
        if fed.is_err() {
            self.inc("decoding_error");
            self.broken = true;
        }
    }

    fn count(&mut self, message: &MongoMessage) {
        match &message.kind {
            MongoKind::Query(query) => self.query(message, query),
            MongoKind::Reply {
                cursor_not_found,
                query_failure,
                valid_cursor,
                documents,
            } => {
                self.inc("op_reply");
                for (name, on) in [
                    ("op_reply_cursor_not_found", *cursor_not_found),
                    ("op_reply_query_failure", *query_failure),
                    ("op_reply_valid_cursor", *valid_cursor),
                ] {
                    if on {
                        self.inc(name);
                    }
                }
                self.answered(message, u64::try_from(*documents).ok());
            }
            MongoKind::Insert => self.inc("op_insert"),
            MongoKind::GetMore => self.inc("op_get_more"),
            MongoKind::KillCursors => self.inc("op_kill_cursors"),
            MongoKind::Command => self.inc("op_command"),
            MongoKind::CommandReply => self.inc("op_command_reply"),
            MongoKind::Message(command) => {
                self.add("op_msg");
                match command {
                    Some(command) => {
                        let place = self.command(command);
                        self.ask(message.id, place);
                    }
                    None => self.answered(message, None),
                }
            }
            MongoKind::Compressed => {}
        }
    }

    fn query(&mut self, message: &MongoMessage, query: &MongoQuery) {
        self.inc("op_query");
        for (name, on) in [
            ("op_query_tailable_cursor", query.tailable),
            ("op_query_no_cursor_timeout", query.no_cursor_timeout),
            ("op_query_await_data", query.await_data),
            ("op_query_exhaust", query.exhaust),
        ] {
            if on {
                self.inc(name);
            }
        }
        if let Some(command) = &query.command {
            let place = self.command(command);
            return self.ask(message.id, place);
        }
        let collection =
            match query.collection.len() <= MAX_NAME && self.filter.may_name(&query.collection) {
                true => &*query.collection,
                false => "unknown",
            };
        let place = format!("collection.{collection}.query");
        self.add(&format!("{place}.total"));
        let (name, own) = match query.kind {
            MongoQueryKind::PrimaryKey => ("", ""),
            MongoQueryKind::MultiGet => ("op_query_multi_get", "multi_get"),
            MongoQueryKind::ScatterGet => ("op_query_scatter_get", "scatter_get"),
        };
        if !name.is_empty() {
            self.inc(name);
            self.add(&format!("{place}.{own}"));
        }
        if !query.max_time {
            self.inc("op_query_no_max_time");
        }
        self.ask(message.id, place);
    }

    /// Counts a command, and gives its place.
    fn command(&self, command: &str) -> String {
        let known = self.filter.commands.iter().find(|own| ***own == *command);
        let place = format!("cmd.{}", known.map_or("unknown_command", |own| own));
        self.add(&format!("{place}.total"));
        place
    }

    fn ask(&mut self, id: i32, place: String) {
        if self.active.len() >= MAX_ACTIVE {
            self.active.pop_front();
        } else if let Some(total) = &self.active_total {
            total.add(1);
        }
        self.active.push_back(Active {
            id,
            place,
            since: Instant::now(),
        });
    }

    fn answered(&mut self, message: &MongoMessage, documents: Option<u64>) {
        let place = self.active.iter().position(|it| it.id == message.answers);
        let Some(asked) = place.and_then(|place| self.active.remove(place)) else {
            return;
        };
        if let Some(total) = &self.active_total {
            total.sub(1);
        }
        let time = u64::try_from(asked.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let size = message.size as u64;
        for (name, value) in [
            ("reply_num_docs", documents),
            ("reply_size", Some(size)),
            ("reply_time_ms", Some(time)),
        ] {
            let name = format!("{}.{name}", asked.place);
            let kept = self.stats.distribution(scope(&self.filter), &name);
            if let (Some(kept), Some(value)) = (kept, value) {
                kept.observe(Duration::from_millis(value));
            }
        }
    }

    /// Begins a delay, where one is configured and none is under way.
    fn hold_up(&mut self) {
        let Some((share, time)) = self.filter.delay else {
            return;
        };
        if self.delay.is_none() && share.holds(fastrand::u32(..1_000_000)) {
            self.inc("delays_injected");
            self.delay = Some(Box::pin(tokio::time::sleep(time)));
        }
    }

    fn inc(&self, name: &str) {
        let place = NAMES.iter().position(|own| *own == name);
        let counter = place.and_then(|place| self.counters.get(place)?.as_ref());
        if let Some(counter) = counter {
            counter.inc();
        }
    }

    fn add(&self, name: &str) {
        if let Some(counter) = self.stats.scoped(scope(&self.filter), name) {
            counter.inc();
        }
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if let Some(total) = &self.active_total {
            total.sub(self.active.len() as u64);
        }
        if !self.active.is_empty() {
            self.inc("cx_destroy_remote_with_active_rq");
        }
    }
}

fn scope(filter: &MongoFilter) -> Scope<'_> {
    Scope {
        group: "mongo",
        tag: "mongo_prefix",
        value: &filter.stat_prefix,
        within: None,
    }
}

impl<'a, 's, S> Metered<'a, 's, S> {
    pub(super) fn new(stream: &'a mut S, meter: &'a mut Meter<'s>) -> Self {
        Self {
            stream,
            meter,
            held: BytesMut::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<'_, '_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if let Some(delay) = &mut this.meter.delay {
                ready!(delay.as_mut().poll(cx));
                this.meter.delay = None;
            }
            if !this.held.is_empty() {
                let count = this.held.len().min(buf.remaining());
                buf.put_slice(this.held.get(..count).unwrap_or_default());
                this.held.advance(count);
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut *this.stream).poll_read(cx, buf))?;
            let read = buf.filled().get(before..).unwrap_or_default();
            this.meter.see(read, true);
            if this.meter.delay.is_none() {
                return Poll::Ready(Ok(()));
            }
            this.held.extend_from_slice(read);
            buf.set_filled(before);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<'_, '_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut *this.stream).poll_write(cx, bytes))?;
        this.meter
            .see(bytes.get(..written).unwrap_or_default(), false);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().stream).poll_shutdown(cx)
    }
}
