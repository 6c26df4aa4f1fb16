//! Parts of `config_dump`: one list, some fields, resources by name.

use regex::Regex;
use serde_json::{Map, Value, json};

const ADMIN: &str = "type.googleapis.com/envoy.admin.v3.";

/// Lists of a dump: name, its message, the message of an entry, and the path to the name of an entry.
const LISTS: [(&str, &str, &str, &[&str]); 15] = [
    (
        "static_clusters",
        "ClustersConfigDump",
        "StaticCluster",
        &["cluster", "name"],
    ),
    (
        "dynamic_active_clusters",
        "ClustersConfigDump",
        "DynamicCluster",
        &["cluster", "name"],
    ),
    (
        "dynamic_warming_clusters",
        "ClustersConfigDump",
        "DynamicCluster",
        &["cluster", "name"],
    ),
    (
        "static_endpoint_configs",
        "EndpointsConfigDump",
        "StaticEndpointConfig",
        &["endpoint_config", "cluster_name"],
    ),
    (
        "dynamic_endpoint_configs",
        "EndpointsConfigDump",
        "DynamicEndpointConfig",
        &["endpoint_config", "cluster_name"],
    ),
    (
        "static_listeners",
        "ListenersConfigDump",
        "StaticListener",
        &["listener", "name"],
    ),
    (
        "dynamic_listeners",
        "ListenersConfigDump",
        "DynamicListener",
        &["name"],
    ),
    (
        "inline_scoped_route_configs",
        "ScopedRoutesConfigDump",
        "InlineScopedRouteConfigs",
        &["name"],
    ),
    (
        "dynamic_scoped_route_configs",
        "ScopedRoutesConfigDump",
        "DynamicScopedRouteConfigs",
        &["name"],
    ),
    (
        "static_route_configs",
        "RoutesConfigDump",
        "StaticRouteConfig",
        &["route_config", "name"],
    ),
    (
        "dynamic_route_configs",
        "RoutesConfigDump",
        "DynamicRouteConfig",
        &["route_config", "name"],
    ),
    (
        "static_secrets",
        "SecretsConfigDump",
        "StaticSecret",
        &["name"],
    ),
    (
        "dynamic_active_secrets",
        "SecretsConfigDump",
        "DynamicSecret",
        &["name"],
    ),
    (
        "dynamic_warming_secrets",
        "SecretsConfigDump",
        "DynamicSecret",
        &["name"],
    ),
    (
        "ecds_filters",
        "EcdsConfigDump",
        "EcdsFilterConfig",
        &["ecds_filter", "name"],
    ),
];

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// One list.
    pub(super) resource: Option<String>,
    /// Fields, separated by commas; with a list they are fields of its entries.
    pub(super) mask: Option<String>,
    /// What the whole name of a resource must match.
    pub(super) name_regex: Option<String>,
}

/// Why nothing is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) status: u16,
    /// The text.
    pub(crate) reason: String,
}

impl Part {
    pub(super) fn to_json(&self) -> Value {
        json!([self.resource, self.mask, self.name_regex])
    }

    pub(super) fn from_json(value: &Value) -> Option<Self> {
        let text = |index: usize| value.get(index)?.as_str().map(ToOwned::to_owned);
        value.as_array()?;
        Some(Self {
            resource: text(0),
            mask: text(1),
            name_regex: text(2),
        })
    }

    /// The part of `configs` that is asked for.
    pub(super) fn of(&self, mut configs: Vec<Value>) -> Result<Vec<Value>, Refusal> {
        if let Some(pattern) = &self.name_regex {
            let whole = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| Refusal {
                status: 400,
                reason: format!(
                    "INVALID_ARGUMENT: Error while parsing name_regex from {pattern}: {}",
                    error.to_string().lines().last().unwrap_or_default()
                ),
            })?;
            configs
                .iter_mut()
                .for_each(|config| keep_named(config, &whole));
        }
        if let Some(resource) = &self.resource {
            return self.list(resource, configs);
        }
        match &self.mask {
            None => Ok(configs),
            Some(mask) => masked(mask, configs),
        }
    }

    fn list(&self, resource: &str, configs: Vec<Value>) -> Result<Vec<Value>, Refusal> {
        let Some((_, _, entry, _)) = LISTS.iter().find(|(name, ..)| *name == resource) else {
            let single = configs.iter().any(|config| config.get(resource).is_some());
            return Err(if single {
                Refusal {
                    status: 400,
                    reason: format!(
                        "{resource} is not a repeated field. Use ?mask={resource} to get only this field"
                    ),
                }
            } else {
                Refusal {
                    status: 404,
                    reason: format!("{resource} not found in config dump"),
                }
            });
        };
        let mut found = Vec::new();
        for mut config in configs {
            let message = config["@type"].as_str().unwrap_or_default().to_owned();
            let Some(Value::Array(entries)) = config.get_mut(resource).map(Value::take) else {
                continue;
            };
            for value in entries {
                let mut fields = Map::new();
                fields.insert("@type".to_owned(), format!("{message}.{entry}").into());
                if let Value::Object(value) = value {
                    fields.extend(value);
                }
                let value = Value::Object(fields);
                found.push(match &self.mask {
                    Some(mask) => trimmed(&value, &paths(mask)),
                    None => value,
                });
            }
        }
        Ok(found)
    }
}

