//! Two connections made one: bytes copied both ways with half-close, counters and an idle limit.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// Bytes one direction holds at most; one TLS record fits, so a record is passed on with one write.
const BUFFER: usize = 16 * 1024;

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
async fn quiet(moved: &Cell<Instant>, limit: Duration) {
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

/// One direction. The buffer exists only while bytes wait in it, so idle connections hold none.
struct Pump {
    buffer: Vec<u8>,
    sent: usize,
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
            buffer: Vec::new(),
            sent: 0,
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
            if self.sent == self.buffer.len() {
                ready!(self.fill(cx, reader, writer)).map_err(Failure::Reader)?;
                if self.buffer.is_empty() {
                    self.phase = Phase::ShuttingDown;
                    break;
                }
                count.set(count.get().saturating_add(self.buffer.len() as u64));
            }
            ready!(self.drain(cx, writer)).map_err(Failure::Writer)?;
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

    /// Reads into the buffer; empty afterwards means the reader is at its end.
    fn fill<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        self.sent = 0;
        self.buffer.resize(BUFFER, 0);
        let mut space = ReadBuf::new(&mut self.buffer);
        let outcome = Pin::new(reader).poll_read(cx, &mut space);
        let filled = space.filled().len();
        if outcome.is_pending() {
            self.buffer = Vec::new();
            // TLS writers hold back until told that nothing more comes for now.
            let _ = Pin::new(writer).poll_flush(cx);
            return Poll::Pending;
        }
        self.buffer.truncate(filled);
        outcome
    }

    fn drain<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.buffer.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

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
