//! In front of hyper's HTTP/1 server: where messages begin and end is decided here, once and strictly (S18).
//!
//! hyper reads leniently and answers what it cannot read with an empty 400 that nobody logs. The [`Guard`] stands between
//! the connection and hyper: it hands over one whole head at a time ([`head`]), follows bodies to their end ([`chunked`]),
//! keeps what a client sends ahead until the request before it is answered, and gives the connection back when a request
//! cannot be read, so that it is answered and logged as any other ([`refusal`]).

mod chunked;
mod guard;
mod head;
mod refusal;
mod signals;

pub(super) use guard::Guard;
pub(super) use head::HeadRules;
pub(super) use refusal::refuse;
pub(crate) use signals::Signals;

#[cfg(test)]
mod tests;

/// What a fuzzer reads heads with: bytes of the first head, or why there is none.
pub fn fuzz(bytes: &[u8]) -> Option<(usize, Option<usize>)> {
    let rules = HeadRules::default();
    let head::Head::Whole { length, framing } = head::read(bytes, &rules) else {
        return None;
    };
    let rest = bytes.get(length..).unwrap_or_default();
    let body = match framing {
        head::Framing::None => Some(0),
        head::Framing::Length(length) => usize::try_from(length).ok(),
        head::Framing::Chunked => {
            let mut chunks = chunked::Chunks::default();
            match chunks.feed(rest) {
                (used, chunked::Fed::Done) => Some(used),
                _ => None,
            }
        }
    };
    Some((length, body))
}
