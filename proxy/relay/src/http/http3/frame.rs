//! Frames of a stream (RFC 9114, section 7) as they are read. A frame of fields is held whole and therefore limited; of
//! others only the head is held.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quinn::{ReadError, RecvStream, VarInt};

use super::code;

pub(super) const DATA: u64 = 0;
pub(super) const HEADERS: u64 = 1;
pub(super) const SETTINGS: u64 = 4;
pub(super) const GOAWAY: u64 = 7;
/// Bytes taken from a stream at a time, at most.
const CHUNK: usize = 64 * 1024;
/// Bytes of a frame's head: two numbers.
const HEAD: usize = 16;

/// A part of a stream.
#[derive(Debug)]
pub(super) enum Part {
    /// A field section, whole.
    Fields(Bytes),
    /// Bytes of a body.
    Data(Bytes),
    /// The payload of a SETTINGS frame.
    Settings(Bytes),
    /// The stream has ended.
    End,
}

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The client broke the protocol in a way that ends the connection.
    #[error("{1}")]
    Connection(VarInt, &'static str),
    /// The message is malformed.
    #[error("{0}")]
    Message(&'static str),
    /// A field section is too large.
    #[error("header fields too large")]
    TooLarge,
    /// The client gave the stream up, or is gone.
    #[error(transparent)]
    Gone(#[from] ReadError),
}

/// Which frames a stream may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Control,
}

/// Reads the frames of one stream.
#[derive(Debug)]
pub(super) struct Frames {
    recv: RecvStream,
    kind: Kind,
    /// Read and not looked at yet.
    chunk: Bytes,
    state: State,
    /// Bytes of a field section, at most.
    limit: usize,
    /// The end was reached, or an error.
    over: bool,
    /// Bytes that were taken from the stream.
    taken: u64,
    /// No frame has begun.
    first: bool,
}

#[derive(Debug)]
enum State {
    Head(BytesMut),
    Data(u64),
    Whole(u64, usize, BytesMut),
    Skip(u64),
}

impl Frames {
    pub(super) fn request(recv: RecvStream, limit: usize) -> Self {
        Self::new(recv, Kind::Request, Bytes::new(), limit)
    }

    /// Of a control stream, of which `rest` was read already.
    pub(super) fn control(recv: RecvStream, rest: Bytes) -> Self {
        Self::new(recv, Kind::Control, rest, 4096)
    }

    fn new(recv: RecvStream, kind: Kind, chunk: Bytes, limit: usize) -> Self {
        Self {
            recv,
            kind,
            chunk,
            state: State::Head(BytesMut::new()),
            limit,
            over: false,
            taken: 0,
            first: true,
        }
    }

    /// Bytes that came on the stream so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Asks the client to send no more.
    pub(super) fn stop(&mut self, code: VarInt) {
        if !self.over {
            self.over = true;
            let _ = self.recv.stop(code);
        }
    }

    pub(super) async fn next(&mut self) -> Result<Part, StreamError> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part, StreamError>> {
        loop {
            if self.over {
                return Poll::Ready(Ok(Part::End));
            }
            let part = self.advance();
            if !matches!(part, Ok(None)) {
                self.over = part.is_err();
                return Poll::Ready(part.map(|part| part.unwrap_or(Part::End)));
            }
            let read = {
                let read = pin!(self.recv.read_chunk(CHUNK, true));
                std::task::ready!(read.poll(cx))
            };
            match read {
                Ok(Some(chunk)) => {
                    self.taken = self.taken.saturating_add(chunk.bytes.len() as u64);
                    self.chunk = chunk.bytes;
                }
                Ok(None) => {
                    self.over = true;
                    return Poll::Ready(match &self.state {
                        State::Head(head) if head.is_empty() => Ok(Part::End),
                        _ => Err(StreamError::Connection(
                            code::FRAME_ERROR,
                            "a frame is cut off",
                        )),
                    });
                }
                Err(error) => {
                    self.over = true;
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
    }

    /// Goes on with what was read; nothing when more is needed.
    fn advance(&mut self) -> Result<Option<Part>, StreamError> {
        loop {
            match &mut self.state {
                State::Head(head) => {
                    let Some((kind, length)) = take_head(head, &mut self.chunk) else {
                        return Ok(None);
                    };
                    self.state = self.begin(kind, length)?;
                }
                State::Data(0) | State::Skip(0) => self.state = State::Head(BytesMut::new()),
                State::Data(_) | State::Skip(_) if self.chunk.is_empty() => return Ok(None),
                State::Data(left) => {
                    let data = split(&mut self.chunk, left);
                    return Ok(Some(Part::Data(data)));
                }
                State::Skip(left) => {
                    split(&mut self.chunk, left);
                }
                State::Whole(kind, length, held) => {
                    let missing = length.saturating_sub(held.len());
                    let now = self.chunk.split_to(missing.min(self.chunk.len()));
                    held.extend_from_slice(&now);
                    if held.len() < *length {
                        return Ok(None);
                    }
                    let (kind, held) = (*kind, std::mem::take(held).freeze());
                    self.state = State::Head(BytesMut::new());
                    return Ok(Some(match kind {
                        HEADERS => Part::Fields(held),
                        _ => Part::Settings(held),
                    }));
                }
            }
        }
    }

    fn begin(&mut self, kind: u64, length: u64) -> Result<State, StreamError> {
        let first = std::mem::replace(&mut self.first, false);
        if first && self.kind == Kind::Control && kind != SETTINGS {
            let why = "settings are not first";
            return Err(StreamError::Connection(code::MISSING_SETTINGS, why));
        }
        let unexpected = |why| Err(StreamError::Connection(code::FRAME_UNEXPECTED, why));
        let held = || -> Result<State, StreamError> {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > self.limit {
                return Err(StreamError::TooLarge);
            }
            Ok(State::Whole(kind, length, BytesMut::new()))
        };
        match (self.kind, kind) {
            (Kind::Request, DATA) => Ok(State::Data(length)),
            (Kind::Request, HEADERS) | (Kind::Control, SETTINGS) => held(),
            // CANCEL_PUSH, GOAWAY and MAX_PUSH_ID are about pushes, of which there are none.
            (Kind::Control, 3 | GOAWAY | 13) => Ok(State::Skip(length)),
            (_, DATA..=9 | 13) => unexpected("a frame that may not be there"),
            // Others are for extensions.
            _ => Ok(State::Skip(length)),
        }
    }
}

/// Moves bytes of a frame's head until both numbers are there.
fn take_head(head: &mut BytesMut, chunk: &mut Bytes) -> Option<(u64, u64)> {
    while chunk.has_remaining() {
        if let Some(numbers) = numbers(head) {
            head.clear();
            return Some(numbers);
        }
        head.put_u8(chunk.get_u8());
        if head.len() > HEAD {
            break;
        }
    }
    let numbers = numbers(head)?;
    head.clear();
    Some(numbers)
}

fn numbers(head: &[u8]) -> Option<(u64, u64)> {
    let (kind, rest) = number(head)?;
    let (length, _) = number(rest)?;
    Some((kind, length))
}

fn split(chunk: &mut Bytes, left: &mut u64) -> Bytes {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    let now = chunk.split_to(most.min(chunk.len()));
    *left -= now.len() as u64;
    now
}

/// A number of variable length (RFC 9000, section 16), and what follows it.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let (own, rest) = bytes.split_at_checked(length)?;
    let value = own
        .iter()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    // The first two bits are the length's.
    let mask = u64::MAX >> (64 - 8 * length + 2);
    Some((value & mask, rest))
}

/// Writes a number of variable length.
pub(super) fn put_number(number: u64, to: &mut BytesMut) {
    match number {
        0..0x40 => to.put_u8(u8::try_from(number).unwrap_or_default()),
        0x40..0x4000 => to.put_u16(0x4000 | u16::try_from(number).unwrap_or_default()),
        0x4000..0x4000_0000 => to.put_u32(0x8000_0000 | u32::try_from(number).unwrap_or_default()),
        _ => to.put_u64(0xc000_0000_0000_0000 | number),
    }
}

/// The head of a frame.
pub(super) fn put_head(kind: u64, length: usize, to: &mut BytesMut) {
    put_number(kind, to);
    put_number(length as u64, to);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_lengths() {
        for (value, length) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16_383, 2),
            (16_384, 4),
            (1_073_741_823, 4),
            (1_073_741_824, 8),
            ((1 << 62) - 1, 8),
        ] {
            let mut bytes = BytesMut::new();
            put_number(value, &mut bytes);
            assert_eq!(bytes.len(), length, "{value}");
            assert_eq!(number(&bytes), Some((value, &b""[..])));
            assert_eq!(number(&bytes[..length - 1]), None, "{value} cut off");
        }
    }

    #[test]
    fn heads_come_in_pieces() {
        let mut head = BytesMut::new();
        let mut first = Bytes::from_static(b"\x01");
        assert_eq!(take_head(&mut head, &mut first), None);
        let mut second = Bytes::from_static(b"\x40");
        assert_eq!(take_head(&mut head, &mut second), None);
        let mut third = Bytes::from_static(b"\x50rest");
        assert_eq!(take_head(&mut head, &mut third), Some((HEADERS, 0x50)));
        assert_eq!(&third[..], b"rest");
    }
}
