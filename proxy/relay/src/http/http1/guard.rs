//! The stream that hyper reads from.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::chunked::{Chunks, Fed};
use super::head::{self, Framing, Head, HeadRules};
use super::refusal::Refusal;
use super::signals::Signals;

/// What hyper sends by itself to a client that expects it.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Bytes read at a time where they cannot go to hyper's own buffer.
const READ: usize = 4096;

/// A connection that hyper is done with, and why a request was not read, if one was not.
#[derive(Debug)]
pub(in crate::http) struct Left<I> {
    pub(in crate::http) io: I,
    pub(in crate::http) refusal: Option<Refusal>,
    /// The client had begun something that was not read.
    pub(in crate::http) unread: bool,
}

/// Where a guard leaves its connection.
type Place<I> = Arc<Mutex<Option<Box<Left<I>>>>>;

/// A connection whose messages are known before hyper sees them.
#[derive(Debug)]
pub(in crate::http) struct Guard<I> {
    inner: Option<I>,
    place: Place<I>,
    signals: Arc<Signals>,
    rules: HeadRules,
    at: At,
    /// Bytes that came and were not handed on.
    ahead: BytesMut,
    /// How many of them may be handed on.
    clear: usize,
    /// How many of them are known to hold no whole head.
    examined: usize,
    /// Bytes of empty lines before the next head.
    skipped: usize,
    /// Heads handed on.
    given: u32,
    /// Bytes were written since the last flush was done.
    unflushed: bool,
    refusal: Option<Refusal>,
    /// Time for a head, once it has begun.
    limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    /// `100 Continue` is the upstream's to say.
    foreign_continue: bool,
    /// Interim answers, and how much of them was written.
    interim: BytesMut,
}

#[derive(Clone, Debug)]
enum At {
    Head,
    Length(u64),
    Chunked(Chunks),
    /// The rest is no message.
    Broken,
}

impl<I> Guard<I> {
    /// A guard of a connection that has no request under way.
    pub(in crate::http) fn new(
        io: I,
        signals: Arc<Signals>,
        rules: HeadRules,
        limit: Option<Duration>,
        foreign_continue: bool,
    ) -> Self {
        Self {
            inner: Some(io),
            place: Place::default(),
            given: signals.ended(),
            signals,
            rules,
            at: At::Head,
            ahead: BytesMut::new(),
            clear: 0,
            examined: 0,
            skipped: 0,
            unflushed: false,
            refusal: None,
            limit,
            timer: None,
            foreign_continue,
            interim: BytesMut::new(),
        }
    }

    /// Takes the connection after hyper has dropped the guard.
    pub(in crate::http) fn left(&self) -> impl FnOnce() -> Option<Box<Left<I>>> + use<I> {
        let place = Arc::clone(&self.place);
        move || {
            let mut left = place.lock().unwrap_or_else(PoisonError::into_inner);
            left.take()
        }
    }

    /// Heads handed on.
    pub(super) fn given(&self) -> u32 {
        self.given
    }

    /// Whether the last message has been handed on to its end.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.at, At::Head) && self.clear == 0
    }

    /// Whether a request is under way, so that the next head must wait.
    fn is_busy(&self) -> bool {
        self.unflushed || self.given != self.signals.ended()
    }

    /// hyper answers by itself what it cannot read.
    fn is_refused_by_hyper(&self) -> bool {
        self.given != self.signals.begun()
    }

    /// How many of these bytes may be handed on now.
    fn admit(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            match &mut self.at {
                At::Head => {
                    if self.is_busy() {
                        break;
                    }
                    match head::read(rest, &self.rules) {
                        Head::Partial => break,
                        Head::Whole { length, framing } => {
                            passed += length;
                            self.begin(framing);
                        }
                        Head::Refused(refusal) => {
                            self.refusal = Some(refusal);
                            self.at = At::Broken;
                        }
                    }
                }
                At::Length(left) => {
                    let take =
                        usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    passed += take;
                    *left -= take as u64;
                    if *left == 0 {
                        self.at = At::Head;
                    }
                }
                At::Chunked(chunks) => {
                    let (used, fed) = chunks.feed(rest);
                    passed += used;
                    match fed {
                        Fed::More => {}
                        Fed::Done => self.at = At::Head,
                        Fed::Broken => self.at = At::Broken,
                    }
                }
                At::Broken => break,
            }
        }
        passed
    }

    fn begin(&mut self, framing: Framing) {
        self.timer = None;
        self.skipped = 0;
        self.given = self.given.wrapping_add(1);
        self.at = match framing {
            Framing::None | Framing::Length(0) => At::Head,
            Framing::Length(length) => At::Length(length),
            Framing::Chunked => At::Chunked(Chunks::default()),
        };
    }

    /// Hands on what is known to be fine.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let count = self.clear.min(buf.remaining()).min(self.ahead.len());
        if count == 0 {
            return false;
        }
        if let Some(part) = self.ahead.get(..count) {
            buf.put_slice(part);
        }
        self.ahead.advance(count);
        self.clear -= count;
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        true
    }

    /// Looks at bytes that waited.
    fn look_again(&mut self) {
        if matches!(self.at, At::Head) {
            self.drop_empty_lines();
            if matches!(self.at, At::Broken) || self.is_known_partial() {
                return;
            }
        }
        let ahead = std::mem::take(&mut self.ahead);
        self.clear = self.admit(&ahead);
        self.examined = match self.at {
            At::Head if self.clear == 0 && !self.is_busy() => ahead.len(),
            _ => 0,
        };
        self.ahead = ahead;
    }

    /// Empty lines before a request mean nothing (RFC 9112 section 2.2), as long as there is not a flood of them.
    fn drop_empty_lines(&mut self) {
        let empty = head::empty_lines(&self.ahead);
        self.ahead.advance(empty);
        self.skipped += empty;
        if self.skipped > self.rules.max_bytes {
            self.refusal = Some(Refusal::HeadersTooLarge);
            self.at = At::Broken;
        }
    }

    /// Whether what came since the last look ends no head: reading all of it again for each byte would cost a square.
    fn is_known_partial(&mut self) -> bool {
        if self.examined == 0 || self.ahead.len() > self.rules.max_bytes {
            return false;
        }
        let new = self.ahead.get(self.examined.saturating_sub(3)..);
        let ends = head::has_end(new.unwrap_or_default());
        if !ends {
            self.examined = self.ahead.len();
        }
        !ends
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(cx)
    }
}

