//! Rules that several kinds share: durations, ports, selectors, the objects that a policy is attached to.

use crate::crd::rule::Row::{self, In, On};
use crate::crd::rule::Rule::{
    self, AtLeast, AtMost, MaxEntries, MaxItems, MaxLength, MinLength, Required,
};
use crate::crd::rule::{Cel, Pattern};
use crate::crd::values::{all_keys, as_text, given, is_within};
use crate::proto::Duration;
use crate::yaml::Node;

/// A duration that is more than nothing.
pub(super) const DURATION: Rule = Rule::Cel(Cel {
    rule: "duration(self) >= duration('1ms')",
    message: "must be a duration of at least 1ms, such as 250ms, 1.5s or 1h30m",
    holds: |node| {
        as_text(node).is_none_or(|text| {
            text.parse::<Duration>()
                .is_ok_and(|duration| duration >= Duration::from_millis(1))
        })
    },
});

/// The number of a port.
pub(super) const PORT: Rule = Rule::Cel(Cel {
    rule: "self >= 1 && self <= 65535",
    message: "must be a port, 1 to 65535",
    holds: |node| is_within(node, 1.0, 65535.0),
});

/// Ports of which a schema can hold the range by itself.
pub(super) const PORT_RANGE: &[Rule] = &[AtLeast(1), AtMost(65535)];

/// Durations of a DestinationRule's and a Sidecar's connection pool. How long a plain connection may be idle is not checked.
pub(super) const CONNECTION_POOL: &[Row] = &[
    On("tcp.connectTimeout", &[DURATION]),
    On("tcp.maxConnectionDuration", &[DURATION]),
    On("tcp.tcpKeepalive.time", &[DURATION]),
    On("tcp.tcpKeepalive.interval", &[DURATION]),
    On("http.idleTimeout", &[DURATION]),
    On("http.http2KeepAlive.interval", &[DURATION]),
    On("http.http2KeepAlive.timeout", &[DURATION]),
];

fn has_no_star(node: &Node) -> bool {
    as_text(node).is_none_or(|text| !text.contains('*'))
}

/// A selector by `matchLabels`.
pub(super) const MATCH_LABELS: &[Row] = &[
    On(
        "matchLabels",
        &[
            MaxEntries(4096),
            Rule::Cel(Cel {
                rule: "self.all(key, key != '')",
                message: "a label needs a name",
                holds: |node| all_keys(node, |key| !key.is_empty()),
            }),
            Rule::Cel(Cel {
                rule: "self.all(key, !key.contains('*'))",
                message: "a label's name is compared as a whole: `*` is no wildcard in it",
                holds: |node| all_keys(node, |key| !key.contains('*')),
            }),
        ],
    ),
    On("matchLabels{}", &[MaxLength(63), LABEL_VALUE]),
];

/// A selector by `labels`.
pub(super) const WORKLOAD_LABELS: &[Row] = &[
    On("labels", &[MaxEntries(256)]),
    On("labels{}", &[MaxLength(63), LABEL_VALUE]),
];

const LABEL_VALUE: Rule = Rule::Cel(Cel {
    rule: "!self.contains('*')",
    message: "a label's value is compared as a whole: `*` is no wildcard in it",
    holds: has_no_star,
});

/// One object that a policy is attached to.
pub(super) const TARGET_REF: &[Row] = &[
    On("", &[Required(&["kind", "name"])]),
    On("group", &[MaxLength(253), Rule::Pattern(GROUP)]),
    On("kind", &[MinLength(1), MaxLength(63), Rule::Pattern(KIND)]),
    On("name", &[MinLength(1), MaxLength(253)]),
    On(
        "namespace",
        &[Rule::Cel(Cel {
            rule: "self == ''",
            message: "a policy is attached within its own namespace: leave this out",
            holds: |node| as_text(node).is_none_or(str::is_empty),
        })],
    ),
];

/// The objects that a policy is attached to.
pub(super) const TARGET_REFS: &[Row] = &[On("", &[MaxItems(16)]), In("[]", TARGET_REF)];

/// A policy with a selector, an object that it is attached to, or several.
pub(super) const ATTACHED: &[Row] = &[
    On("", &[ONE_ATTACHMENT]),
    In("selector", MATCH_LABELS),
    In("targetRef", TARGET_REF),
    In("targetRefs", TARGET_REFS),
];

const ONE_ATTACHMENT: Rule = Rule::Cel(Cel {
    rule: "[has(self.selector), has(self.targetRef), has(self.targetRefs)].filter(given, given).size() <= 1",
    message: "only one of selector, targetRef and targetRefs may be given",
    holds: |node| given(node, &["selector", "targetRef", "targetRefs"]) <= 1,
});

const GROUP: Pattern = Pattern {
    regex: "^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    what: "an API group: lower-case letters, digits and `-`, in parts joined by dots",
    matches: |text| {
        let is_letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(is_letter)
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        text.is_empty() || text.split('.').all(is_part)
    },
};

const KIND: Pattern = Pattern {
    regex: "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
    what: "a kind: a letter, then letters, digits and `-`, not ending in `-`",
    matches: |text| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !text.ends_with('-')
    },
};

/// The name of a header.
pub(super) const HEADER_NAME: Rule = Rule::Pattern(Pattern {
    regex: "^[-_A-Za-z0-9]+$",
    what: "a header's name: letters, digits, `-` and `_`",
    matches: |text| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !text.is_empty() && text.bytes().all(is_letter)
    },
});
