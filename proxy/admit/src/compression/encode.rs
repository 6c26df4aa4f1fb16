//! Bodies compressed piece by piece: each piece can be read as soon as it came.

use std::fmt;
use std::io::{self, Write};
use std::mem::take;

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use brotli::enc::backward_references::BrotliEncoderMode;
use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use http::{HeaderMap, StatusCode};
use lateen_proxy_model::{BodyChange, BodyFailure, BrotliMode, Coding};
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

/// Room for output that is made at once.
const PIECE: usize = 16 * 1024;

/// Compresses a body.
pub struct Encode {
    engine: Engine,
    input: Bytes,
    ended: bool,
}

enum Engine {
    Gzip(Compress),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(Encoder<'static>),
    Done,
}

impl Encode {
    /// An encoder; `None` when the library refuses its settings.
    pub fn new(coding: &Coding) -> Option<Self> {
        let engine = match *coding {
            Coding::Gzip { level, window_bits } => {
                Engine::Gzip(Compress::new_gzip(Compression::new(level), window_bits))
            }
            Coding::Brotli {
                quality,
                window_bits,
                block_bits,
                mode,
                plain_literals,
            } => {
                let params = BrotliEncoderParams {
                    quality: quality.into(),
                    lgwin: window_bits.into(),
                    lgblock: block_bits.into(),
                    mode: match mode {
                        BrotliMode::Generic => BrotliEncoderMode::BROTLI_MODE_GENERIC,
                        BrotliMode::Text => BrotliEncoderMode::BROTLI_MODE_TEXT,
                        BrotliMode::Font => BrotliEncoderMode::BROTLI_MODE_FONT,
                    },
                    disable_literal_context_modeling: plain_literals.into(),
                    ..BrotliEncoderParams::default()
                };
                let writer = CompressorWriter::with_params(Vec::new(), PIECE, &params);
                Engine::Brotli(Box::new(writer))
            }
            Coding::Zstd { level, checksum } => {
                let mut encoder = Encoder::new(level.into()).ok()?;
                let checksum = CParameter::ChecksumFlag(checksum);
                encoder.set_parameter(checksum).ok()?;
                Engine::Zstd(encoder)
            }
        };
        Some(Self {
            engine,
            input: Bytes::new(),
            ended: false,
        })
    }
}

impl BodyChange for Encode {
    fn feed(&mut self, data: Bytes) {
        self.input = data;
    }

    fn take(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        let input = take(&mut self.input);
        let made = if !input.is_empty() {
            self.engine.flush(&input)
        } else if self.ended {
            self.ended = false;
            std::mem::replace(&mut self.engine, Engine::Done).finish()
        } else {
            return Ok(None);
        };
        made.map(|out| Some(out.into())).map_err(|_| FAILED)
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Option<HeaderMap> {
        self.ended = true;
        trailers
    }
}

const FAILED: BodyFailure = BodyFailure {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    text: "",
    details: "compression_failed",
};

impl Engine {
    /// All of `input`, so that it can be read without what follows.
    fn flush(&mut self, input: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(input.len().min(PIECE));
        match self {
            Self::Gzip(state) => {
                let before = state.total_in();
                loop {
                    let taken = usize::try_from(state.total_in() - before);
                    let rest = input.get(taken.unwrap_or(usize::MAX)..).unwrap_or_default();
                    out.reserve(PIECE);
                    state.compress_vec(rest, &mut out, FlushCompress::Sync)?;
                    let all = state.total_in() - before >= input.len() as u64;
                    // Room left says that nothing is held back.
                    if all && out.len() < out.capacity() {
                        return Ok(out);
                    }
                }
            }
            Self::Brotli(writer) => {
                writer.write_all(input)?;
                writer.flush()?;
                Ok(take(writer.get_mut()))
            }
            Self::Zstd(encoder) => {
                let mut input = InBuffer::around(input);
                let mut left = 1;
                while left > 0 || input.pos < input.src.len() {
                    zstd_piece(&mut out, |piece| {
                        left = match input.pos < input.src.len() {
                            true => encoder.run(&mut input, piece).map(|_| 1)?,
                            false => encoder.flush(piece)?,
                        };
                        Ok(())
                    })?;
                }
                Ok(out)
            }
            Self::Done => Ok(out),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Gzip(mut state) => loop {
                out.reserve(PIECE);
                if state.compress_vec(&[], &mut out, FlushCompress::Finish)? == Status::StreamEnd {
                    return Ok(out);
                }
            },
            Self::Brotli(writer) => Ok(writer.into_inner()),
            Self::Zstd(mut encoder) => {
                let mut left = 1;
                while left > 0 {
                    zstd_piece(&mut out, |piece| {
                        left = encoder.finish(piece, true)?;
                        Ok(())
                    })?;
                }
                Ok(out)
            }
            Self::Done => Ok(out),
        }
    }
}

/// Adds a piece to `out`.
fn zstd_piece(
    out: &mut Vec<u8>,
    step: impl FnOnce(&mut OutBuffer<'_, [u8]>) -> io::Result<()>,
) -> io::Result<()> {
    let mut room = [0; PIECE];
    let mut piece = OutBuffer::around(&mut room[..]);
    step(&mut piece)?;
    out.extend_from_slice(piece.as_slice());
    Ok(())
}

impl fmt::Debug for Encode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encode").finish_non_exhaustive()
    }
}
