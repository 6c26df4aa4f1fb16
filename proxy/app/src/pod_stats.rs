//! Which of Envoy's own statistics a pod's proxy keeps: the mesh's list, and what the pod asks for.

use std::collections::BTreeMap;

use lateen_proxy_model::StringMatcher;
use lateen_proxy_telemetry::{StatsConfig, StatsMatcher};
use lateen_xds::node::NodeMetadata;
use regex::Regex;
use serde_json::Value;

/// What every proxy of the mesh keeps (contract/telemetry.md, "Envoy native stats kept by default").
const PREFIXES: [&str; 8] = [
    "reporter=",
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "wasm",
    "component",
    "istio",
];
const SUFFIXES: [&str; 4] = [
    "rbac.allowed",
    "rbac.denied",
    "shadow_allowed",
    "shadow_denied",
];
const REGEXPS: [&str; 1] = [r"vhost\..*\.route\..*"];
/// Kept where the pod's end waits for connections.
const ACTIVE: &str = "downstream_cx_active";
/// Most patterns of one kind that a pod may ask for.
const MOST: usize = 256;

/// The statistics of a pod. An annotation takes the place of the same list of its ProxyConfig.
pub(crate) fn config(metadata: &NodeMetadata, waits_for_connections: bool) -> StatsConfig {
    let proxy_config = metadata.proxy_config.as_ref();
    let matcher = proxy_config.and_then(|config| config.get("proxyStatsMatcher"));
    let of =
        |field: &str, annotation: &str| asked(matcher, field, &metadata.annotations, annotation);
    let prefixes = of(
        "inclusionPrefixes",
        "sidecar.istio.io/statsInclusionPrefixes",
    );
    let suffixes = of(
        "inclusionSuffixes",
        "sidecar.istio.io/statsInclusionSuffixes",
    );
    let regexps = of("inclusionRegexps", "sidecar.istio.io/statsInclusionRegexps");
    let mut patterns: Vec<StringMatcher> = Vec::new();
    let prefixes = PREFIXES.map(str::to_owned).into_iter().chain(prefixes);
    patterns.extend(prefixes.map(|value| StringMatcher::Prefix {
        value: value.into(),
        ignore_case: false,
    }));
    let active = waits_for_connections.then(|| ACTIVE.to_owned());
    let own = SUFFIXES.map(str::to_owned).into_iter().chain(active);
    patterns.extend(own.chain(suffixes).map(|value| StringMatcher::Suffix {
        value: value.into(),
        ignore_case: false,
    }));
    let regexps = REGEXPS.map(str::to_owned).into_iter().chain(regexps);
    patterns.extend(
        regexps.filter_map(|text| match Regex::new(&format!("^(?:{text})$")) {
            Ok(regex) => Some(StringMatcher::Regex(regex)),
            Err(error) => {
                tracing::warn!(%error, "a pattern of proxyStatsMatcher is left out");
                None
            }
        }),
    );
    StatsConfig {
        matcher: Some(StatsMatcher {
            include: true,
            patterns,
        }),
        ..StatsConfig::default()
    }
}

fn asked(
    matcher: Option<&Value>,
    field: &str,
    annotations: &BTreeMap<String, String>,
    annotation: &str,
) -> Vec<String> {
    let listed = || {
        let list = matcher.and_then(|matcher| matcher.get(field)?.as_array());
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    let given = annotations.get(annotation).map(|text| {
        let parts = text.split(',').map(str::trim);
        parts.map(str::to_owned).collect()
    });
    let mut texts = given.unwrap_or_else(listed);
    texts.retain(|text| !text.is_empty());
    texts.truncate(MOST);
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(config: &StatsConfig, name: &str) -> bool {
        let matcher = config.matcher.as_ref().expect("a matcher");
        matcher.patterns.iter().any(|one| one.matches(name))
    }

    #[test]
    fn the_meshs_list_and_what_the_pod_asks_for_are_kept() {
        let metadata = serde_json::json!({
            "PROXY_CONFIG": { "proxyStatsMatcher": {
                "inclusionPrefixes": ["http.inbound"],
                "inclusionRegexps": [".*upstream_cx.*", "("],
                "inclusionSuffixes": ["rq_total"],
            } },
            "ANNOTATIONS": { "sidecar.istio.io/statsInclusionPrefixes": "tcp., cluster.outbound" },
        });
        let metadata = NodeMetadata::from_json(metadata).expect("metadata");
        let kept = config(&metadata, false);
        for name in [
            "server.uptime",
            "cluster.xds-grpc.upstream_cx_total",
            "http.inbound_0.0.0.0_80.rbac.allowed",
            "vhost.a.route.b.upstream_rq_200",
            "tcp.a.downstream_cx_total",
            "cluster.outbound|80||a.upstream_rq_completed",
            "cluster.b.upstream_cx_total",
            "cluster.b.upstream_rq_total",
        ] {
            assert!(keeps(&kept, name), "{name}");
        }
        for name in [
            "http.inbound.downstream_rq_active",
            "listener.0.0.0.0_80.downstream_cx_active",
        ] {
            assert!(!keeps(&kept, name), "{name}");
        }
        assert!(keeps(
            &config(&metadata, true),
            "listener.0.0.0.0_80.downstream_cx_active"
        ));
        assert!(!kept.default_tags);
    }
}
