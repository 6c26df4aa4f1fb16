//! A schema in the API server's form: structural OpenAPI v3 with Kubernetes' extensions.

use serde_json::{Map, Value, json};

use super::rule::{Cel, Rule};
use super::tree::{Form, Place};

/// The schema of a place.
pub(super) fn schema(place: &Place) -> Value {
    let mut out = Map::new();
    if !place.description.is_empty() {
        out.insert("description".to_owned(), json!(place.description));
    }
    if place.nullable {
        out.insert("nullable".to_owned(), json!(true));
    }
    add_form(&mut out, &place.form);
    let mut cel = Vec::new();
    for rule in &place.rules {
        add_rule(&mut out, rule, &mut cel);
    }
    if !cel.is_empty() {
        out.insert("x-kubernetes-validations".to_owned(), Value::Array(cel));
    }
    Value::Object(out)
}

fn add_form(out: &mut Map<String, Value>, form: &Form) {
    let mut add = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    match form {
        Form::Text => add("type", json!("string")),
        Form::Bool => add("type", json!("boolean")),
        Form::Whole { min, max } => {
            add("type", json!("integer"));
            add("minimum", json!(min));
            add("maximum", json!(max));
            let is_small = i32::try_from(*max).is_ok();
            add("format", json!(if is_small { "int32" } else { "int64" }));
        }
        Form::Wide { signed } => {
            add("x-kubernetes-int-or-string", json!(true));
            add("pattern", json!(wide_pattern(*signed)));
            if !signed {
                add("minimum", json!(0));
            }
        }
        Form::Double => {
            add("type", json!("number"));
            add("format", json!("double"));
        }
        Form::Enum(names) => {
            add("type", json!("string"));
            add("enum", json!(names));
        }
        Form::List(item) => {
            add("type", json!("array"));
            add("items", schema(item));
        }
        Form::Map(value) => {
            add("type", json!("object"));
            add("additionalProperties", schema(value));
        }
        Form::Free => {
            add("type", json!("object"));
            add("x-kubernetes-preserve-unknown-fields", json!(true));
        }
        Form::Object { fields, groups } => add_object(out, fields, groups),
    }
}

fn add_object(out: &mut Map<String, Value>, fields: &[(String, Place)], groups: &[Vec<String>]) {
    out.insert("type".to_owned(), json!("object"));
    if !fields.is_empty() {
        let properties: Map<String, Value> = fields
            .iter()
            .map(|(name, place)| (name.clone(), schema(place)))
            .collect();
        out.insert("properties".to_owned(), Value::Object(properties));
    }
    let mut choices: Vec<Value> = groups.iter().map(|group| at_most_one(group)).collect();
    match choices.len() {
        0 => {}
        1 => out.extend(
            choices
                .pop()
                .and_then(|only| only.as_object().cloned())
                .unwrap_or_default(),
        ),
        _ => {
            out.insert("allOf".to_owned(), Value::Array(choices));
        }
    }
}

/// At most one of these fields: none of them, or exactly one.
fn at_most_one(group: &[String]) -> Value {
    let each: Vec<Value> = group
        .iter()
        .map(|name| json!({"required": [name]}))
        .collect();
    let mut choices = vec![json!({"not": {"anyOf": each}})];
    choices.extend(each);
    json!({"oneOf": choices})
}

/// The text form of a 64-bit number.
pub(super) const fn wide_pattern(signed: bool) -> &'static str {
    if signed {
        "^-?[0-9]{1,19}$"
    } else {
        "^[0-9]{1,20}$"
    }
}

fn add_rule(out: &mut Map<String, Value>, rule: &Rule, cel: &mut Vec<Value>) {
    let mut add = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    match rule {
        Rule::Required(names) => add("required", json!(names)),
        Rule::MinLength(least) => add("minLength", json!(least)),
        Rule::MaxLength(most) => add("maxLength", json!(most)),
        Rule::MinItems(least) => add("minItems", json!(least)),
        Rule::MaxItems(most) => add("maxItems", json!(most)),
        Rule::MinEntries(least) => add("minProperties", json!(least)),
        Rule::MaxEntries(most) => add("maxProperties", json!(most)),
        Rule::AtLeast(least) => add("minimum", json!(least)),
        Rule::AtMost(most) => add("maximum", json!(most)),
        Rule::Pattern(pattern) => add("pattern", json!(pattern.regex)),
        Rule::Keyed(name) => {
            add("x-kubernetes-list-type", json!("map"));
            add("x-kubernetes-list-map-keys", json!([name]));
        }
        // The alias is a field by now.
        Rule::Alias(..) => {}
        Rule::Cel(Cel { rule, message, .. }) => cel.push(json!({"rule": rule, "message": message})),
    }
}
