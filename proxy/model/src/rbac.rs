//! Role-based access control, compiled: rules for the HTTP and the network filter.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use regex::Regex;
use serde_json::{Map, Value};

use crate::cel::Expression;
use crate::matcher::{HeaderMatcher, RequestView, StringMatcher};
use crate::metadata_matcher::MetadataMatcher;
use crate::view_attributes::ViewAttributes;

/// What the HTTP and the network filter have in common.
#[derive(Clone, Debug)]
pub struct RbacFilter {
    /// Rules that are enforced; without any every request passes.
    pub rules: Option<Rbac>,
    /// Rules whose outcome is only noted.
    pub shadow: Option<Rbac>,
    /// Stands before the names of what is counted and noted of the enforced rules.
    pub rules_prefix: Box<str>,
    /// The same for the shadow rules.
    pub shadow_prefix: Box<str>,
    /// What is noted of each outcome.
    pub notes: RbacNotes,
}

/// What is left for later filters and logs, made before any request.
#[derive(Clone, Debug, Default)]
pub struct RbacNotes {
    /// Of the shadow rules.
    pub shadow: OutcomeNotes,
    /// Of the enforced rules.
    pub enforced: OutcomeNotes,
}

/// What is noted of an outcome.
#[derive(Clone, Debug, Default)]
pub struct OutcomeNotes {
    matched: Box<[Arc<Map<String, Value>>]>,
    none: Arc<Map<String, Value>>,
}

impl OutcomeNotes {
    fn new(rules: Option<&Rbac>, prefix: &str, kind: &str) -> Self {
        let Some(rules) = rules else {
            return Self::default();
        };
        let note = |policy: Option<&RbacPolicy>| {
            let mut values = Map::new();
            if let Some(policy) = policy {
                let key = format!("{prefix}{kind}_effective_policy_id");
                values.insert(key, Value::from(&*policy.name));
            }
            let allowed = rules.action.allows(policy.is_some());
            let result = if allowed { "allowed" } else { "denied" };
            values.insert(format!("{prefix}{kind}_engine_result"), result.into());
            Arc::new(values)
        };
        Self {
            matched: rules.policies.iter().map(|it| note(Some(it))).collect(),
            none: note(None),
        }
    }

    /// What is noted when this policy matched, or none.
    pub fn of(&self, policy: Option<usize>) -> &Arc<Map<String, Value>> {
        policy
            .and_then(|place| self.matched.get(place))
            .unwrap_or(&self.none)
    }
}

impl RbacFilter {
    /// A filter with these rules and shadow rules, and what stands before the names of what each counts and notes.
    pub fn new(
        rules: Option<Rbac>,
        shadow: Option<Rbac>,
        (rules_prefix, shadow_prefix): (&str, &str),
    ) -> Self {
        Self {
            notes: RbacNotes {
                shadow: OutcomeNotes::new(shadow.as_ref(), shadow_prefix, "shadow"),
                enforced: OutcomeNotes::new(rules.as_ref(), rules_prefix, "enforced"),
            },
            rules,
            shadow,
            rules_prefix: rules_prefix.into(),
            shadow_prefix: shadow_prefix.into(),
        }
    }
}

/// The network filter: rules are asked once, when the connection begins.
#[derive(Clone, Debug)]
pub struct NetworkRbac {
    /// Rules.
    pub filter: RbacFilter,
    /// Statistics prefix, with its dot.
    pub stat_prefix: Box<str>,
    /// A connection that is refused is held so long first.
    pub delay: Option<Duration>,
}

/// What happens to requests that a policy matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RbacAction {
    /// They pass, all others are refused.
    Allow,
    /// They are refused, all others pass.
    Deny,
    /// Everything passes; it is noted whether a policy matched.
    Log,
}

impl RbacAction {
    /// Whether a request passes for which a policy matched, or none.
    pub fn allows(self, matched: bool) -> bool {
        match self {
            Self::Allow => matched,
            Self::Deny => !matched,
            Self::Log => true,
        }
    }
}

/// An action and its policies.
#[derive(Clone, Debug)]
pub struct Rbac {
    /// The action.
    pub action: RbacAction,
    /// Policies in the order of their names, which is the order they are asked in.
    pub policies: Vec<RbacPolicy>,
}

/// Who may do what.
#[derive(Clone, Debug)]
pub struct RbacPolicy {
    /// Name.
    pub name: Arc<str>,
    /// What is asked for.
    pub permission: Condition,
    /// Who asks.
    pub principal: Condition,
    /// What must hold besides.
    pub expression: Option<Expression>,
}

/// A condition on a request or connection: Envoy's permissions and principals in one.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Always.
    Any,
    /// All hold.
    All(Vec<Condition>),
    /// One holds.
    OneOf(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// A header or pseudo-header.
    Header(HeaderMatcher),
    /// The path without query.
    UrlPath(StringMatcher),
    /// The path without query, by a template.
    UriTemplate(Regex),
    /// Where the connection wanted to go.
    DestinationIp(IpNet),
    /// Its port, in `start..end`.
    DestinationPort {
        /// First port.
        start: u32,
        /// First port above that does not match.
        end: u32,
    },
    /// Dynamic metadata.
    Metadata(MetadataMatcher),
    /// What the configuration says of the route.
    RouteMetadata(MetadataMatcher),
    /// A value that the connection has by name.
    FilterState(Box<str>, StringMatcher),
    /// The server name that was asked for; empty without one.
    ServerName(StringMatcher),
    /// The connection is TLS.
    Tls,
    /// A name of the peer's certificate is one of these, sorted.
    Principals(Box<[Box<str>]>),
    /// A name of the peer's certificate is of this kind.
    Principal(StringMatcher),
    /// The other end of the connection.
    DirectRemoteIp(IpNet),
    /// The client, as trusted forwarding headers say.
    RemoteIp(IpNet),
}

