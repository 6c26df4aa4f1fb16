//! Buffers for bulk transfers, lent to a stream while bytes wait in them.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of a buffer to begin with: a TLS record.
pub const BLOCK: usize = 16 * 1024;

/// Bytes of a buffer of a stream that filled the one before: each system call wakes whoever waits at its other end, and
/// that costs more than the processor's caches save with small pieces.
const LARGE: usize = 256 * 1024;

/// Small buffers that a thread keeps for the next stream; more than that are given back to the system.
const SPARE: usize = 16;
/// Large buffers that a thread keeps.
const SPARE_LARGE: usize = 2;
/// Large buffers that streams of a thread hold at once, so that peers who do not read cannot make a proxy hold more than
/// this many; further streams get small ones.
const LENT_LARGE: usize = 32;

#[derive(Default)]
struct Spares {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    lent: usize,
}

thread_local! {
    static SPARES: RefCell<Spares> = RefCell::default();
}

impl Spares {
    fn lend(&mut self, large: bool) -> Vec<u8> {
        if large && self.lent < LENT_LARGE {
            self.lent += 1;
            return self.large.pop().unwrap_or_else(|| vec![0; LARGE]);
        }
        self.small.pop().unwrap_or_else(|| vec![0; BLOCK])
    }

    fn take_back(&mut self, buffer: Vec<u8>) {
        let large = buffer.len() == LARGE;
        self.lent = self.lent.saturating_sub(large.into());
        let (spares, most) = match large {
            true => (&mut self.large, SPARE_LARGE),
            false => (&mut self.small, SPARE),
        };
        if spares.len() < most {
            spares.push(buffer);
        }
    }
}

/// Bytes that were read and wait to be passed on. Memory is held only while there are any.
#[derive(Debug, Default)]
pub struct Block {
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
    /// The last buffer was filled to its end.
    bulk: bool,
}

impl Block {
    /// What waits.
    pub fn waiting(&self) -> &[u8] {
        self.buffer.get(self.taken..self.filled).unwrap_or_default()
    }

    /// Whether there is no room behind what waits.
    pub fn is_full(&self) -> bool {
        self.filled > 0 && self.filled == self.buffer.len()
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
            let lent = SPARES.try_with(|spares| spares.borrow_mut().lend(self.bulk));
            self.buffer = lent.unwrap_or_else(|_| vec![0; BLOCK]);
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
        if buffer.is_empty() {
            return;
        }
        // A large buffer stays worth its while as long as it takes in more than a small one could.
        if self.filled > 0 {
            self.bulk = self.filled >= BLOCK;
        }
        (self.taken, self.filled) = (0, 0);
        // A thread that ends has no use for it.
        let _ = SPARES.try_with(|spares| spares.borrow_mut().take_back(buffer));
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::repeat;

    use super::*;

    fn fill<R: AsyncRead + Unpin>(block: &mut Block, reader: &mut R) -> usize {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match block.poll_fill(&mut cx, reader) {
            Poll::Ready(Ok(count)) => count,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stream_that_fills_its_buffer_gets_a_larger_one_while_it_does() {
        let mut bytes = repeat(7);
        let mut block = Block::default();
        for expected in [BLOCK, LARGE, LARGE] {
            assert_eq!(fill(&mut block, &mut bytes), expected);
            assert!(block.is_full());
            block.take(expected);
        }
        assert_eq!(fill(&mut block, &mut &b"short"[..]), 5);
        block.take(5);
        assert_eq!(fill(&mut block, &mut bytes), BLOCK);
    }

    #[test]
    fn large_buffers_of_a_thread_are_few() {
        let mut bytes = repeat(7);
        let mut blocks: Vec<Block> = (0..100).map(|_| Block::default()).collect();
        for block in &mut blocks {
            fill(block, &mut bytes);
            block.take(BLOCK);
            fill(block, &mut bytes);
        }
        let held: usize = blocks.iter().map(|block| block.waiting().len()).sum();
        assert!(held <= LENT_LARGE * LARGE + 100 * BLOCK, "{held} bytes");
        drop(blocks);
        let mut again = Block::default();
        again.bulk = true;
        assert_eq!(fill(&mut again, &mut bytes), LARGE);
    }
}
