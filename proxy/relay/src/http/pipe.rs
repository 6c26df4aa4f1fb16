//! The body of a message, written like a socket: what CONNECT ends and tunnels are made of.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use lateen_proxy_model::ResetReason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes taken at a time; no more than one piece waits.
const PIECE: usize = 64 * 1024;

/// A body whose bytes come from a [`PipeWriter`].
#[derive(Debug)]
pub(crate) struct PipeBody(Rc<RefCell<Pipe>>);

/// Where the bytes of a [`PipeBody`] are written. Dropped without a shut-down, the body breaks off.
#[derive(Debug)]
pub(crate) struct PipeWriter(Rc<RefCell<Pipe>>);

#[derive(Debug, Default)]
struct Pipe {
    waiting: Bytes,
    end: Option<End>,
    /// Nobody reads any more.
    gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    InOrder,
    BrokenOff,
}

/// Two bodies as one connection: one is read, the other written.
#[derive(Debug)]
pub(crate) struct BodyStream<U> {
    body: U,
    read: Bytes,
    writer: PipeWriter,
}

/// A body, and where it is written.
pub(crate) fn pipe() -> (PipeWriter, PipeBody) {
    let shared = Rc::<RefCell<Pipe>>::default();
    (PipeWriter(Rc::clone(&shared)), PipeBody(shared))
}

impl Pipe {
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl PipeBody {
    /// The next bytes; `None` at the end.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        let mut pipe = self.0.borrow_mut();
        if !pipe.waiting.is_empty() {
            let data = std::mem::take(&mut pipe.waiting);
            if let Some(writer) = pipe.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match pipe.end {
            Some(End::InOrder) => Poll::Ready(None),
            Some(End::BrokenOff) => Poll::Ready(Some(Err(ResetReason::LocalReset))),
            None => {
                pipe.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether the end was reached.
    pub(crate) fn is_end(&self) -> bool {
        let pipe = self.0.borrow();
        pipe.waiting.is_empty() && pipe.end == Some(End::InOrder)
    }
}

impl Drop for PipeBody {
    fn drop(&mut self) {
        let mut pipe = self.0.borrow_mut();
        pipe.gone = true;
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        let mut pipe = self.0.borrow_mut();
        pipe.end.get_or_insert(End::BrokenOff);
        pipe.wake_reader();
    }
}

impl AsyncWrite for PipeWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.borrow_mut();
        if pipe.gone || pipe.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if !pipe.waiting.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let piece = bytes.get(..PIECE).unwrap_or(bytes);
        pipe.waiting = Bytes::copy_from_slice(piece);
        pipe.wake_reader();
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        pipe.end.get_or_insert(End::InOrder);
        pipe.wake_reader();
        Poll::Ready(Ok(()))
    }
}

impl<U> BodyStream<U> {
    /// Reads `body`, and writes where `writer` does.
    pub(crate) fn new(body: U, writer: PipeWriter) -> Self {
        Self {
            body,
            read: Bytes::new(),
            writer,
        }
    }
}

impl<U> AsyncRead for BodyStream<U>
where
    U: Body<Data = Bytes, Error = ResetReason> + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.read.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(reason)) => return Poll::Ready(Err(io::Error::other(reason))),
                // Trailers tell a stream nothing.
                Some(Ok(frame)) => this.read = frame.into_data().unwrap_or_default(),
            }
        }
        let count = this.read.len().min(buf.remaining());
        buf.put_slice(this.read.get(..count).unwrap_or_default());
        this.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<U: Unpin> AsyncWrite for BodyStream<U> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().writer).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().writer).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::request_body::RequestBody;
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_the_body() {
        let (mut writer, body) = pipe();
        let mut read = RequestBody::piped(body);
        let write = async {
            writer.write_all(&[7; 3 * PIECE]).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let collect = async {
            let mut all = 0;
            while let Some(frame) = read.frame().await {
                let data = frame.unwrap().into_data().unwrap();
                assert!(data.len() <= PIECE);
                all += data.len();
            }
            all
        };
        assert_eq!(tokio::join!(write, collect).1, 3 * PIECE);
    }

    #[tokio::test]
    async fn ends_out_of_order_are_seen() {
        let (writer, body) = pipe();
        let mut read = RequestBody::piped(body);
        drop(writer);
        assert!(read.frame().await.is_some_and(|frame| frame.is_err()));
        let (mut writer, body) = pipe();
        drop(body);
        assert!(writer.write_all(b"a").await.is_err());
    }

    #[tokio::test]
    async fn two_bodies_are_a_connection() {
        let (mut far, body) = pipe();
        let (writer, mut sent) = pipe();
        let mut stream = BodyStream::new(RequestBody::piped(body), writer);
        let talk = async {
            far.write_all(b"hello").await.unwrap();
            far.shutdown().await.unwrap();
        };
        let mut text = String::new();
        let read = stream.read_to_string(&mut text);
        let (_, read) = tokio::join!(talk, read);
        read.unwrap();
        assert_eq!(text, "hello");
        stream.write_all(b"back").await.unwrap();
        let frame = std::future::poll_fn(|cx| sent.poll(cx)).await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "back");
    }
}
