//! Rate limits to descriptors: what of a request each limit counts by. As Envoy's route rate limits do it.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use lateen_proxy_model::{
    Descriptor, FixedEntry, HeaderSubject, LimitOverride, LimitSource, MetadataPath, RateLimit,
    RateLimitAction, RequestView,
};
use serde_json::Value;

/// Envoy's units of time of a limit, in the order of their numbers.
const UNITS: [&str; 7] = [
    "UNKNOWN", "SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR",
];

/// What the actions of rate limits look at.
#[derive(Clone, Copy, Debug)]
pub struct DescriptorFacts<'a> {
    /// The request.
    pub request: RequestView<'a>,
    /// Service cluster of this proxy.
    pub source_cluster: &'a str,
    /// Cluster of the route.
    pub destination_cluster: Option<&'a str>,
}

/// The descriptors of the limits that `wanted` takes; limits whose actions find nothing give none.
pub fn descriptors<'a>(
    limits: impl Iterator<Item = &'a RateLimit>,
    facts: &DescriptorFacts<'a>,
    wanted: impl Fn(&RateLimit) -> bool,
) -> Vec<Descriptor<'a>> {
    limits
        .filter(|limit| wanted(limit))
        .filter_map(|limit| descriptor(limit, facts))
        .collect()
}

fn descriptor<'a>(limit: &'a RateLimit, facts: &DescriptorFacts<'a>) -> Option<Descriptor<'a>> {
    let mut entries = Vec::with_capacity(limit.actions.len());
    for action in &limit.actions {
        match entry(action, facts) {
            Found::Entry(key, value) => entries.push((key, value)),
            Found::Skipped => {}
            Found::Nothing => return None,
        }
    }
    let over = match &limit.limit {
        Some(LimitSource::Fixed(over)) => Some(*over),
        Some(LimitSource::Metadata(at)) => metadata_limit(at, &facts.request),
        None => None,
    };
    Some(Descriptor {
        entries,
        limit: over,
        hits: limit.hits,
        headers: limit.headers,
    })
}

/// What an action gives.
enum Found<'a> {
    Entry(&'a str, Cow<'a, str>),
    /// No entry, and that is no matter.
    Skipped,
    /// No descriptor.
    Nothing,
}

fn entry<'a>(action: &'a RateLimitAction, facts: &DescriptorFacts<'a>) -> Found<'a> {
    let request = &facts.request;
    match action {
        RateLimitAction::SourceCluster => {
            Found::Entry("source_cluster", Cow::Borrowed(facts.source_cluster))
        }
        RateLimitAction::DestinationCluster => {
            let name = facts.destination_cluster.map(Cow::Borrowed);
            optional("destination_cluster", name, false)
        }
        RateLimitAction::Header {
            name,
            key,
            skip_if_absent,
        } => optional(key, header(name, request), *skip_if_absent),
        RateLimitAction::Query {
            name,
            key,
            skip_if_absent,
        } => optional(key, query(request.path, name), *skip_if_absent),
        RateLimitAction::RemoteAddress => {
            let ip = remote(request).map(|ip| Cow::Owned(ip.to_string()));
            optional("remote_address", ip, false)
        }
        RateLimitAction::MaskedRemoteAddress { v4, v6 } => {
            let network = remote(request).and_then(|ip| {
                let length = if ip.is_ipv4() { *v4 } else { *v6 };
                IpNet::new(ip, length).ok()
            });
            let text = network.map(|network| Cow::Owned(network.trunc().to_string()));
            optional("masked_remote_address", text, false)
        }
        RateLimitAction::Generic(entry) => fixed(entry, true),
        RateLimitAction::HeaderMatch {
            entry,
            expect,
            headers,
        } => {
            let held = headers.iter().all(|header| header.matches(request));
            fixed(entry, held == *expect)
        }
        RateLimitAction::QueryMatch {
            entry,
            expect,
            query,
        } => {
            let held = query.iter().all(|query| query.matches(request.path));
            fixed(entry, held == *expect)
        }
        RateLimitAction::RemoteAddressMatch {
            entry,
            networks,
            invert,
        } => {
            let held = remote(request)
                .is_some_and(|ip| networks.iter().any(|network| network.contains(&ip)));
            fixed(entry, held != *invert)
        }
        RateLimitAction::Metadata {
            at,
            key,
            default,
            skip_if_absent,
        } => {
            let text = metadata_text(at, request).filter(|text| !text.is_empty());
            let default = Some(&**default).filter(|text| !text.is_empty());
            let value = text.map(Cow::Owned).or(default.map(Cow::Borrowed));
            optional(key, value, *skip_if_absent)
        }
    }
}

/// The client.
fn remote(request: &RequestView<'_>) -> Option<IpAddr> {
    request.facts.remote().map(|address| address.ip())
}

/// The text at a place of the request's metadata.
fn metadata_text(at: &MetadataPath, request: &RequestView<'_>) -> Option<String> {
    let metadata = request.facts.metadata();
    let value = metadata.value(&at.filter, at.path.iter().map(|key| &**key))?;
    value.as_str().map(ToOwned::to_owned)
}

