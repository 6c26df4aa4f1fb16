//! WasmPlugin and TrafficExtension.

use super::common::{ATTACHED, MATCH_LABELS, PORT_RANGE, TARGET_REFS};
use crate::crd::rule::Row::{self, In, On};
use crate::crd::rule::Rule::{self, Keyed, MaxItems, MaxLength, MinLength, Required};
use crate::crd::rule::{Cel, Pattern};
use crate::crd::url;
use crate::crd::values::{as_text, given, has, text};

pub(in crate::crd) const WASM_PLUGIN: &[Row] =
    &[In("", ATTACHED), In("", MODULE), In("match[]", TRAFFIC)];

pub(in crate::crd) const TRAFFIC_EXTENSION: &[Row] = &[
    On(
        "",
        &[
            Rule::Cel(Cel {
                rule: "!(has(self.selector) && has(self.targetRefs))",
                message: "only one of selector and targetRefs may be given",
                holds: |node| given(node, &["selector", "targetRefs"]) < 2,
            }),
            Rule::Cel(Cel {
                rule: "has(self.wasm) || has(self.lua)",
                message: "one of wasm and lua must be given",
                holds: |node| has(node, "wasm") || has(node, "lua"),
            }),
        ],
    ),
    In("selector", MATCH_LABELS),
    In("targetRefs", TARGET_REFS),
    In("match[]", TRAFFIC),
    In("wasm", MODULE),
    On("lua", &[Required(&["inlineCode"])]),
    On("lua.inlineCode", &[MinLength(1), MaxLength(65536)]),
];

/// A WebAssembly module and the machine that runs it.
const MODULE: &[Row] = &[
    On("", &[Required(&["url"])]),
    On("url", &[MinLength(1), MODULE_URL]),
    On("sha256", &[Rule::Pattern(SHA256)]),
    On("imagePullSecret", &[MinLength(1), MaxLength(253)]),
    On("pluginName", &[MinLength(1), MaxLength(256)]),
    On("vmConfig.env[]", &[Required(&["name"]), HOST_VALUE]),
    On("vmConfig.env", &[MaxItems(256), Keyed("name")]),
    On("vmConfig.env[].name", &[MinLength(1), MaxLength(256)]),
    On("vmConfig.env[].value", &[MaxLength(2048)]),
];

const TRAFFIC: &[Row] = &[
    On("ports[]", &[Required(&["number"])]),
    On("ports", &[Keyed("number")]),
    On("ports[].number", PORT_RANGE),
];

const MODULE_URL: Rule = Rule::Cel(Cel {
    rule: "isURL(self) ? url(self).getScheme() in ['', 'http', 'https', 'file', 'oci'] : isURL('http://' + self)",
    message: "must be a URL that begins with oci://, https://, http:// or file://, or an image without them",
    holds: |node| {
        as_text(node).is_none_or(|text| match url::scheme(text) {
            Some(scheme) => ["", "http", "https", "file", "oci"]
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known)),
            None => url::scheme(&format!("http://{text}")).is_some(),
        })
    },
});

const HOST_VALUE: Rule = Rule::Cel(Cel {
    rule: "!has(self.value) || !has(self.valueFrom) || self.valueFrom != 'HOST'",
    message: "with valueFrom HOST the value comes from the proxy's environment: leave value out",
    holds: |node| !has(node, "value") || text(node, "valueFrom") != "HOST",
});

const SHA256: Pattern = Pattern {
    regex: "^$|^[a-f0-9]{64}$",
    what: "a SHA-256 checksum: 64 lower-case hexadecimal digits",
    matches: |text| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.is_empty() || (text.len() == 64 && text.bytes().all(is_digit))
    },
};
