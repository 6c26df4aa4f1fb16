//! What two readers could understand in two ways is refused, or goes on in a form that all readers understand alike.
//! The upstream keeps each byte; two strict readers, written apart, must find the same requests in them, no more than
//! the client meant, and none that was hidden in another's body.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use lateen_e2e::hostile::{RawUpstream, Running};
use lateen_e2e::workspace;

/// A path that only a hidden request asks for.
const HIDDEN: &str = "/hidden";

/// Reads line by line; the requests' first lines and bodies, or what is wrong.
fn by_lines(mut bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        let mut lines = Vec::new();
        loop {
            let end = bytes
                .windows(2)
                .position(|two| two == b"\r\n")
                .ok_or("no line end")?;
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[2..];
            if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                return Err("a bare line end".to_owned());
            }
            if line.is_empty() {
                break;
            }
            lines.push(String::from_utf8_lossy(line).into_owned());
        }
        let values = |name: &str| -> Vec<String> {
            let of = |line: &String| {
                let (own, value) = line.split_once(':')?;
                (own.to_ascii_lowercase() == name).then(|| value.trim().to_owned())
            };
            lines[1..].iter().filter_map(of).collect()
        };
        let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
        let body = match (&lengths[..], &codings[..]) {
            ([], []) => Vec::new(),
            ([length], []) => {
                let length: usize = length.parse().map_err(|_| "length")?;
                let body = bytes.get(..length).ok_or("cut body")?.to_vec();
                bytes = &bytes[length..];
                body
            }
            ([], [coding]) if coding == "chunked" => {
                let mut body = Vec::new();
                loop {
                    let end = bytes
                        .windows(2)
                        .position(|two| two == b"\r\n")
                        .ok_or("chunk")?;
                    let size = std::str::from_utf8(&bytes[..end]).map_err(|_| "size")?;
                    let size = usize::from_str_radix(size, 16).map_err(|_| "size")?;
                    bytes = &bytes[end + 2..];
                    let data = bytes.get(..size).ok_or("cut chunk")?;
                    body.extend_from_slice(data);
                    bytes = bytes[size..].strip_prefix(b"\r\n").ok_or("chunk end")?;
                    if size == 0 {
                        break body;
                    }
                }
            }
            other => return Err(format!("framed as {other:?}")),
        };
        requests.push((lines[0].clone(), body));
    }
    Ok(requests)
}

/// Reads byte by byte, as a machine with a state.
fn by_bytes(bytes: &[u8]) -> Result<usize, String> {
    enum At {
        Line(Vec<u8>),
        Body(usize),
        Size(Vec<u8>),
        Chunk(usize, bool),
    }
    let (mut at, mut count, mut first, mut body) = (At::Line(Vec::new()), 0, true, None);
    let mut chunked = false;
    for byte in bytes {
        at = match at {
            At::Line(mut line) => {
                line.push(*byte);
                if !line.ends_with(b"\r\n") {
                    At::Line(line)
                } else if line.len() == 2 && first {
                    return Err("an empty line for a request".to_owned());
                } else if line.len() == 2 {
                    (count, first) = (count + 1, true);
                    match (std::mem::take(&mut chunked), body.take()) {
                        (true, None) => At::Size(Vec::new()),
                        (false, Some(length)) if length > 0 => At::Body(length),
                        (false, _) => At::Line(Vec::new()),
                        (true, Some(_)) => return Err("both framings".to_owned()),
                    }
                } else {
                    if !first && matches!(line[0], b' ' | b'\t') {
                        return Err("folded".to_owned());
                    }
                    let text = String::from_utf8_lossy(&line).to_ascii_lowercase();
                    if let Some(value) = text.strip_prefix("content-length:").filter(|_| !first) {
                        let length = value.trim().parse().map_err(|_| "length")?;
                        if body.replace(length).is_some() {
                            return Err("two lengths".to_owned());
                        }
                    } else if text.starts_with("transfer-encoding:") && !first {
                        chunked = text.trim_end().ends_with(": chunked");
                        if !chunked {
                            return Err("coding".to_owned());
                        }
                    }
                    first = false;
                    At::Line(Vec::new())
                }
            }
            At::Body(1) => At::Line(Vec::new()),
            At::Body(left) => At::Body(left - 1),
            At::Size(mut line) => {
                line.push(*byte);
                if line.ends_with(b"\r\n") {
                    let text = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
                    let size = usize::from_str_radix(&text, 16).map_err(|_| "size")?;
                    At::Chunk(size + 2, size == 0)
                } else {
                    At::Size(line)
                }
            }
            At::Chunk(1, true) => At::Line(Vec::new()),
            At::Chunk(1, false) => At::Size(Vec::new()),
            At::Chunk(left, last) => At::Chunk(left - 1, last),
        };
    }
    match at {
        At::Line(line) if line.is_empty() => Ok(count),
        _ => Err("cut".to_owned()),
    }
}

