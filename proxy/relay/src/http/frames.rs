//! Budgets for HTTP/2 frames that cost a client nothing to send (S17): PING, SETTINGS, PRIORITY, empty DATA and HEADERS,
//! WINDOW_UPDATE, RST_STREAM. Only frame heads are looked at, as they pass by. Heads of requests and
//! frames for the connection cost many times what other bytes do: a connection that sends many lets others have their turn
//! more often.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use lateen_proxy_model::FloodLimits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

/// Control frames and empty frames a second.
const CONTROL_PER_SECOND: u32 = 1_000;
/// Window updates and resets a second: a fast download or a burst of cancelled requests is no attack.
const UPDATES_PER_SECOND: u32 = 20_000;
/// Bytes of header blocks that take as much of a task's turn as one read.
const HEADS: u32 = 128;
/// Bytes of header blocks that a frame without bytes of a body counts as: each is work for the codec.
const FRAME: u32 = 32;
/// Length of the client's preface.
const PREFACE: u32 = 24;

/// A stream of an HTTP/2 connection that fails once a budget is spent.
#[derive(Debug)]
pub(crate) struct FrameBudget<I> {
    inner: Option<I>,
    place: Place<I>,
    scan: Scan,
}

/// Where the connection is left when hyper drops it.
type Place<I> = Arc<Mutex<Option<Box<I>>>>;

#[derive(Debug)]
struct Scan {
    limits: FloodLimits,
    /// Bytes of payload left.
    skip: u32,
    /// They are of a header block.
    in_heads: bool,
    /// Bytes of header blocks, and what other frames count as, that no turn has paid for.
    heads: u32,
    head: [u8; 9],
    have: usize,
    second: Instant,
    control: u32,
    updates: u32,
    /// Frames in a row that carried nothing.
    empty: u32,
    priorities: u32,
    streams: u32,
}

impl<I> FrameBudget<I> {
    pub(crate) fn new(inner: I, limits: FloodLimits) -> Self {
        Self {
            inner: Some(inner),
            place: Place::default(),
            scan: Scan::new(limits),
        }
    }

    /// Takes the connection after hyper has dropped it.
    pub(crate) fn left(&self) -> impl FnOnce() -> Option<Box<I>> + use<I> {
        let place = Arc::clone(&self.place);
        move || {
            let mut left = place.lock().unwrap_or_else(PoisonError::into_inner);
            left.take()
        }
    }

    /// The stream; there is one until the drop.
    fn stream(&mut self) -> io::Result<&mut I> {
        (self.inner.as_mut()).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<I> Drop for FrameBudget<I> {
    fn drop(&mut self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        *place = self.inner.take().map(Box::new);
    }
}

impl Scan {
    fn new(limits: FloodLimits) -> Self {
        Self {
            limits,
            skip: PREFACE,
            in_heads: false,
            heads: 0,
            head: [0; 9],
            have: 0,
            second: Instant::now(),
            control: 0,
            updates: 0,
            empty: 0,
            priorities: 0,
            streams: 0,
        }
    }

    /// Whether the budgets still hold after these bytes.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skip = bytes.len().min(self.skip as usize);
                let count = u32::try_from(skip).unwrap_or(self.skip);
                self.skip -= count;
                if self.in_heads {
                    self.heads = self.heads.saturating_add(count);
                }
                bytes = bytes.get(skip..).unwrap_or_default();
                continue;
            }
            let take = bytes.len().min(self.head.len() - self.have);
            let (now, rest) = bytes.split_at(take);
            if let Some(place) = self.head.get_mut(self.have..self.have + take) {
                place.copy_from_slice(now);
            }
            self.have += take;
            bytes = rest;
            if self.have == self.head.len() {
                self.have = 0;
                if !self.frame() {
                    return false;
                }
            }
        }
        true
    }

    fn frame(&mut self) -> bool {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.skip = length;
        self.in_heads = matches!(kind, 1 | 9);
        if kind != 0 {
            self.heads = self.heads.saturating_add(FRAME);
        }
        let end_stream = flags & 1 != 0;
        // DATA, HEADERS and CONTINUATION with content, or that end something, are work and not noise.
        if matches!(kind, 0 | 1 | 9) {
            if kind == 1 {
                self.streams = self.streams.saturating_add(1);
            }
            if length > 0 || (kind != 9 && end_stream) {
                self.empty = 0;
                return true;
            }
            self.empty += 1;
            return self.empty <= self.limits.empty_frames;
        }
        if kind == 2 {
            self.priorities = self.priorities.saturating_add(1);
            let most = self.limits.priority_per_stream;
            if self.priorities > most.saturating_mul(self.streams.saturating_add(1)) {
                return false;
            }
        }
        let (counter, limit) = match kind {
            3 | 8 => (&mut self.updates, UPDATES_PER_SECOND),
            _ => (&mut self.control, CONTROL_PER_SECOND),
        };
        *counter += 1;
        if *counter <= limit {
            return true;
        }
        if self.second.elapsed() < Duration::from_secs(1) {
            return false;
        }
        self.second = Instant::now();
        self.control = 0;
        self.updates = 0;
        true
    }
}

