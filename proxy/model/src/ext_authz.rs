//! External authorisation, compiled: which service is asked, what it is told, what its answers may do.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{StatusCode, Uri};

use crate::cluster::ClusterRef;
use crate::global_rate_limit::GrpcService;
use crate::matcher::StringMatcher;
use crate::metadata_matcher::MetadataMatcher;
use crate::route::Percentage;

/// The filter.
#[derive(Debug)]
pub struct ExtAuthz {
    /// Who is asked.
    pub service: AuthzService,
    /// Time for the answer.
    pub timeout: Option<Duration>,
    /// Without an answer requests pass.
    pub failure_mode_allow: bool,
    /// Such requests get a header that says so.
    pub failure_mode_header: bool,
    /// The request's body is sent along.
    pub body: Option<AuthzBody>,
    /// The route is chosen anew when an answer changed the request.
    pub clear_route: bool,
    /// Status when there is no answer.
    pub status_on_error: StatusCode,
    /// Answers with headers that cannot be are refused (500); else such headers are left out.
    pub validate_mutations: bool,
    /// Namespaces of dynamic metadata that are sent along.
    pub metadata_namespaces: Vec<Box<str>>,
    /// Namespaces of the route's metadata that are sent along.
    pub route_namespaces: Vec<Box<str>>,
    /// Headers are sent as they are, each value by itself, in bytes.
    pub raw_headers: bool,
    /// Share of requests that are asked about.
    pub enabled: Percentage,
    /// Only requests with this metadata are asked about.
    pub enabled_metadata: Option<MetadataMatcher>,
    /// Requests that are not asked about are refused.
    pub deny_at_disable: bool,
    /// The client's certificate is sent along.
    pub peer_certificate: bool,
    /// The server name that was asked for is sent along.
    pub tls_session: bool,
    /// Values of an answer are noted for later filters.
    pub takes_metadata: bool,
    /// Headers that are sent along; `None` sends all.
    pub allowed_headers: Option<Vec<StringMatcher>>,
    /// Headers that are not.
    pub disallowed_headers: Vec<StringMatcher>,
    /// Stands before the names of what is counted.
    pub stat_prefix: Box<str>,
}

/// How much of a body is sent along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthzBody {
    /// Bytes at most.
    pub max: usize,
    /// A longer body is sent in part; else the request is refused (413).
    pub partial: bool,
    /// It is sent as bytes, else as text.
    pub as_bytes: bool,
}

/// Who is asked.
#[derive(Debug)]
pub enum AuthzService {
    /// A gRPC service.
    Grpc(GrpcService),
    /// An HTTP server.
    Http(Box<AuthzHttp>),
}

/// An HTTP server.
#[derive(Debug)]
pub struct AuthzHttp {
    /// Its cluster.
    pub cluster: ClusterRef,
    /// Stands before the request's path.
    pub path_prefix: Box<str>,
    /// Stands in place of the request's path.
    pub path_override: Option<Uri>,
    /// Headers sent along.
    pub headers_to_add: Vec<(HeaderName, HeaderValue)>,
    /// Headers of an answer that replace those of the request.
    pub upstream_headers: Vec<StringMatcher>,
    /// Headers of an answer that are appended to those of the request.
    pub upstream_headers_to_append: Vec<StringMatcher>,
    /// Headers of a refusal that the client gets; `None` is all.
    pub client_headers: Option<Vec<StringMatcher>>,
    /// Headers of an answer that the client gets with the upstream's.
    pub client_headers_on_success: Vec<StringMatcher>,
    /// Headers of an answer that are noted for later filters.
    pub metadata_headers: Vec<StringMatcher>,
}

/// Settings of a route.
#[derive(Clone, Debug)]
pub enum AuthzOverride {
    /// Nobody is asked.
    Disabled,
    /// What else the service is told.
    Check {
        /// Names and texts.
        context: Vec<(Box<str>, Box<str>)>,
        /// The body is not sent along.
        no_body: bool,
        /// How much of it is.
        body: Option<AuthzBody>,
    },
}

impl AuthzOverride {
    /// These settings over those of a less specific level: what the service is told is told together.
    #[must_use]
    pub fn over(&self, above: &Self) -> Self {
        let (
            Self::Check {
                context,
                no_body,
                body,
            },
            Self::Check { context: more, .. },
        ) = (self, above)
        else {
            return self.clone();
        };
        let mut context = context.clone();
        for (name, text) in more {
            if !context.iter().any(|(known, _)| known == name) {
                context.push((name.clone(), text.clone()));
            }
        }
        Self::Check {
            context,
            no_body: *no_body,
            body: *body,
        }
    }
}