/// Values of `content-length`.
const LENGTHS: &[&str] = &[
    "5",
    "+5",
    "-5",
    "0x5",
    "5, 5",
    "5,6",
    "05",
    "5 ",
    "5;a",
    "",
    " ",
    "5\t",
    "\u{b}5",
    "5e0",
    "1_0",
    "99999999999999999999",
    "18446744073709551615",
    "0",
    "5\r\ncontent-length: 5",
    "5\r\ncontent-length: 0",
    "0\r\nContent-Length: 5",
];

/// Values of `transfer-encoding`.
const CODINGS: &[&str] = &[
    "chunked",
    "Chunked",
    " chunked",
    "chunked ",
    "\tchunked",
    "\u{b}chunked",
    "chunked\u{b}",
    "xchunked",
    "chunkedx",
    "chunked, chunked",
    "gzip, chunked",
    "chunked, gzip",
    "identity",
    "identity, chunked",
    "\"chunked\"",
    "'chunked'",
    ",chunked",
    "chunked,",
    "chunked;q=1",
    "",
    "chunked\r\ntransfer-encoding: identity",
    "identity\r\ntransfer-encoding: chunked",
    "x\r\n chunked",
    "\r\n chunked",
    "chun\u{0}ked",
    "cow",
    "chunked\r\nTransfer-Encoding : chunked",
    "chunked\rx: y",
];

/// What may be taken for `transfer-encoding`.
const NAMES: &[&str] = &[
    "transfer-encoding",
    "Transfer-Encoding",
    "transfer-encoding ",
    " transfer-encoding",
    "transfer_encoding",
    "transfer-encoding\t",
    "\u{b}transfer-encoding",
    "x: y\rtransfer-encoding",
    "x: y\ntransfer-encoding",
    "tran\u{17f}fer-encoding",
    "transfer\u{2d}encoding",
];

/// Chunked bodies.
const CHUNKS: &[&str] = &[
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\n\r\n",
    "5 ; a\r\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhell\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "5,\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n00000000000000000\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "\r\n5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\ntransfer-encoding: x\r\n\r\n",
    "5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n",
    "5\r\nhello\r\n0\r\n x\r\n\r\n",
    "5\r\nhello\r\n0\n\n",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\r\nx: y\n\r\n",
];

/// Heads of all kinds.
const HEADS: &[&str] = &[
    "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nconnection: content-length\r\ncontent-length: 5\r\n\r\n",
    "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    "POST / HTTP/1.0\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.1\nhost: a\n\n",
    "GET / HTTP/1.1\r\nhost: a\r\nx: y\n\r\n",
    "GET / HTTP/1.1\r\n\rhost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\n\n",
    "GET / HTTP/1.1\r\nhost: a\r\nx\u{0}: y\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\n: y\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nx y\r\n\r\n",
    "\r\n\r\n\r\n",
    "GET / HTTP/1.1 HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /\u{0} HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /?a=\rb HTTP/1.1\r\nhost: a\r\n\r\n",
    "HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
];

