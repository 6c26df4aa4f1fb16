//! One connection of HTTP/3: its control streams, and a task for each request.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::Notify;

use super::body::Http3Body;
use super::frame::{Frames, GOAWAY, Part, SETTINGS, StreamError, number, put_head, put_number};
use super::{code, stream};
use crate::http::connection::{Connection, DrainSignal};
use crate::http::life::{Life, Turn};

/// The id of the last stream there could be.
const LAST: u64 = (1 << 62) - 4;
/// Between the announcement that the connection ends and its last stream, at most.
const NOTICE: Duration = Duration::from_secs(1);
/// Bytes that a client may send beside requests, and more for each of these.
const ASIDE: u64 = 64 * 1024;
const ASIDE_EACH: u64 = 128;
/// Streams without a request after which their share counts.
const WASTE_SAMPLE: u32 = 500;

/// What the streams of a connection share.
pub(super) struct Server {
    pub(super) connection: Rc<Connection>,
    pub(super) quic: quinn::Connection,
    streams: Cell<usize>,
    opened: Cell<u32>,
    wasted: Cell<u32>,
    aside: Cell<u64>,
    critical: Cell<u8>,
    /// A stream has ended.
    ended: Notify,
    /// The connection shall end.
    shut: Notify,
    closing: Cell<bool>,
}

/// Counts a stream as long as it is there.
struct Counted(Rc<Server>);

impl Drop for Counted {
    fn drop(&mut self) {
        let streams = &self.0.streams;
        streams.set(streams.get().saturating_sub(1));
        self.0.ended.notify_one();
    }
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Clients know that they should open no more streams.
    Announced(Instant),
    /// Further streams are rejected.
    Closing,
}

