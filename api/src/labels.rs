//! Labels and annotations by name, the canonical service of a workload, and selectors.

use std::collections::BTreeMap;

/// Annotations of pods and other objects that steer injection and proxies.
pub mod annotation {
    /// `true` or `false`: whether a pod is injected (the label of the same name wins).
    pub const INJECT: &str = "sidecar.istio.io/inject";
    /// What was injected, as JSON.
    pub const STATUS: &str = "sidecar.istio.io/status";
    /// The revision that injected the pod.
    pub const REVISION: &str = "istio.io/rev";
    /// Templates instead of the default ones.
    pub const INJECT_TEMPLATES: &str = "inject.istio.io/templates";
    /// A ProxyConfig, as YAML.
    pub const PROXY_CONFIG: &str = "proxy.istio.io/config";
    /// Parts of the pod that were overridden at injection, as JSON.
    pub const PROXY_OVERRIDES: &str = "proxy.istio.io/overrides";
    /// How inbound traffic comes to the proxy.
    pub const INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";
    /// The proxy's image.
    pub const PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";
    /// The flavour of the proxy's image.
    pub const PROXY_IMAGE_TYPE: &str = "sidecar.istio.io/proxyImageType";
    /// The proxy's CPU request.
    pub const PROXY_CPU: &str = "sidecar.istio.io/proxyCPU";
    /// The proxy's CPU limit.
    pub const PROXY_CPU_LIMIT: &str = "sidecar.istio.io/proxyCPULimit";
    /// The proxy's memory request.
    pub const PROXY_MEMORY: &str = "sidecar.istio.io/proxyMemory";
    /// The proxy's memory limit.
    pub const PROXY_MEMORY_LIMIT: &str = "sidecar.istio.io/proxyMemoryLimit";
    /// The proxy's log level.
    pub const LOG_LEVEL: &str = "sidecar.istio.io/logLevel";
    /// The log levels of parts of the proxy.
    pub const COMPONENT_LOG_LEVEL: &str = "sidecar.istio.io/componentLogLevel";
    /// The agent's log level.
    pub const AGENT_LOG_LEVEL: &str = "sidecar.istio.io/agentLogLevel";
    /// `true`: the proxy may bind ports below 1024.
    pub const CAP_NET_BIND_SERVICE: &str = "sidecar.istio.io/capNetBindService";
    /// Whether the proxy is an init container that stays.
    pub const NATIVE_SIDECAR: &str = "sidecar.istio.io/nativeSidecar";
    /// A ConfigMap with a bootstrap.
    pub const BOOTSTRAP_OVERRIDE: &str = "sidecar.istio.io/bootstrapOverride";
    /// Volumes to add, as JSON.
    pub const USER_VOLUME: &str = "sidecar.istio.io/userVolume";
    /// Mounts to add to the proxy, as JSON.
    pub const USER_VOLUME_MOUNT: &str = "sidecar.istio.io/userVolumeMount";
    /// Whether probes go by way of the agent.
    pub const REWRITE_PROBES: &str = "sidecar.istio.io/rewriteAppHTTPProbers";
    /// Beginnings of names of further metrics.
    pub const STATS_INCLUSION_PREFIXES: &str = "sidecar.istio.io/statsInclusionPrefixes";
    /// Ends of names of further metrics.
    pub const STATS_INCLUSION_SUFFIXES: &str = "sidecar.istio.io/statsInclusionSuffixes";
    /// Expressions for names of further metrics.
    pub const STATS_INCLUSION_REGEXPS: &str = "sidecar.istio.io/statsInclusionRegexps";
    /// Histogram buckets by name, as JSON.
    pub const STATS_HISTOGRAM_BUCKETS: &str = "sidecar.istio.io/statsHistogramBuckets";
    /// Further tags of metrics.
    pub const EXTRA_STAT_TAGS: &str = "sidecar.istio.io/extraStatTags";
    /// The control plane's address.
    pub const DISCOVERY_ADDRESS: &str = "sidecar.istio.io/discoveryAddress";
    /// The agent's port.
    pub const STATUS_PORT: &str = "status.sidecar.istio.io/port";
    /// Seconds until the first readiness probe of the proxy.
    pub const READINESS_INITIAL_DELAY: &str =
        "readiness.status.sidecar.istio.io/initialDelaySeconds";
    /// Seconds between readiness probes of the proxy.
    pub const READINESS_PERIOD: &str = "readiness.status.sidecar.istio.io/periodSeconds";
    /// Failures in a row that make the proxy unready.
    pub const READINESS_FAILURE_THRESHOLD: &str =
        "readiness.status.sidecar.istio.io/failureThreshold";
    /// The application's ports, for readiness.
    pub const READINESS_APPLICATION_PORTS: &str =
        "readiness.status.sidecar.istio.io/applicationPorts";
    /// Destinations whose traffic goes through the proxy.
    pub const INCLUDE_OUTBOUND_IP_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
    /// Destinations whose traffic does not go through the proxy.
    pub const EXCLUDE_OUTBOUND_IP_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
    /// Ports whose inbound traffic goes through the proxy.
    pub const INCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeInboundPorts";
    /// Ports whose inbound traffic does not go through the proxy.
    pub const EXCLUDE_INBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
    /// Ports whose outbound traffic goes through the proxy.
    pub const INCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
    /// Ports whose outbound traffic does not go through the proxy.
    pub const EXCLUDE_OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
    /// Interfaces that are left alone.
    pub const EXCLUDE_INTERFACES: &str = "traffic.sidecar.istio.io/excludeInterfaces";
    /// Deprecated: interfaces of virtual machines.
    pub const KUBEVIRT_INTERFACES: &str = "traffic.sidecar.istio.io/kubevirtInterfaces";
    /// Interfaces of virtual machines.
    pub const REROUTE_VIRTUAL_INTERFACES: &str = "istio.io/reroute-virtual-interfaces";
    /// Whether the agent merges the application's metrics.
    pub const MERGE_METRICS: &str = "prometheus.istio.io/merge-metrics";
    /// Further places of the application's metrics.
    pub const SCRAPE_TARGETS: &str = "prometheus.istio.io/scrape-targets";
    /// The port of metrics over mTLS.
    pub const SECURE_PORT: &str = "prometheus.istio.io/secure-port";
    /// Whether Prometheus asks the pod.
    pub const PROMETHEUS_SCRAPE: &str = "prometheus.io/scrape";
    /// The port that Prometheus asks.
    pub const PROMETHEUS_PORT: &str = "prometheus.io/port";
    /// The path that Prometheus asks.
    pub const PROMETHEUS_PATH: &str = "prometheus.io/path";
    /// The namespaces that see a Service.
    pub const EXPORT_TO: &str = "networking.istio.io/exportTo";
    /// `true`: an AuthorizationPolicy is only tried.
    pub const DRY_RUN: &str = "istio.io/dry-run";
    /// The container that kubectl takes where none is named.
    pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
    /// The container whose logs kubectl takes where none is named.
    pub const DEFAULT_LOGS_CONTAINER: &str = "kubectl.kubernetes.io/default-logs-container";
    /// Annotations that no object of a user may have.
    pub const INTERNAL: [&str; 3] = [
        "internal.istio.io/webhook-always-reject",
        "internal.istio.io/parents",
        "internal.istio.io/parent-namespace",
    ];
}

