//! A stream that carries another protocol, after CONNECT or an extended CONNECT.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use quinn::SendStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::code;
use super::frame::{DATA, Frames, Part, put_head};

/// Bytes written at a time, at most.
const PIECE: usize = 16 * 1024;

/// The client's end of a tunnel that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    taken: AtomicBool,
    end: Mutex<Option<oneshot::Receiver<TunnelIo>>>,
}

impl Tunnel {
    /// A tunnel, and where its stream is to be put once the answer's head is sent.
    pub(super) fn new() -> (Self, oneshot::Sender<TunnelIo>) {
        let (put, end) = oneshot::channel();
        let shared = Shared {
            taken: AtomicBool::new(false),
            end: Mutex::new(Some(end)),
        };
        (Self(Arc::new(shared)), put)
    }

    /// Whether somebody will use the tunnel.
    pub(super) fn is_taken(&self) -> bool {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// Resolves to the tunnel when it is open.
    pub(crate) fn open(self) -> impl Future<Output = Option<TunnelIo>> + use<> {
        self.0.taken.store(true, Ordering::Relaxed);
        let end = self
            .0
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        async move { end?.await.ok() }
    }
}

/// Bytes both ways in DATA frames.
#[derive(Debug)]
pub(crate) struct TunnelIo {
    frames: Frames,
    send: SendStream,
    /// Came and was not read yet.
    received: Bytes,
    /// Is still to be sent.
    unsent: BytesMut,
    finished: bool,
}

impl TunnelIo {
    pub(super) fn new(frames: Frames, send: SendStream) -> Self {
        Self {
            frames,
            send,
            received: Bytes::new(),
            unsent: BytesMut::new(),
            finished: false,
        }
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent.has_remaining() {
            let sent = Pin::new(&mut self.send).poll_write(cx, &self.unsent);
            let count = std::task::ready!(sent).map_err(io::Error::other)?;
            self.unsent.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TunnelIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.received.is_empty() {
            match std::task::ready!(self.frames.poll_next(cx)) {
                Ok(Part::Data(data)) => self.received = data,
                Ok(Part::End) => return Poll::Ready(Ok(())),
                Ok(_) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Err(error) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let most = buf.remaining().min(self.received.len());
        buf.put_slice(&self.received.split_to(most));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_unsent(cx))?;
        let piece = buf.get(..buf.len().min(PIECE)).unwrap_or_default();
        put_head(DATA, piece.len(), &mut self.unsent);
        self.unsent.extend_from_slice(piece);
        // What cannot be sent now is sent with the next piece, or by a flush.
        if let Poll::Ready(outcome) = self.poll_unsent(cx) {
            outcome?;
        }
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unsent(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_unsent(cx))?;
        if !self.finished {
            self.finished = true;
            let _ = self.send.finish();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelIo {
    fn drop(&mut self) {
        self.frames.stop(code::NO_ERROR);
        if !self.finished {
            let _ = self.send.reset(code::REQUEST_CANCELLED);
        }
    }
}
