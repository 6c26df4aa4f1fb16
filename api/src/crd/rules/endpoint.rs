//! ServiceEntry, WorkloadEntry and WorkloadGroup.

use super::common::{HEADER_NAME, PORT, WORKLOAD_LABELS};
use crate::crd::rule::Cel;
use crate::crd::rule::Row::{self, In, On};
use crate::crd::rule::Rule::{
    self, AtLeast, Keyed, MaxEntries, MaxItems, MaxLength, MinItems, MinLength, Required,
};
use crate::crd::values::{all_keys, as_text, field, given, has, repeated, text};
use crate::yaml::Node;

pub(in crate::crd) const SERVICE_ENTRY: &[Row] = &[
    On(
        "",
        &[
            Required(&["hosts"]),
            ONE_SOURCE,
            RANGES,
            NO_ENDPOINTS,
            ONE_ENDPOINT,
        ],
    ),
    On("hosts", &[MinItems(1), MaxItems(256)]),
    On(
        "hosts[]",
        &[Rule::Cel(Cel {
            rule: "self != '*'",
            message: "a service cannot have every name: give `*` a domain, as in *.example.com",
            holds: |node| as_text(node) != Some("*"),
        })],
    ),
    On("addresses", &[MaxItems(256)]),
    On("addresses[]", &[MaxLength(64)]),
    On("ports[]", &[Required(&["number", "name"])]),
    On("ports", &[MaxItems(256), Keyed("name"), DISTINCT_NUMBERS]),
    On("ports[].number", &[PORT]),
    On("ports[].targetPort", &[PORT]),
    On("ports[].name", &[MaxLength(256)]),
    On("ports[].protocol", &[MaxLength(256)]),
    On("endpoints", &[MaxItems(4096)]),
    On("endpoints[]", &[ADDRESS]),
    In("endpoints[]", ENDPOINT),
    In("workloadSelector", WORKLOAD_LABELS),
];

pub(in crate::crd) const WORKLOAD_ENTRY: &[Row] = &[On("", &[ADDRESS]), In("", ENDPOINT)];

pub(in crate::crd) const WORKLOAD_GROUP: &[Row] = &[
    On("", &[Required(&["template"])]),
    On("metadata.labels", &[MaxEntries(256)]),
    On("metadata.annotations", &[MaxEntries(256)]),
    In("template", ENDPOINT),
    On("probe.initialDelaySeconds", &[AtLeast(0)]),
    On("probe.timeoutSeconds", &[AtLeast(0)]),
    On("probe.periodSeconds", &[AtLeast(0)]),
    On("probe.successThreshold", &[AtLeast(0)]),
    On("probe.failureThreshold", &[AtLeast(0)]),
    On("probe.httpGet", &[Required(&["port"])]),
    On("probe.httpGet.port", &[PORT]),
    On(
        "probe.httpGet.scheme",
        &[Rule::Cel(Cel {
            rule: "self in ['', 'HTTP', 'HTTPS']",
            message: "must be HTTP or HTTPS",
            holds: |node| as_text(node).is_none_or(|text| ["", "HTTP", "HTTPS"].contains(&text)),
        })],
    ),
    On("probe.httpGet.httpHeaders[].name", &[HEADER_NAME]),
    On("probe.tcpSocket", &[Required(&["port"])]),
    On("probe.tcpSocket.port", &[PORT]),
    On("probe.exec", &[Required(&["command"])]),
    On("probe.exec.command[]", &[MinLength(1)]),
    On("probe.grpc.port", &[PORT]),
];

