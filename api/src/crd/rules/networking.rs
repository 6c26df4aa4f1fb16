//! VirtualService, Gateway, Sidecar, EnvoyFilter and ProxyConfig.

use super::common::{CONNECTION_POOL, DURATION, MATCH_LABELS, TARGET_REFS, WORKLOAD_LABELS};
use crate::crd::rule::Cel;
use crate::crd::rule::Row::{self, In, On};
use crate::crd::rule::Rule::{self, Alias, AtLeast, MaxItems, MaxLength, MinItems, Required};
use crate::crd::values::{given, has, text};

pub(in crate::crd) const VIRTUAL_SERVICE: &[Row] = &[
    On("http[]", &[Alias("mirror_percent", "mirrorPercent")]),
    On("http[].timeout", &[DURATION]),
    On("http[].retries.perTryTimeout", &[DURATION]),
    On("http[].retries.backoff", &[DURATION]),
    On("http[].fault.delay.fixedDelay", &[DURATION]),
    On("http[].fault.delay.exponentialDelay", &[DURATION]),
    On("http[].corsPolicy.maxAge", &[DURATION]),
    On("http[].directResponse", &[Required(&["status"])]),
    On("http[].route[]", &[Required(&["destination"])]),
    On("http[].route[].destination", &[Required(&["host"])]),
    On("http[].mirror", &[Required(&["host"])]),
    On("http[].mirrors[]", &[Required(&["destination"])]),
    On("http[].mirrors[].destination", &[Required(&["host"])]),
    On("tls[]", &[Required(&["match"])]),
    On("tls[].match[]", &[Required(&["sniHosts"])]),
    On("tls[].route[]", &[Required(&["destination"])]),
    On("tls[].route[].destination", &[Required(&["host"])]),
    On("tcp[].route[]", &[Required(&["destination"])]),
    On("tcp[].route[].destination", &[Required(&["host"])]),
];

pub(in crate::crd) const GATEWAY: &[Row] = &[
    On("servers[]", &[Required(&["port", "hosts"])]),
    On(
        "servers[].port",
        &[Required(&["number", "protocol", "name"])],
    ),
    In("servers[].tls", SERVER_TLS),
];

pub(in crate::crd) const SIDECAR: &[Row] = &[
    In("workloadSelector", WORKLOAD_LABELS),
    On("ingress[]", &[Required(&["port"])]),
    In("ingress[].tls", SERVER_TLS),
    In("ingress[].connectionPool", CONNECTION_POOL),
    On("egress[]", &[Required(&["hosts"])]),
    In("inboundConnectionPool", CONNECTION_POOL),
    On("outboundTrafficPolicy.egressProxy", &[Required(&["host"])]),
];

/// Where a server's certificate comes from. In Istio's definitions the last of these rules names `credentialName` in its text and tests
/// `credentialNames`; here it tests what it says, which the webhook refuses in Istio as well.
const SERVER_TLS: &[Row] = &[
    On(
        "",
        &[
            Rule::Cel(Cel {
                rule: "!(has(self.credentialNames) && has(self.tlsCertificates))",
                message: "only one of credentialNames and tlsCertificates may be given",
                holds: |node| given(node, &["credentialNames", "tlsCertificates"]) < 2,
            }),
            Rule::Cel(Cel {
                rule: "!(has(self.credentialName) && has(self.credentialNames))",
                message: "only one of credentialName and credentialNames may be given",
                holds: |node| given(node, &["credentialName", "credentialNames"]) < 2,
            }),
            Rule::Cel(Cel {
                rule: "!(has(self.credentialName) && has(self.tlsCertificates))",
                message: "only one of credentialName and tlsCertificates may be given",
                holds: |node| given(node, &["credentialName", "tlsCertificates"]) < 2,
            }),
        ],
    ),
    On("credentialNames", &[MinItems(1), MaxItems(2)]),
    On("tlsCertificates", &[MinItems(1), MaxItems(2)]),
];

pub(in crate::crd) const ENVOY_FILTER: &[Row] = &[
    On(
        "",
        &[Rule::Cel(Cel {
            rule: "!(has(self.workloadSelector) && has(self.targetRefs))",
            message: "only one of workloadSelector and targetRefs may be given",
            holds: |node| given(node, &["workloadSelector", "targetRefs"]) < 2,
        })],
    ),
    In("workloadSelector", WORKLOAD_LABELS),
    In("targetRefs", TARGET_REFS),
    On(
        "configPatches[].match",
        &[Rule::Cel(Cel {
            rule: "!has(self.waypoint) || (has(self.context) && self.context == 'WAYPOINT')",
            message: "waypoint may be given only where context is WAYPOINT",
            holds: |node| !has(node, "waypoint") || text(node, "context") == "WAYPOINT",
        })],
    ),
];

pub(in crate::crd) const PROXY_CONFIG: &[Row] = &[
    In("selector", MATCH_LABELS),
    On("concurrency", &[AtLeast(0)]),
    On("environmentVariables{}", &[MaxLength(2048)]),
];
