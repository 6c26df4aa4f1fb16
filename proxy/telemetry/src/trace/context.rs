//! Trace contexts in headers: W3C trace context (recommendation of 2021) and B3 (openzipkin/b3-propagation).

use http::{HeaderMap, HeaderName, HeaderValue};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static B3: HeaderName = HeaderName::from_static("b3");
static B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
static B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
static B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
static B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");

/// Longest `tracestate` that is sent on, bytes.
const MAX_STATE: usize = 8 * 1024;

/// Which headers carry contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// `traceparent` and `tracestate`.
    W3c,
    /// `x-b3-*`, or `b3` where that came in.
    B3,
    /// B3, and where it is absent W3C; both are sent.
    B3AndW3c,
}

/// Where a span stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; of 64 bits where the upper half is zero.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
    /// The span's parent.
    pub parent_id: Option<u64>,
    /// It is told to the collector.
    pub sampled: bool,
    /// What other tracers want to be sent on.
    pub state: Option<HeaderValue>,
    /// It came in one `b3` header, and goes on in one.
    pub single: bool,
}

/// What came with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extracted {
    /// Nothing.
    Absent,
    /// A decision to sample, or not to, without a trace.
    Decision(bool),
    /// A context; `true` says that the decision came with it.
    Context(TraceContext, bool),
    /// Headers that cannot be read: the request is not traced, and they are left as they are.
    Invalid,
}

impl Propagation {
    /// Reads the headers.
    pub fn extract(self, headers: &HeaderMap) -> Extracted {
        match self {
            Self::W3c => w3c(headers),
            Self::B3 => b3(headers),
            Self::B3AndW3c => match b3(headers) {
                Extracted::Absent => w3c(headers),
                found => found,
            },
        }
    }

    /// Writes them.
    pub fn inject(self, context: &TraceContext, headers: &mut HeaderMap) {
        if self != Self::W3c && context.single {
            put(headers, &B3, &context.single_text());
        } else if self != Self::W3c {
            put(headers, &B3_TRACE, &context.trace_text());
            put(headers, &B3_SPAN, &format!("{:016x}", context.span_id));
            if let Some(parent) = context.parent_id {
                put(headers, &B3_PARENT, &format!("{parent:016x}"));
            }
            let sampled = if context.sampled { "1" } else { "0" };
            headers.insert(&B3_SAMPLED, HeaderValue::from_static(sampled));
        }
        if self != Self::B3 {
            let flags = u8::from(context.sampled);
            let text = format!(
                "00-{:032x}-{:016x}-{flags:02x}",
                context.trace_id, context.span_id
            );
            put(headers, &TRACEPARENT, &text);
            match &context.state {
                Some(state) => drop(headers.insert(&TRACESTATE, state.clone())),
                // As Envoy's tracer of OpenTelemetry does.
                None if self == Self::W3c => {
                    headers.insert(&TRACESTATE, HeaderValue::from_static(""));
                }
                None => {}
            }
        }
    }
}

impl TraceContext {
    fn single_text(&self) -> String {
        let sampled = u8::from(self.sampled);
        let text = format!("{}-{:016x}-{sampled}", self.trace_text(), self.span_id);
        match self.parent_id {
            Some(parent) => format!("{text}-{parent:016x}"),
            None => text,
        }
    }

    /// The trace id as text, of 16 or 32 digits.
    pub fn trace_text(&self) -> String {
        match u64::try_from(self.trace_id) {
            Ok(low) => format!("{low:016x}"),
            Err(_) => format!("{:032x}", self.trace_id),
        }
    }
}

