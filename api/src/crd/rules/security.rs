//! AuthorizationPolicy, PeerAuthentication and RequestAuthentication.

use super::common::{ATTACHED, DURATION, HEADER_NAME, MATCH_LABELS};
use crate::crd::rule::Cel;
use crate::crd::rule::Row::{self, In, On};
use crate::crd::rule::Rule::{self, Alias, MaxItems, MaxLength, MinEntries, MinLength, Required};
use crate::crd::url;
use crate::crd::values::{all_keys, as_text, field, given};

pub(in crate::crd) const AUTHORIZATION_POLICY: &[Row] = &[
    In("", ATTACHED),
    On("rules", &[MaxItems(512)]),
    On("rules[].from", &[MaxItems(512)]),
    On(
        "rules[].from[].source",
        &[Rule::Cel(Cel {
            rule: "!(has(self.serviceAccounts) || has(self.notServiceAccounts)) || !(has(self.principals) || has(self.notPrincipals) || has(self.namespaces) || has(self.notNamespaces))",
            message: "service accounts may not be given together with principals or namespaces, which they name already",
            holds: |node| {
                given(node, &["serviceAccounts", "notServiceAccounts"]) == 0
                    || given(
                        node,
                        &["principals", "notPrincipals", "namespaces", "notNamespaces"],
                    ) == 0
            },
        })],
    ),
    On("rules[].from[].source.serviceAccounts", &[MaxItems(16)]),
    On("rules[].from[].source.serviceAccounts[]", &[MaxLength(320)]),
    On("rules[].from[].source.notServiceAccounts", &[MaxItems(16)]),
    On(
        "rules[].from[].source.notServiceAccounts[]",
        &[MaxLength(320)],
    ),
    On("rules[].when[]", &[Required(&["key"])]),
];

pub(in crate::crd) const PEER_AUTHENTICATION: &[Row] = &[
    On(
        "",
        &[Rule::Cel(Cel {
            rule: "!has(self.portLevelMtls) || (has(self.selector) && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0)",
            message: "portLevelMtls needs a selector: ports are those of selected workloads",
            holds: |node| {
                let labels =
                    field(node, "selector").and_then(|selector| field(selector, "matchLabels"));
                field(node, "portLevelMtls").is_none()
                    || labels.is_some_and(|labels| {
                        labels.entries().iter().any(|entry| !entry.value.is_null())
                    })
            },
        })],
    ),
    In("selector", MATCH_LABELS),
    On(
        "portLevelMtls",
        &[
            MinEntries(1),
            Rule::Cel(Cel {
                rule: "self.all(port, int(port) >= 1 && int(port) <= 65535)",
                message: "each key must be a port, 1 to 65535",
                holds: |node| {
                    all_keys(node, |key| {
                        key.parse::<i64>()
                            .is_ok_and(|port| (1..=65535).contains(&port))
                    })
                },
            }),
        ],
    ),
];

pub(in crate::crd) const REQUEST_AUTHENTICATION: &[Row] = &[
    In("", ATTACHED),
    On("jwtRules", &[MaxItems(4096)]),
    On(
        "jwtRules[]",
        &[Rule::Cel(Cel {
            rule: "[has(self.jwks), has(self.jwksUri), has(self.jwks_uri)].filter(given, given).size() <= 1",
            message: "only one of jwks and jwksUri may be given",
            holds: |node| given(node, &["jwks", "jwksUri", "jwks_uri"]) <= 1,
        })],
    ),
    On(
        "jwtRules[].jwksUri",
        &[MinLength(1), MaxLength(2048), KEYS_URL],
    ),
    On("jwtRules[]", &[Alias("jwks_uri", "jwksUri")]),
    On("jwtRules[].issuer", &[MinLength(1)]),
    On("jwtRules[].audiences[]", &[MinLength(1)]),
    On("jwtRules[].fromParams[]", &[MinLength(1)]),
    On("jwtRules[].fromCookies[]", &[MinLength(1)]),
    On("jwtRules[].fromHeaders[]", &[Required(&["name"])]),
    On("jwtRules[].fromHeaders[].name", &[MinLength(1)]),
    On(
        "jwtRules[].outputClaimToHeaders[]",
        &[Required(&["header", "claim"])],
    ),
    On(
        "jwtRules[].outputClaimToHeaders[].header",
        &[MinLength(1), HEADER_NAME],
    ),
    On("jwtRules[].outputClaimToHeaders[].claim", &[MinLength(1)]),
    On("jwtRules[].timeout", &[DURATION]),
    On("jwtRules[].spaceDelimitedClaims", &[MaxItems(64)]),
    On("jwtRules[].spaceDelimitedClaims[]", &[MinLength(1)]),
];

const KEYS_URL: Rule = Rule::Cel(Cel {
    rule: "isURL(self) && url(self).getScheme() in ['http', 'https']",
    message: "must be a URL that begins with https:// or http://",
    holds: |node| {
        as_text(node).is_none_or(|text| {
            let scheme = url::scheme(text).unwrap_or_default();
            scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
        })
    },
});
