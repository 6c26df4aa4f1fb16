//! gRPC-Web to gRPC and back, as Envoy translates it: the type, base64 of the text form, and trailers as the last frame
//! of the body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use lateen_proxy_model::{BodyChange, BodyFailure};

static GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;
/// Bytes of base64 that are decoded at once.
const PIECE: usize = 48 * 1024;

/// A gRPC-Web request that was made a gRPC request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcWeb {
    /// Its body is base64.
    pub text: bool,
    /// The answer's body is to be base64.
    pub answer_text: bool,
}

/// Base64 of a request, to bytes.
#[derive(Debug, Default)]
pub struct FromBase64 {
    input: BytesMut,
    ended: bool,
}

/// A gRPC answer, to gRPC-Web.
#[derive(Debug)]
pub struct ToGrpcWeb {
    text: bool,
    input: BytesMut,
    last: Option<Bytes>,
}

/// Makes the head of a gRPC-Web request that of gRPC; `None` for other requests.
pub fn grpc_web_request(headers: &mut HeaderMap) -> Option<GrpcWeb> {
    let text = form(headers.get(CONTENT_TYPE)?)?;
    let accept = headers.get(ACCEPT).and_then(form);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(&GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Some(GrpcWeb {
        text,
        answer_text: accept == Some(true),
    })
}

/// Whether the type is gRPC-Web, and its text form.
fn form(kind: &HeaderValue) -> Option<bool> {
    match kind.as_bytes() {
        b"application/grpc-web" | b"application/grpc-web+proto" => Some(false),
        b"application/grpc-web-text" | b"application/grpc-web-text+proto" => Some(true),
        _ => None,
    }
}

impl GrpcWeb {
    /// Whether an answer with a body is no gRPC and has to be explained by headers instead.
    pub fn is_foreign(headers: &HeaderMap) -> bool {
        let kind = headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let known: [&[u8]; 3] = [
            b"application/grpc",
            b"application/grpc+proto",
            b"application/grpc-web+proto",
        ];
        !known.contains(&kind)
    }

    /// Makes the head of an answer that of gRPC-Web.
    pub fn answer(&self, headers: &mut HeaderMap) {
        let kind = match self.answer_text {
            true => "application/grpc-web-text+proto",
            false => "application/grpc-web+proto",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }

    /// What the body of a gRPC answer goes through.
    pub fn change(&self) -> ToGrpcWeb {
        ToGrpcWeb {
            text: self.answer_text,
            input: BytesMut::new(),
            last: None,
        }
    }
}

impl BodyChange for FromBase64 {
    fn feed(&mut self, data: Bytes) {
        self.input.extend_from_slice(&data);
    }

    fn take(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        let whole = (self.input.len() / 4 * 4).min(PIECE);
        if whole == 0 {
            return match self.ended && !self.input.is_empty() {
                true => Err(bad("grpc_base_64_decode_failed_bad_size")),
                false => Ok(None),
            };
        }
        let failed = |_| bad("grpc_base_64_decode_failed");
        let text = self.input.split_to(whole);
        let mut out = Vec::with_capacity(whole / 4 * 3);
        // A client may end each of its messages with padding.
        let mut rest = &text[..];
        while !rest.is_empty() {
            let padding = rest.iter().position(|byte| *byte == b'=');
            let end = padding.map_or(rest.len(), |at| (at / 4 + 1) * 4);
            let (part, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            STANDARD.decode_vec(part, &mut out).map_err(failed)?;
            rest = after;
        }
        Ok(Some(out.into()))
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Option<HeaderMap> {
        self.ended = true;
        trailers
    }
}

fn bad(details: &'static str) -> BodyFailure {
    BodyFailure {
        status: StatusCode::BAD_REQUEST,
        text: "Bad gRPC-web request, invalid base64 data.",
        details,
    }
}

impl BodyChange for ToGrpcWeb {
    fn feed(&mut self, data: Bytes) {
        self.input.extend_from_slice(&data);
    }

    fn take(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        if !self.text {
            if !self.input.is_empty() {
                return Ok(Some(self.input.split().freeze()));
            }
            return Ok(self.last.take());
        }
        // Whole messages are encoded, so that a client can decode each by itself.
        if let Some(frame) = self.message() {
            return Ok(Some(STANDARD.encode(frame).into()));
        }
        Ok(self.last.take().map(|last| STANDARD.encode(last).into()))
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Option<HeaderMap> {
        if let Some(trailers) = trailers {
            self.last = Some(frame(&trailers));
        }
        None
    }
}

impl ToGrpcWeb {
    fn message(&mut self) -> Option<Bytes> {
        let ([_, length @ ..], _) = self.input.split_first_chunk::<5>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let whole = length.saturating_add(5);
        (self.input.len() >= whole).then(|| self.input.split_to(whole).freeze())
    }
}

/// Trailers as a frame of the body.
fn frame(trailers: &HeaderMap) -> Bytes {
    let mut text = Vec::new();
    for (name, value) in trailers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.push(b':');
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let mut frame = BytesMut::with_capacity(text.len().saturating_add(5));
    frame.put_u8(TRAILERS);
    frame.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    frame.put_slice(&text);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(change: &mut impl BodyChange) -> Result<Vec<u8>, BodyFailure> {
        let mut all = Vec::new();
        while let Some(data) = change.take()? {
            all.extend_from_slice(&data);
        }
        Ok(all)
    }

    #[test]
    fn base64_is_decoded_however_it_is_cut() {
        let text = format!(
            "{}{}",
            STANDARD.encode(b"hello"),
            STANDARD.encode(b"worlds")
        );
        for cut in 1..text.len() {
            let mut change = FromBase64::default();
            let mut all = Vec::new();
            for part in text.as_bytes().chunks(cut) {
                change.feed(Bytes::copy_from_slice(part));
                all.extend(drain(&mut change).expect("base64"));
            }
            change.finish(None);
            all.extend(drain(&mut change).expect("base64"));
            assert_eq!(all, b"helloworlds", "cut every {cut}");
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for (text, details) in [
            (&b"!!!!"[..], "grpc_base_64_decode_failed"),
            (b"aGVsb", "grpc_base_64_decode_failed_bad_size"),
        ] {
            let mut change = FromBase64::default();
            change.feed(Bytes::from_static(text));
            change.finish(None);
            assert_eq!(drain(&mut change).map_err(|it| it.details), Err(details));
        }
    }

    #[test]
    fn trailers_are_the_last_frame() {
        let trailers = || {
            HeaderMap::from_iter([(
                HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )])
        };
        for text in [false, true] {
            let web = GrpcWeb {
                text,
                answer_text: text,
            };
            let mut change = web.change();
            let mut all = Vec::new();
            for part in [&b"\0\0\0"[..], b"\0\x02ab"] {
                change.feed(Bytes::from_static(part));
                all.extend(drain(&mut change).expect("readable"));
            }
            assert!(change.finish(Some(trailers())).is_none());
            all.extend(drain(&mut change).expect("readable"));
            let (message, last) = (b"\0\0\0\0\x02ab", b"\x80\0\0\0\x0fgrpc-status:0\r\n");
            let expected = match text {
                false => [&message[..], last].concat(),
                true => format!("{}{}", STANDARD.encode(message), STANDARD.encode(last)).into(),
            };
            assert_eq!(all, expected);
        }
    }

    #[test]
    fn only_grpc_web_is_translated() {
        let head = |kind: &'static str, accept: &'static str| {
            HeaderMap::from_iter([
                (CONTENT_TYPE, HeaderValue::from_static(kind)),
                (ACCEPT, HeaderValue::from_static(accept)),
            ])
        };
        let mut headers = head(
            "application/grpc-web-text",
            "application/grpc-web-text+proto",
        );
        let web = grpc_web_request(&mut headers).expect("gRPC-Web");
        assert!(web.text && web.answer_text);
        assert_eq!(headers[CONTENT_TYPE], "application/grpc");
        let mut headers = head("application/grpc-web+proto", "*/*");
        let web = grpc_web_request(&mut headers).expect("gRPC-Web");
        assert!(!web.text && !web.answer_text);
        for kind in [
            "application/grpc",
            "application/grpc-web+json",
            "text/plain",
        ] {
            assert_eq!(grpc_web_request(&mut head(kind, "*/*")), None);
        }
    }
}