fn put(headers: &mut HeaderMap, name: &HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

fn first<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn w3c(headers: &HeaderMap) -> Extracted {
    let Some(parent) = headers.get(&TRACEPARENT) else {
        return Extracted::Absent;
    };
    let Some(mut context) = parent.to_str().ok().and_then(traceparent) else {
        return Extracted::Invalid;
    };
    let mut states = headers.get_all(&TRACESTATE).iter();
    context.state = match (states.next(), states.next()) {
        (Some(only), None) => Some(only.clone()),
        (Some(first), Some(second)) => {
            let mut joined = first.as_bytes().to_vec();
            for more in std::iter::once(second).chain(states) {
                joined.push(b',');
                joined.extend_from_slice(more.as_bytes());
            }
            HeaderValue::from_bytes(&joined).ok()
        }
        (None, _) => None,
    };
    context.state = context.state.filter(|state| state.len() <= MAX_STATE);
    Extracted::Context(context, true)
}

fn traceparent(text: &str) -> Option<TraceContext> {
    if text.len() != 55 {
        return None;
    }
    let mut parts = text.split('-');
    let mut next = |length: usize| {
        let part = parts.next()?;
        let fits = part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then_some(part)
    };
    let (_version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    let context = TraceContext {
        trace_id: u128::from_str_radix(trace, 16).ok()?,
        span_id: u64::from_str_radix(span, 16).ok()?,
        sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        ..TraceContext::default()
    };
    (context.trace_id != 0 && context.span_id != 0 && parts.next().is_none()).then_some(context)
}

fn b3(headers: &HeaderMap) -> Extracted {
    if let Some(single) = headers.get(&B3) {
        return match single.to_str() {
            Ok(text) => b3_single(text),
            Err(_) => Extracted::Invalid,
        };
    }
    let sampled = headers
        .get(&B3_SAMPLED)
        .map(|value| matches!(value.as_bytes(), b"1" | b"true"));
    let (Some(trace), Some(span)) = (headers.get(&B3_TRACE), headers.get(&B3_SPAN)) else {
        return sampled.map_or(Extracted::Absent, Extracted::Decision);
    };
    let read = || {
        let parent = match first(headers, &B3_PARENT).filter(|text| !text.is_empty()) {
            Some(text) => Some(hex64(text)?),
            None => None,
        };
        Some(TraceContext {
            trace_id: trace_id(trace.to_str().ok()?)?,
            span_id: hex64(span.to_str().ok()?)?,
            parent_id: parent.filter(|parent| *parent != 0),
            sampled: sampled.unwrap_or_default(),
            ..TraceContext::default()
        })
    };
    match read() {
        Some(context) => Extracted::Context(context, sampled.is_some()),
        None => Extracted::Invalid,
    }
}

/// `trace-span[-sampled[-parent]]`, or the decision alone.
fn b3_single(text: &str) -> Extracted {
    let decision = |text: &str| match text {
        "1" | "d" => Some(true),
        "0" => Some(false),
        _ => None,
    };
    if text.len() == 1 {
        return decision(text).map_or(Extracted::Invalid, Extracted::Decision);
    }
    let read = || {
        let mut parts = text.split('-');
        let trace = trace_id(parts.next()?)?;
        let span = hex64(parts.next().filter(|part| part.len() == 16)?)?;
        let sampled = match parts.next() {
            Some(part) => Some(decision(part)?),
            None => None,
        };
        let parent = match parts.next() {
            Some(part) => Some(hex64(part)?),
            None => None,
        };
        let context = TraceContext {
            trace_id: trace,
            span_id: span,
            parent_id: parent.filter(|parent| *parent != 0),
            sampled: sampled.unwrap_or_default(),
            single: true,
            ..TraceContext::default()
        };
        parts.next().is_none().then_some((context, sampled))
    };
    match read() {
        Some((context, sampled)) => Extracted::Context(context, sampled.is_some()),
        None => Extracted::Invalid,
    }
}

fn trace_id(text: &str) -> Option<u128> {
    let fits = matches!(text.len(), 1..=16 | 32) && text.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

fn hex64(text: &str) -> Option<u64> {
    let fits = matches!(text.len(), 1..=16) && text.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).expect("a value"),
                )
            })
            .collect()
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn w3c_contexts_are_read_and_written_back() {
        let mut map = headers(&[("traceparent", PARENT), ("tracestate", "a=1")]);
        map.append("tracestate", HeaderValue::from_static("b=2"));
        let Extracted::Context(context, true) = Propagation::W3c.extract(&map) else {
            panic!("no context");
        };
        assert_eq!(context.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert!(context.sampled);
        let mut out = HeaderMap::new();
        Propagation::W3c.inject(&context, &mut out);
        assert_eq!(out["traceparent"], PARENT);
        assert_eq!(out["tracestate"], "a=1,b=2");
    }

    #[test]
    fn what_cannot_be_read_is_told_apart_from_nothing() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
        ] {
            let map = headers(&[("traceparent", bad)]);
            assert_eq!(Propagation::W3c.extract(&map), Extracted::Invalid, "{bad}");
        }
        assert_eq!(
            Propagation::W3c.extract(&HeaderMap::new()),
            Extracted::Absent
        );
        let bad = headers(&[("x-b3-traceid", "zz"), ("x-b3-spanid", "1")]);
        assert_eq!(Propagation::B3.extract(&bad), Extracted::Invalid);
    }

    #[test]
    fn b3_comes_in_many_or_one() {
        let many = headers(&[
            ("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124"),
            ("x-b3-spanid", "a2fb4a1d1a96d312"),
            ("x-b3-parentspanid", "0020000000000001"),
            ("x-b3-sampled", "1"),
        ]);
        let one = headers(&[(
            "b3",
            "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1-0020000000000001",
        )]);
        for given in [many, one] {
            let Extracted::Context(context, true) = Propagation::B3.extract(&given) else {
                panic!("no context");
            };
            assert_eq!(context.parent_id, Some(0x0020_0000_0000_0001));
            let mut out = HeaderMap::new();
            Propagation::B3.inject(&context, &mut out);
            assert_eq!(out, given);
        }
        let narrow = headers(&[("b3", "48485a3953bb6124-a2fb4a1d1a96d312")]);
        let Extracted::Context(context, false) = Propagation::B3.extract(&narrow) else {
            panic!("no context");
        };
        assert_eq!(context.trace_text(), "48485a3953bb6124");
        let decision = |text| Propagation::B3.extract(&headers(&[("b3", text)]));
        assert_eq!(decision("0"), Extracted::Decision(false));
        assert_eq!(decision("d"), Extracted::Decision(true));
    }

    #[test]
    fn both_are_sent_where_both_are_wanted() {
        let map = headers(&[("traceparent", PARENT)]);
        let Extracted::Context(context, true) = Propagation::B3AndW3c.extract(&map) else {
            panic!("no context");
        };
        let mut out = HeaderMap::new();
        Propagation::B3AndW3c.inject(&context, &mut out);
        assert_eq!(out["x-b3-traceid"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(out["traceparent"], PARENT);
    }
}