/// Labels of pods, services and namespaces.
pub mod label {
    /// `true` or `false`: whether a pod is injected.
    pub const INJECT: &str = "sidecar.istio.io/inject";
    /// `enabled` or `disabled`, on a namespace: whether its pods are injected.
    pub const INJECTION: &str = "istio-injection";
    /// The revision that injects.
    pub const REVISION: &str = "istio.io/rev";
    /// `istio` on pods that take mTLS.
    pub const TLS_MODE: &str = "security.istio.io/tlsMode";
    /// The value of [`TLS_MODE`] on pods that take mTLS.
    pub const TLS_MODE_ISTIO: &str = "istio";
    /// The service that a workload is part of.
    pub const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
    /// The revision of the service that a workload is.
    pub const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
    /// The workload's name.
    pub const WORKLOAD_NAME: &str = "service.istio.io/workload-name";
    /// The network that a pod or gateway is on.
    pub const NETWORK: &str = "topology.istio.io/network";
    /// The cluster that a workload is in.
    pub const CLUSTER: &str = "topology.istio.io/cluster";
    /// The subzone that a pod or machine is in.
    pub const SUBZONE: &str = "topology.istio.io/subzone";
    /// The zone that a machine is in.
    pub const ZONE: &str = "topology.kubernetes.io/zone";
    /// The region that a machine is in.
    pub const REGION: &str = "topology.kubernetes.io/region";
    /// A machine's name as a label.
    pub const HOSTNAME: &str = "kubernetes.io/hostname";
    /// A workload's locality, with dots for slashes.
    pub const LOCALITY: &str = "istio-locality";
    /// `http` on workloads that take HBONE.
    pub const TUNNEL: &str = "networking.istio.io/tunnel";
    /// The port of a gateway between networks.
    pub const GATEWAY_PORT: &str = "networking.istio.io/gatewayPort";
    /// Whether a ServiceEntry gets addresses.
    pub const AUTO_ALLOCATE_IP: &str = "networking.istio.io/enable-autoallocate-ip";
    /// The waypoint of a service or namespace.
    pub const USE_WAYPOINT: &str = "istio.io/use-waypoint";
    /// The Gateway that a pod runs.
    pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
    /// The application's name, as Kubernetes recommends it.
    pub const APP_KUBERNETES_NAME: &str = "app.kubernetes.io/name";
    /// The application's version, as Kubernetes recommends it.
    pub const APP_KUBERNETES_VERSION: &str = "app.kubernetes.io/version";
    /// The application's name.
    pub const APP: &str = "app";
    /// The application's version.
    pub const VERSION: &str = "version";
    /// The hash of a Deployment's pods.
    pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
    /// The Service that an EndpointSlice belongs to.
    pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
    /// A namespace's name as a label.
    pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
}