impl Condition {
    /// One of several, with the exact names of peers gathered into one sorted list.
    pub fn one_of(conditions: Vec<Self>) -> Self {
        let (mut names, mut others) = (Vec::new(), Vec::new());
        for condition in conditions {
            match condition {
                Self::Principal(StringMatcher::Exact {
                    value,
                    ignore_case: false,
                }) => names.push(value),
                Self::Principals(more) => names.extend(more),
                other => others.push(other),
            }
        }
        if !names.is_empty() {
            names.sort_unstable();
            names.dedup();
            others.insert(0, Self::Principals(names.into()));
        }
        match (others.len(), others.pop()) {
            (1, Some(only)) => only,
            (_, Some(last)) => {
                others.push(last);
                Self::OneOf(others)
            }
            (_, None) => Self::OneOf(Vec::new()),
        }
    }

    /// Whether the request satisfies the condition.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        let facts = request.facts;
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(|one| one.matches(request)),
            Self::OneOf(some) => some.iter().any(|one| one.matches(request)),
            Self::Not(condition) => !condition.matches(request),
            Self::Header(header) => header.matches(request),
            Self::UrlPath(path) => path.matches(path_only(request.path)),
            Self::UriTemplate(template) => template.is_match(path_only(request.path)),
            Self::DestinationIp(net) => facts.destination().is_some_and(|it| within(net, it.ip())),
            Self::DestinationPort { start, end } => facts
                .destination()
                .is_some_and(|it| (*start..*end).contains(&u32::from(it.port()))),
            Self::Metadata(metadata) => metadata.matches(facts.metadata()),
            Self::RouteMetadata(metadata) => metadata.matches(facts.route_metadata()),
            Self::FilterState(key, matcher) => facts
                .filter_state(key)
                .is_some_and(|text| matcher.matches(text)),
            Self::ServerName(name) => name.matches(facts.sni().unwrap_or_default()),
            Self::Tls => facts.tls(),
            Self::Principals(names) => principal(request, |name| {
                names.binary_search_by(|one| (**one).cmp(name)).is_ok()
            }),
            Self::Principal(matcher) => principal(request, |name| matcher.matches(name)),
            Self::DirectRemoteIp(net) => facts.client().is_some_and(|it| within(net, it.ip())),
            Self::RemoteIp(net) => facts.remote().is_some_and(|it| within(net, it.ip())),
        }
    }
}

/// Whether a name of the peer is of a kind; without TLS there is none.
fn principal(request: &RequestView<'_>, is: impl Fn(&str) -> bool) -> bool {
    match request.facts.peer() {
        Some(peer) => peer.principals().any(is),
        None => request.facts.tls() && is(""),
    }
}

/// An IPv4 address that came over IPv6 counts as IPv4.
fn within(net: &IpNet, ip: IpAddr) -> bool {
    net.contains(&ip.to_canonical())
}

fn path_only(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

impl Rbac {
    /// The first policy that matches, and its place.
    pub fn policy(&self, request: &RequestView<'_>) -> Option<(usize, &RbacPolicy)> {
        let holds = |policy: &RbacPolicy| {
            let expression = policy.expression.as_ref();
            policy.principal.matches(request)
                && policy.permission.matches(request)
                && expression.is_none_or(|it| it.holds(&ViewAttributes::of(request)))
        };
        let mut policies = self.policies.iter().enumerate();
        policies.find(|(_, policy)| holds(policy))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::facts::{PeerView, RequestFacts};

    #[derive(Debug)]
    struct Peer {
        uris: Vec<Box<str>>,
        dns: Vec<Box<str>>,
    }

    impl RequestFacts for Peer {
        fn tls(&self) -> bool {
            true
        }

        fn peer(&self) -> Option<PeerView<'_>> {
            Some(PeerView {
                uris: &self.uris,
                dns: &self.dns,
                subject: "CN=x",
                der: &[],
            })
        }

        fn client(&self) -> Option<std::net::SocketAddr> {
            Some("[::ffff:10.0.0.1]:1".parse().expect("address"))
        }
    }

    fn exact(value: &str) -> Condition {
        Condition::Principal(StringMatcher::Exact {
            value: value.into(),
            ignore_case: false,
        })
    }

    #[test]
    fn exact_names_are_looked_up() {
        let peer = Peer {
            uris: vec!["spiffe://a/ns/b/sa/c".into()],
            dns: vec!["d".into()],
        };
        let headers = HeaderMap::new();
        let mut view = RequestView::of_head("GET", "a", "/", &headers);
        let condition = Condition::one_of(vec![
            exact("spiffe://z"),
            exact("spiffe://a/ns/b/sa/c"),
            exact("spiffe://b"),
        ]);
        assert!(matches!(&condition, Condition::Principals(names) if names.len() == 3));
        assert!(!condition.matches(&view));
        view.facts = &peer;
        assert!(condition.matches(&view) && exact("d").matches(&view));
        assert!(!exact("spiffe://a/ns/b/sa").matches(&view) && Condition::Tls.matches(&view));
        assert!(!Condition::one_of(Vec::new()).matches(&view));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let peer = Peer {
            uris: Vec::new(),
            dns: Vec::new(),
        };
        let headers = HeaderMap::new();
        let mut view = RequestView::of_head("GET", "a", "/x?y", &headers);
        view.facts = &peer;
        let net = "10.0.0.0/8".parse().expect("net");
        assert!(Condition::DirectRemoteIp(net).matches(&view));
        let path = Condition::UrlPath(StringMatcher::Exact {
            value: "/x".into(),
            ignore_case: false,
        });
        assert!(path.matches(&view) && !Condition::Not(Box::new(path)).matches(&view));
    }
}