impl<I: AsyncRead + Unpin> Guard<I> {
    fn poll_raw(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.clear = self.ahead.len();
        if self.hand_on(buf) {
            return Poll::Ready(Ok(()));
        }
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Reads into hyper's own buffer, and takes back what may not be handed on. `true` when something is there.
    fn poll_direct(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Ok(true));
        };
        let before = buf.filled().len();
        let polled = Pin::new(inner).poll_read(cx, buf);
        let waits = polled.is_pending() && matches!(self.at, At::Head) && !self.is_busy();
        self.signals.set_rest(waits);
        ready!(polled)?;
        let new = buf.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            if self.given != self.signals.begun() {
                // The request before is told first, so that it is logged as given up.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Ok(true));
        }
        let passed = self.admit(new);
        if let Some(held @ [_, ..]) = new.get(passed..) {
            self.ahead.extend_from_slice(held);
            buf.set_filled(before + passed);
        }
        Poll::Ready(Ok(passed > 0))
    }

    /// Reads more of a head that is not whole yet.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Ok(()));
        };
        let mut bytes = [0; READ];
        let mut part = ReadBuf::new(&mut bytes);
        ready!(Pin::new(inner).poll_read(cx, &mut part))?;
        if part.filled().is_empty() {
            self.refusal = Some(Refusal::Cut);
            self.at = At::Broken;
        }
        self.ahead.extend_from_slice(part.filled());
        Poll::Ready(Ok(()))
    }

    /// What is left when nothing more can be handed on.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refusal.is_none() {
            let error = io::Error::new(io::ErrorKind::InvalidData, "malformed chunk");
            return Poll::Ready(Err(error));
        }
        if self.is_busy() {
            self.signals.wait(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_messages(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.hand_on(buf) {
                return Poll::Ready(Ok(()));
            }
            if !self.ahead.is_empty() && !matches!(self.at, At::Broken) {
                self.look_again();
                if self.clear > 0 {
                    continue;
                }
            }
            if matches!(self.at, At::Broken) {
                return self.poll_broken(cx);
            }
            if self.ahead.is_empty() {
                if ready!(self.poll_direct(cx, buf))? {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if self.is_busy() {
                self.signals.wait(cx.waker());
                return Poll::Pending;
            }
            if self.poll_timer(cx).is_ready() {
                self.refusal = Some(Refusal::HeaderTimeout);
                self.at = At::Broken;
                continue;
            }
            ready!(self.poll_more(cx))?;
        }
    }
}

impl<I: AsyncWrite + Unpin> Guard<I> {
    /// Writes interim answers.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(text) = self.signals.take_interim() {
            self.interim.extend_from_slice(&text);
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(Ok(()));
        };
        while !self.interim.is_empty() {
            let count = ready!(Pin::new(&mut *inner).poll_write(cx, &self.interim))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes of hyper's that the client does not get.
    fn swallowed(&mut self, bytes: &[u8], all: usize) -> Option<usize> {
        if self.is_refused_by_hyper() {
            self.refusal.get_or_insert(Refusal::Unreadable);
            return Some(all);
        }
        (self.foreign_continue && bytes.starts_with(CONTINUE)).then_some(CONTINUE.len())
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guard<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.signals.is_raw() {
            return this.poll_raw(cx, buf);
        }
        if this.foreign_continue {
            // Interim answers come while hyper waits.
            this.signals.wait(cx.waker());
        }
        this.poll_messages(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guard<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.unflushed = true;
        if let Some(count) = this.swallowed(buf, buf.len()) {
            return Poll::Ready(Ok(count));
        }
        if this.foreign_continue {
            ready!(this.poll_interim(cx))?;
        }
        match &mut this.inner {
            Some(inner) => Pin::new(inner).poll_write(cx, buf),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.unflushed = true;
        let first = bufs.first().map_or(&[][..], |buf| buf);
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if let Some(count) = this.swallowed(first, all) {
            return Poll::Ready(Ok(count));
        }
        if this.foreign_continue {
            ready!(this.poll_interim(cx))?;
        }
        match &mut this.inner {
            Some(inner) => Pin::new(inner).poll_write_vectored(cx, bufs),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.as_ref().is_some_and(I::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.foreign_continue {
            ready!(this.poll_interim(cx))?;
        }
        if let Some(inner) = &mut this.inner {
            ready!(Pin::new(inner).poll_flush(cx))?;
        }
        if std::mem::replace(&mut this.unflushed, false) && !this.ahead.is_empty() {
            this.signals.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.inner {
            // An answer is still to be written.
            Some(_) if this.refusal.is_some() => Poll::Ready(Ok(())),
            Some(inner) => Pin::new(inner).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<I> Drop for Guard<I> {
    fn drop(&mut self) {
        if self.signals.is_raw() {
            return;
        }
        if let Some(io) = self.inner.take() {
            let left = Left {
                io,
                refusal: self.refusal,
                unread: !self.ahead.is_empty() || !matches!(self.at, At::Head),
            };
            let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
            *place = Some(Box::new(left));
        }
    }
}
