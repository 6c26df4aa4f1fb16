//! Rules, or sources, operations and conditions of them, that no request can match.

use std::collections::{BTreeMap, HashMap};

use lateen_api::labels::selects;
use lateen_api::object::Kind;
use lateen_api::security::{AuthorizationAction, AuthorizationRule};

use super::patterns::Compare;
use super::ports::Ports;
use super::traits::{Trait, of_condition, of_operation, of_source};
use super::{Policies, Policy};
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::AUTHORIZATION_RULE_NEVER_MATCHES;
use crate::message::Messages;

pub(in super::super) const ANALYZER: Analyzer = Analyzer {
    name: "lateen.AuthorizationMatchAnalyzer",
    description: "Finds rules of AuthorizationPolicies that no request can match",
    inputs: &[
        Input::Kind(Kind::AuthorizationPolicy),
        Input::Kind(Kind::RequestAuthentication),
        Input::Kind(Kind::Sidecar),
        Input::Kind(Kind::Service),
        Input::Kind(Kind::Pod),
        Input::MeshConfig,
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// Methods as requests write them.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

fn run(cluster: &Cluster, messages: &mut Messages) {
    let policies = Policies::new(cluster);
    let mut ports = Ports::new(cluster);
    let mut tokens = Tokens::new(cluster);
    for policy in &policies.all {
        for (index, rule) in policy.spec.rules.iter().enumerate() {
            let mut found = Vec::new();
            check_conditions(rule, &mut found);
            check_sources(rule, &mut found);
            check_operations(policy, rule, &mut ports, &mut found);
            if found.is_empty() && needs_token(rule) && tokens.are_missing(policy) {
                let reason = "no RequestAuthentication selects these workloads, so that requests have no token's identity";
                found.push((String::new(), reason.to_owned()));
            }
            for (place, reason) in found {
                let what = if place.is_empty() {
                    String::new()
                } else {
                    format!(" as {place} is written")
                };
                let text = format!(
                    "rule {index} of {} policy {} never matches{what}: {reason}; correct or remove it",
                    policy.spec.action,
                    policy.name()
                );
                let dot = if place.is_empty() { "" } else { "." };
                let field = format!("spec.rules[{index}]{dot}{place}");
                messages.field(
                    AUTHORIZATION_RULE_NEVER_MATCHES,
                    policy.object,
                    &field,
                    text,
                );
            }
        }
    }
}

/// Paths below the rule and why nothing matches there.
type Found = Vec<(String, String)>;

fn check_conditions(rule: &AuthorizationRule, found: &mut Found) {
    for (index, condition) in rule.when.iter().enumerate() {
        let own = of_condition(condition);
        let place = format!("when[{index}]");
        if own.contradicts_itself() {
            let reason = format!("all values of {} are among its notValues", condition.key);
            found.push((place, reason));
            continue;
        }
        let earlier = rule.when.iter().take(index);
        let mut same = earlier.filter(|other| other.key == condition.key);
        if same.any(|other| !of_condition(other).may_meet(&own)) {
            let reason = format!("it contradicts another condition on {}", condition.key);
            found.push((place, reason));
        }
    }
}

fn check_sources(rule: &AuthorizationRule, found: &mut Found) {
    for (index, from) in rule.from.iter().enumerate() {
        let Some(source) = &from.source else {
            continue;
        };
        let traits = of_source(source);
        let reason = contradiction(&traits, rule).or_else(|| {
            let spiffe = |one: &String| one.starts_with("spiffe://");
            if !source.principals.is_empty() && source.principals.iter().all(spiffe) {
                return Some("principals are written without spiffe://".to_owned());
            }
            contradicts_namespaces(&source.principals, &source.namespaces)
                .then(|| "the namespaces are not those of the principals".to_owned())
        });
        if let Some(reason) = reason {
            found.push((format!("from[{index}].source"), reason));
        }
    }
}

fn check_operations<'a>(
    policy: &Policy<'a>,
    rule: &AuthorizationRule,
    ports: &mut Ports<'a>,
    found: &mut Found,
) {
    let is_allow = policy.spec.action == AuthorizationAction::Allow;
    for (index, to) in rule.to.iter().enumerate() {
        let Some(operation) = &to.operation else {
            continue;
        };
        let place = format!("to[{index}].operation");
        let traits = of_operation(operation);
        let reason = contradiction(&traits, rule).or_else(|| {
            if !operation.methods.is_empty() && operation.methods.iter().all(|one| is_misspelt(one))
            {
                return Some("methods are compared with case; write them in capitals".to_owned());
            }
            let rootless = |path: &String| !path.starts_with(['/', '*']);
            (!operation.paths.is_empty() && operation.paths.iter().all(rootless))
                .then(|| "every path begins with /".to_owned())
        });
        let reason = reason.or_else(|| {
            let exposed = (!operation.ports.is_empty()).then(|| ports.of(policy))??;
            let missing = operation
                .ports
                .iter()
                .map(|port| exposed.missing(port, is_allow));
            let missing: Option<Vec<String>> = missing.collect();
            missing.map(|missing| missing.join(", "))
        });
        if let Some(reason) = reason {
            found.push((place, reason));
        }
    }
    if is_allow && found.is_empty() && asks_for_http(rule) {
        let named: Vec<&String> = rule
            .to
            .iter()
            .filter_map(|to| to.operation.as_ref())
            .flat_map(|operation| &operation.ports)
            .collect();
        let any = rule.to.iter().any(|to| {
            to.operation
                .as_ref()
                .is_none_or(|operation| operation.ports.is_empty())
        });
        let named = if any { Vec::new() } else { named };
        if ports
            .of(policy)
            .is_some_and(|exposed| exposed.are_without_http(&named))
        {
            let reason =
                "it asks for what only HTTP requests have, and the ports carry other protocols";
            found.push((String::new(), reason.to_owned()));
        }
    }
}

/// Why no value matches one of some traits.
fn contradiction(traits: &[Trait<'_>], rule: &AuthorizationRule) -> Option<String> {
    for one in traits {
        if one.contradicts_itself() {
            return Some(format!(
                "all its {} are excluded again by {}",
                one.name,
                negated(one.name)
            ));
        }
        let conditions = rule
            .when
            .iter()
            .map(|condition| (condition, of_condition(condition)));
        let mut about = conditions.filter(|(_, condition)| condition.name == one.name);
        if let Some((condition, _)) = about.find(|(_, condition)| !one.may_meet(condition)) {
            return Some(format!(
                "its {} contradict the condition on {}",
                one.name, condition.key
            ));
        }
    }
    None
}

/// The name of the field that excludes values of another one: `notPaths` for `paths`.
fn negated(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let rest = letters.as_str();
    format!("not{}{rest}", first.map(String::from).unwrap_or_default())
}

/// Whether principals all name a namespace, and none of those is among some namespaces.
fn contradicts_namespaces(principals: &[String], namespaces: &[String]) -> bool {
    if principals.is_empty() || namespaces.is_empty() {
        return false;
    }
    principals.iter().all(|principal| {
        let rest = principal.split_once("/ns/").map(|(_, rest)| rest);
        let namespace = rest.and_then(|rest| rest.split_once('/'));
        namespace.is_some_and(|(namespace, _)| {
            !namespaces
                .iter()
                .any(|one| Compare::Text.overlaps(one, namespace))
        })
    })
}

fn is_misspelt(method: &str) -> bool {
    METHODS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(method) && *known != method)
}

/// Whether a rule asks for anything that only HTTP requests have.
fn asks_for_http(rule: &AuthorizationRule) -> bool {
    let asks = |one: &Trait<'_>| one.is_http && one.is_set();
    let sources = rule.from.iter().filter_map(|from| from.source.as_ref());
    let operations = rule.to.iter().filter_map(|to| to.operation.as_ref());
    sources.flat_map(of_source).any(|one| asks(&one))
        || operations.flat_map(of_operation).any(|one| asks(&one))
        || rule
            .when
            .iter()
            .any(|condition| asks(&of_condition(condition)))
}

/// Whether only requests with a token that was checked match a rule.
fn needs_token(rule: &AuthorizationRule) -> bool {
    let sources = rule.from.iter().filter_map(|from| from.source.as_ref());
    let mut sources = sources.peekable();
    let by_source =
        sources.peek().is_some() && sources.all(|source| !source.request_principals.is_empty());
    let by_condition = |key: &str| key.starts_with("request.auth.");
    by_source
        || rule
            .when
            .iter()
            .any(|condition| by_condition(&condition.key) && !condition.values.is_empty())
}

type Labels = BTreeMap<String, String>;

/// Which workloads have their tokens checked.
struct Tokens<'a> {
    cluster: &'a Cluster,
    /// Labels that RequestAuthentications select, by namespace; `None` for all, as those that are attached to an object may be.
    selectors: HashMap<&'a str, Vec<Option<&'a Labels>>>,
    known: HashMap<(Option<&'a str>, &'a Labels), bool>,
}

