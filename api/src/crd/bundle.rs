//! The CustomResourceDefinitions as objects and as the file of the chart `base`.

use serde_json::{Map, Value, json};

use super::definition::{Column, DEFINITIONS, Definition};
use super::tree::Tree;
use super::{openapi, status};
use crate::yaml;

/// The CustomResourceDefinitions of all of Istio's kinds, in the order of their names.
#[must_use]
pub fn definitions() -> Vec<Value> {
    let mut definitions: Vec<&Definition> = DEFINITIONS.iter().collect();
    definitions.sort_by_key(|definition| (definition.kind.group(), definition.plural));
    definitions.into_iter().map(resource).collect()
}

/// The CustomResourceDefinitions as one YAML text, each behind a `---`.
#[must_use]
pub fn bundle() -> String {
    let mut out = String::from(
        "# Made from the types of the crate lateen-api by `make gen`; not to be changed by hand.\n",
    );
    for definition in definitions() {
        out.push_str("---\n");
        out.push_str(&yaml::to_text(&definition));
    }
    out
}

fn resource(definition: &Definition) -> Value {
    let kind = definition.kind;
    let group = kind.group();
    let schema = object_schema(definition);
    let versions: Vec<Value> = kind
        .versions()
        .iter()
        .map(|version| {
            json!({
                "name": version,
                "served": true,
                "storage": *version == definition.storage,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns(definition.columns),
                "schema": {"openAPIV3Schema": schema},
            })
        })
        .collect();
    let mut names = Map::new();
    names.insert("kind".to_owned(), json!(kind.as_str()));
    names.insert("listKind".to_owned(), json!(format!("{kind}List")));
    names.insert("plural".to_owned(), json!(definition.plural));
    names.insert(
        "singular".to_owned(),
        json!(kind.as_str().to_ascii_lowercase()),
    );
    names.insert(
        "categories".to_owned(),
        json!(["istio-io", group.replace('.', "-")]),
    );
    if let Some(short) = definition.short {
        names.insert("shortNames".to_owned(), json!([short]));
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{group}", definition.plural),
            // Objects outlive the release that brought their kind.
            "annotations": {"helm.sh/resource-policy": "keep"},
            "labels": {"app.kubernetes.io/name": "lateen", "app.kubernetes.io/component": "base"},
        },
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced",
            "versions": versions,
        },
    })
}

fn object_schema(definition: &Definition) -> Value {
    let mut schema = json!({
        "type": "object",
        "properties": {
            "spec": openapi::schema(&Tree::of(definition).spec),
            "status": status::schema(definition.kind),
        },
    });
    if definition.spec_required {
        schema["required"] = json!(["spec"]);
    }
    schema
}

fn columns(columns: &[Column]) -> Vec<Value> {
    let age = Column::date(
        "Age",
        "When the object was made.",
        ".metadata.creationTimestamp",
    );
    columns
        .iter()
        .chain([&age])
        .map(|column| {
            json!({
                "name": column.name,
                "description": column.description,
                "jsonPath": column.path,
                "type": column.kind,
            })
        })
        .collect()
}
