//! Values that Envoy's messages take, and values that they do not.

use lateen_api::object::{ReadOptions, Spec, read_text};

use super::*;

fn faults(patch: &str) -> Vec<(String, String, bool)> {
    let text = format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: f}}\nspec:\n  configPatches:\n  - {}\n",
        patch.replace('\n', "\n    ")
    );
    let options = ReadOptions {
        namespace: "default",
        strict: true,
    };
    let parsed = read_text("f.yaml", &text.as_str().into(), options);
    assert_eq!(parsed.problems, [], "{text}");
    let Spec::EnvoyFilter(filter) = &parsed.objects[0].spec else {
        panic!("an EnvoyFilter")
    };
    PatchValues::default()
        .validate(filter)
        .into_iter()
        .map(|fault| {
            (
                fault.field.clone(),
                fault.message.clone(),
                fault.is_refusal(),
            )
        })
        .collect()
}

const LUA: &str = "\
applyTo: HTTP_FILTER
patch:
  operation: INSERT_BEFORE
  value:
    name: lua
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
      defaultSourceCode: {inlineString: 'function envoy_on_request(h) end'}
";

#[test]
fn a_value_is_a_message_of_the_type_that_is_changed() {
    assert_eq!(faults(LUA), []);
    let field = "spec.configPatches[0].patch.value";
    for (from, to, at, said, refused) in [
        (
            "v3.Lua",
            "v3.Luna",
            ".typed_config",
            "unknown message type",
            true,
        ),
        (
            "{inlineString: 'function envoy_on_request(h) end'}",
            "{inlineString: 5}",
            ".typed_config.defaultSourceCode.inlineString",
            "is not a envoy",
            true,
        ),
        (
            "applyTo: HTTP_FILTER",
            "applyTo: CLUSTER",
            "",
            "has no field `typed_config`",
            false,
        ),
        ("name: lua", "nama: lua", "", "has no field `nama`", false),
        (
            "defaultSourceCode:",
            "sourceCode:",
            ".typed_config",
            "has no field `sourceCode`",
            false,
        ),
        (
            "    typed_config:\n      '@type'",
            "    typd_config:\n      '@type'",
            "",
            "needs a typedConfig",
            false,
        ),
        ("name: lua", "name: {a: b}", ".name", "is not a envoy", true),
    ] {
        let patch = LUA.replace(from, to);
        assert_ne!(patch, LUA, "{from}");
        let found = faults(&patch);
        let path = format!("{field}{at}");
        assert!(
            found
                .iter()
                .any(|(f, m, r)| *f == path && m.contains(said) && *r == refused),
            "{to}: {found:#?}"
        );
    }
}

#[test]
fn unknown_enum_values_are_refused() {
    let cluster = |policy: &str| {
        faults(&format!(
            "applyTo: CLUSTER\npatch: {{operation: MERGE, value: {{lb_policy: {policy}}}}}"
        ))
    };
    assert_eq!(cluster("RANDOM"), []);
    let found = cluster("RANDOMLY");
    assert!(found.len() == 1 && found[0].2, "{found:?}");
}

#[test]
fn deep_values_are_refused() {
    let deep = format!("{}1{}", "{a: ".repeat(110), "}".repeat(110));
    let found = faults(&format!(
        "applyTo: CLUSTER\npatch: {{operation: MERGE, value: {{metadata: {{filter_metadata: {deep}}}}}}}"
    ));
    assert!(found.iter().all(|fault| fault.2), "{found:?}");
}
