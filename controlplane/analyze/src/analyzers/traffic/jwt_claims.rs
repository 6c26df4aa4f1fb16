//! Routes by a token's claims at gateways that check no tokens.

use std::collections::{BTreeMap, HashMap};

use lateen_api::host::MESH_GATEWAY;
use lateen_api::labels::selects;
use lateen_api::networking::VirtualService;
use lateen_api::object::Kind;

use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::JWT_CLAIM_BASED_ROUTING_WITHOUT_REQUEST_AUTH_N;
use crate::message::Messages;
use crate::pods::PodRef;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "virtualservice.JWTClaimRouteAnalyzer",
    description: "Finds routes by a token's claims at gateways without a RequestAuthentication",
    inputs: &[
        Input::Kind(Kind::VirtualService),
        Input::Kind(Kind::RequestAuthentication),
        Input::Kind(Kind::Gateway),
        Input::Kind(Kind::Pod),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// What the names of headers begin with that stand for claims.
const CLAIMS: &str = "@request.auth.claims";
/// The namespace whose RequestAuthentications count everywhere.
const ROOT: &str = "istio-system";

type Labels = BTreeMap<String, String>;

fn run(cluster: &Cluster, messages: &mut Messages) {
    let mut unchecked: HashMap<&Labels, Vec<PodRef<'_>>> = HashMap::new();
    let checks = Checks::new(cluster);
    for object in cluster.of(Kind::VirtualService) {
        let Some(routes) = object.spec.as_virtual_service() else {
            continue;
        };
        let Some((key, field)) = claim(routes) else {
            continue;
        };
        for name in routes.gateways.iter().filter(|name| *name != MESH_GATEWAY) {
            let (namespace, name) = match name.split_once('/') {
                Some((".", name)) => (object.key.namespace.as_str(), name),
                Some(key) => key,
                None => (object.key.namespace.as_str(), name.as_str()),
            };
            let gateway = cluster.find(Kind::Gateway, namespace, name);
            let Some(gateway) = gateway.and_then(|gateway| gateway.spec.as_gateway()) else {
                continue;
            };
            let pods = unchecked
                .entry(&gateway.selector)
                .or_insert_with(|| checks.without(cluster, &gateway.selector));
            for pod in pods {
                let text = format!(
                    "the route by {key} at Gateway {namespace}/{name} never matches in pod {}, where no RequestAuthentication checks \
                     tokens; add one that selects the pod",
                    pod.name()
                );
                let code = JWT_CLAIM_BASED_ROUTING_WITHOUT_REQUEST_AUTH_N;
                messages.field(code, object, &field, text);
            }
        }
    }
}

/// The first header of a VirtualService that stands for a claim, and its field.
fn claim(routes: &VirtualService) -> Option<(&str, String)> {
    for (rule, route) in routes.http.iter().enumerate() {
        for (index, conditions) in route.r#match.iter().enumerate() {
            let headers = conditions.headers.keys().map(|key| (key, "headers"));
            let without = conditions.without_headers.keys();
            let without = without.map(|key| (key, "withoutHeaders"));
            let found = headers.chain(without).find(|(key, _)| is_claim(key));
            if let Some((key, list)) = found {
                return Some((key, format!("spec.http[{rule}].match[{index}].{list}")));
            }
        }
    }
    None
}

/// Whether a header's name is `@request.auth.claims.x` or `@request.auth.claims[x]`.
fn is_claim(key: &str) -> bool {
    let (Some(start), Some(rest)) = (key.get(..CLAIMS.len()), key.get(CLAIMS.len()..)) else {
        return false;
    };
    let named = rest.strip_prefix('.').is_some_and(|name| !name.is_empty());
    let bracketed = rest.len() > 2 && rest.starts_with('[') && rest.ends_with(']');
    start.eq_ignore_ascii_case(CLAIMS) && (named || bracketed)
}

/// The selectors of RequestAuthentications by namespace; an absent one selects all.
struct Checks<'a>(HashMap<&'a str, Vec<Option<&'a Labels>>>);

impl<'a> Checks<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let mut selectors: HashMap<&str, Vec<Option<&Labels>>> = HashMap::new();
        for object in cluster.of(Kind::RequestAuthentication) {
            if let Some(policy) = object.spec.as_request_authentication() {
                let selector = policy.selector.as_ref();
                selectors
                    .entry(&object.key.namespace)
                    .or_default()
                    .push(selector.map(|selector| &selector.match_labels));
            }
        }
        Self(selectors)
    }

    /// The pods of a selector whose tokens nobody checks. The gateway that files have by default counts if there is no other.
    fn without<'c>(&self, cluster: &'c Cluster, selector: &Labels) -> Vec<PodRef<'c>> {
        let pods = cluster.pods();
        let others = pods.any(None, selector, |pod| !cluster.is_default(pod.object));
        pods.matching(None, selector)
            .filter(|pod| !(others && cluster.is_default(pod.object)))
            .filter(|pod| !self.check(pod))
            .collect()
    }

    fn check(&self, pod: &PodRef<'_>) -> bool {
        [ROOT, pod.namespace()]
            .into_iter()
            .filter_map(|namespace| self.0.get(namespace))
            .flatten()
            .any(|selector| selector.is_none_or(|selector| selects(selector, pod.labels)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_told_from_headers() {
        for (key, claim) in [
            ("@request.auth.claims.group", true),
            ("@request.auth.claims.a.b", true),
            ("@request.auth.claims[group]", true),
            ("@request.auth.claims[a][b]", true),
            ("@REQUEST.auth.claims.group", true),
            ("@request.auth.claims", false),
            ("@request.auth.claims.", false),
            ("@request.auth.claims[]", false),
            ("@request.auth.claimsgroup", false),
            ("end-user", false),
        ] {
            assert_eq!(is_claim(key), claim, "{key}");
        }
    }
}