/// The corpus: heads and bodies in which a second request may hide.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let hidden = format!("GET {HIDDEN} HTTP/1.1\r\nhost: h\r\n\r\n");
    let mut cases = Vec::new();
    for length in LENGTHS {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
        cases.push((format!("length {length:?}"), format!("{head}{hidden}")));
    }
    for (name, coding, length) in NAMES
        .iter()
        .map(|name| (*name, "chunked", ""))
        .chain(
            CODINGS
                .iter()
                .map(|coding| ("transfer-encoding", *coding, "")),
        )
        .chain(
            CODINGS
                .iter()
                .map(|coding| ("transfer-encoding", *coding, "content-length: 4\r\n")),
        )
        .chain(
            NAMES
                .iter()
                .map(|name| (*name, "chunked", "content-length: 5\r\n")),
        )
    {
        for (before, after) in [(length, ""), ("", length)] {
            let head =
                format!("POST / HTTP/1.1\r\nhost: a\r\n{before}{name}: {coding}\r\n{after}\r\n");
            cases.push((
                format!("{before:?} {name:?} {coding:?} {after:?}"),
                format!("{head}0\r\n\r\n{hidden}"),
            ));
        }
    }
    for chunk in CHUNKS {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        cases.push((
            format!("chunks {chunk:?}"),
            format!("{head}{chunk}{hidden}"),
        ));
    }
    for head in HEADS {
        cases.push((format!("head {head:?}"), format!("{head}{hidden}")));
    }
    cases
        .into_iter()
        .map(|(name, text)| (name, text.into_bytes()))
        .collect()
}

/// Sends a case; the statuses that came back.
fn exchange(proxy: &Running, bytes: &[u8]) -> Vec<String> {
    let mut stream = TcpStream::connect(proxy.address()).expect("a step of the test");
    stream
        .set_read_timeout(Some(Duration::from_millis(250)))
        .expect("a step of the test");
    // A proxy that has refused may have closed.
    let _ = stream.write_all(bytes);
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        got.extend_from_slice(&buffer[..count]);
    }
    let _ = stream.shutdown(Shutdown::Both);
    let text = String::from_utf8_lossy(&got).into_owned();
    let statuses = text.split("HTTP/1.").skip(1);
    statuses
        .map(|part| part.get(2..5).unwrap_or_default().to_owned())
        .collect()
}

/// Whether a case was refused, or what two readers could understand differently.
fn judge(
    proxy: &Running,
    upstream: &RawUpstream,
    (name, bytes): &(String, Vec<u8>),
) -> Result<bool, String> {
    let statuses = exchange(proxy, bytes);
    let seen = upstream.take();
    let refusal = |status: &String| status.starts_with('4') || status == "501";
    let refused = statuses.iter().any(refusal);
    let mut requests = 0;
    for bytes in &seen {
        match (by_lines(bytes), by_bytes(bytes)) {
            (Ok(one), Ok(other)) if one.len() == other => requests += other,
            // A body that broke off in the middle: its connection was ended, and nothing was answered from it.
            (Err(_), Err(_)) if refused => {}
            (one, other) => return Err(format!("{name}: {one:?} but {other:?}")),
        }
    }
    let answered = statuses.iter().filter(|status| *status == "200").count();
    if answered > requests || (!refused && answered < requests) {
        return Err(format!(
            "{name}: {requests} requests, answered {statuses:?}"
        ));
    }
    let switches = name.contains("upgrade: websocket") || name.contains("CONNECT");
    let hidden = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).contains(HIDDEN);
    if switches && seen.iter().any(hidden) {
        return Err(format!(
            "{name}: bytes went on before the upgrade was accepted"
        ));
    }
    Ok(refused)
}

#[test]
fn nothing_is_understood_in_two_ways() {
    let upstream = RawUpstream::start().expect("an upstream");
    let template = std::fs::read_to_string(workspace().join("e2e/protocol/hostile.yaml"));
    let template = template.expect("the bootstrap");
    let template = template.replace("@UPSTREAM@", &upstream.port.to_string());
    let scratch = tempfile::tempdir().expect("a folder");
    let proxy = Running::lateen(&template, &["plain"], scratch.path()).expect("the proxy");
    let (mut refused, mut wrong) = (0, Vec::new());
    let cases = corpus();
    for case in &cases {
        let once = || judge(&proxy, &upstream, case);
        // A machine with other work on it may not have forwarded all when it is asked.
        match once().or_else(|_| once()).or_else(|_| once()) {
            Ok(is_refused) => refused += usize::from(is_refused),
            Err(text) => wrong.push(text),
        }
    }
    println!("{} cases, {refused} of them refused", cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let forwarded = cases.len() - refused;
    assert!(refused > 80 && forwarded > 10, "the corpus holds both");
}
