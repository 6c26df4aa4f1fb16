//! What a connection manager does with the heads of requests and answers beside routing.

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::matcher::HeaderMatcher;
use crate::mutation::HeaderMutations;
use crate::route::BodyFormat;

/// Options about heads. The default does nothing.
#[derive(Debug, Default)]
pub struct HeadOptions {
    /// Which ports are taken off hosts.
    pub strip_port: StripPort,
    /// A dot at the end of hosts is taken off.
    pub strip_dot: bool,
    /// What is done with `%2F` and `%5C` in paths.
    pub escaped_slashes: EscapedSlashes,
    /// Added to `Via` of requests and answers.
    pub via: Option<HeaderValue>,
    /// The scheme of all requests.
    pub scheme: Option<&'static str>,
    /// Changes before anything else looks at a request, one after the other.
    pub early: Vec<HeaderMutations>,
    /// Where the client's address comes from; empty is `x-forwarded-for` with the manager's number of hops.
    pub client_sources: Vec<ClientSource>,
    /// The connection's address is not added to `x-forwarded-for`.
    pub skip_xff_append: bool,
    /// Addresses of the inside.
    pub internal: Vec<IpNet>,
    /// The request id goes into the answer too.
    pub request_id_in_response: bool,
    /// The server's name is set only where the upstream says none.
    pub server_if_absent: bool,
    /// The port that the client called is sent in `x-forwarded-port`.
    pub append_port: bool,
    /// Requests say which service and node they come from, in headers.
    pub add_user_agent: bool,
    /// Changes of answers made here.
    pub local_replies: Option<LocalReplies>,
}

/// Which ports are taken off hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripPort {
    /// None.
    #[default]
    None,
    /// The one that the client called.
    Matching,
    /// Any.
    Any,
}

/// What is done with escaped slashes in paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay, or are unescaped, as the path's normalisation says.
    #[default]
    Normalize,
    /// The request is a bad one.
    Reject,
    /// The client is sent to the path without them.
    Redirect,
}

/// Where the client's address comes from.
#[derive(Clone, Debug)]
pub enum ClientSource {
    /// A header that holds one address.
    Header {
        /// Its name.
        name: HeaderName,
        /// Such an address may be one of the inside.
        trusted: bool,
        /// Requests without one are refused with this status.
        reject: Option<StatusCode>,
    },
    /// `x-forwarded-for`, from the right.
    Xff {
        /// Trusted proxies in front.
        hops: u32,
        /// Trusted proxies by address, in place of a number.
        trusted: Vec<IpNet>,
    },
}

/// What the router does with Envoy's own headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterOptions {
    /// It makes none.
    pub quiet: bool,
    /// The expected time that the client tells counts as its timeout.
    pub respect_expected: bool,
}

/// Changes of answers made here.
#[derive(Debug, Default)]
pub struct LocalReplies {
    /// The first whose condition holds is applied.
    pub mappers: Vec<ReplyMapper>,
    /// How bodies are written.
    pub format: Option<BodyFormat>,
}

/// A change of some answers.
#[derive(Debug)]
pub struct ReplyMapper {
    /// Which.
    pub filter: ReplyFilter,
    /// New status.
    pub status: Option<StatusCode>,
    /// New body.
    pub body: Option<bytes::Bytes>,
    /// How the body is written.
    pub format: Option<BodyFormat>,
    /// Headers added.
    pub headers: HeaderMutations,
}

/// A condition on an answer made here.
#[derive(Debug)]
pub enum ReplyFilter {
    /// The status compares so.
    Status(Comparison, u64),
    /// The time since the request came, milliseconds, compares so.
    Duration(Comparison, u64),
    /// A header of the request.
    Header(Box<HeaderMatcher>),
    /// One of these response flags, by their short names; empty is any.
    Flags(Vec<Box<str>>),
    /// All hold.
    All(Vec<ReplyFilter>),
    /// One holds.
    Any(Vec<ReplyFilter>),
}

/// A comparison with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// At least.
    AtLeast,
    /// At most.
    AtMost,
}

impl Comparison {
    /// Whether `value` compares so with `wanted`.
    pub fn holds(self, value: u64, wanted: u64) -> bool {
        match self {
            Self::Equal => value == wanted,
            Self::NotEqual => value != wanted,
            Self::AtLeast => value >= wanted,
            Self::AtMost => value <= wanted,
        }
    }
}
