//! `lateen-proxy envoy`: the bootstrap from file and command line, and what is said about it.

use std::io::Write;

use anyhow::{Context, bail};
use envoy_types::pb::envoy::config::bootstrap::v3 as wire;
use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message;
use serde_json::{Value, json};

use crate::child;
use crate::config::{EnvoyConfig, Mode};

/// The bootstrap as a message, and as JSON for the admin pages.
///
/// # Errors
/// Names what cannot be read, or the field that is unknown or malformed.
pub(crate) fn message(config: &EnvoyConfig) -> anyhow::Result<(wire::Bootstrap, Value)> {
    let mut message = wire::Bootstrap::default();
    let mut shown = json!({});
    if let Some(path) = &config.bootstrap {
        let name = path.display().to_string();
        if name.ends_with(".pb") || name.ends_with(".pb_text") {
            bail!("{name}: only YAML and JSON are supported, no binary or text protocol buffers");
        }
        let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
        add(&mut message, &mut shown, &text).with_context(|| name)?;
    }
    if !config.text.is_empty() {
        add(&mut message, &mut shown, &config.text).context("--config-yaml")?;
    }
    let node = message.node.get_or_insert_default();
    override_node(node, &config.node);
    shown["node"]["id"] = node.id.clone().into();
    shown["node"]["cluster"] = node.cluster.clone().into();
    shown["node"]["user_agent_name"] = node.user_agent_name.clone().into();
    Ok((message, shown))
}

/// Merges a text into the message: fields of the text win, lists are joined.
fn add(message: &mut wire::Bootstrap, shown: &mut Value, text: &str) -> anyhow::Result<()> {
    message.merge(child::bootstrap(text)?.encode_to_vec().as_slice())?;
    let documents = lateen_api::yaml::parse(text).map_err(|error| anyhow::anyhow!("{error}"))?;
    let value = documents
        .first()
        .and_then(|document| lateen_api::yaml::read::<Value>(&document.root).ok());
    merge(shown, value.unwrap_or_default());
    Ok(())
}

fn merge(known: &mut Value, value: Value) {
    match (known, value) {
        (Value::Object(known), Value::Object(value)) => {
            for (key, value) in value {
                merge(known.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(known), Value::Array(value)) => known.extend(value),
        (known, value) => *known = value,
    }
}

fn override_node(node: &mut Node, [id, cluster, zone]: &[String; 3]) {
    if !id.is_empty() {
        id.clone_into(&mut node.id);
    }
    if !cluster.is_empty() {
        cluster.clone_into(&mut node.cluster);
    }
    if !zone.is_empty() {
        let locality = node.locality.get_or_insert_default();
        zone.clone_into(&mut locality.zone);
    }
    if node.user_agent_name.is_empty() {
        "lateen-proxy".clone_into(&mut node.user_agent_name);
    }
}

/// Where the bootstrap is from, for messages.
pub(crate) fn place(config: &EnvoyConfig) -> String {
    match &config.bootstrap {
        Some(path) => path.display().to_string(),
        None => "--config-yaml".to_owned(),
    }
}

/// What `--mode validate` says.
///
/// # Errors
/// When there are faults, which are printed before.
pub(crate) fn verdict(config: &EnvoyConfig, faults: &[String]) -> anyhow::Result<()> {
    let place = place(config);
    if faults.is_empty() {
        let mut out = std::io::stdout().lock();
        return writeln!(out, "configuration '{place}' OK").context("standard output");
    }
    let mut out = std::io::stderr().lock();
    for fault in faults {
        writeln!(out, "{place}: {fault}").context("standard error")?;
    }
    match faults.len() {
        1 => bail!("{place}: one fault"),
        count => bail!("{place}: {count} faults"),
    }
}

/// The command line in the shape of Envoy's `CommandLineOptions`.
pub(crate) fn options(config: &EnvoyConfig) -> Value {
    let path = config
        .bootstrap
        .as_ref()
        .map(|path| path.display().to_string());
    let [id, cluster, zone] = &config.node;
    json!({
        "concurrency": config.workers.get(),
        "config_path": path.unwrap_or_default(),
        "config_yaml": config.text,
        "log_level": config.log_level,
        "service_node": id,
        "service_cluster": cluster,
        "service_zone": zone,
        "drain_time": format!("{}s", config.drain.as_secs()),
        "mode": match config.mode {
            Mode::Serve => "Serve",
            Mode::Validate => "Validate",
        },
        "disable_hot_restart": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_merged() {
        let mut known = json!({ "a": { "b": 1, "l": [1] } });
        merge(&mut known, json!({ "a": { "b": 2, "l": [2], "c": true } }));
        assert_eq!(known, json!({ "a": { "b": 2, "l": [1, 2], "c": true } }));
        let mut node = Node {
            id: "a".into(),
            ..Node::default()
        };
        override_node(&mut node, &["b".into(), String::new(), "z".into()]);
        assert_eq!(node.id, "b");
        assert_eq!(node.locality.map(|one| one.zone).as_deref(), Some("z"));
    }
}
