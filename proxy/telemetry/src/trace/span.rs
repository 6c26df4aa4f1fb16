//! A span that has ended, or is about to.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::TraceContext;

/// A tag's name and value.
pub type Tag = (Cow<'static, str>, Cow<'static, str>);

/// Most tags of a span, and the longest value: configuration may name many, and headers may be long.
const MAX_TAGS: usize = 128;
const MAX_VALUE: usize = 4 * 1024;

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The side that was called.
    Server,
    /// The side that calls.
    Client,
}

/// One span.
#[derive(Clone, Debug)]
pub struct Span {
    /// Where it stands.
    pub context: TraceContext,
    /// Its name.
    pub name: String,
    /// Which side.
    pub kind: SpanKind,
    /// Its id is that of the caller's span.
    pub shared: bool,
    /// When it began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Tags; later ones of the same name have replaced earlier ones.
    pub tags: Vec<Tag>,
    /// Points in time, since the start, by name.
    pub events: Vec<(Duration, &'static str)>,
}

impl Span {
    /// A span that begins.
    pub fn new(context: TraceContext, name: String, kind: SpanKind, start: SystemTime) -> Self {
        Self {
            context,
            name,
            kind,
            shared: false,
            start,
            duration: Duration::ZERO,
            tags: Vec::with_capacity(24),
            events: Vec::new(),
        }
    }

    /// Sets a tag. Values are cut at 4 KiB, and a span has 128 tags at most.
    pub fn tag(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) {
        let (name, mut value) = (name.into(), value.into());
        if value.len() > MAX_VALUE {
            let end = (0..=MAX_VALUE)
                .rev()
                .find(|end| value.is_char_boundary(*end));
            value.to_mut().truncate(end.unwrap_or(0));
        }
        if let Some(tag) = self.tags.iter_mut().find(|(own, _)| *own == name) {
            tag.1 = value;
        } else if self.tags.len() < MAX_TAGS {
            self.tags.push((name, value));
        }
    }

    /// The value of a tag.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.tags
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| &**value)
    }
}
