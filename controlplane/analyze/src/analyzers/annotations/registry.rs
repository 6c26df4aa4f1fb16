//! Every annotation that there is: on which kinds it has an effect, and how far it can be relied on.

/// How far an annotation can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stability {
    Alpha,
    Beta,
    Stable,
}

/// What is known of an annotation.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    /// The kinds that it has an effect on; [`ANY`] for all.
    pub(super) kinds: &'static [&'static str],
    pub(super) stability: Stability,
    pub(super) deprecated: bool,
}

/// Every kind of object.
pub(super) const ANY: &str = "Any";

const POD: &[&str] = &["Pod"];
const SERVICE: &[&str] = &["Service"];
const AUTHORIZATION: &[&str] = &["AuthorizationPolicy"];
const WORKLOAD_ENTRY: &[&str] = &["WorkloadEntry"];
const GATEWAY: &[&str] = &["Gateway"];

const fn alpha(name: &'static str, kinds: &'static [&'static str]) -> Entry {
    Entry {
        name,
        kinds,
        stability: Stability::Alpha,
        deprecated: false,
    }
}

const fn beta(name: &'static str, kinds: &'static [&'static str]) -> Entry {
    Entry {
        stability: Stability::Beta,
        ..alpha(name, kinds)
    }
}

const fn stable(name: &'static str, kinds: &'static [&'static str]) -> Entry {
    Entry {
        stability: Stability::Stable,
        ..alpha(name, kinds)
    }
}

const fn deprecated(entry: Entry) -> Entry {
    Entry {
        deprecated: true,
        ..entry
    }
}

/// In the order of names.
static REGISTRY: [Entry; 68] = [
    deprecated(alpha("alpha.istio.io/canonical-serviceaccounts", SERVICE)),
    deprecated(alpha("alpha.istio.io/kubernetes-serviceaccounts", SERVICE)),
    alpha("ambient.istio.io/bypass-inbound-capture", POD),
    alpha("ambient.istio.io/dns-capture", POD),
    beta("ambient.istio.io/redirection", POD),
    alpha(
        "ambient.istio.io/waypoint-inbound-binding",
        &["GatewayClass", "Gateway"],
    ),
    alpha("galley.istio.io/analyze-suppress", &[ANY]),
    alpha("gateway.istio.io/controller-version", &[ANY]),
    alpha("gateway.istio.io/name-override", GATEWAY),
    alpha("gateway.istio.io/service-account", GATEWAY),
    alpha("inject.istio.io/templates", POD),
    alpha("istio.io/autoRegistrationGroup", WORKLOAD_ENTRY),
    alpha("istio.io/connectedAt", WORKLOAD_ENTRY),
    alpha("istio.io/disconnectedAt", WORKLOAD_ENTRY),
    alpha("istio.io/dry-run", AUTHORIZATION),
    alpha("istio.io/reroute-virtual-interfaces", POD),
    alpha("istio.io/rev", POD),
    alpha(
        "istio.io/use-waypoint-canary-weight",
        &["Service", "ServiceEntry", "Namespace"],
    ),
    alpha("istio.io/workloadController", WORKLOAD_ENTRY),
    stable("kubernetes.io/ingress.class", &["Ingress"]),
    alpha("networking.istio.io/exportTo", SERVICE),
    alpha("networking.istio.io/service-type", GATEWAY),
    alpha(
        "networking.istio.io/traffic-distribution",
        &["Namespace", "Service", "ServiceEntry"],
    ),
    alpha("prometheus.istio.io/merge-metrics", POD),
    beta("proxy.istio.io/config", POD),
    alpha("proxy.istio.io/overrides", POD),
    alpha("readiness.status.sidecar.istio.io/applicationPorts", POD),
    alpha("readiness.status.sidecar.istio.io/failureThreshold", POD),
    alpha("readiness.status.sidecar.istio.io/initialDelaySeconds", POD),
    alpha("readiness.status.sidecar.istio.io/periodSeconds", POD),
    alpha("sidecar.istio.io/agentLogLevel", POD),
    alpha("sidecar.istio.io/bootstrapOverride", POD),
    alpha("sidecar.istio.io/componentLogLevel", POD),
    deprecated(alpha("sidecar.istio.io/discoveryAddress", POD)),
    deprecated(alpha("sidecar.istio.io/extraStatTags", POD)),
    deprecated(beta("sidecar.istio.io/inject", POD)),
    alpha("sidecar.istio.io/interceptionMode", POD),
    alpha("sidecar.istio.io/logLevel", POD),
    alpha("sidecar.istio.io/nativeSidecar", POD),
    alpha("sidecar.istio.io/proxyCPU", POD),
    alpha("sidecar.istio.io/proxyCPULimit", POD),
    alpha("sidecar.istio.io/proxyImage", POD),
    alpha("sidecar.istio.io/proxyImageType", POD),
    alpha("sidecar.istio.io/proxyMemory", POD),
    alpha("sidecar.istio.io/proxyMemoryLimit", POD),
    alpha("sidecar.istio.io/rewriteAppHTTPProbers", POD),
    deprecated(alpha("sidecar.istio.io/statsCompression", POD)),
    alpha("sidecar.istio.io/statsEvictionInterval", POD),
    alpha("sidecar.istio.io/statsFlushInterval", POD),
    alpha("sidecar.istio.io/statsHistogramBins", POD),
    alpha("sidecar.istio.io/statsHistogramBuckets", POD),
    deprecated(alpha("sidecar.istio.io/statsInclusionPrefixes", POD)),
    deprecated(alpha("sidecar.istio.io/statsInclusionRegexps", POD)),
    deprecated(alpha("sidecar.istio.io/statsInclusionSuffixes", POD)),
    alpha("sidecar.istio.io/status", POD),
    alpha("sidecar.istio.io/userVolume", POD),
    alpha("sidecar.istio.io/userVolumeMount", POD),
    alpha("status.sidecar.istio.io/port", POD),
    alpha("topology.istio.io/controlPlaneClusters", &["Namespace"]),
    stable("traffic.istio.io/nodeSelector", SERVICE),
    alpha("traffic.sidecar.istio.io/excludeInboundPorts", POD),
    alpha("traffic.sidecar.istio.io/excludeInterfaces", POD),
    alpha("traffic.sidecar.istio.io/excludeOutboundIPRanges", POD),
    alpha("traffic.sidecar.istio.io/excludeOutboundPorts", POD),
    alpha("traffic.sidecar.istio.io/includeInboundPorts", POD),
    alpha("traffic.sidecar.istio.io/includeOutboundIPRanges", POD),
    alpha("traffic.sidecar.istio.io/includeOutboundPorts", POD),
    deprecated(alpha("traffic.sidecar.istio.io/kubevirtInterfaces", POD)),
];

/// What is known of an annotation; `None` if there is none of the name.
/// The annotations that have an effect on objects of a kind and are to stay.
pub(super) fn of_kind(kind: &str) -> impl Iterator<Item = &'static Entry> {
    REGISTRY.iter().filter(move |entry| {
        !entry.deprecated && entry.kinds.iter().any(|known| [kind, ANY].contains(known))
    })
}

pub(super) fn find(name: &str) -> Option<&'static Entry> {
    let place = REGISTRY
        .binary_search_by(|entry| entry.name.cmp(name))
        .ok()?;
    REGISTRY.get(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_annotation_finds_its_own_row() {
        for entry in &REGISTRY {
            assert_eq!(find(entry.name).map(|found| found.name), Some(entry.name));
        }
        assert!(find("istio.io/revision").is_none());
    }
}
