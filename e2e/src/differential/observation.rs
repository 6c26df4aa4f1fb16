//! What was seen of a case, in a form that can be compared.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::MultiGzDecoder;

/// What one proxy did in one case.
#[derive(Clone, Debug, Default)]
pub(super) struct Observation {
    pub(super) replies: Vec<Reply>,
    /// Bytes outside of answers: after an upgrade, or of no HTTP at all.
    pub(super) bytes: String,
    /// Whether the connection was kept or closed.
    pub(super) end: String,
    /// What a TLS handshake agreed on.
    pub(super) tls: String,
    /// What ended a handshake that failed.
    pub(super) alert: String,
    /// The requests that the upstreams saw.
    pub(super) upstream: Vec<String>,
    /// Lines of the access log.
    pub(super) log: Vec<String>,
}

/// An answer, an interim one too.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) status: String,
    pub(super) headers: Vec<String>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<String>,
}

/// Headers whose values are another in every run.
const VOLATILE: [(&str, &str); 3] = [
    ("date", "<date>"),
    ("x-envoy-upstream-service-time", "<ms>"),
    ("age", "<s>"),
];

/// The time that is left shrinks while a try is under way.
const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms: ";
/// Times within one step are the same.
const STEP: u64 = 250;

impl Reply {
    pub(super) fn of_status(text: &str) -> Self {
        Self {
            status: text.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn is_interim(&self) -> bool {
        let code = self.status.split(' ').nth(1).unwrap_or_default();
        code.starts_with('1') && code != "101"
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|header| {
            let (own, value) = header.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Observation {
    /// The parts by name, without what differs in every run. `ports` are those of this proxy's run, with their names.
    pub(super) fn parts(&self, ports: &BTreeMap<u16, String>) -> [(&'static str, String); 10] {
        let all = |part: fn(&Reply) -> String| {
            let texts: Vec<_> = self.replies.iter().map(part).collect();
            named(&texts.join("\n"), ports)
        };
        [
            ("status", all(|reply| reply.status.clone())),
            ("headers", all(|reply| headers(&reply.headers))),
            (
                "body",
                all(|reply| {
                    let coding = reply.value("content-encoding").unwrap_or_default();
                    String::from_utf8_lossy(&decoded(coding, &reply.body)).into_owned()
                }),
            ),
            ("trailers", all(|reply| headers(&reply.trailers))),
            ("bytes", named(&self.bytes, ports)),
            ("end", self.end.clone()),
            ("tls", self.tls.clone()),
            ("alert", self.alert.clone()),
            (
                "upstream",
                named(&rounded(&stable(&traces(&self.upstream.join("\n")))), ports),
            ),
            (
                "log",
                named(
                    &self
                        .log
                        .iter()
                        .map(|line| flags_sorted(line))
                        .collect::<Vec<_>>()
                        .join("\n"),
                    ports,
                ),
            ),
        ]
    }
}

/// A compressed body as text: two libraries compress alike in meaning, not in bytes.
pub(super) fn decoded<'b>(coding: &str, body: &'b [u8]) -> Cow<'b, [u8]> {
    let mut out = Vec::new();
    let read = match coding {
        "gzip" => MultiGzDecoder::new(body).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut out),
        "zstd" => zstd::Decoder::new(body).and_then(|mut decoder| decoder.read_to_end(&mut out)),
        _ => return Cow::Borrowed(body),
    };
    match read {
        Ok(_) => Cow::Owned([coding.as_bytes(), b": ", &out].concat()),
        Err(_) => Cow::Borrowed(body),
    }
}

/// One header a line, by name; those of one name keep their order.
fn headers(lines: &[String]) -> String {
    let mut sorted: Vec<_> = lines
        .iter()
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let name = name.to_ascii_lowercase();
            let value = VOLATILE
                .iter()
                .find_map(|(volatile, text)| (*volatile == name).then_some(*text))
                .unwrap_or(value.trim());
            (name, value.to_owned())
        })
        .collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    let lines: Vec<_> = sorted
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    stable(&lines.concat())
}

/// Random ids of traces and spans replaced; those that a case chose begin with four equal digits.
fn traces(text: &str) -> String {
    let names = ["traceparent:", "x-b3-", "b3:"];
    let line = |line: &str| {
        if !names.iter().any(|name| line.trim_start().starts_with(name)) {
            return line.to_owned();
        }
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let parts = value.split('-').map(|part| match part.len() {
            16 | 32 if !part.starts_with("1111") => format!("<{} digits>", part.len()),
            _ => part.to_owned(),
        });
        format!("{name}: {}", parts.collect::<Vec<_>>().join("-"))
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Times in whole steps.
fn rounded(text: &str) -> String {
    let line = |line: &str| match line.split_once(EXPECTED) {
        Some((before, time)) => {
            let time = time.parse::<u64>().unwrap_or(0);
            format!("{before}{EXPECTED}{}", (time + STEP / 2) / STEP * STEP)
        }
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The response flags are a set: Envoy lists them as they came up.
fn flags_sorted(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let mut flags: Vec<_> = word.split(',').collect();
        if flags
            .iter()
            .all(|flag| flag.bytes().all(|byte| byte.is_ascii_uppercase()))
        {
            flags.sort_unstable();
        }
        flags.join(",")
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Random ids replaced.
fn stable(text: &str) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let candidate = rest.get(..36).filter(|text| is_uuid(text));
        if candidate.is_some() {
            made.push_str(match rest.as_bytes().get(14) {
                Some(b'4') => "<uuid>",
                // The digit says whether the request is traced.
                Some(b'9') => "<uuid, sampled>",
                Some(b'a') => "<uuid, forced by a server>",
                _ => "<uuid, forced by a client>",
            });
            rest = rest.get(36..).unwrap_or_default();
        } else {
            made.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    made
}

/// Ids of version 4 that no case chose: those begin with four equal digits.
fn is_uuid(text: &str) -> bool {
    let shape = text.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    shape && !text.starts_with("1111")
}

/// Ports replaced by what they are.
fn named(text: &str, ports: &BTreeMap<u16, String>) -> String {
    ports.iter().fold(text.to_owned(), |text, (port, name)| {
        text.replace(&format!(":{port}"), &format!(":<{name}>"))
    })
}