impl Scan {
    /// Takes header blocks and frames from what the task may still do in this turn.
    fn pay(&mut self, cx: &mut Context<'_>) {
        while self.heads >= HEADS {
            self.heads -= HEADS;
            match coop::poll_proceed(cx) {
                Poll::Ready(proceed) => proceed.made_progress(),
                Poll::Pending => self.heads %= HEADS,
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for FrameBudget<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A TLS stream has bytes at hand without asking the socket, which would yield by itself.
        if !coop::has_budget_remaining() {
            // It wakes the task after the sockets were looked at, not before.
            if coop::poll_proceed(cx).is_pending() {
                return Poll::Pending;
            }
        }
        let before = buf.filled().len();
        std::task::ready!(Pin::new(self.stream()?).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        if self.scan.feed(new) {
            self.scan.pay(cx);
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(io::Error::other("too many HTTP/2 control frames")))
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for FrameBudget<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream()?).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()?).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream()?).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.as_ref().is_some_and(I::is_write_vectored)
    }
}

/// What a fuzzer feeds with frames: whether they are still within the budgets.
pub fn fuzz(bytes: &[u8], cut: usize) -> bool {
    let mut scan = Scan::new(FloodLimits::default());
    bytes.chunks(cut.max(1)).all(|part| scan.feed(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut out = length[1..].to_vec();
        out.extend([kind, flags, 0, 0, 0, 1]);
        out.extend(std::iter::repeat_n(0, payload));
        out
    }

    fn survives(frames: &[u8], cut: usize) -> bool {
        let mut scan = Scan::new(FloodLimits::default());
        let bytes = [&[0; 24][..], frames].concat();
        bytes.chunks(cut).all(|part| scan.feed(part))
    }

    #[test]
    fn floods_end_and_work_does_not() {
        for (name, kind, flags, payload, wanted) in [
            ("PING", 6, 0, 8, false),
            ("SETTINGS", 4, 0, 6, false),
            ("PRIORITY", 2, 0, 5, false),
            ("empty DATA", 0, 0, 0, false),
            ("empty CONTINUATION", 9, 0, 0, false),
            ("DATA", 0, 0, 100, true),
            ("end of stream", 0, 1, 0, true),
            ("HEADERS", 1, 5, 10, true),
            ("WINDOW_UPDATE", 8, 0, 4, true),
        ] {
            let frames = frame(kind, flags, payload).repeat(1500);
            for cut in [1, 7, 4096] {
                assert_eq!(survives(&frames, cut), wanted, "{name}, cut every {cut}");
            }
        }
        assert!(!survives(&frame(8, 0, 4).repeat(21_000), 4096), "updates");
    }

    #[tokio::test]
    async fn heads_give_others_a_turn() {
        for (kind, most) in [(1, 32 * 1024), (0, usize::MAX)] {
            let bytes = [&[0; 24][..], &frame(kind, 4, 8000).repeat(100)].concat();
            let mut stream = FrameBudget::new(&bytes[..], FloodLimits::default());
            let mut space = vec![0; 8192];
            let (mut read, mut turns) = (0, 0);
            while read < bytes.len() {
                turns += 1;
                let before = read;
                std::future::poll_fn(|cx| {
                    let mut buf = ReadBuf::new(&mut space);
                    while Pin::new(&mut stream).poll_read(cx, &mut buf).is_ready() {
                        let count = buf.filled().len();
                        read += count;
                        buf.clear();
                        if count == 0 {
                            break;
                        }
                    }
                    Poll::Ready(())
                })
                .await;
                tokio::task::yield_now().await;
                assert!(read - before <= most, "{kind}: {} in a turn", read - before);
            }
            assert!(turns > 8 || kind == 0, "{turns} turns");
        }
    }
}