/// The revision of a workload that names none.
pub const LATEST: &str = "latest";

/// The service that a workload is part of: `service.istio.io/canonical-name`, else `app.kubernetes.io/name`, else `app`, else the
/// workload's name.
#[must_use]
pub fn canonical_service<'a>(labels: &'a BTreeMap<String, String>, workload: &'a str) -> &'a str {
    first(
        labels,
        &[
            label::CANONICAL_NAME,
            label::APP_KUBERNETES_NAME,
            label::APP,
        ],
    )
    .unwrap_or(workload)
}

/// The revision of the service that a workload is: `service.istio.io/canonical-revision`, else `app.kubernetes.io/version`, else
/// `version`, else `latest`.
#[must_use]
pub fn canonical_revision(labels: &BTreeMap<String, String>) -> &str {
    first(
        labels,
        &[
            label::CANONICAL_REVISION,
            label::APP_KUBERNETES_VERSION,
            label::VERSION,
        ],
    )
    .unwrap_or(LATEST)
}

fn first<'a>(labels: &'a BTreeMap<String, String>, names: &[&str]) -> Option<&'a str> {
    names
        .iter()
        .find_map(|name| labels.get(*name))
        .map(String::as_str)
}

/// Whether `labels` has all of a selector's labels. A selector without labels selects all.
#[must_use]
pub fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether a text is a label's or an annotation's key: `[prefix/]name`.
#[must_use]
pub fn is_key(text: &str) -> bool {
    let (prefix, name) = text
        .split_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let prefix_fits = prefix.is_none_or(|prefix| {
        prefix.len() <= 253 && prefix.split('.').all(crate::host::is_any_case_label)
    });
    prefix_fits && !name.is_empty() && name.len() <= 63 && is_value(name)
}

/// Whether a text is a label's value: empty, or letters, digits, `-`, `_` and `.` with a letter or digit at each end.
#[must_use]
pub fn is_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.is_empty()
        || (alphanumeric(bytes.first())
            && alphanumeric(bytes.last())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_canonical_service_falls_back_step_by_step() {
        let all = labels(&[
            (label::CANONICAL_NAME, "one"),
            (label::APP_KUBERNETES_NAME, "two"),
            (label::APP, "three"),
            (label::CANONICAL_REVISION, "r1"),
            (label::APP_KUBERNETES_VERSION, "r2"),
            (label::VERSION, "r3"),
        ]);
        let mut left = all.clone();
        for (name, service) in [
            (label::CANONICAL_NAME, "one"),
            (label::APP_KUBERNETES_NAME, "two"),
            (label::APP, "three"),
        ] {
            assert_eq!(canonical_service(&left, "workload"), service);
            left.remove(name);
        }
        assert_eq!(canonical_service(&left, "workload"), "workload");
        assert_eq!(canonical_revision(&all), "r1");
        assert_eq!(canonical_revision(&labels(&[(label::VERSION, "v2")])), "v2");
        assert_eq!(canonical_revision(&labels(&[])), "latest");
    }

    #[test]
    fn a_selector_asks_for_all_of_its_labels() {
        let pod = labels(&[("app", "reviews"), ("version", "v1")]);
        assert!(selects(&labels(&[]), &pod));
        assert!(selects(&labels(&[("version", "v1")]), &pod));
        assert!(!selects(&labels(&[("version", "v1"), ("tier", "x")]), &pod));
        assert!(!selects(&labels(&[("version", "v2")]), &pod));
    }

    #[test]
    fn keys_and_values_have_their_letters() {
        for key in ["app", "a.b/c", "A.b/c_d.e-f"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "/a", "a/", "a/b/c", "-a", "a b", "a_b.com/c"] {
            assert!(!is_key(key), "{key}");
        }
        assert!(is_value("") && is_value("v1.2_x") && !is_value("-v") && !is_value("a b"));
    }
}
