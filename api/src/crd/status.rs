//! The `status` of all kinds: what the control plane says of an object.

use serde_json::{Value, json};

use crate::object::Kind;

/// The schema of a kind's `status`.
pub(super) fn schema(kind: Kind) -> Value {
    let generation = |of: &str| {
        json!({
            "description": format!("The generation of the object that {of}."),
            "x-kubernetes-int-or-string": true,
        })
    };
    let mut properties = json!({
        "conditions": {
            "description": "What is known of the object's state.",
            "type": "array",
            "items": condition(generation("the condition speaks of")),
        },
        "observedGeneration": generation("the status speaks of"),
        "validationMessages": {
            "description": "What analysis found wrong with the object.",
            "type": "array",
            "items": message(),
        },
    });
    if kind == Kind::ServiceEntry {
        properties["addresses"] = addresses();
    }
    json!({
        "description": "What the control plane says of the object.",
        "type": "object",
        "properties": properties,
        // Later versions may say more.
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

fn text(description: &str) -> Value {
    json!({"description": description, "type": "string"})
}

fn condition(generation: Value) -> Value {
    let time = |description: &str| json!({"description": description, "type": "string", "format": "date-time"});
    json!({
        "description": "One trait of the object's state.",
        "type": "object",
        "properties": {
            "type": text("The trait."),
            "status": text("Whether it holds: True, False or Unknown."),
            "reason": text("Why, as one word."),
            "message": text("Why, for people."),
            "lastProbeTime": time("When it was last looked at."),
            "lastTransitionTime": time("When it last changed."),
            "observedGeneration": generation,
        },
    })
}

fn message() -> Value {
    json!({
        "description": "One finding of the analysis.",
        "type": "object",
        "properties": {
            "documentationUrl": text("Where the finding is explained."),
            "level": {
                "description": "How bad it is.",
                "type": "string",
                "enum": ["UNKNOWN", "ERROR", "WARNING", "INFO"],
            },
            "type": {
                "description": "Which finding it is.",
                "type": "object",
                "properties": {
                    "code": text("Its code, such as IST0101."),
                    "name": text("Its name."),
                },
            },
        },
    })
}

fn addresses() -> Value {
    json!({
        "description": "The addresses that were given to hosts which have none of their own.",
        "type": "array",
        "items": {
            "description": "An address of a host.",
            "type": "object",
            "properties": {
                "value": text("The address."),
                "host": text("The host."),
            },
        },
    })
}
