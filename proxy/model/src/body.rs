//! Changes of bodies on their way, which a filter asks for.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::upstream::ResetReason;

/// Turns the bytes of a body into others while they pass. Nothing is kept beyond what the next output needs.
pub trait BodyChange: fmt::Debug {
    /// Takes the next bytes; asked for when [`BodyChange::take`] has nothing more.
    fn feed(&mut self, data: Bytes);

    /// The next bytes of what was fed, in pieces of bounded size; `None` when more is needed.
    ///
    /// # Errors
    /// When the body cannot be read.
    fn take(&mut self) -> Result<Option<Bytes>, BodyFailure>;

    /// The end of the body, with its trailers; gives those that are passed on. [`BodyChange::take`] gives what was left.
    fn finish(&mut self, trailers: Option<HeaderMap>) -> Option<HeaderMap>;
}

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct BodyFailure {
    /// Answer to the client, where the body is its request's.
    pub status: StatusCode,
    /// Text of that answer.
    pub text: &'static str,
    /// Response code details.
    pub details: &'static str,
}

impl From<BodyFailure> for ResetReason {
    fn from(_: BodyFailure) -> Self {
        Self::LocalReset
    }
}
