//! Authentication by JSON Web Tokens, compiled: where tokens are found, who issues them, what requests need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::Uri;
use http::header::{HeaderName, HeaderValue};

use crate::cluster::ClusterRef;
use crate::jwks::Jwks;
use crate::matcher::StringMatcher;
use crate::route::RouteMatch;

/// The filter.
#[derive(Debug)]
pub struct JwtFilter {
    /// Issuers of tokens.
    pub providers: Vec<JwtProvider>,
    /// What requests need; the first rule that matches counts.
    pub rules: Vec<JwtRule>,
    /// What routes ask for by name.
    pub named: Vec<(Arc<str>, JwtRequirement)>,
    /// Pre-flights of other origins pass.
    pub bypass_cors_preflight: bool,
    /// A refusal says nothing of its reason.
    pub strip_failure_response: bool,
    /// Stands before the names of what is counted.
    pub stat_prefix: Box<str>,
}

/// A rule and what it needs.
#[derive(Debug)]
pub struct JwtRule {
    /// Which requests.
    pub matches: RouteMatch,
    /// What they need; `None` is nothing.
    pub requirement: Option<JwtRequirement>,
}

/// Settings of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtOverride {
    /// Nothing is needed.
    Disabled,
    /// What stands under this name in the filter.
    Named(Arc<str>),
}

/// What a request needs. Providers are places in [`JwtFilter::providers`].
#[derive(Clone, Debug)]
pub enum JwtRequirement {
    /// A valid token of a provider.
    Provider {
        /// Which.
        provider: usize,
        /// Audiences in place of the provider's own.
        audiences: Option<Vec<Box<str>>>,
    },
    /// One of these.
    Any {
        /// Which.
        list: Vec<JwtRequirement>,
        /// No token at all is enough.
        allow_missing: bool,
        /// Anything is enough.
        allow_failed: bool,
    },
    /// All of these.
    All(Vec<JwtRequirement>),
    /// Every token that is there must be valid, whichever provider it is from.
    AllowMissing,
    /// Tokens are read where they are valid.
    AllowMissingOrFailed,
}

/// An issuer of tokens.
#[derive(Debug)]
pub struct JwtProvider {
    /// Name.
    pub name: Box<str>,
    /// `iss`; `None` takes any.
    pub issuer: Option<Box<str>>,
    /// Audiences, of which a token must have one; empty takes any.
    pub audiences: Vec<Box<str>>,
    /// Condition on `sub`.
    pub subjects: Option<StringMatcher>,
    /// A token must expire.
    pub require_expiration: bool,
    /// Longest time until a token expires.
    pub max_lifetime: Option<Duration>,
    /// Difference of clocks that is tolerated, seconds.
    pub clock_skew: u64,
    /// Where tokens are.
    pub places: Vec<JwtPlace>,
    /// The token stays in the request.
    pub forward: bool,
    /// Header that gets the payload, in base64url; with padding.
    pub payload_header: Option<(HeaderName, bool)>,
    /// Key under which the payload is noted.
    pub payload_in_metadata: Option<Box<str>>,
    /// Key under which the header is noted.
    pub header_in_metadata: Option<Box<str>>,
    /// Key under which the reason of a failure is noted.
    pub failure_in_metadata: Option<Box<str>>,
    /// Claims whose texts are noted as lists of words.
    pub spaced_claims: Vec<Box<str>>,
    /// Headers that get claims, by the path to the claim.
    pub claim_headers: Vec<(HeaderName, Vec<Box<str>>)>,
    /// The route is chosen anew.
    pub clear_route: bool,
    /// Keys.
    pub keys: JwtKeys,
}

/// A place of tokens.
#[derive(Clone, Debug)]
pub enum JwtPlace {
    /// A header, after a prefix.
    Header {
        /// Name.
        name: HeaderName,
        /// What precedes the token.
        prefix: Box<str>,
    },
    /// A query parameter.
    Query(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

/// Where keys are from.
#[derive(Debug)]
pub enum JwtKeys {
    /// The configuration.
    Local(Arc<Jwks>),
    /// A server.
    Remote(Arc<RemoteJwks>),
}

/// Keys that a server gives, shared by all workers.
#[derive(Debug)]
pub struct RemoteJwks {
    /// The server's cluster.
    pub cluster: ClusterRef,
    /// Path and query.
    pub path: Uri,
    /// Host.
    pub host: HeaderValue,
    /// Time for a request.
    pub timeout: Option<Duration>,
    /// How long keys are good.
    pub cache: Duration,
    /// Retries after the first try.
    pub retries: u32,
    /// Keys are asked for before a request needs them, and again this long after a failure.
    pub ahead: Option<Duration>,
    fetched: ArcSwapOption<Fetched>,
    fetching: AtomicBool,
}

#[derive(Debug)]
struct Fetched {
    keys: Arc<Jwks>,
    good_until: Instant,
}

/// Held by whoever asks a server for keys ahead of time; nobody else does meanwhile.
#[derive(Debug)]
pub struct JwksTurn(Arc<RemoteJwks>);

impl RemoteJwks {
    /// Keys that were not asked for yet.
    pub fn new(cluster: ClusterRef, path: Uri, host: HeaderValue) -> Self {
        Self {
            cluster,
            path,
            host,
            timeout: None,
            cache: Duration::from_secs(600),
            retries: 0,
            ahead: None,
            fetched: ArcSwapOption::empty(),
            fetching: AtomicBool::new(false),
        }
    }

    /// The keys, while they are good.
    pub fn current(&self, now: Instant) -> Option<Arc<Jwks>> {
        let fetched = self.fetched.load();
        let fetched = fetched.as_ref().filter(|it| it.good_until > now)?;
        Some(Arc::clone(&fetched.keys))
    }

    /// Keeps what the server gave.
    pub fn keep(&self, keys: Arc<Jwks>, now: Instant) {
        let good_until = now.checked_add(self.cache).unwrap_or(now);
        self.fetched
            .store(Some(Arc::new(Fetched { keys, good_until })));
    }

    /// The right to ask ahead of time; `None` when somebody has it.
    pub fn turn(self: &Arc<Self>) -> Option<JwksTurn> {
        let taken = self.fetching.swap(true, Ordering::AcqRel);
        (!taken).then(|| JwksTurn(Arc::clone(self)))
    }
}

impl JwksTurn {
    /// Where the keys are.
    pub fn remote(&self) -> &Arc<RemoteJwks> {
        &self.0
    }
}

impl Drop for JwksTurn {
    fn drop(&mut self) {
        self.0.fetching.store(false, Ordering::Release);
    }
}

impl JwtFilter {
    /// What stands under a name.
    pub fn named(&self, name: &str) -> Option<&JwtRequirement> {
        let mut named = self.named.iter();
        Some(&named.find(|(known, _)| **known == *name)?.1)
    }
}

impl JwtRequirement {
    /// Whether a provider's tokens count.
    pub fn asks_for(&self, wanted: usize) -> bool {
        match self {
            Self::Provider { provider, .. } => *provider == wanted,
            Self::Any { list, .. } | Self::All(list) => list.iter().any(|it| it.asks_for(wanted)),
            Self::AllowMissing | Self::AllowMissingOrFailed => true,
        }
    }
}
