//! External processing, compiled: which service sees what of a request and its answer, and what it may change.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use regex::Regex;

use crate::global_rate_limit::GrpcService;
use crate::matcher::StringMatcher;

/// The filter.
#[derive(Clone, Debug)]
pub struct ExtProc {
    /// The service.
    pub service: GrpcService,
    /// What it sees.
    pub modes: ProcessingModes,
    /// Time for an answer to one message.
    pub message_timeout: Duration,
    /// The longest time that the service may ask for; `None` lets it ask for none.
    pub max_message_timeout: Option<Duration>,
    /// Without the service requests pass.
    pub failure_mode_allow: bool,
    /// Status when it fails.
    pub status_on_error: StatusCode,
    /// Headers that it may change.
    pub rules: MutationRules,
    /// Headers that it sees; all without a list.
    pub allowed_headers: Option<Vec<StringMatcher>>,
    /// Headers that it does not see.
    pub disallowed_headers: Vec<StringMatcher>,
    /// It may change the modes.
    pub allow_mode_override: bool,
    /// To these alone, where there are some.
    pub allowed_modes: Vec<ProcessingModes>,
    /// It may not answer in place of the upstream.
    pub disable_immediate_response: bool,
    /// It is told and not waited for.
    pub observability: bool,
    /// How long its stream stays open then.
    pub deferred_close: Duration,
    /// When the route is chosen anew.
    pub route_cache: RouteCacheAction,
    /// `content-length` stays although bodies may change.
    pub keep_length: bool,
    /// Namespaces of metadata that it is told.
    pub forwarded_namespaces: Vec<Box<str>>,
    /// Namespaces of metadata that it may set.
    pub received_namespaces: Vec<Box<str>>,
    /// Comes between `ext_proc.` and the names of the counters.
    pub stat_prefix: Box<str>,
}

/// What is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessingModes {
    /// The request's head.
    pub request_headers: bool,
    /// The answer's head.
    pub response_headers: bool,
    /// The request's body.
    pub request_body: BodyMode,
    /// The answer's body.
    pub response_body: BodyMode,
    /// The request's trailers.
    pub request_trailers: bool,
    /// The answer's trailers.
    pub response_trailers: bool,
}

/// How a body is processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyMode {
    /// Not at all.
    #[default]
    None,
    /// Piece by piece.
    Streamed,
    /// In one piece; a longer one than fits is refused.
    Buffered,
    /// What fits in one piece; the rest passes.
    BufferedPartial,
}

/// When a change of the request's head lets the route be chosen anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteCacheAction {
    /// When the service asks for it.
    #[default]
    Default,
    /// Always.
    Clear,
    /// Never.
    Retain,
}

/// Which headers may be changed.
#[derive(Clone, Debug, Default)]
pub struct MutationRules {
    /// Also those that routing depends on.
    pub allow_all_routing: bool,
    /// Also `x-envoy-*`.
    pub allow_envoy: bool,
    /// None that begins with a colon.
    pub disallow_system: bool,
    /// None at all.
    pub disallow_all: bool,
    /// These anyway.
    pub allow: Option<Regex>,
    /// Never these.
    pub disallow: Option<Regex>,
    /// A change that is not allowed fails the request.
    pub disallow_is_error: bool,
}

/// What a route says of the filter.
#[derive(Clone, Debug)]
pub enum ExtProcOverride {
    /// Nothing is processed.
    Disabled,
    /// In place of the filter's own settings.
    Route(Arc<ExtProcRoute>),
}

/// Settings of a route; what is missing is the filter's.
#[derive(Clone, Debug, Default)]
pub struct ExtProcRoute {
    /// What is processed.
    pub modes: Option<ProcessingModes>,
    /// The service.
    pub service: Option<GrpcService>,
    /// Metadata of the calls, beside the service's.
    pub metadata: Vec<(HeaderName, HeaderValue)>,
    /// Without the service requests pass.
    pub failure_mode_allow: Option<bool>,
    /// Namespaces of metadata that the service is told.
    pub forwarded_namespaces: Option<Vec<Box<str>>>,
    /// Namespaces of metadata that it may set.
    pub received_namespaces: Option<Vec<Box<str>>>,
}

impl ExtProc {
    /// Names of the counters, in the order that they are counted by.
    pub fn counters(&self) -> Vec<String> {
        let prefix = match &*self.stat_prefix {
            "" => String::new(),
            prefix => format!("{prefix}."),
        };
        [
            "streams_started",
            "stream_msgs_sent",
            "stream_msgs_received",
            "spurious_msgs_received",
            "streams_closed",
            "streams_failed",
            "failure_mode_allowed",
            "message_timeouts",
            "rejected_header_mutations",
            "clear_route_cache_ignored",
            "clear_route_cache_disabled",
            "override_message_timeout_received",
            "override_message_timeout_ignored",
            "immediate_responses_sent",
            // Of filters on the way to an upstream, services over HTTP and full duplex: none of which there is.
            "clear_route_cache_upstream_ignored",
            "http_not_ok_resp_received",
            "server_half_closed",
        ]
        .map(|name| format!("ext_proc.{prefix}{name}"))
        .to_vec()
    }
}

