//! Two plain TCP connections made one: long streams go from socket to socket within the kernel (`splice(2)`), short
//! ones through a buffer.
//!
//! A direction borrows a pipe only while bytes move, once buffers came full one after the other: connections at rest
//! hold neither buffer nor pipe, and a long stream that pauses finds a pipe of its thread again.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice as kernel_splice,
};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::tcp::{TcpEnd, Transferred, quiet};

/// Bytes a direction holds at most outside of a pipe.
const BUFFER: usize = 16 * 1024;

/// Full buffers in a row after which a stream counts as long, and short pieces in a row after which it no longer does.
const LONG: u32 = 4;
/// Bytes a pipe should hold: on loopback and on fast links, fewer and larger moves cost a third less than the 64 KiB of
/// a pipe as it comes.
const CHUNK: usize = 1 << 20;
/// What a pipe holds when the kernel gives no more (the user's share of pages is used up).
const SMALL_CHUNK: usize = 64 * 1024;
/// Empty pipes that a thread keeps for the next stream.
const SPARE: usize = 8;

thread_local! {
    static SPARES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// Copies until both directions are closed, one side fails or nothing moved for `idle`. The downstream comes with the
/// bytes that were read from it before.
pub async fn splice(
    (head, downstream): (&[u8], &TcpStream),
    upstream: &TcpStream,
    idle: Option<Duration>,
    counts: &Transferred,
) -> TcpEnd {
    let mut up = Direction::new(head);
    counts.up.set(counts.up.get() + head.len() as u64);
    let mut down = Direction::new(&[]);
    let moved = Cell::new(Instant::now());
    let mut seen = 0;
    let both = poll_fn(|cx| {
        let sent = up.poll(cx, downstream, upstream, &counts.up);
        if let Poll::Ready(Err(failure)) = sent {
            return Poll::Ready(match failure {
                Failure::Reader(error) => TcpEnd::Downstream(error),
                Failure::Writer(error) => TcpEnd::Upstream(error),
            });
        }
        let received = down.poll(cx, upstream, downstream, &counts.down);
        if let Poll::Ready(Err(failure)) = received {
            return Poll::Ready(match failure {
                Failure::Reader(error) => TcpEnd::Upstream(error),
                Failure::Writer(error) => TcpEnd::Downstream(error),
            });
        }
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
        Some(limit) => tokio::select! {
            end = both => end,
            () = quiet(&moved, limit) => TcpEnd::Idle,
        },
    }
}

enum Failure {
    Reader(io::Error),
    Writer(io::Error),
}

/// One direction.
struct Direction {
    buffer: Vec<u8>,
    sent: usize,
    /// Full buffers in a row, or short pieces in a row while the stream is long.
    run: u32,
    long: bool,
    pipe: Option<Pipe>,
    /// The kernel refused to splice these sockets.
    refused: bool,
    ended: bool,
    done: bool,
}

struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
    room: usize,
}

impl Direction {
    fn new(head: &[u8]) -> Self {
        Self {
            buffer: head.to_vec(),
            sent: 0,
            run: 0,
            long: false,
            pipe: None,
            refused: false,
            ended: false,
            done: false,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        count: &Cell<u64>,
    ) -> Poll<Result<(), Failure>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.flush(cx, to)).map_err(Failure::Writer)?;
            if self.ended {
                break;
            }
            let moved = ready!(self.fill(cx, from)).map_err(Failure::Reader)?;
            count.set(count.get().saturating_add(moved as u64));
            self.ended = moved == 0;
        }
        self.done = true;
        self.rest();
        match rustix::net::shutdown(to, rustix::net::Shutdown::Write).map_err(io::Error::from) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                Poll::Ready(Err(Failure::Writer(error)))
            }
            // The other side may be gone already; what it sent is delivered.
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Reads into the pipe or the buffer; 0 is the reader's end.
    fn fill(&mut self, cx: &mut Context<'_>, from: &TcpStream) -> Poll<io::Result<usize>> {
        loop {
            if from.poll_read_ready(cx)?.is_pending() {
                self.rest();
                return Poll::Pending;
            }
            match (self.long && !self.refused, &self.pipe) {
                (true, None) => {
                    self.pipe = Pipe::borrow().ok();
                    self.refused = self.pipe.is_none();
                }
                // What it held was passed on before.
                (false, Some(_)) => self.rest(),
                _ => {}
            }
            let outcome = match &mut self.pipe {
                Some(pipe) => from.try_io(Interest::READABLE, || pipe.fill(from)),
                None => {
                    self.buffer.resize(BUFFER, 0);
                    self.sent = 0;
                    let outcome = from.try_read(&mut self.buffer);
                    self.buffer.truncate(*outcome.as_ref().unwrap_or(&0));
                    outcome
                }
            };
            match outcome {
                Ok(count) => {
                    self.judge(count);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if self.pipe.is_some() && is_refusal(&error) => {
                    self.rest();
                    self.refused = true;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Whether the stream is long, now that a read gave `count` bytes.
    fn judge(&mut self, count: usize) {
        let stays = (count >= BUFFER) == self.long;
        self.run = if stays { 0 } else { self.run + 1 };
        if self.run == LONG {
            self.long = !self.long;
            self.run = 0;
        }
    }

    /// Gives back what only moving bytes need.
    fn rest(&mut self) {
        self.buffer = Vec::new();
        if let Some(pipe) = self.pipe.take() {
            pipe.give_back();
        }
    }

    /// Writes all that is held.
    fn flush(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<()>> {
        loop {
            let rest = self.buffer.get(self.sent..).unwrap_or_default();
            let piped = self.pipe.as_ref().map_or(0, |pipe| pipe.held);
            if rest.is_empty() && piped == 0 {
                return Poll::Ready(Ok(()));
            }
            ready!(to.poll_write_ready(cx))?;
            let outcome = if rest.is_empty() {
                match &mut self.pipe {
                    Some(pipe) => to.try_io(Interest::WRITABLE, || pipe.drain(to)),
                    None => Ok(0),
                }
            } else {
                let written = to.try_write(rest);
                if let Ok(count) = written {
                    self.sent += count;
                }
                written
            };
            match outcome {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Pipe {
    /// A pipe that this thread has to spare, or a new one.
    fn borrow() -> io::Result<Self> {
        let spare = SPARES.try_with(|spares| spares.borrow_mut().pop());
        if let Ok(Some(pipe)) = spare {
            return Ok(pipe);
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let room = fcntl_setpipe_size(&writer, CHUNK).unwrap_or(SMALL_CHUNK);
        Ok(Self {
            reader,
            writer,
            held: 0,
            room,
        })
    }

    /// Only an empty pipe may meet another stream.
    fn give_back(self) {
        if self.held > 0 {
            return;
        }
        // A thread that ends has no use for it.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(self);
            }
        });
    }

    fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let count = kernel_splice(from, None, &self.writer, None, self.room, flags)?;
        self.held += count;
        Ok(count)
    }

    fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let count = kernel_splice(&self.reader, None, to, None, self.held, flags)?;
        self.held = self.held.saturating_sub(count);
        Ok(count)
    }
}

/// The kernel cannot splice this kind of socket.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    /// Bytes that no shift or swap leaves as they are.
    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    async fn exchange(length: usize) {
        let (mut client, downstream) = pair().await;
        let (upstream, mut server) = pair().await;
        let counts = Transferred::default();
        let sent = pattern(length);
        let talk = async {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let serve = async {
            let mut request = Vec::new();
            server.read_to_end(&mut request).await.unwrap();
            server.write_all(&request[4..]).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let (end, answer, ()) = tokio::join!(
            splice((b"head", &downstream), &upstream, None, &counts),
            talk,
            serve
        );
        assert!(matches!(end, TcpEnd::Closed));
        assert!(answer == sent, "bytes changed");
        let total = length as u64;
        assert_eq!((counts.up.get(), counts.down.get()), (total + 4, total));
    }

    #[tokio::test]
    async fn long_and_short_streams_arrive_whole_and_half_close_is_kept() {
        for length in [0, 1, 1000, BUFFER * 3, 8 << 20] {
            exchange(length).await;
        }
    }

    #[tokio::test]
    async fn a_reset_is_blamed_on_its_side() {
        let (_client, downstream) = pair().await;
        let (upstream, server) = pair().await;
        server.set_zero_linger().unwrap();
        drop(server);
        let counts = Transferred::default();
        let end = splice((b"x", &downstream), &upstream, None, &counts).await;
        assert!(matches!(end, TcpEnd::Upstream(_)), "{end:?}");
    }
}
