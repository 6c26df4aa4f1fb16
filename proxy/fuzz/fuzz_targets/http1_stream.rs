//! Requests of an HTTP/1 connection, one behind the other: what the guard hands on is read alike by another parser, and
//! does not depend on how bytes are cut.
#![no_main]

use lateen_proxy_relay::http::fuzzing::stream;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let (whole, seen) = stream(bytes, bytes.len());
    let (cut, again) = stream(bytes, usize::from(cut));
    let (Some(whole), Some(cut)) = (messages(&whole), messages(&cut)) else {
        // Names and values are left to the parser behind the guard.
        return;
    };
    assert_eq!(whole.len(), seen as usize, "as many requests as the guard saw");
    assert_eq!(cut.len(), again as usize, "as many requests as the guard saw");
    assert_eq!(whole, cut, "however the bytes are cut");
});

type Message = (Vec<u8>, Vec<u8>);

/// Heads and bodies as httparse and plain framing find them; `None` where httparse refuses a head.
fn messages(mut bytes: &[u8]) -> Option<Vec<Message>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(end) = request.parse(bytes).ok()? else {
            panic!("half a head was handed on");
        };
        let (head, rest) = bytes.split_at(end);
        let of = |name: &str| {
            let mut all = request.headers.iter();
            all.find(|it| it.name.eq_ignore_ascii_case(name)).map(|it| it.value)
        };
        let length = match (of("transfer-encoding"), of("content-length")) {
            (Some(_), _) => chunked(rest),
            (None, Some(length)) => {
                let text = std::str::from_utf8(length).expect("digits");
                text.trim().parse().expect("a length")
            }
            (None, None) => 0,
        };
        let (body, rest) = rest.split_at(length.min(rest.len()));
        let blank = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
        found.push((head[blank.count()..].to_vec(), body.to_vec()));
        bytes = rest;
    }
    Some(found)
}

/// Bytes of a chunked body, as far as it goes.
fn chunked(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes[at..]) else {
            return bytes.len();
        };
        at += line;
        if size == 0 {
            break;
        }
        let Some(next) = usize::try_from(size).ok().and_then(|size| at.checked_add(size)?.checked_add(2)) else {
            return bytes.len();
        };
        if next > bytes.len() {
            return bytes.len();
        }
        at = next;
    }
    // Trailers end with an empty line.
    let mut headers = [httparse::EMPTY_HEADER; 2000];
    match httparse::parse_headers(&bytes[at..], &mut headers) {
        Ok(httparse::Status::Complete((length, _))) => at + length,
        _ => bytes.len(),
    }
}
