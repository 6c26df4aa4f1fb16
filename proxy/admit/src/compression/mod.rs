//! Which bodies are compressed and decompressed, and what their heads say then; as Envoy decides it.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lateen_proxy_model::{
    Coding, CompressDirection, Compressor, CompressorRoute, DecompressDirection, Decompressor,
};

pub use decode::Decode;
pub use encode::Encode;

/// Encodings that a client may name; beyond that the rest is not read.
const MOST: usize = 64;

/// What a client accepts, with the compressors that could serve it in the order of the chain.
#[derive(Clone, Copy, Debug)]
pub struct CodingChoice<'a> {
    /// `Accept-Encoding` as this compressor's request had it.
    pub accept: Option<&'a [u8]>,
    /// The compressors that the request met.
    pub compressors: &'a [(&'a Compressor, Coding)],
}

/// How the choice went, by place of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen<'a> {
    NotValid,
    Identity,
    Wildcard(Option<&'a str>),
    Named(&'a str),
}

/// Compresses a request's body: changes its head and gives the encoder. `count` is told places of
/// [`Compressor`]'s counters.
pub fn compress_request(
    config: &Compressor,
    coding: &Coding,
    headers: &mut HeaderMap,
    ended: bool,
    count: impl Fn(usize),
) -> Option<Encode> {
    let wanted = !ended
        && config.request.as_ref().is_some_and(|direction| {
            direction.enabled
                && is_long_enough(direction, headers, || count(4))
                && is_typed(direction, headers)
                && !headers.contains_key(CONTENT_ENCODING)
        });
    let encoder = wanted.then(|| Encode::new(coding)).flatten();
    let Some(encoder) = encoder else {
        count(1);
        return None;
    };
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    count(0);
    Some(encoder)
}

/// Takes `Accept-Encoding` of a request for its answer, and away where the filter says so.
pub fn take_accept(
    config: &Compressor,
    route: Option<&CompressorRoute>,
    headers: &mut HeaderMap,
) -> Option<HeaderValue> {
    let accept = joined(headers, &ACCEPT_ENCODING);
    let removes = route.and_then(|route| route.remove_accept_encoding);
    if enabled(config, route) && removes.unwrap_or(config.remove_accept_encoding) {
        headers.remove(ACCEPT_ENCODING);
    }
    accept
}

fn enabled(config: &Compressor, route: Option<&CompressorRoute>) -> bool {
    let route = route.and_then(|route| route.response);
    route.unwrap_or(config.response.enabled)
}

/// All lines of a header as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let rest: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
    if rest.is_empty() {
        return Some(first.clone());
    }
    let all = [&[first.as_bytes()][..], &rest].concat().join(&b","[..]);
    HeaderValue::from_bytes(&all).ok()
}

/// Compresses an answer's body: changes its head and gives the encoder.
pub fn compress_answer(
    (config, route): (&Compressor, Option<&CompressorRoute>),
    choice: &CodingChoice<'_>,
    (status, headers, ended): (StatusCode, &mut HeaderMap, bool),
    count: impl Fn(usize),
) -> Option<Encode> {
    let direction = &config.response;
    let coding = route
        .and_then(|route| route.coding)
        .unwrap_or(config.coding);
    let long_enough = enabled(config, route) && is_long_enough(direction, headers, || count(9));
    let compressible = long_enough
        && is_typed(direction, headers)
        && !says(headers, &CACHE_CONTROL, b"no-transform")
        && !disabled_by_etag(config, headers, || count(16))
        && !headers.contains_key(CONTENT_ENCODING)
        && !config.never.contains(&status);
    let wanted =
        !ended && long_enough && is_accepted(&coding, choice, headers, &count) && compressible;
    let encoder = wanted.then(|| Encode::new(&coding)).flatten();
    match &encoder {
        Some(_) => {
            weaken_etag(config, headers);
            headers.remove(CONTENT_LENGTH);
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
            count(5);
        }
        None => count(6),
    }
    if compressible {
        vary(headers);
    }
    encoder
}

fn is_long_enough(direction: &CompressDirection, headers: &HeaderMap, short: impl Fn()) -> bool {
    let Some(length) = headers.get(CONTENT_LENGTH) else {
        return true;
    };
    let length = length
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let enough = length.is_some_and(|length| length >= direction.min_length);
    if !enough {
        short();
    }
    enough
}

fn is_typed(direction: &CompressDirection, headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    if direction.types.is_empty() && direction.matchers.is_empty() {
        return true;
    }
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    direction
        .types
        .iter()
        .any(|known| known.eq_ignore_ascii_case(kind))
        || direction
            .matchers
            .iter()
            .any(|matcher| matcher.matches(kind))
}

/// Whether a list of tokens holds one.
fn says(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.any(|one| one.trim_ascii().eq_ignore_ascii_case(token))
    })
}

fn disabled_by_etag(config: &Compressor, headers: &HeaderMap, counted: impl Fn()) -> bool {
    let disabled = config.etag_disables && headers.contains_key(ETAG);
    if disabled {
        counted();
    }
    disabled
}

/// A strong tag names bytes that are not sent.
fn weaken_etag(config: &Compressor, headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG) else {
        return;
    };
    let tag = tag.as_bytes();
    if tag.len() <= 2 || matches!(tag, [b'w' | b'W', b'/', ..]) {
        return;
    }
    let weak = HeaderValue::from_bytes(&[b"W/", tag].concat());
    match weak {
        Ok(weak) if config.weaken_etag => {
            headers.insert(ETAG, weak);
        }
        _ => {
            headers.remove(ETAG);
        }
    }
}

