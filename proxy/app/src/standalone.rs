//! `lateen-proxy envoy`: the bootstrap from file and command line, and what is said about it.

use std::io::Write;

use anyhow::{Context, bail};
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value as ProtoValue};
use prost::Message;
use serde_json::{Value, json};

use crate::child;
use crate::config::{EnvoyConfig, Mode};

/// The bootstrap as an encoded message.
///
/// # Errors
/// Names what cannot be read, or the field that is unknown or malformed.
pub(crate) fn message(config: &EnvoyConfig) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    if let Some(path) = &config.bootstrap {
        let name = path.display().to_string();
        if name.ends_with(".pb") || name.ends_with(".pb_text") {
            bail!("{name}: only YAML and JSON are supported, no binary or text protocol buffers");
        }
        let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
        // Messages one after the other are one: later fields win, lists are joined.
        bytes.extend(child::bootstrap(&text).with_context(|| name)?);
    }
    if !config.text.is_empty() {
        bytes.extend(child::bootstrap(&config.text).context("--config-yaml")?);
    }
    let said = OnlyNode::decode(&*bytes).context("bootstrap")?;
    let mut node = said.node.unwrap_or_default();
    override_node(&mut node, &config.node);
    bytes.extend(OnlyNode { node: Some(node) }.encode_to_vec());
    bytes.shrink_to_fit();
    Ok(bytes.into())
}

/// The node of a bootstrap.
#[derive(Clone, PartialEq, prost::Message)]
struct OnlyNode {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
}

/// A node as the admin pages show it.
pub(crate) fn shown_node(node: &Node) -> Value {
    let mut shown = json!({ "id": node.id, "cluster": node.cluster });
    if let Some(metadata) = &node.metadata {
        shown["metadata"] = fields(metadata);
    }
    if let Some(place) = &node.locality {
        shown["locality"] =
            json!({ "region": place.region, "zone": place.zone, "sub_zone": place.sub_zone });
    }
    if !node.client_features.is_empty() {
        shown["client_features"] = node.client_features.clone().into();
    }
    shown["user_agent_name"] = node.user_agent_name.clone().into();
    shown
}

fn fields(of: &Struct) -> Value {
    let mut names: Vec<_> = of.fields.iter().collect();
    names.sort_unstable_by_key(|(name, _)| *name);
    let fields = names
        .into_iter()
        .map(|(name, value)| (name.clone(), plain(value)));
    Value::Object(fields.collect())
}

fn plain(value: &ProtoValue) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(on)) => (*on).into(),
        Some(Kind::NumberValue(number)) => (*number).into(),
        Some(Kind::StringValue(text)) => text.clone().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(plain).collect(),
        Some(Kind::StructValue(inner)) => fields(inner),
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
    fn the_command_line_overrides_the_node() {
        let mut node = Node {
            id: "a".into(),
            ..Node::default()
        };
        override_node(&mut node, &["b".into(), String::new(), "z".into()]);
        assert_eq!(node.id, "b");
        assert_eq!(node.locality.map(|one| one.zone).as_deref(), Some("z"));
    }
}
