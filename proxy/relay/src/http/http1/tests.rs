use super::chunked::{Chunks, Fed};
use super::head::{self, Framing, Head, HeadRules};
use super::refusal::Refusal;

fn read(text: &str) -> Head {
    head::read(text.as_bytes(), &HeadRules::default())
}

fn framing(text: &str) -> Result<Framing, Refusal> {
    match read(&format!("POST / HTTP/1.1\r\nhost: a\r\n{text}\r\n")) {
        Head::Whole { framing, .. } => Ok(framing),
        Head::Refused(refusal) => Err(refusal),
        Head::Partial => panic!("partial: {text:?}"),
    }
}

#[test]
fn bodies_have_one_end() {
    use Refusal::{LengthAndChunks, TransferEncoding, Unreadable};
    for (headers, wanted) in [
        ("", Ok(Framing::None)),
        ("content-length: 5\r\n", Ok(Framing::Length(5))),
        ("Content-Length:0005 \r\n", Ok(Framing::Length(5))),
        ("transfer-encoding: chunked\r\n", Ok(Framing::Chunked)),
        ("Transfer-Encoding: CHUNKED\r\n", Ok(Framing::Chunked)),
        ("content-lengthy: x\r\n", Ok(Framing::None)),
        (
            "content-length: 5\r\ncontent-length: 5\r\n",
            Err(Unreadable),
        ),
        ("content-length: 5, 5\r\n", Err(Unreadable)),
        ("content-length: +5\r\n", Err(Unreadable)),
        ("content-length: \r\n", Err(Unreadable)),
        ("content-length: 18446744073709551616\r\n", Err(Unreadable)),
        ("content-length: 18446744073709551615\r\n", Err(Unreadable)),
        (
            "transfer-encoding: gzip, chunked\r\n",
            Err(TransferEncoding),
        ),
        ("transfer-encoding:\r\n", Err(TransferEncoding)),
        (
            "transfer-encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Err(TransferEncoding),
        ),
        (
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            Err(LengthAndChunks),
        ),
        (
            "transfer-encoding: x\r\ncontent-length: 5\r\n",
            Err(LengthAndChunks),
        ),
        ("transfer-encoding:\r\n chunked\r\n", Err(Unreadable)),
        ("x: 1\r2\r\n", Err(Unreadable)),
        ("x: 1\x002\r\n", Err(Refusal::InvalidCharacters)),
        ("x: 1\u{7f}\r\n", Err(Refusal::InvalidCharacters)),
    ] {
        assert_eq!(framing(headers), wanted, "{headers:?}");
    }
}

#[test]
fn request_lines_are_strict() {
    use Refusal::{InvalidScheme, LowVersion, Unreadable};
    for (line, wanted) in [
        ("GET / HTTP/1.1", None),
        ("OPTIONS * HTTP/1.1", None),
        ("GET http://a/ HTTP/1.1", None),
        ("CONNECT a:80 HTTP/1.1", None),
        ("GET / HTTP/1.0", Some(LowVersion)),
        ("GET / HTTP/2.0", Some(LowVersion)),
        ("GET /", Some(LowVersion)),
        ("GET / http/1.1", Some(Unreadable)),
        ("get / HTTP/1.1", Some(Unreadable)),
        ("BREW / HTTP/1.1", Some(Unreadable)),
        ("GET  / HTTP/1.1", Some(Unreadable)),
        ("GET / HTTP/1.1 ", Some(Unreadable)),
        ("GET\t/ HTTP/1.1", Some(Unreadable)),
        ("GET path HTTP/1.1", Some(Unreadable)),
        ("GET /\u{fc} HTTP/1.1", Some(Unreadable)),
        ("GET ftp://a/ HTTP/1.1", Some(InvalidScheme)),
        (" GET / HTTP/1.1", Some(Unreadable)),
        ("\x16\x03\x01", Some(Unreadable)),
    ] {
        let got = match read(&format!("{line}\r\nhost: a\r\n\r\n")) {
            Head::Refused(refusal) => Some(refusal),
            Head::Whole { .. } => None,
            Head::Partial => panic!("partial: {line:?}"),
        };
        assert_eq!(got, wanted, "{line:?}");
    }
}

#[test]
fn heads_have_limits_and_ends() {
    assert_eq!(read("GET / HTTP/1.1\r\nhost: a\r\n"), Head::Partial);
    assert_eq!(read("\r\n\r\n"), Head::Partial);
    let text = "\r\nGET / HTTP/1.1\r\nhost: a\n\nGET /2";
    let whole = |length| Head::Whole {
        length,
        framing: Framing::None,
    };
    assert_eq!(read(text), whole(text.len() - 6));
    let many = "a: b\r\n".repeat(101);
    let many = format!("GET / HTTP/1.1\r\n{many}\r\n");
    assert_eq!(read(&many), Head::Refused(Refusal::TooManyHeaders));
    let long = format!("GET / HTTP/1.1\r\na: {}", "b".repeat(61 * 1024));
    assert_eq!(read(&long), Head::Refused(Refusal::HeadersTooLarge));
}

fn chunks(text: &str, cut: usize) -> (usize, Fed) {
    let mut chunks = Chunks::default();
    let mut used = 0;
    for part in text.as_bytes().chunks(cut) {
        let (count, fed) = chunks.feed(part);
        used += count;
        if fed != Fed::More {
            return (used, fed);
        }
    }
    (used, Fed::More)
}

#[test]
fn chunks_are_followed_to_their_end() {
    for (text, rest, wanted) in [
        ("0\r\n\r\n", "", Fed::Done),
        ("5\r\nhello\r\n0\r\n\r\n", "GET", Fed::Done),
        (
            "5 ;a=b\r\nhello\r\n00;c\r\nx-t: 1\r\n\r\n",
            "GET",
            Fed::Done,
        ),
        ("a\r\n0123456789\r\n", "", Fed::More),
        ("", "z\r\n", Fed::Broken),
        ("", "\r\n", Fed::Broken),
        ("", "+5\r\n", Fed::Broken),
        ("0", "x5\r\n", Fed::Broken),
        ("5", "\nhello\n0\n\n", Fed::Broken),
        ("5\r", "x", Fed::Broken),
        ("5\r\nhello", "!\r\n", Fed::Broken),
        ("5\r\nhello\r", "!", Fed::Broken),
        ("5;a", "\nb\r\n", Fed::Broken),
        ("5 ", "5\r\n", Fed::Broken),
        ("1000000000000000", "5\r\n", Fed::Broken),
        ("0\r\nx-t: 1\r\n", " folded\r\n\r\n", Fed::Broken),
    ] {
        let all = format!("{text}{rest}");
        for cut in [1, 2, 3, 64] {
            let wanted = (text.len(), wanted);
            assert_eq!(chunks(&all, cut), wanted, "{all:?} cut every {cut}");
        }
    }
}

proptest::proptest! {
    /// What passes here has one end for hyper's parser too.
    #[test]
    fn a_head_ends_where_hyper_sees_it_end(text in "(GET|POST) /[ -~]{0,12} HTTP/1.[01](\r\n|\n)([a-zA-Z-]{1,8}:[ -~\r\n\t]{0,12}(\r\n|\n)){0,4}(\r\n|\n).{0,8}") {
        let rules = HeadRules { accept_http_10: true, ..HeadRules::default() };
        if let Head::Whole { length, .. } = head::read(text.as_bytes(), &rules) {
            let mut headers = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut headers);
            if let Ok(httparse::Status::Complete(end)) = request.parse(text.as_bytes()) {
                proptest::prop_assert_eq!(end, length);
            }
        }
    }
}
