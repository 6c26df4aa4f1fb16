//! Writes the table that tells `canonical` where maps are: Rust source of `SHAPES`, sorted by name.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

const ANY: &str = "google.protobuf.Any";

/// One field that leads to a map: what it holds.
enum Field {
    /// A map; the value's message if it leads to maps itself.
    Map(Option<String>),
    /// A message that leads to maps.
    Message(String),
}

/// Source of `static SHAPES: &[(&str, &[(u32, Shape)])]`; messages that lead to no map are left out.
pub(crate) fn source(set: &FileDescriptorSet) -> String {
    let mut messages = BTreeMap::new();
    for file in &set.file {
        collect(file.package(), &file.message_type, &mut messages);
    }
    let leading = leading(&messages);
    let names: Vec<&String> = messages
        .keys()
        .filter(|name| leading.contains(*name))
        .collect();
    let index = |name: &String| names.binary_search(&name).ok();
    let mut source = String::from("static SHAPES: &[(&str, &[(u32, Shape)])] = &[\n");
    for name in &names {
        source.push_str(&format!("    ({name:?}, &["));
        for (number, field) in fields(messages[*name], &messages) {
            match field {
                Field::Map(value) => {
                    let value = value
                        .filter(|v| leading.contains(v))
                        .and_then(|v| index(&v));
                    source.push_str(&format!("({number}, Shape::Map({value:?})),"));
                }
                Field::Message(message) => {
                    if let Some(at) = index(&message) {
                        source.push_str(&format!("({number}, Shape::Message({at})),"));
                    }
                }
            }
        }
        source.push_str("]),\n");
    }
    source.push_str("];\n");
    source
}

fn collect<'a>(
    parent: &str,
    list: &'a [DescriptorProto],
    messages: &mut BTreeMap<String, &'a DescriptorProto>,
) {
    for message in list {
        let name = format!("{parent}.{}", message.name());
        collect(&name, &message.nested_type, messages);
        messages.insert(name, message);
    }
}

fn fields(
    message: &DescriptorProto,
    messages: &BTreeMap<String, &DescriptorProto>,
) -> Vec<(i32, Field)> {
    let mut found = Vec::new();
    for field in message.field.iter().filter(|f| f.r#type() == Type::Message) {
        let name = field.type_name().trim_start_matches('.').to_owned();
        let entry = messages
            .get(&name)
            .filter(|m| m.options.as_ref().is_some_and(|o| o.map_entry()));
        let field_kind = match entry {
            Some(entry) => {
                let value = entry
                    .field
                    .iter()
                    .find(|f| f.number() == 2)
                    .filter(|f| f.r#type() == Type::Message);
                Field::Map(value.map(|f| f.type_name().trim_start_matches('.').to_owned()))
            }
            None => Field::Message(name),
        };
        found.push((field.number(), field_kind));
    }
    found.sort_by_key(|(number, _)| *number);
    found
}

/// Messages from which a map can be reached; an Any may hold one.
fn leading(messages: &BTreeMap<String, &DescriptorProto>) -> BTreeSet<String> {
    let mut leading = BTreeSet::from([ANY.to_owned()]);
    loop {
        let before = leading.len();
        for (name, message) in messages {
            let leads = fields(message, messages)
                .iter()
                .any(|(_, field)| match field {
                    Field::Map(_) => true,
                    Field::Message(message) => leading.contains(message),
                });
            if leads {
                leading.insert(name.clone());
            }
        }
        if leading.len() == before {
            return leading;
        }
    }
}
