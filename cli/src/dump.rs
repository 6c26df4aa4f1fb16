//! A proxy's `config_dump`, as Envoy prints it (`snake_case`) or as istioctl prints it (`camelCase`): fields are found in either spelling.

use lateen_api::proto::json_name;
use serde_json::{Map, Value};

use crate::failure::Failure;

const PREFIX: &str = "type.googleapis.com/envoy.admin.v3.";

/// A whole dump.
#[derive(Debug, Clone)]
pub(crate) struct ConfigDump(Value);

impl ConfigDump {
    /// Reads a dump.
    ///
    /// # Errors
    /// When the text is not JSON, or JSON of another kind; `from` says where it came from.
    pub(crate) fn read(text: &[u8], from: &str) -> Result<Self, Failure> {
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| Failure::data(format!("{from}: not JSON: {error}")))?;
        if field(&value, "configs").is_some_and(Value::is_array) {
            return Ok(Self(value));
        }
        Err(Failure::data(format!(
            "{from}: not a config_dump: it has no list \"configs\""
        )))
    }

    /// The dump as it came.
    pub(crate) const fn whole(&self) -> &Value {
        &self.0
    }

    /// The part of a type such as `ClustersConfigDump`.
    pub(crate) fn part(&self, kind: &str) -> Option<&Value> {
        let is = |part: &&Value| {
            part.get("@type")
                .and_then(Value::as_str)
                .and_then(|url| url.strip_prefix(PREFIX))
                == Some(kind)
        };
        items(&self.0, "configs").iter().find(is)
    }

    /// The resources of a part: under each `list`, the member `inner` of each item, or of its `holder`.
    fn resources<'a>(&'a self, kind: &str, lists: &[(&str, &[&str])]) -> Vec<&'a Value> {
        let Some(part) = self.part(kind) else {
            return Vec::new();
        };
        let inside = |item: &'a Value, path: &[&str]| {
            path.iter().try_fold(item, |value, step| field(value, step))
        };
        lists
            .iter()
            .flat_map(|&(list, path)| {
                items(part, list)
                    .iter()
                    .filter_map(move |item| inside(item, path))
            })
            .collect()
    }

    /// All clusters that are not warming only.
    pub(crate) fn clusters(&self) -> Vec<&Value> {
        self.resources(
            "ClustersConfigDump",
            &[
                ("static_clusters", &["cluster"]),
                ("dynamic_active_clusters", &["cluster"]),
            ],
        )
    }

    /// All active listeners.
    pub(crate) fn listeners(&self) -> Vec<&Value> {
        let lists: [(&str, &[&str]); 2] = [
            ("static_listeners", &["listener"]),
            ("dynamic_listeners", &["active_state", "listener"]),
        ];
        self.resources("ListenersConfigDump", &lists)
    }

    /// All route configurations that have a resource of their own.
    pub(crate) fn routes(&self) -> Vec<&Value> {
        let lists: [(&str, &[&str]); 2] = [
            ("static_route_configs", &["route_config"]),
            ("dynamic_route_configs", &["route_config"]),
        ];
        self.resources("RoutesConfigDump", &lists)
    }

    /// All endpoint assignments (`config_dump?include_eds`).
    pub(crate) fn endpoints(&self) -> Vec<&Value> {
        let lists: [(&str, &[&str]); 2] = [
            ("static_endpoint_configs", &["endpoint_config"]),
            ("dynamic_endpoint_configs", &["endpoint_config"]),
        ];
        self.resources("EndpointsConfigDump", &lists)
    }
}

/// A field, given by its proto name, in either spelling.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let map = value.as_object()?;
    map.get(name)
        .or_else(|| map.get(&json_name(name)))
        .filter(|value| !value.is_null())
}

/// The value at a path of fields.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter()
        .try_fold(value, |value, step| field(value, step))
}

/// The text of a field; empty when there is none.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    field(value, name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The items of a list; none when there is none.
pub(crate) fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    field(value, name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub(crate) fn texts<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    items(value, name)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// A number, which proto JSON may write as text.
pub(crate) fn number(value: &Value, name: &str) -> Option<u64> {
    match field(value, name)? {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

/// Fields whose keys are the user's own, not field names.
const FREE: [&str; 6] = [
    "filter_metadata",
    "filterMetadata",
    "json_format",
    "jsonFormat",
    "static_layer",
    "fields",
];
/// Fields that map names to messages.
const MAPS: [&str; 6] = [
    "typed_filter_metadata",
    "typedFilterMetadata",
    "typed_per_filter_config",
    "typedPerFilterConfig",
    "typed_extension_protocol_options",
    "typedExtensionProtocolOptions",
];

/// The value with field names as proto JSON has them, which is what istioctl prints.
pub(crate) fn camel_case(value: &Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.iter().map(camel_case).collect()),
        Value::Object(map) if is_typed_struct(map) => value.clone(),
        Value::Object(map) => {
            let fields = map
                .iter()
                .map(|(key, inner)| (json_name(key), camel_field(key, inner)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// Whether the message carries another one as free JSON.
fn is_typed_struct(map: &Map<String, Value>) -> bool {
    map.get("@type")
        .and_then(Value::as_str)
        .is_some_and(|url| url.ends_with(".TypedStruct"))
}

fn camel_field(key: &str, value: &Value) -> Value {
    match value {
        _ if FREE.contains(&key) => value.clone(),
        Value::Object(map) if MAPS.contains(&key) => Value::Object(
            map.iter()
                .map(|(name, inner)| (name.clone(), camel_case(inner)))
                .collect::<Map<_, _>>(),
        ),
        // A node's metadata is free; a resource's has the two maps above.
        Value::Object(map)
            if key == "metadata"
                && ![
                    "filter_metadata",
                    "typed_filter_metadata",
                    "filterMetadata",
                    "typedFilterMetadata",
                ]
                .iter()
                .any(|known| map.contains_key(*known)) =>
        {
            value.clone()
        }
        other => camel_case(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_spellings_are_read() {
        for (list, state) in [
            ("dynamic_listeners", "active_state"),
            ("dynamicListeners", "activeState"),
        ] {
            let dump = json!({"configs": [{"@type": format!("{PREFIX}ListenersConfigDump"), list: [{state: {"listener": {"name": "l"}}}]}]});
            let dump = ConfigDump::read(dump.to_string().as_bytes(), "f")
                .unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(dump.listeners(), [&json!({"name": "l"})]);
        }
    }

    #[test]
    fn what_is_no_dump_is_refused_with_its_name() {
        assert_eq!(
            ConfigDump::read(b"{}", "f.json")
                .expect_err("no dump")
                .to_string(),
            "f.json: not a config_dump: it has no list \"configs\""
        );
        assert!(
            ConfigDump::read(b"[", "f.json")
                .expect_err("no JSON")
                .to_string()
                .starts_with("f.json: not JSON: ")
        );
    }

    #[test]
    fn field_names_become_camel_case_and_the_users_keys_stay() {
        let value = json!({"virtual_hosts": [{"metadata": {"filter_metadata": {"a_b": {"c_d": 1}}}, "typed_per_filter_config": {"x_y": {"p_q": 1}}}],
            "node": {"metadata": {"PROXY_CONFIG": {"a_b": 1}}}});
        assert_eq!(
            camel_case(&value),
            json!({"virtualHosts": [{"metadata": {"filterMetadata": {"a_b": {"c_d": 1}}}, "typedPerFilterConfig": {"x_y": {"pQ": 1}}}],
                "node": {"metadata": {"PROXY_CONFIG": {"a_b": 1}}}})
        );
    }
}