impl Default for ProcessingModes {
    fn default() -> Self {
        Self {
            request_headers: true,
            response_headers: true,
            request_body: BodyMode::None,
            response_body: BodyMode::None,
            request_trailers: false,
            response_trailers: false,
        }
    }
}

impl ProcessingModes {
    /// Whether the length of the request's body cannot be told beforehand.
    pub fn drops_request_length(&self) -> bool {
        drops_length(self.request_headers, self.request_body)
    }

    /// The same of the answer's.
    pub fn drops_response_length(&self) -> bool {
        drops_length(self.response_headers, self.response_body)
    }
}

fn drops_length(headers: bool, body: BodyMode) -> bool {
    match body {
        BodyMode::None => false,
        BodyMode::Streamed | BodyMode::BufferedPartial => true,
        // Nobody could say the new length.
        BodyMode::Buffered => !headers,
    }
}

impl ExtProcOverride {
    /// These settings over those of a less specific level.
    #[must_use]
    pub fn over(&self, above: &Self) -> Self {
        let (Self::Route(own), Self::Route(above)) = (self, above) else {
            return self.clone();
        };
        let (own, above) = (&**own, &**above);
        let forwarded = own.forwarded_namespaces.as_ref();
        let received = own.received_namespaces.as_ref();
        Self::Route(Arc::new(ExtProcRoute {
            modes: own.modes.or(above.modes),
            service: own.service.as_ref().or(above.service.as_ref()).cloned(),
            metadata: match own.metadata.is_empty() {
                true => above.metadata.clone(),
                false => own.metadata.clone(),
            },
            failure_mode_allow: own.failure_mode_allow.or(above.failure_mode_allow),
            forwarded_namespaces: forwarded.or(above.forwarded_namespaces.as_ref()).cloned(),
            received_namespaces: received.or(above.received_namespaces.as_ref()).cloned(),
        }))
    }
}

impl MutationRules {
    /// What an immediate answer may have: everything.
    pub const ALL: Self = Self {
        allow_all_routing: true,
        allow_envoy: true,
        disallow_system: false,
        disallow_all: false,
        allow: None,
        disallow: None,
        disallow_is_error: false,
    };

    /// Whether the header `name`, in lower case, may be changed, or removed.
    pub fn allows(&self, name: &str, removed: bool) -> bool {
        if removed && (name.starts_with(':') || name == "host") {
            return false;
        }
        if (self.disallow.as_ref()).is_some_and(|pattern| pattern.is_match(name)) {
            return false;
        }
        if (self.allow.as_ref()).is_some_and(|pattern| pattern.is_match(name)) {
            return true;
        }
        let routing = matches!(name, "host" | ":authority" | ":scheme" | ":method");
        !(self.disallow_all
            || (self.disallow_system && name.starts_with(':'))
            || (!self.allow_all_routing && routing)
            || (!self.allow_envoy && name.starts_with("x-envoy")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_say_what_may_be_changed() {
        let plain = MutationRules::default();
        assert!(plain.allows("x-a", false) && plain.allows(":path", false));
        assert!(!plain.allows("host", false) && !plain.allows("x-envoy-a", false));
        assert!(!plain.allows(":path", true) && plain.allows("x-a", true));
        assert!(
            MutationRules::ALL.allows("host", false) && !MutationRules::ALL.allows("host", true)
        );
        let strict = MutationRules {
            disallow_all: true,
            allow: Regex::new("^x-.*$").ok(),
            disallow: Regex::new("^x-secret$").ok(),
            ..MutationRules::default()
        };
        assert!(strict.allows("x-envoy-a", false) && !strict.allows("y", false));
        assert!(!strict.allows("x-secret", false));
    }

    #[test]
    fn routes_say_what_is_theirs() {
        let route = |allow, modes| {
            ExtProcOverride::Route(Arc::new(ExtProcRoute {
                failure_mode_allow: allow,
                modes,
                ..ExtProcRoute::default()
            }))
        };
        let both = route(Some(true), None).over(&route(None, Some(ProcessingModes::default())));
        let ExtProcOverride::Route(both) = both else {
            panic!("settings")
        };
        assert!(both.failure_mode_allow == Some(true) && both.modes.is_some());
        let off = ExtProcOverride::Disabled.over(&route(None, None));
        assert!(matches!(off, ExtProcOverride::Disabled));
    }
}
