//! Redirects of upstreams that the proxy follows itself.

use http::{HeaderName, StatusCode};

/// Which redirects of a route's upstreams are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalRedirect {
    /// How many a request may be led through.
    pub max: u32,
    /// Statuses that count as redirects.
    pub statuses: Box<[StatusCode]>,
    /// From http to https and back, too.
    pub cross_scheme: bool,
    /// Headers of the answer that the next request gets; it loses its own of these names.
    pub copied: Box<[HeaderName]>,
    /// What the route that a redirect leads to must be; all must hold, and are asked in this order.
    pub targets: Box<[RedirectTarget]>,
}

/// What a route must be that a redirect leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectTarget {
    /// None that a redirect of this route led to before, within the request.
    Fresh,
    /// One of these names.
    Listed(Box<[Box<str>]>),
    /// Not https, where the request came without.
    SafeScheme,
}

impl InternalRedirect {
    /// Whether an answer of this status may be followed.
    pub fn takes(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status)
    }
}