fn vary(headers: &mut HeaderMap) {
    const NAME: HeaderValue = HeaderValue::from_static("Accept-Encoding");
    let Some(known) = joined(headers, &VARY) else {
        headers.insert(VARY, NAME);
        return;
    };
    // As Envoy compares it: letter by letter.
    let mut known_names = known.as_bytes().split(|byte| *byte == b',');
    if !known_names.any(|one| one.trim_ascii() == NAME.as_bytes()) {
        let both = [known.as_bytes(), NAME.as_bytes()].join(&b", "[..]);
        if let Ok(both) = HeaderValue::from_bytes(&both) {
            headers.insert(VARY, both);
        }
    }
}

fn is_accepted(
    coding: &Coding,
    choice: &CodingChoice<'_>,
    headers: &HeaderMap,
    count: impl Fn(usize),
) -> bool {
    let Some(accept) = choice.accept else {
        count(10);
        return false;
    };
    let own = coding.token();
    match choose(accept, choice.compressors, headers) {
        Chosen::NotValid => {
            count(15);
            false
        }
        Chosen::Identity => {
            count(11);
            false
        }
        Chosen::Wildcard(name) => {
            count(14);
            name == Some(own)
        }
        Chosen::Named(name) => {
            count(if name == own { 12 } else { 13 });
            name == own
        }
    }
}

/// The coding that client and chain like best.
fn choose<'a>(
    accept: &'a [u8],
    compressors: &'a [(&'a Compressor, Coding)],
    headers: &HeaderMap,
) -> Chosen<'a> {
    let mut allowed: Vec<&str> = Vec::with_capacity(compressors.len());
    let mut first = None;
    for (one, coding) in compressors {
        if is_typed(&one.response, headers) {
            let token = coding.token();
            if !allowed.contains(&token) {
                allowed.push(token);
            }
            if one.choose_first {
                first = Some(token);
            }
        }
    }
    let mut best = ("identity", 0.0);
    for item in accept.split(|byte| *byte == b',').take(MOST) {
        let Some((name, weight)) = item_of(item) else {
            continue;
        };
        if weight == 0.0 {
            allowed.retain(|token| *token != name);
        }
        let known = matches!(name, "identity" | "*") || allowed.contains(&name);
        if known && (weight > best.1 || (weight == best.1 && weight > 0.0 && first == Some(name))) {
            best = (name, weight);
        }
    }
    match best {
        (_, 0.0) => Chosen::NotValid,
        ("identity", _) => Chosen::Identity,
        ("*", _) => Chosen::Wildcard(allowed.first().copied()),
        (name, _) => Chosen::Named(name),
    }
}

/// A coding and how much it is liked; `None` when that cannot be read.
fn item_of(item: &[u8]) -> Option<(&str, f32)> {
    let item = std::str::from_utf8(item).ok()?;
    let (name, rest) = item.split_once(';').unwrap_or((item, ""));
    let name = name.trim();
    if name.is_empty() {
        return None;
    }
    let weight = match rest.split_once('=') {
        Some((key, value)) if key.trim().eq_ignore_ascii_case("q") => value.trim().parse().ok()?,
        _ => 1.0,
    };
    Some((name, weight))
}

/// Tells the upstream what can be read of its answer.
pub fn advertise(config: &Decompressor, headers: &mut HeaderMap) {
    if !config.response.enabled || !config.advertise {
        return;
    }
    let own = config.decoding.token();
    let value = match joined(headers, &ACCEPT_ENCODING) {
        Some(known) => HeaderValue::from_bytes(&[known.as_bytes(), own.as_bytes()].join(&b","[..])),
        None => Ok(HeaderValue::from_static(own)),
    };
    if let Ok(value) = value {
        headers.insert(ACCEPT_ENCODING, value);
    }
}

/// Decompresses a body: changes its head and gives the decoder.
pub fn decompress(
    config: &Decompressor,
    direction: &DecompressDirection,
    (headers, ended): (&mut HeaderMap, bool),
    count: impl Fn(usize),
) -> Option<Decode> {
    if ended {
        return None;
    }
    let own = config.decoding.token().as_bytes();
    let known = joined(headers, &CONTENT_ENCODING);
    let known = known.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    let (outer, rest) = match known.iter().position(|byte| *byte == b',') {
        Some(comma) => known.split_at(comma),
        None => (known, &b""[..]),
    };
    let wanted = direction.enabled
        && outer.trim_ascii().eq_ignore_ascii_case(own)
        && (direction.ignore_no_transform || !says(headers, &CACHE_CONTROL, b"no-transform"));
    let decoder = wanted.then(|| Decode::new(config.decoding, &config.library));
    let Some(decoder) = decoder.flatten() else {
        count(1);
        return None;
    };
    headers.remove(CONTENT_LENGTH);
    match HeaderValue::from_bytes(rest.get(1..).unwrap_or_default().trim_ascii()) {
        Ok(rest) if !rest.is_empty() => headers.insert(CONTENT_ENCODING, rest),
        _ => headers.remove(CONTENT_ENCODING),
    };
    count(0);
    Some(decoder)
}