/// Serves a connection of HTTP/3 until it ends. `handle` answers one request; it is dropped when the client goes away.
pub async fn serve_http3<H, F, B>(
    quic: quinn::Connection,
    connection: Rc<Connection>,
    drain: impl DrainSignal,
    handle: H,
) where
    H: Fn(Rc<Connection>, Request<Http3Body>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
{
    let server = Rc::new(Server {
        connection: Rc::clone(&connection),
        quic: quic.clone(),
        streams: Cell::new(0),
        opened: Cell::new(0),
        wasted: Cell::new(0),
        aside: Cell::new(0),
        critical: Cell::new(0),
        ended: Notify::new(),
        shut: Notify::new(),
        closing: Cell::new(false),
    });
    let handle = Rc::new(handle);
    let mut life = Life::new(&connection, drain, false);
    let mut work = pin!(run(&server, &handle));
    match life.watch(work.as_mut()).await {
        Turn::Done(()) => {}
        Turn::Shut => {
            server.shut.notify_one();
            work.await;
        }
        Turn::Abused | Turn::Rest => quic.close(code::EXCESSIVE_LOAD, b"too many resets"),
    }
}

async fn run<H, F, B>(server: &Rc<Server>, handle: &Rc<H>)
where
    H: Fn(Rc<Connection>, Request<Http3Body>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
{
    let quic = &server.quic;
    let Some(mut control) = server.greet().await else {
        return;
    };
    let mut phase = Phase::Open;
    let mut next = 0;
    loop {
        let now = match phase {
            Phase::Announced(until) => Some(until),
            _ => None,
        };
        tokio::select! {
            opened = quic.accept_bi() => {
                let Ok((mut send, mut recv)) = opened else {
                    return;
                };
                if phase == Phase::Closing {
                    let _ = send.reset(code::REQUEST_REJECTED);
                    let _ = recv.stop(code::REQUEST_REJECTED);
                    continue;
                }
                next = VarInt::from(send.id()).into_inner().saturating_add(4);
                spawn(server, (send, recv), handle);
            }
            opened = quic.accept_uni() => {
                let Ok(recv) = opened else {
                    return;
                };
                let server = Rc::clone(server);
                tokio::task::spawn_local(async move { server.aside(recv).await });
            }
            () = server.shut.notified(), if phase == Phase::Open => {
                goaway(&mut control, LAST).await;
                let notice = (quic.rtt() * 2).min(NOTICE);
                phase = Phase::Announced(Instant::now() + notice);
            }
            () = sleep_until(now) => {
                goaway(&mut control, next).await;
                phase = Phase::Closing;
                server.closing.set(true);
            }
            () = server.ended.notified() => {}
        }
        if phase == Phase::Closing && server.streams.get() == 0 {
            return quic.close(code::NO_ERROR, b"");
        }
    }
}

fn spawn<H, F, B>(server: &Rc<Server>, stream: (SendStream, RecvStream), handle: &Rc<H>)
where
    H: Fn(Rc<Connection>, Request<Http3Body>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + 'static,
{
    server.streams.set(server.streams.get() + 1);
    server.opened.set(server.opened.get().saturating_add(1));
    let counted = Counted(Rc::clone(server));
    let handle = Rc::clone(handle);
    tokio::task::spawn_local(async move {
        let server = &counted.0;
        stream::serve(server, stream, &*handle).await;
        if server.connection.is_last() {
            server.shut.notify_one();
        }
    });
}

async fn goaway(control: &mut SendStream, id: u64) {
    let mut payload = BytesMut::new();
    put_number(id, &mut payload);
    let mut frame = BytesMut::new();
    put_head(GOAWAY, payload.len(), &mut frame);
    frame.extend_from_slice(&payload);
    // A client that is gone needs none.
    let _ = control.write_chunk(frame.freeze()).await;
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

impl Server {
    /// Opens the control stream; it stays open as long as the connection.
    async fn greet(&self) -> Option<SendStream> {
        let manager = &self.connection.chain.manager;
        let mut settings = BytesMut::new();
        let most = u64::try_from(manager.max_headers_bytes).unwrap_or(u64::MAX);
        for (name, value) in [
            // The dynamic table, and streams that wait for it.
            (0x1, 0),
            (0x7, 0),
            (0x6, most),
            (0x8, u64::from(manager.http3.allow_extended_connect)),
        ] {
            put_number(name, &mut settings);
            put_number(value, &mut settings);
        }
        let mut first = BytesMut::new();
        put_number(0, &mut first);
        put_head(SETTINGS, settings.len(), &mut first);
        first.extend_from_slice(&settings);
        let mut control = self.quic.open_uni().await.ok()?;
        control.write_chunk(first.freeze()).await.ok()?;
        Some(control)
    }

    /// Notes a stream that had no request.
    pub(super) fn wasted(&self) {
        let wasted = self.wasted.get().saturating_add(1);
        self.wasted.set(wasted);
        let opened = self.opened.get();
        if opened >= WASTE_SAMPLE && wasted >= opened / 2 {
            self.quic
                .close(code::EXCESSIVE_LOAD, b"too many streams without requests");
        }
    }

    /// Whether the connection ends with the streams that there are.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    fn fail(&self, code: VarInt, why: &'static str) {
        tracing::debug!(client = %self.connection.client(), why, "downstream connection ended");
        self.quic.close(code, why.as_bytes());
    }

    /// Bytes beside requests; there may be so many of them.
    fn spend(&self, bytes: u64) -> bool {
        let spent = self.aside.get().saturating_add(bytes);
        self.aside.set(spent);
        let most = ASIDE.saturating_add(ASIDE_EACH.saturating_mul(self.opened.get().into()));
        if spent > most {
            self.fail(code::EXCESSIVE_LOAD, "too much beside requests");
        }
        spent <= most
    }

    /// A stream that is no request's: it begins with its type.
    async fn aside(self: Rc<Self>, mut recv: RecvStream) {
        let mut seen = BytesMut::new();
        let (kind, rest) = loop {
            if let Some((kind, rest)) = number(&seen) {
                break (kind, Bytes::copy_from_slice(rest));
            }
            match recv.read_chunk(4096, true).await {
                Ok(Some(chunk)) if self.spend(chunk.bytes.len() as u64) => {
                    seen.extend_from_slice(&chunk.bytes);
                }
                _ => return,
            }
        };
        // Control, encoder and decoder: each once, and to the end.
        let bit = match kind {
            0 => 1,
            2 => 2,
            3 => 4,
            1 => return self.fail(code::STREAM_CREATION_ERROR, "a push of a client"),
            _ => {
                let _ = recv.stop(code::STREAM_CREATION_ERROR);
                return;
            }
        };
        if self.critical.get() & bit != 0 {
            return self.fail(code::STREAM_CREATION_ERROR, "a critical stream twice");
        }
        self.critical.set(self.critical.get() | bit);
        match kind {
            0 => self.control(Frames::control(recv, rest)).await,
            _ => self.discard(recv).await,
        }
    }

    async fn control(&self, mut frames: Frames) {
        let mut spent = 0;
        let mut greeted = false;
        loop {
            let part = frames.next().await;
            let taken = frames.taken();
            if !self.spend(taken - spent) {
                return;
            }
            spent = taken;
            match part {
                Ok(Part::Settings(settings)) if !greeted && are_settings(&settings) => {
                    greeted = true;
                }
                Ok(Part::Settings(_)) if greeted => {
                    return self.fail(code::FRAME_UNEXPECTED, "settings twice");
                }
                Ok(Part::Settings(_)) => {
                    return self.fail(code::SETTINGS_ERROR, "settings that cannot be");
                }
                Ok(Part::End) => {
                    return self.fail(code::CLOSED_CRITICAL_STREAM, "the control stream ended");
                }
                Ok(_) => return self.fail(code::FRAME_UNEXPECTED, "no control frame"),
                Err(StreamError::Connection(code, why)) => return self.fail(code, why),
                Err(StreamError::TooLarge | StreamError::Message(_)) => {
                    return self.fail(code::EXCESSIVE_LOAD, "large settings");
                }
                Err(StreamError::Gone(_)) => {
                    return self.fail(code::CLOSED_CRITICAL_STREAM, "the control stream ended");
                }
            }
        }
    }

    /// Instructions about a table that is not there.
    async fn discard(&self, mut recv: RecvStream) {
        while let Ok(Some(chunk)) = recv.read_chunk(4096, true).await {
            if !self.spend(chunk.bytes.len() as u64) {
                return;
            }
        }
        self.fail(code::CLOSED_CRITICAL_STREAM, "a critical stream ended");
    }
}

/// Whether a payload holds settings, none of which belongs to HTTP/2.
fn are_settings(mut payload: &[u8]) -> bool {
    while !payload.is_empty() {
        let Some((name, rest)) = number(payload) else {
            return false;
        };
        let Some((_, rest)) = number(rest) else {
            return false;
        };
        if matches!(name, 0x2..=0x5) {
            return false;
        }
        payload = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_http2_are_none() {
        for (payload, good) in [
            (&b""[..], true),
            (b"\x06\x40\x64\x21\x05", true),
            (b"\x04\x01", false),
            (b"\x06", false),
            (b"\x06\x40", false),
        ] {
            assert_eq!(are_settings(payload), good, "{payload:?}");
        }
    }
}