impl<'a> Tokens<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let mut selectors: HashMap<&str, Vec<_>> = HashMap::new();
        for object in cluster.of(Kind::RequestAuthentication) {
            if let Some(policy) = object.spec.as_request_authentication() {
                let selector = policy
                    .selector
                    .as_ref()
                    .map(|selector| &selector.match_labels);
                selectors
                    .entry(&object.key.namespace)
                    .or_default()
                    .push(selector);
            }
        }
        Self {
            cluster,
            selectors,
            known: HashMap::new(),
        }
    }

    /// Whether a policy has workloads and nobody checks tokens for any of them. With files alone somebody has to check any at all.
    fn are_missing(&mut self, policy: &Policy<'a>) -> bool {
        let attached = policy.targets().next().is_some();
        if attached || (self.cluster.files_only && self.selectors.is_empty()) {
            return false;
        }
        let scope = (policy.namespace, policy.labels);
        if let Some(known) = self.known.get(&scope) {
            return *known;
        }
        let root = self.cluster.mesh.root_namespace.as_str();
        let checked = |namespace: &str, labels: &Labels| {
            [root, namespace]
                .into_iter()
                .filter_map(|namespace| self.selectors.get(namespace))
                .flatten()
                .any(|selector| selector.is_none_or(|selector| selects(selector, labels)))
        };
        let pods = self.cluster.pods();
        let missing = pods.any_match(scope.0, scope.1)
            && !pods.any(scope.0, scope.1, |pod| checked(pod.namespace(), pod.labels));
        self.known.insert(scope, missing);
        missing
    }
}
