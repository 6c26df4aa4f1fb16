//! Refusal of requests that another site made a browser send, compiled.

use crate::matcher::StringMatcher;
use crate::route::Percentage;

/// A policy of the filter, or of a route.
#[derive(Clone, Debug)]
pub struct CsrfPolicy {
    /// Share of requests that are refused when they come from elsewhere.
    pub enabled: Percentage,
    /// Share of requests that are looked at and counted, without being refused.
    pub shadow: Percentage,
    /// Other origins that requests may come from.
    pub origins: Vec<StringMatcher>,
}
