use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lateen_proxy_model::{
    BodyChange, BodyFailure, BrotliMode, Coding, CompressDirection, Compressor, Decoding,
};

use super::*;

const GZIP: Coding = Coding::Gzip {
    level: 6,
    window_bits: 12,
};
const BROTLI: Coding = Coding::Brotli {
    quality: 3,
    window_bits: 18,
    block_bits: 0,
    mode: BrotliMode::Generic,
    plain_literals: false,
};
const ZSTD: Coding = Coding::Zstd {
    level: 3,
    checksum: true,
};
const PAIRS: [(Coding, Decoding); 3] = [
    (
        GZIP,
        Decoding::Gzip {
            window_bits: 15,
            max_ratio: 100,
        },
    ),
    (BROTLI, Decoding::Brotli),
    (ZSTD, Decoding::Zstd),
];

fn drain(change: &mut dyn BodyChange) -> Result<Vec<u8>, BodyFailure> {
    let mut all = Vec::new();
    while let Some(data) = change.take()? {
        all.extend_from_slice(&data);
    }
    Ok(all)
}

fn encoded(coding: &Coding, body: &[u8]) -> Vec<u8> {
    let mut encoder = Encode::new(coding).expect("settings");
    encoder.feed(Bytes::copy_from_slice(body));
    let mut all = drain(&mut encoder).expect("compressed");
    encoder.finish(None);
    all.extend(drain(&mut encoder).expect("compressed"));
    all
}

fn text(length: usize) -> Vec<u8> {
    // Not too regular: the bound on the ratio is for that.
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 28) as u8
    };
    std::iter::repeat_with(&mut next).take(length).collect()
}

#[test]
fn bodies_come_back_whole_however_they_are_cut() {
    let body = text(100_000);
    for (coding, decoding) in PAIRS {
        let packed = encoded(&coding, &body);
        assert!(packed.len() < body.len(), "{coding:?}");
        for cut in [1, 7, 4096, packed.len()] {
            let mut decoder = Decode::new(decoding, "x").expect("settings");
            let mut all = Vec::new();
            for part in packed.chunks(cut) {
                decoder.feed(Bytes::copy_from_slice(part));
                all.extend(drain(&mut decoder).expect("readable"));
            }
            let trailers = decoder.finish(None).expect("told");
            all.extend(drain(&mut decoder).expect("readable"));
            assert!(all == body, "{coding:?} cut every {cut}");
            let told = &trailers["x-envoy-decompressor-x-uncompressed-bytes"];
            assert_eq!(told, "100000");
        }
    }
}

#[test]
fn each_piece_can_be_read_at_once() {
    for (coding, decoding) in PAIRS {
        let mut encoder = Encode::new(&coding).expect("settings");
        let mut decoder = Decode::new(decoding, "x").expect("settings");
        for piece in ["one", "two", "three"] {
            encoder.feed(Bytes::from_static(piece.as_bytes()));
            decoder.feed(drain(&mut encoder).expect("compressed").into());
            let read = drain(&mut decoder).expect("readable");
            assert_eq!(read, piece.as_bytes(), "{coding:?}");
        }
    }
}

#[test]
fn bombs_are_stopped() {
    let body = vec![0; 20_000_000];
    for (coding, decoding) in PAIRS {
        let packed = encoded(&coding, &body);
        let mut decoder = Decode::new(decoding, "x").expect("settings");
        decoder.feed(packed.into());
        let mut given = 0;
        let failed = loop {
            match decoder.take() {
                Ok(Some(data)) => given += data.len(),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(failed && given < 3_000_000, "{coding:?}: {given}");
    }
}

#[test]
fn what_is_not_compressed_fails() {
    for (_, decoding) in PAIRS {
        let mut decoder = Decode::new(decoding, "x").expect("settings");
        decoder.feed(Bytes::from_static(
            b"this is no compressed text, not at all",
        ));
        assert!(drain(&mut decoder).is_err(), "{decoding:?}");
    }
}

fn compressor(coding: Coding) -> Compressor {
    Compressor {
        library: "x".into(),
        coding,
        request: None,
        response: CompressDirection {
            enabled: true,
            min_length: 30,
            types: ["text/plain".into()].into(),
            matchers: Box::default(),
        },
        response_named: true,
        etag_disables: false,
        weaken_etag: false,
        remove_accept_encoding: false,
        never: Box::default(),
        choose_first: false,
    }
}

fn head(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let lines = lines.iter();
    lines
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

#[test]
fn codings_are_chosen_by_weight() {
    let (gzip, mut brotli) = (compressor(GZIP), compressor(BROTLI));
    for first in [false, true] {
        brotli.choose_first = first;
        let both = [(&gzip, GZIP), (&brotli, BROTLI)];
        let headers = HeaderMap::new();
        let tie = if first { "br" } else { "gzip" };
        for (accept, chosen) in [
            ("gzip", Chosen::Named("gzip")),
            ("gzip;q=0.5, br", Chosen::Named("br")),
            ("gzip, br", Chosen::Named(tie)),
            ("gzip;q=0, *", Chosen::Wildcard(Some("br"))),
            ("*", Chosen::Wildcard(Some("gzip"))),
            ("identity, gzip;q=0.1", Chosen::Identity),
            ("gzip;q=0", Chosen::NotValid),
            ("deflate", Chosen::NotValid),
            ("", Chosen::NotValid),
            ("gzip;q=x, br;q=0.1", Chosen::Named("br")),
        ] {
            let found = choose(accept.as_bytes(), &both, &headers);
            assert_eq!(found, chosen, "{accept}");
        }
    }
}

#[test]
fn answers_are_compressed_where_it_helps() {
    let config = compressor(GZIP);
    let run = |lines: &[(&'static str, &'static str)], accept: Option<&[u8]>| {
        let mut headers = head(lines);
        let choice = CodingChoice {
            accept,
            compressors: &[(&config, GZIP)],
        };
        let answer = (StatusCode::OK, &mut headers, false);
        let made = compress_answer((&config, None), &choice, answer, |_| {}).is_some();
        (made, headers)
    };
    let plain = ("content-type", "text/plain; charset=x");
    let (made, headers) = run(
        &[
            plain,
            ("content-length", "30"),
            ("etag", "\"a\""),
            ("vary", "origin"),
        ],
        Some(b"gzip"),
    );
    assert!(made && !headers.contains_key("content-length") && !headers.contains_key("etag"));
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["vary"], "origin, Accept-Encoding");
    let (made, headers) = run(&[plain], None);
    assert!(!made && headers["vary"] == "Accept-Encoding");
    for other in [
        [plain, ("content-length", "29")],
        [("content-type", "image/png"), ("content-length", "100")],
        [plain, ("cache-control", "private, no-transform")],
        [plain, ("content-encoding", "br")],
    ] {
        let (made, headers) = run(&other, Some(b"gzip"));
        assert!(!made && !headers.contains_key("vary"), "{other:?}");
    }
}