/// Leaves entries out of all lists whose name does not match.
fn keep_named(config: &mut Value, whole: &Regex) {
    for (list, _, _, path) in &LISTS {
        let Some(Value::Array(entries)) = config.get_mut(*list) else {
            continue;
        };
        entries.retain(|entry| {
            let name = path.iter().try_fold(entry, |value, key| value.get(key));
            name.and_then(Value::as_str)
                .is_some_and(|name| whole.is_match(name))
        });
    }
}

fn masked(mask: &str, configs: Vec<Value>) -> Result<Vec<Value>, Refusal> {
    let paths = paths(mask);
    let mut found = Vec::new();
    for config in configs {
        let message = config["@type"].as_str().unwrap_or_default();
        let fits = paths.iter().all(|path| match path.as_slice() {
            // Without its name a list has no fields to choose.
            [list, _, ..] if is_list(list) => false,
            [first, ..] => has_field(message, first),
            [] => false,
        });
        if fits {
            found.push(trimmed(&config, &paths));
        }
    }
    if found.is_empty() {
        return Err(Refusal {
            status: 400,
            reason: format!("FieldMask {mask} could not be successfully applied to any configs."),
        });
    }
    Ok(found)
}

fn has_field(message: &str, field: &str) -> bool {
    let message = message.strip_prefix(ADMIN).unwrap_or(message);
    if LISTS
        .iter()
        .any(|(name, of, ..)| *name == field && *of == message)
    {
        return true;
    }
    match message {
        "BootstrapConfigDump" => matches!(field, "bootstrap" | "last_updated"),
        "ClustersConfigDump" | "ListenersConfigDump" => field == "version_info",
        _ => false,
    }
}

fn is_list(field: &str) -> bool {
    LISTS.iter().any(|(name, ..)| *name == field)
}

fn paths(mask: &str) -> Vec<Vec<&str>> {
    mask.split(',')
        .map(|path| path.split('.').collect())
        .collect()
}

/// The value with these fields alone; entries of lists are trimmed one by one, and types stay.
fn trimmed(value: &Value, paths: &[Vec<&str>]) -> Value {
    if paths.iter().any(Vec::is_empty) {
        return value.clone();
    }
    match value {
        Value::Array(items) => items.iter().map(|item| trimmed(item, paths)).collect(),
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (key, inner) in fields {
                let below: Vec<Vec<&str>> = paths
                    .iter()
                    .filter(|path| path.first() == Some(&key.as_str()))
                    .map(|path| path.iter().skip(1).copied().collect())
                    .collect();
                if key == "@type" {
                    kept.insert(key.clone(), inner.clone());
                } else if !below.is_empty() {
                    kept.insert(key.clone(), trimmed(inner, &below));
                }
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs() -> Vec<Value> {
        let kind = |name: &str| format!("{ADMIN}{name}");
        vec![
            json!({ "@type": kind("BootstrapConfigDump"), "bootstrap": { "node": { "id": "n", "cluster": "c" } } }),
            json!({ "@type": kind("ClustersConfigDump"), "static_clusters": [
                { "cluster": { "@type": "x", "name": "a", "lb_policy": 1 }, "last_updated": "t" },
                { "cluster": { "@type": "x", "name": "b" } } ] }),
        ]
    }

    fn part(resource: &str, mask: &str, name: &str) -> Result<Vec<Value>, Refusal> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let part = Part {
            resource: text(resource),
            mask: text(mask),
            name_regex: text(name),
        };
        let again = Part::from_json(&part.to_json()).expect("reads again");
        again.of(configs())
    }

    #[test]
    fn lists_and_fields_are_chosen() {
        let found = part("static_clusters", "cluster.name", "").expect("found");
        assert_eq!(
            found[0],
            json!({ "@type": format!("{ADMIN}ClustersConfigDump.StaticCluster"), "cluster": { "@type": "x", "name": "a" } })
        );
        assert_eq!(part("dynamic_listeners", "", ""), Ok(Vec::new()));
        let found = part("", "bootstrap.node.id", "").expect("found");
        assert_eq!(
            found,
            [
                json!({ "@type": format!("{ADMIN}BootstrapConfigDump"), "bootstrap": { "node": { "id": "n" } } })
            ]
        );
        let found = part("static_clusters", "", "b").expect("found");
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn what_does_not_exist_is_told() {
        let status = |result: Result<Vec<Value>, Refusal>| result.map_err(|one| one.status);
        assert_eq!(status(part("nope", "", "")), Err(404));
        assert_eq!(status(part("bootstrap", "", "")), Err(400));
        assert_eq!(status(part("", "zzz", "")), Err(400));
        assert_eq!(status(part("", "static_clusters.cluster", "")), Err(400));
        assert_eq!(status(part("", "", "(")), Err(400));
    }
}