/// An endpoint by itself, in a ServiceEntry, or as a template.
const ENDPOINT: &[Row] = &[
    On(
        "",
        &[Rule::Cel(Cel {
            rule: "!(has(self.ports) && has(self.address) && self.address.startsWith('unix://'))",
            message: "a socket in the file system has no ports",
            holds: |node| !(has(node, "ports") && text(node, "address").starts_with("unix://")),
        })],
    ),
    On("address", &[MaxLength(256), SOCKET_PATH, SOCKET_FILE]),
    On("ports", &[MaxEntries(128), PORT_NAMES]),
    On("ports{}", &[PORT]),
    On("labels", &[MaxEntries(256)]),
    On("network", &[MaxLength(2048)]),
    On("locality", &[MaxLength(2048)]),
    On("serviceAccount", &[MaxLength(253)]),
];

const ADDRESS: Rule = Rule::Cel(Cel {
    rule: "has(self.address) || has(self.network)",
    message: "an endpoint needs an address, or a network whose gateways reach it",
    holds: |node| has(node, "address") || has(node, "network"),
});

const SOCKET_PATH: Rule = Rule::Cel(Cel {
    rule: "!self.startsWith('unix://') || self.startsWith('unix:///') || self.startsWith('unix://@')",
    message: "after unix:// there must be an absolute path, or @ and a name",
    holds: |node| {
        let path = as_text(node).and_then(|text| text.strip_prefix("unix://"));
        path.is_none_or(|path| path.starts_with(['/', '@']))
    },
});

const SOCKET_FILE: Rule = Rule::Cel(Cel {
    rule: "!(self.startsWith('unix://') && self.endsWith('/'))",
    message: "a socket is not a folder: take the last / away",
    holds: |node| {
        as_text(node).is_none_or(|text| !(text.starts_with("unix://") && text.ends_with('/')))
    },
});

const PORT_NAMES: Rule = Rule::Cel(Cel {
    rule: "self.all(name, name.size() < 63 && name.matches('^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
    message: "a port's name has letters, digits and `-`, at most 62 of them, and no `-` at its ends",
    holds: |node| all_keys(node, is_port_name),
});

fn is_port_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 63
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

const ONE_SOURCE: Rule = Rule::Cel(Cel {
    rule: "!(has(self.workloadSelector) && has(self.endpoints))",
    message: "only one of workloadSelector and endpoints may be given",
    holds: |node| given(node, &["workloadSelector", "endpoints"]) < 2,
});

const RANGES: Rule = Rule::Cel(Cel {
    rule: "!has(self.addresses) || !has(self.resolution) || self.resolution in ['NONE', 'STATIC'] || self.addresses.all(address, !address.contains('/'))",
    message: "addresses may be ranges only where resolution is NONE or STATIC",
    holds: |node| {
        ["", "NONE", "STATIC"].contains(&text(node, "resolution"))
            || items(node, "addresses")
                .all(|address| as_text(address).is_none_or(|text| !text.contains('/')))
    },
});

const NO_ENDPOINTS: Rule = Rule::Cel(Cel {
    rule: "!has(self.endpoints) || (has(self.resolution) && self.resolution != 'NONE')",
    message: "endpoints need another resolution than NONE, which is the default",
    holds: |node| !has(node, "endpoints") || !["", "NONE"].contains(&text(node, "resolution")),
});

const ONE_ENDPOINT: Rule = Rule::Cel(Cel {
    rule: "!has(self.endpoints) || !has(self.resolution) || self.resolution != 'DNS_ROUND_ROBIN' || self.endpoints.size() <= 1",
    message: "resolution DNS_ROUND_ROBIN takes only one endpoint",
    holds: |node| {
        text(node, "resolution") != "DNS_ROUND_ROBIN" || items(node, "endpoints").count() <= 1
    },
});

const DISTINCT_NUMBERS: Rule = Rule::Cel(Cel {
    rule: "self.all(port, self.exists_one(other, other.number == port.number))",
    message: "each port needs a number of its own",
    holds: |node| repeated(node.items(), "number").is_none(),
});

fn items<'a>(node: &'a Node, key: &str) -> impl Iterator<Item = &'a Node> {
    field(node, key).map(Node::items).unwrap_or_default().iter()
}
