//! Sessions that stay with one endpoint, and changes of headers as a filter of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::mutation::HeaderMutations;

/// Requests of one session go to one endpoint, which the client names. Envoy's `envoy.filters.http.stateful_session`.
#[derive(Clone, Debug)]
pub struct StatefulSession {
    /// Where the client says so; `None` leaves requests alone.
    pub state: Option<SessionState>,
    /// No other endpoint will do.
    pub strict: bool,
    /// Answer when the endpoint may not be chosen and no other will do.
    pub status: Option<StatusCode>,
}

/// Where a session names its endpoint.
#[derive(Clone, Debug)]
pub enum SessionState {
    /// A cookie.
    Cookie {
        /// Name.
        name: Box<str>,
        /// Paths that have the session; empty is all.
        path: Box<str>,
        /// Life of the cookie; `None` is the browser's session.
        ttl: Option<Duration>,
        /// Further attributes, as they stand behind the path.
        attributes: Box<str>,
    },
    /// A header of requests and answers.
    Header(HeaderName),
}

/// The endpoint that a session wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionHost {
    /// Its address.
    pub address: SocketAddr,
    /// No other will do.
    pub strict: bool,
    /// Answer when it may not be chosen and no other will do.
    pub status: Option<StatusCode>,
}

/// Changes of headers in a place of the chain. Envoy's `envoy.filters.http.header_mutation`.
#[derive(Clone, Debug, Default)]
pub struct MutationFilter {
    /// Of requests, in this order.
    pub request: Vec<HeaderMutations>,
    /// Of answers.
    pub response: Vec<HeaderMutations>,
    /// The most specific level is applied last, and not first.
    pub specific_last: bool,
}

/// Changes of headers that tables, virtual hosts and routes add: the most specific level first.
#[derive(Clone, Debug)]
pub struct MutationLevels(pub Arc<[Arc<MutationFilter>]>);

impl MutationLevels {
    /// These levels and those of a less specific one.
    #[must_use]
    pub(crate) fn over(&self, above: &Self) -> Self {
        Self(self.0.iter().chain(&*above.0).cloned().collect())
    }
}
