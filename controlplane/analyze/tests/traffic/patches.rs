//! EnvoyFilters.

use super::support::{Case, codes, files, run};

const PATCHES: Case<'static> = Case {
    analyzer: "envoyfilter.EnvoyPatchAnalyzer",
    object: "EnvoyFilter default/patch",
    ..Case::NEW
};

const INSERT: &str = r"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    patch:
      operation: INSERT_BEFORE #!
      value: {name: lua}
";
const ADD: &str = r"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  configPatches:
  - applyTo: HTTP_ROUTE
    patch:
      operation: ADD #!
      value: {name: r}
";
const REMOVE: &str = r"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  configPatches:
  - applyTo: ROUTE_CONFIGURATION
    patch:
      operation: REMOVE #!
";
const REPLACE: &str = r"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  configPatches:
  - applyTo: CLUSTER
    patch:
      operation: REPLACE #!
      value: {name: c}
";
const FINE: &str = r"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  priority: 10
  configPatches:
  - {applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE, value: {name: lua}}}
  - {applyTo: VIRTUAL_HOST, patch: {operation: REPLACE, value: {name: v}}}
  - {applyTo: CLUSTER, patch: {operation: REMOVE}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: plain}
spec:
  configPatches:
  - {applyTo: HTTP_FILTER, patch: {operation: INSERT_FIRST, value: {name: lua}}}
  - {applyTo: CLUSTER, patch: {operation: ADD, value: {name: c}}}
  - {applyTo: HTTP_ROUTE, patch: {operation: MERGE, value: {}}}
  - {applyTo: CLUSTER}
  - {applyTo: CLUSTER, patch: {operation: REPLACE, value: {name: c}}}
";

#[test]
fn operations_have_their_places() {
    for (code, raises, text) in [
        ("IST0151", INSERT, "priority"),
        ("IST0152", REPLACE, "VIRTUAL_HOST"),
        ("IST0153", ADD, "HTTP_ROUTE"),
        ("IST0154", REMOVE, "ROUTE_CONFIGURATION"),
    ] {
        Case {
            code,
            raises,
            text: &[text],
            near: FINE,
            ..PATCHES
        }
        .check();
    }
}

#[test]
fn a_patch_for_some_versions_is_told_apart() {
    Case {
        code: "IST0155",
        raises: r"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: a-first}
spec:
  priority: 1
  configPatches:
  - applyTo: HTTP_FILTER
    match: {proxy: {proxyVersion: '^1\.2.*'}, listener: {filterChain: {filter: {name: hcm}}}}
    patch: {operation: MERGE, value: {typed_config: {}}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    patch:
      operation: INSERT_AFTER #!
      value: {name: hcm}
",
        text: &["proxy versions"],
        near: INSERT,
        ..PATCHES
    }
    .check();
}

#[test]
fn an_object_has_each_message_once() {
    let text = r"
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: patch}
spec:
  configPatches:
  - {applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE, value: {name: a}}}
  - {applyTo: HTTP_FILTER, patch: {operation: INSERT_AFTER, value: {name: b}}}
";
    let messages = run(PATCHES.analyzer, files(text, ""));
    assert_eq!(codes(&messages), ["IST0151 EnvoyFilter default/patch"]);
}
