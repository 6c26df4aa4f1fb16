//! Retries, and which endpoint a request's hash picks.

use std::net::IpAddr;

use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use lateen_api::networking::{Destination, HashKey, HttpRetry, LoadBalancerPolicy};

use crate::listener::destination_port;
use crate::pb::route::RetryPolicy;
use crate::pb::route::retry_policy::{
    RetryBackOff, RetryHostPredicate, RetryPriority, retry_host_predicate, retry_priority,
};
use crate::pb::route::route_action::HashPolicy;
use crate::pb::route::route_action::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};
use crate::policy::Policy;
use crate::view::View;
use crate::wire::{number, pack, span};

const DEFAULT_RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const BY_STATUS: &str = "retriable-status-codes";

/// The retries of a route: its own, the mesh's, or the built-in ones. `None` when they are off.
pub(super) fn retry(view: &View, own: Option<&HttpRetry>) -> Option<RetryPolicy> {
    let mesh = view.config().default_http_retry_policy.as_ref();
    let Some(wanted) = own.or(mesh) else {
        return Some(default_retry());
    };
    if wanted.attempts <= 0 {
        return None;
    }
    let mut policy = default_retry();
    policy.num_retries = u32::try_from(wanted.attempts).ok().and_then(number);
    let inherited = mesh.map(|mesh| mesh.retry_on.as_str()).unwrap_or_default();
    let stated = if wanted.retry_on.is_empty() {
        inherited
    } else {
        &wanted.retry_on
    };
    if !stated.is_empty() {
        (policy.retry_on, policy.retriable_status_codes) = conditions(stated);
    }
    policy.per_try_timeout = wanted
        .per_try_timeout
        .filter(|timeout| !timeout.is_zero())
        .and_then(span);
    policy.retry_back_off = wanted.backoff.map(|backoff| RetryBackOff {
        base_interval: span(backoff),
        max_interval: None,
    });
    if wanted.retry_ignore_previous_hosts == Some(false) {
        policy.retry_host_predicate.clear();
    }
    if wanted.retry_remote_localities == Some(true) {
        let config = PreviousPrioritiesConfig {
            update_frequency: 2,
        };
        policy.retry_priority = Some(RetryPriority {
            name: "envoy.retry_priorities.previous_priorities".into(),
            config_type: Some(retry_priority::ConfigType::TypedConfig(pack(&config))),
        });
    }
    Some(policy)
}

/// Retries towards the application: only what cannot have reached it.
pub(super) fn inbound_retry(wanted: &HttpRetry) -> Option<RetryPolicy> {
    let attempts = u32::try_from(wanted.attempts)
        .ok()
        .filter(|attempts| *attempts > 0)?;
    let retry_on = if wanted.retry_on.is_empty() {
        "reset-before-request"
    } else {
        &wanted.retry_on
    };
    let (retry_on, retriable_status_codes) = conditions(retry_on);
    Some(RetryPolicy {
        retry_on,
        retriable_status_codes,
        num_retries: number(attempts),
        retry_back_off: wanted.backoff.map(|backoff| RetryBackOff {
            base_interval: span(backoff),
            max_interval: None,
        }),
        ..Default::default()
    })
}

fn default_retry() -> RetryPolicy {
    RetryPolicy {
        retry_on: DEFAULT_RETRY_ON.into(),
        num_retries: number(2),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".into(),
            config_type: Some(retry_host_predicate::ConfigType::TypedConfig(pack(
                &PreviousHostsPredicate {},
            ))),
        }],
        host_selection_retry_max_attempts: 5,
        ..Default::default()
    }
}

/// Words and status codes of a retryOn text.
fn conditions(text: &str) -> (String, Vec<u32>) {
    let mut words: Vec<&str> = Vec::new();
    let mut codes = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        match part.parse::<u32>() {
            Ok(code) => codes.push(code),
            Err(_) => words.push(part),
        }
    }
    if !codes.is_empty() && !words.contains(&BY_STATUS) {
        words.push(BY_STATUS);
    }
    (words.join(","), codes)
}

/// What of a request decides its endpoint, where the destination's rule balances by a hash.
pub(super) fn hash(view: &View, destination: &Destination, listen_port: u16) -> Option<HashPolicy> {
    let service = view.scope.visible_service(&destination.host)?;
    let rule = &view.rule(service)?.spec;
    let subset = rule
        .subsets
        .iter()
        .find(|subset| !destination.subset.is_empty() && subset.name == destination.subset);
    let port = destination_port(view, destination, listen_port);
    let policy = Policy::new(Some(rule), subset, port, view.config());
    let Some(LoadBalancerPolicy::ConsistentHash(hash)) = policy.load_balancer?.lb_policy.as_ref()
    else {
        return None;
    };
    let specifier = match hash.hash_key.as_ref()? {
        HashKey::HttpHeaderName(header_name) => PolicySpecifier::Header(Header {
            header_name: header_name.clone(),
            regex_rewrite: None,
        }),
        HashKey::HttpCookie(cookie) => PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            ttl: cookie.ttl.and_then(span),
            path: cookie.path.clone(),
            attributes: cookie
                .attributes
                .iter()
                .map(|own| CookieAttribute {
                    name: own.name.clone(),
                    value: own.value.clone(),
                })
                .collect(),
        }),
        HashKey::UseSourceIp(true) => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        HashKey::UseSourceIp(false) => return None,
        HashKey::HttpQueryParameterName(name) => {
            PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() })
        }
    };
    Some(HashPolicy {
        terminal: false,
        policy_specifier: Some(specifier),
    })
}

/// An address as a domain: IPv6 in brackets.
pub(super) fn address_domain(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_conditions() {
        assert_eq!(conditions("5xx"), ("5xx".into(), vec![]));
        assert_eq!(
            conditions("503, reset,429"),
            ("reset,retriable-status-codes".into(), vec![503, 429])
        );
        assert_eq!(
            conditions("retriable-status-codes,500"),
            ("retriable-status-codes".into(), vec![500])
        );
    }
}
