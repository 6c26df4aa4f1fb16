//! What fuzzers call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use super::chunked::{Chunks, Fed};
use super::head::{self, Framing, Head, HeadRules};
use super::{Guard, Signals};

/// Bytes of the first head, and of the body after it; `None` when there is no head.
pub fn head(bytes: &[u8]) -> Option<(usize, Option<usize>)> {
    let Head::Whole { length, framing } = head::read(bytes, &HeadRules::default()) else {
        return None;
    };
    let rest = bytes.get(length..).unwrap_or_default();
    let body = match framing {
        Framing::None => Some(0),
        Framing::Length(length) => usize::try_from(length).ok(),
        Framing::Chunked => match Chunks::default().feed(rest) {
            (used, Fed::Done) => Some(used),
            _ => None,
        },
    };
    Some((length, body))
}

/// What a guard hands on of bytes that come in pieces of `cut`, when each request is answered at its end; and how many
/// requests it saw.
pub fn stream(bytes: &[u8], cut: usize) -> (Vec<u8>, u32) {
    let signals = Arc::<Signals>::default();
    let pieces = Pieces {
        left: bytes,
        cut: cut.max(1),
    };
    let rules = HeadRules::default();
    let mut guard = Guard::new(pieces, Arc::clone(&signals), rules, None, false);
    let mut cx = Context::from_waker(Waker::noop());
    let mut passed = Vec::new();
    let mut space = [0; 4096];
    loop {
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut guard).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => passed.extend(buf.filled()),
            _ => return (passed, signals.begun()),
        }
        while signals.begun() != guard.given() {
            signals.begin();
        }
        if guard.is_between() {
            while signals.ended() != signals.begun() {
                signals.end();
            }
        }
    }
}

/// Bytes in pieces, and then their end.
struct Pieces<'b> {
    left: &'b [u8],
    cut: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.cut.min(self.left.len()).min(buf.remaining());
        let (now, rest) = self.left.split_at(count);
        buf.put_slice(now);
        self.left = rest;
        Poll::Ready(Ok(()))
    }
}
