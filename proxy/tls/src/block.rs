//! Buffers for bulk transfers, lent to a stream while bytes wait in them.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of a buffer: a TLS record, so that what is encrypted and copied stays in the processor's first caches.
pub const BLOCK: usize = 16 * 1024;

/// Buffers that a thread keeps for the next stream; more than that are given back to the system.
const SPARE: usize = 16;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that were read and wait to be passed on. Memory is held only while there are any.
#[derive(Debug, Default)]
pub struct Block {
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
}

impl Block {
    /// What waits.
    pub fn waiting(&self) -> &[u8] {
        self.buffer.get(self.taken..self.filled).unwrap_or_default()
    }

    /// Whether there is no room behind what waits.
    pub fn is_full(&self) -> bool {
        self.filled == BLOCK
    }

    /// Takes the first `count` of the bytes that wait.
    pub fn take(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count).min(self.filled);
        if self.taken == self.filled {
            self.release();
        }
    }

    /// Reads once, behind what waits already; gives the number of bytes, 0 at the end of the stream.
    pub fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<std::io::Result<usize>> {
        if self.buffer.is_empty() {
            let spare = SPARES.try_with(|spares| spares.borrow_mut().pop());
            self.buffer = spare.ok().flatten().unwrap_or_else(|| vec![0; BLOCK]);
        }
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let mut space = ReadBuf::new(room);
        let outcome = Pin::new(reader).poll_read(cx, &mut space);
        let count = space.filled().len();
        self.filled += count;
        if self.taken == self.filled {
            self.release();
        }
        ready!(outcome)?;
        Poll::Ready(Ok(count))
    }

    fn release(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        (self.taken, self.filled) = (0, 0);
        if buffer.is_empty() {
            return;
        }
        // A thread that ends has no use for it.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(buffer);
            }
        });
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.release();
    }
}
