//! Bodies decompressed piece by piece, with a bound on what comes out of what went in.

use std::fmt;

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lateen_proxy_model::{BodyChange, BodyFailure, Decoding};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// Bytes that come out at once.
const PIECE: usize = 16 * 1024;
/// Most bytes out for a byte in, where nothing else is said.
const RATIO: u32 = 100;
/// Windows of Zstandard: what HTTP allows (RFC 9659).
const ZSTD_WINDOW: u32 = 23;
/// First byte of a gzip member.
const GZIP: u8 = 0x1f;

/// Decompresses a body.
pub struct Decode {
    engine: Engine,
    decoding: Decoding,
    input: Bytes,
    taken: u64,
    given: u64,
    /// The engine may hold more output.
    more: bool,
    /// Names of the trailers that tell bytes in and out.
    told: (HeaderName, HeaderName),
}

enum Engine {
    Gzip(Decompress),
    Brotli(Box<Brotli>),
    Zstd(Decoder<'static>),
    /// What follows is no part of the body.
    Done,
}

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// What one step did: bytes in, bytes out, whether that was the end.
struct Step {
    taken: usize,
    given: usize,
    end: bool,
}

impl Decode {
    /// A decoder; `library` names the trailers that tell how much it did.
    pub fn new(decoding: Decoding, library: &str) -> Option<Self> {
        let name = |what: &str| {
            let text = format!("x-envoy-decompressor-{library}-{what}-bytes");
            HeaderName::try_from(text).ok()
        };
        Some(Self {
            engine: Engine::new(decoding)?,
            decoding,
            input: Bytes::new(),
            taken: 0,
            given: 0,
            more: false,
            told: (name("compressed")?, name("uncompressed")?),
        })
    }
}

impl BodyChange for Decode {
    fn feed(&mut self, data: Bytes) {
        self.input = data;
    }

    fn take(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        if matches!(self.engine, Engine::Done)
            && self.input.first() == Some(&GZIP)
            && let gzip @ Decoding::Gzip { .. } = self.decoding
        {
            self.engine = Engine::new(gzip).ok_or(FAILED)?;
        }
        while self.more || !self.input.is_empty() {
            let mut room = vec![0; PIECE];
            let step = self.engine.step(&self.input, &mut room).ok_or(FAILED)?;
            self.more = step.given == PIECE;
            if step.end {
                self.engine = Engine::Done;
            } else if step.taken == 0 && step.given == 0 && !self.input.is_empty() {
                return Err(FAILED);
            }
            self.input.advance(step.taken.min(self.input.len()));
            self.taken = self.taken.saturating_add(step.taken as u64);
            self.given = self.given.saturating_add(step.given as u64);
            let ratio = match self.decoding {
                Decoding::Gzip { max_ratio, .. } => max_ratio,
                _ => RATIO,
            };
            if self.given > self.taken.saturating_mul(ratio.into()) {
                return Err(FAILED);
            }
            if step.given > 0 {
                room.truncate(step.given);
                return Ok(Some(room.into()));
            }
        }
        Ok(None)
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Option<HeaderMap> {
        let mut trailers = trailers.unwrap_or_default();
        let (taken, given) = &self.told;
        trailers.insert(taken, HeaderValue::from(self.taken));
        trailers.insert(given, HeaderValue::from(self.given));
        Some(trailers)
    }
}

const FAILED: BodyFailure = BodyFailure {
    status: StatusCode::BAD_REQUEST,
    text: "",
    details: "decompression_failed",
};

impl Engine {
    fn new(decoding: Decoding) -> Option<Self> {
        Some(match decoding {
            Decoding::Gzip { window_bits, .. } => Self::Gzip(Decompress::new_gzip(window_bits)),
            Decoding::Brotli => Self::Brotli(Box::new(BrotliState::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
            Decoding::Zstd => {
                let mut decoder = Decoder::new().ok()?;
                let window = DParameter::WindowLogMax(ZSTD_WINDOW);
                decoder.set_parameter(window).ok()?;
                Self::Zstd(decoder)
            }
        })
    }

    /// One step; `None` when the input cannot be read.
    fn step(&mut self, input: &[u8], room: &mut [u8]) -> Option<Step> {
        match self {
            Self::Gzip(state) => {
                let before = (state.total_in(), state.total_out());
                let status = state.decompress(input, room, FlushDecompress::None);
                Some(Step {
                    taken: usize::try_from(state.total_in() - before.0).ok()?,
                    given: usize::try_from(state.total_out() - before.1).ok()?,
                    end: status.ok()? == Status::StreamEnd,
                })
            }
            Self::Brotli(state) => {
                let (mut left, mut taken) = (input.len(), 0);
                let (mut free, mut given, mut total) = (room.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut left, &mut taken, input, &mut free, &mut given, room, &mut total, state,
                );
                let end = match result {
                    BrotliResult::ResultFailure => return None,
                    result => matches!(result, BrotliResult::ResultSuccess),
                };
                Some(Step { taken, given, end })
            }
            Self::Zstd(decoder) => {
                let mut input = InBuffer::around(input);
                let mut out = OutBuffer::around(room);
                // Frames may follow one another: there is no end.
                decoder.run(&mut input, &mut out).ok()?;
                Some(Step {
                    taken: input.pos,
                    given: out.as_slice().len(),
                    end: false,
                })
            }
            Self::Done => Some(Step {
                taken: input.len(),
                given: 0,
                end: true,
            }),
        }
    }
}

impl fmt::Debug for Decode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decode").finish_non_exhaustive()
    }
}
