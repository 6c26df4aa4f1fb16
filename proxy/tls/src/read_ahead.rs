//! Reading more than rustls asks for. It reads 4 KiB at a time, a quarter of a record: under load, most of what a bulk
//! transfer costs would be system calls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::block::{BLOCK, Block};

/// A stream that reads large pieces as soon as its peer fills what was asked for; short messages go straight through.
#[derive(Debug)]
pub struct ReadAhead<S> {
    inner: S,
    ahead: Block,
    /// The last read was filled to its end.
    bulk: bool,
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            ahead: Block::default(),
            bulk: false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.waiting().is_empty() {
            if !this.bulk || buf.remaining() >= BLOCK {
                let room = buf.remaining();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                this.bulk = buf.remaining() == 0 && room > 0;
                return Poll::Ready(Ok(()));
            }
            let count = ready!(this.ahead.poll_fill(cx, &mut this.inner))?;
            this.bulk = count > buf.remaining();
        }
        let waiting = this.ahead.waiting();
        let count = waiting.len().min(buf.remaining());
        buf.put_slice(waiting.get(..count).unwrap_or_default());
        this.ahead.take(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn every_byte_comes_once_and_in_order() {
        let sent: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
        for piece in [1, 7, 4096, 100_000] {
            let (mut client, server) = duplex(80_000);
            let mut reader = ReadAhead::new(server);
            let wanted = sent.clone();
            let writer = async {
                client.write_all(&sent).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let reading = async {
                let mut got = Vec::new();
                let mut buffer = vec![0; piece];
                loop {
                    let count = reader.read(&mut buffer).await.unwrap();
                    if count == 0 {
                        return got;
                    }
                    got.extend_from_slice(&buffer[..count]);
                }
            };
            let ((), got) = tokio::join!(writer, reading);
            assert!(got == wanted, "pieces of {piece}");
            assert!(reader.ahead.waiting().is_empty());
        }
    }
}
