//! Spans: the contexts they travel in, what they say, and how collectors want them.

mod context;
mod otlp;
mod span;
mod zipkin;

pub use context::{Extracted, Propagation, TraceContext};
pub(crate) use otlp::nanos;
pub use otlp::{decode_accepted, otlp_request};
pub use span::{Span, SpanKind, Tag};
pub use zipkin::{Endpoint, zipkin_spans};
