//! Strategic merge of one pod on another (contract/inject.md §5): maps by key, lists of named things by their key, other lists whole,
//! `null` deletes.

use serde_json::{Map, Value};

/// The field that tells items of a list apart; `None` for lists that are replaced whole.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        _ => None,
    }
}

/// Lays `overlay` on `base`.
pub(crate) fn merge(base: &mut Map<String, Value>, overlay: &Map<String, Value>) {
    for (key, value) in overlay {
        match (base.get_mut(key), value) {
            (_, Value::Null) => {
                base.shift_remove(key);
            }
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            (Some(Value::Array(below)), Value::Array(above)) => match merge_key(key) {
                Some(id) => merge_items(below, above, id),
                None => below.clone_from(above),
            },
            _ => {
                base.insert(key.clone(), without_nulls(value));
            }
        }
    }
}

/// Items of the overlay in its order; an item that only the base has goes before the first remaining overlay item that already stood after
/// it, else after all of them.
fn merge_items(base: &mut Vec<Value>, overlay: &[Value], id: &str) {
    let before = std::mem::take(base);
    let place = |item: &Value| {
        item.get(id)
            .and_then(|key| before.iter().position(|old| old.get(id) == Some(key)))
    };
    let mut only_base = before
        .iter()
        .enumerate()
        .filter(|(_, old)| !has(overlay, id, old))
        .peekable();
    for item in overlay {
        let stood = place(item);
        while let Some((_, kept)) =
            only_base.next_if(|(at, _)| stood.is_some_and(|stood| *at < stood))
        {
            base.push(kept.clone());
        }
        base.push(match stood.and_then(|at| before.get(at)) {
            Some(old) => merged(old, item),
            None => without_nulls(item),
        });
    }
    base.extend(only_base.map(|(_, kept)| kept.clone()));
}

fn has(items: &[Value], id: &str, wanted: &Value) -> bool {
    wanted
        .get(id)
        .is_some_and(|key| items.iter().any(|item| item.get(id) == Some(key)))
}

fn merged(base: &Value, overlay: &Value) -> Value {
    match (base, overlay) {
        (Value::Object(below), Value::Object(above)) => {
            let mut both = below.clone();
            merge(&mut both, above);
            Value::Object(both)
        }
        _ => without_nulls(overlay),
    }
}

/// A copy without the entries that are `null`: there is nothing below that they could delete.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(_, inner)| !inner.is_null())
                .map(|(key, inner)| (key.clone(), without_nulls(inner)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged_spec(base: Value, overlay: Value) -> Value {
        merged(&base, &overlay)
    }

    #[test]
    fn injected_items_precede_the_users_unless_both_have_them() {
        let names = |base: &[&str], overlay: &[&str]| -> Vec<String> {
            let list = |names: &[&str]| {
                names
                    .iter()
                    .map(|name| json!({"name": name}))
                    .collect::<Vec<_>>()
            };
            let both = merged_spec(
                json!({"volumes": list(base)}),
                json!({"volumes": list(overlay)}),
            );
            both["volumes"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|v| v["name"].as_str().unwrap_or("").to_owned())
                .collect()
        };
        assert_eq!(names(&["app"], &["a", "b"]), ["a", "b", "app"]);
        assert_eq!(names(&["app", "b"], &["a", "b"]), ["a", "app", "b"]);
        assert_eq!(names(&["b", "app"], &["a", "b"]), ["a", "b", "app"]);
        assert_eq!(
            names(&["x", "a", "y", "b", "z"], &["b", "a"]),
            ["x", "y", "b", "a", "z"]
        );
        assert_eq!(names(&[], &["a"]), ["a"]);
    }

    #[test]
    fn maps_merge_by_key_lists_by_theirs_or_whole_and_null_deletes() {
        let base = json!({
            "containers": [{"name": "p", "args": ["old"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "volumeMounts": [{"name": "v", "mountPath": "/x"}], "securityContext": {"runAsUser": 5}}],
            "volumes": [{"name": "w", "emptyDir": {}, "csi": {"driver": "d"}}]
        });
        let overlay = json!({
            "containers": [{"name": "p", "args": ["new"], "env": [{"name": "B", "value": "3"}],
                "volumeMounts": [{"name": "u", "mountPath": "/x"}], "securityContext": {"privileged": false}}],
            "volumes": [{"name": "w", "emptyDir": null}]
        });
        assert_eq!(
            merged_spec(base, overlay),
            json!({
                "containers": [{"name": "p", "args": ["new"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}],
                    "volumeMounts": [{"name": "u", "mountPath": "/x"}], "securityContext": {"runAsUser": 5, "privileged": false}}],
                "volumes": [{"name": "w", "csi": {"driver": "d"}}]
            })
        );
    }

    #[test]
    fn what_is_new_comes_without_its_nulls() {
        assert_eq!(
            merged_spec(
                json!({}),
                json!({"volumes": [{"name": "w", "emptyDir": null}]})
            ),
            json!({"volumes": [{"name": "w"}]})
        );
    }
}
