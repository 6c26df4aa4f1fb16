//! The compressor and the decompressor.

use std::sync::Arc;

use http::StatusCode;

use crate::matcher::StringMatcher;

/// Compresses bodies. Envoy's `envoy.filters.http.compressor`.
#[derive(Clone, Debug)]
pub struct Compressor {
    /// Name of the library in the configuration, for statistics.
    pub library: Arc<str>,
    /// How.
    pub coding: Coding,
    /// Requests; `None` leaves them as they are.
    pub request: Option<CompressDirection>,
    /// Answers.
    pub response: CompressDirection,
    /// The statistics of answers have a name of their own.
    pub response_named: bool,
    /// Answers with an `ETag` stay as they are.
    pub etag_disables: bool,
    /// A strong `ETag` is made a weak one, and not taken away.
    pub weaken_etag: bool,
    /// `Accept-Encoding` ends here.
    pub remove_accept_encoding: bool,
    /// Answers with these statuses stay as they are.
    pub never: Box<[StatusCode]>,
    /// Goes before other compressors that the client likes as much.
    pub choose_first: bool,
}

/// What is compressed of one direction.
#[derive(Clone, Debug)]
pub struct CompressDirection {
    /// Whether anything is.
    pub enabled: bool,
    /// Least `Content-Length`; bodies of unknown length are compressed.
    pub min_length: u64,
    /// Types without parameters, in lower case; empty is every type, unless there are matchers.
    pub types: Box<[Box<str>]>,
    /// Or types that match.
    pub matchers: Box<[StringMatcher]>,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// gzip.
    Gzip {
        /// 1 to 9.
        level: u32,
        /// 9 to 15.
        window_bits: u8,
    },
    /// Brotli.
    Brotli {
        /// 0 to 11.
        quality: u8,
        /// 10 to 24.
        window_bits: u8,
        /// 16 to 24, or 0 for a choice by quality.
        block_bits: u8,
        /// What the body is.
        mode: BrotliMode,
        /// Contexts of literals are not modelled, which is faster.
        plain_literals: bool,
    },
    /// Zstandard.
    Zstd {
        /// 1 to 22.
        level: u8,
        /// A checksum is added.
        checksum: bool,
    },
}

/// What Brotli is told of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrotliMode {
    /// Anything.
    Generic,
    /// UTF-8 text.
    Text,
    /// A WOFF font.
    Font,
}

/// What a route says of a compressor.
#[derive(Clone, Debug, Default)]
pub struct CompressorRoute {
    /// Answers are compressed, whatever the filter itself says.
    pub response: Option<bool>,
    /// `Accept-Encoding` ends here.
    pub remove_accept_encoding: Option<bool>,
    /// Another coding.
    pub coding: Option<Coding>,
}

/// Decompresses bodies. Envoy's `envoy.filters.http.decompressor`.
#[derive(Clone, Debug)]
pub struct Decompressor {
    /// Name of the library in the configuration, for statistics.
    pub library: Arc<str>,
    /// What can be read.
    pub decoding: Decoding,
    /// Requests.
    pub request: DecompressDirection,
    /// Answers.
    pub response: DecompressDirection,
    /// Upstreams are told of it by `Accept-Encoding`.
    pub advertise: bool,
}

/// What is decompressed of one direction.
#[derive(Clone, Copy, Debug)]
pub struct DecompressDirection {
    /// Whether anything is.
    pub enabled: bool,
    /// Also what says `Cache-Control: no-transform`.
    pub ignore_no_transform: bool,
}

/// How bodies are decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// gzip.
    Gzip {
        /// 9 to 15.
        window_bits: u8,
        /// Most bytes out for a byte in.
        max_ratio: u32,
    },
    /// Brotli.
    Brotli,
    /// Zstandard.
    Zstd,
}

impl Coding {
    /// The token in `Content-Encoding`.
    pub fn token(&self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Brotli { .. } => "br",
            Self::Zstd { .. } => "zstd",
        }
    }

    fn statistic(&self) -> &'static str {
        match self {
            Self::Brotli { .. } => "brotli",
            other => other.token(),
        }
    }
}

impl Decoding {
    /// The token in `Content-Encoding`.
    pub fn token(&self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

impl Compressor {
    /// Names of the counters: those of requests, those of answers, and of the choice; the engine counts by their places.
    pub(crate) fn counters(&self) -> Vec<String> {
        let prefix = format!("compressor.{}.{}.", self.library, self.coding.statistic());
        let common = [
            "compressed",
            "not_compressed",
            "total_uncompressed_bytes",
            "total_compressed_bytes",
            "content_length_too_small",
        ];
        let response = if self.response_named { "response." } else { "" };
        let mut names = Vec::with_capacity(17);
        for direction in ["request.", response] {
            names.extend(common.map(|name| format!("{prefix}{direction}{name}")));
        }
        let choice = [
            "no_accept_header",
            "header_identity",
            "header_compressor_used",
            "header_compressor_overshadowed",
            "header_wildcard",
            "header_not_valid",
            "not_compressed_etag",
        ];
        names.extend(choice.map(|name| format!("{prefix}{response}{name}")));
        names
    }
}

impl Decompressor {
    /// Names of the counters: those of requests, then those of answers.
    pub(crate) fn counters(&self) -> Vec<String> {
        let kind = match self.decoding {
            Decoding::Brotli => "brotli",
            other => other.token(),
        };
        let prefix = format!("decompressor.{}.{kind}.", self.library);
        let mut names = Vec::with_capacity(8);
        for direction in ["request.", "response."] {
            let common = [
                "decompressed",
                "not_decompressed",
                "total_uncompressed_bytes",
                "total_compressed_bytes",
            ];
            names.extend(common.map(|name| format!("{prefix}{direction}{name}")));
        }
        names
    }
}
