//! Two connections made one: bytes copied both ways with half-close, counters and an idle limit.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lateen_proxy_tls::Block;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

/// Bytes seen so far; read it while the copy is under way for periodic reports.
#[derive(Debug, Default)]
pub struct Transferred {
    /// From the downstream to the upstream.
    pub up: Cell<u64>,
    /// From the upstream to the downstream.
    pub down: Cell<u64>,
}

/// How a copy ended.
#[derive(Debug)]
pub enum TcpEnd {
    /// Both sides closed in order.
    Closed,
    /// No byte either way for the idle limit.
    Idle,
    /// The downstream's connection failed.
    Downstream(io::Error),
    /// The upstream's connection failed.
    Upstream(io::Error),
}

/// Copies until both directions are closed, one side fails or nothing moved for `idle`.
pub async fn copy<D, U>(
    downstream: &mut D,
    upstream: &mut U,
    idle: Option<Duration>,
    counts: &Transferred,
) -> TcpEnd
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Pump::new();
    let mut down = Pump::new();
    let moved = Cell::new(Instant::now());
    let mut seen = 0;
    let both = poll_fn(|cx| {
        let sent = up.poll(cx, downstream, upstream, &counts.up);
        if let Poll::Ready(Err(failure)) = sent {
            return Poll::Ready(failure.blame(TcpEnd::Downstream, TcpEnd::Upstream));
        }
        let received = down.poll(cx, upstream, downstream, &counts.down);
        if let Poll::Ready(Err(failure)) = received {
            return Poll::Ready(failure.blame(TcpEnd::Upstream, TcpEnd::Downstream));
        }
        // The idle timer's own wake-up polls this too: only bytes count.
        let total = counts.up.get().wrapping_add(counts.down.get());
        if idle.is_some() && std::mem::replace(&mut seen, total) != total {
            moved.set(Instant::now());
        }
        if sent.is_ready() && received.is_ready() {
            Poll::Ready(TcpEnd::Closed)
        } else {
            Poll::Pending
        }
    });
    match idle {
        None => both.await,
        Some(limit) => {
            tokio::select! {
                end = both => end,
                () = quiet(&moved, limit) => TcpEnd::Idle,
            }
        }
    }
}

/// Resolves when `moved` lies `limit` back; the copy moves it on, so no timer is set anew for each byte.
pub(crate) async fn quiet(moved: &Cell<Instant>, limit: Duration) {
    loop {
        let deadline = moved.get() + limit;
        if Instant::now() >= deadline {
            return;
        }
        sleep_until(deadline).await;
    }
}

/// Which end of one direction failed.
enum Failure {
    Reader(io::Error),
    Writer(io::Error),
}

impl Failure {
    fn blame(
        self,
        reader: impl FnOnce(io::Error) -> TcpEnd,
        writer: impl FnOnce(io::Error) -> TcpEnd,
    ) -> TcpEnd {
        match self {
            Self::Reader(error) => reader(error),
            Self::Writer(error) => writer(error),
        }
    }
}

/// One direction. Its buffer exists only while bytes wait in it, so idle connections hold none.
struct Pump {
    block: Block,
    /// How reading ended, once it has; what was read before is passed on first.
    ended: Option<io::Result<()>>,
    phase: Phase,
}

#[derive(PartialEq)]
enum Phase {
    Copying,
    ShuttingDown,
    Done,
}

impl Pump {
    fn new() -> Self {
        Self {
            block: Block::default(),
            ended: None,
            phase: Phase::Copying,
        }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        count: &Cell<u64>,
    ) -> Poll<Result<(), Failure>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while self.phase == Phase::Copying {
            let idle = self.fill(cx, reader, count);
            ready!(self.drain(cx, writer)).map_err(Failure::Writer)?;
            match self.ended.take() {
                Some(end) => {
                    end.map_err(Failure::Reader)?;
                    self.phase = Phase::ShuttingDown;
                }
                None if idle => {
                    // TLS writers hold back until told that nothing more comes for now.
                    let _ = Pin::new(writer).poll_flush(cx);
                    return Poll::Pending;
                }
                None => {}
            }
        }
        if self.phase == Phase::ShuttingDown {
            match ready!(Pin::new(&mut *writer).poll_shutdown(cx)) {
                // The other side may be gone already; what it sent is delivered.
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(error) => return Poll::Ready(Err(Failure::Writer(error))),
            }
            self.phase = Phase::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what there is, as far as there is room: TLS gives a record at a time, and one write takes several. True when
    /// the reader has no more for now.
    fn fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        count: &Cell<u64>,
    ) -> bool {
        while self.ended.is_none() && !self.block.is_full() {
            match self.block.poll_fill(cx, reader) {
                Poll::Pending => return true,
                Poll::Ready(Ok(0)) => self.ended = Some(Ok(())),
                Poll::Ready(Ok(read)) => count.set(count.get().saturating_add(read as u64)),
                Poll::Ready(Err(error)) => self.ended = Some(Err(error)),
            }
        }
        false
    }

    fn drain<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        while !self.block.waiting().is_empty() {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, self.block.waiting()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.block.take(written);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf, duplex};

    use super::*;

    /// Gives its text, then fails.
    struct CutShort(Option<&'static [u8]>);

    impl AsyncRead for CutShort {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Some(text) = self.0.take() else {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            };
            buf.put_slice(text);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for CutShort {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn bytes_flow_both_ways_and_half_close_is_kept() {
        let (mut client, mut downstream) = duplex(64);
        let (mut upstream, mut server) = duplex(64);
        let counts = Transferred::default();
        let talk = async {
            client.write_all(&[7; 1000]).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let serve = async {
            let mut request = Vec::new();
            server.read_to_end(&mut request).await.unwrap();
            server.write_all(&request[..10]).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let (end, answer, ()) = tokio::join!(
            copy(&mut downstream, &mut upstream, None, &counts),
            talk,
            serve
        );
        assert!(matches!(end, TcpEnd::Closed));
        assert_eq!(answer, [7; 10]);
        assert_eq!((counts.up.get(), counts.down.get()), (1000, 10));
    }

    #[tokio::test]
    async fn what_came_before_a_failure_is_delivered() {
        let mut upstream = CutShort(Some(b"the answer"));
        let (mut client, mut downstream) = duplex(64);
        let counts = Transferred::default();
        let end = copy(&mut downstream, &mut upstream, None, &counts).await;
        assert!(matches!(end, TcpEnd::Upstream(_)), "{end:?}");
        drop(downstream);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "the answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_ends_at_its_limit() {
        let (_client, mut downstream) = duplex(64);
        let (mut upstream, _server) = duplex(64);
        let counts = Transferred::default();
        let begin = Instant::now();
        let end = copy(
            &mut downstream,
            &mut upstream,
            Some(Duration::from_secs(3600)),
            &counts,
        )
        .await;
        assert!(matches!(end, TcpEnd::Idle));
        assert_eq!(begin.elapsed().as_secs(), 3600);
    }
}