/// The limit at a place of the request's metadata.
fn metadata_limit(at: &MetadataPath, request: &RequestView<'_>) -> Option<LimitOverride> {
    let metadata = request.facts.metadata();
    let value = metadata.value(&at.filter, at.path.iter().map(|key| &**key))?;
    let requests = value.get("requests_per_unit").and_then(Value::as_f64)?;
    let unit = value.get("unit").and_then(Value::as_str)?;
    let unit = UNITS.iter().position(|name| *name == unit)?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    Some(LimitOverride {
        requests: requests as u32,
        unit: i32::try_from(unit).ok()?,
    })
}

fn optional<'a>(key: &'a str, value: Option<Cow<'a, str>>, skip: bool) -> Found<'a> {
    match (value, skip) {
        (Some(value), _) => Found::Entry(key, value),
        (None, true) => Found::Skipped,
        (None, false) => Found::Nothing,
    }
}

fn fixed(entry: &FixedEntry, holds: bool) -> Found<'_> {
    match holds {
        true => Found::Entry(&entry.key, Cow::Borrowed(&entry.value)),
        false => Found::Nothing,
    }
}

fn header<'a>(name: &HeaderSubject, request: &RequestView<'a>) -> Option<Cow<'a, str>> {
    let text = match name {
        HeaderSubject::Method => request.method,
        HeaderSubject::Scheme => request.scheme,
        HeaderSubject::Authority => request.authority,
        HeaderSubject::Path => request.path,
        HeaderSubject::Header(name) => {
            let value = request.headers.get(name)?;
            return Some(String::from_utf8_lossy(value.as_bytes()));
        }
    };
    Some(Cow::Borrowed(text))
}

/// The first value of a query parameter.
fn query<'a>(path: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let (_, query) = path.split_once('?')?;
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(own, _)| *own == name)
        .map(|(_, value)| Cow::Borrowed(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName, HeaderValue};

    #[derive(Debug)]
    struct Client;

    impl lateen_proxy_model::RequestFacts for Client {
        fn client(&self) -> Option<std::net::SocketAddr> {
            "10.1.2.3:99".parse().ok()
        }
    }

    fn limit(actions: Vec<RateLimitAction>) -> RateLimit {
        RateLimit {
            stage: 0,
            actions,
            limit: None,
            hits: None,
            headers: None,
        }
    }

    fn made(actions: Vec<RateLimitAction>) -> Option<Vec<(String, String)>> {
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-user"),
            HeaderValue::from_static("jason"),
        )]);
        let facts = DescriptorFacts {
            request: RequestView {
                method: "GET",
                scheme: "http",
                authority: "a",
                path: "/p?v=2",
                headers: &headers,
                facts: &Client,
            },
            source_cluster: "front",
            destination_cluster: Some("back"),
        };
        let limit = limit(actions);
        let found = descriptor(&limit, &facts)?;
        let pair = |(key, value): (&str, Cow<'_, str>)| (key.to_owned(), value.into_owned());
        Some(found.entries.into_iter().map(pair).collect())
    }

    fn fixed_entry() -> FixedEntry {
        FixedEntry {
            key: "k".into(),
            value: "v".into(),
        }
    }

    fn header_action(name: &'static str, skip_if_absent: bool) -> RateLimitAction {
        RateLimitAction::Header {
            name: HeaderSubject::Header(HeaderName::from_static(name)),
            key: "h".into(),
            skip_if_absent,
        }
    }

    fn networks(text: &str, invert: bool) -> RateLimitAction {
        RateLimitAction::RemoteAddressMatch {
            entry: fixed_entry(),
            networks: vec![text.parse().unwrap()],
            invert,
        }
    }

    #[test]
    fn each_action_makes_its_entry() {
        let masked = RateLimitAction::MaskedRemoteAddress { v4: 16, v6: 64 };
        let query = RateLimitAction::Query {
            name: "v".into(),
            key: "q".into(),
            skip_if_absent: false,
        };
        let metadata = RateLimitAction::Metadata {
            at: MetadataPath {
                filter: "f".into(),
                path: vec!["a".into()],
            },
            key: "m".into(),
            default: "none".into(),
            skip_if_absent: false,
        };
        for (action, key, value) in [
            (RateLimitAction::SourceCluster, "source_cluster", "front"),
            (
                RateLimitAction::DestinationCluster,
                "destination_cluster",
                "back",
            ),
            (header_action("x-user", false), "h", "jason"),
            (query, "q", "2"),
            (RateLimitAction::RemoteAddress, "remote_address", "10.1.2.3"),
            (masked, "masked_remote_address", "10.1.0.0/16"),
            (RateLimitAction::Generic(fixed_entry()), "k", "v"),
            (networks("10.0.0.0/8", false), "k", "v"),
            (networks("11.0.0.0/8", true), "k", "v"),
            (metadata, "m", "none"),
        ] {
            let wanted = Some(vec![(key.to_owned(), value.to_owned())]);
            assert_eq!(made(vec![action]), wanted, "{key}");
        }
    }

    #[test]
    fn an_action_without_entry_ends_the_descriptor_unless_it_may_be_skipped() {
        assert_eq!(made(vec![header_action("x-none", false)]), None);
        assert_eq!(made(vec![header_action("x-none", true)]), Some(Vec::new()));
        assert_eq!(made(vec![networks("11.0.0.0/8", false)]), None);
    }
}
