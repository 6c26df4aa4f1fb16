//! Objects that an API server refuses or accepts, from the files beside this one.
//!
//! A file is a list of cases. `message` is part of what [`lateen_api::crd::refusals`] says; with `cel` the server says the same, else it
//! has words of its own. The server is to be asked without strict fields: unknown ones are dropped. `object` is complete but for what `grow` adds: at `path`, `to` items, entries or characters in place of
//! the last one there; `distinct` names fields of items that get a number each, so that no two are alike.

use std::path::Path;

use lateen_api::yaml::{self, Step};
use serde_json::{Map, Value, json};

/// An object and what becomes of it.
pub(crate) struct Case {
    /// `file: name`.
    pub(crate) name: String,
    /// The object.
    pub(crate) object: Value,
    /// Whether an API server refuses it.
    pub(crate) refused: bool,
    /// Part of what is said.
    pub(crate) message: String,
    /// Whether the server says it too.
    pub(crate) cel: bool,
}

/// All cases of the folder, in the order of files and of cases in them.
///
/// # Panics
/// When a file is not what it should be.
pub(crate) fn cases(folder: &Path) -> Vec<Case> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of cases")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files.iter().flat_map(|file| of_file(file)).collect()
}

fn of_file(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).expect("a file of cases");
    let documents = yaml::parse(&text).expect("a file of cases");
    let list: Value = yaml::read(&documents[0].root).expect("a file of cases");
    let file = file.file_stem().unwrap_or_default().to_string_lossy();
    list.as_array()
        .expect("a list of cases")
        .iter()
        .map(|case| {
            let mut object = case["object"].clone();
            if let Some(grow) = case.get("grow") {
                grow_at(&mut object, grow);
            }
            Case {
                name: format!("{file}: {}", case["name"].as_str().unwrap_or_default()),
                object,
                refused: case["refused"].as_bool().expect("refused"),
                message: case["message"].as_str().unwrap_or_default().to_owned(),
                cel: case["cel"].as_bool().unwrap_or_default(),
            }
        })
        .collect()
}

fn grow_at(object: &mut Value, grow: &Value) {
    let path = grow["path"].as_str().expect("path");
    let mut place = object;
    for step in yaml::path_steps(path) {
        place = match step {
            Step::Key(key) => &mut place[key],
            Step::Index(index) => &mut place[index],
        };
    }
    let to = usize::try_from(grow["to"].as_u64().expect("to")).expect("a number");
    let distinct = grow["distinct"].as_array().cloned().unwrap_or_default();
    match place {
        Value::String(text) => {
            let last = text.chars().last().expect("a character");
            text.extend(std::iter::repeat_n(last, to - text.chars().count()));
        }
        Value::Array(items) => {
            let last = items.last().expect("an item").clone();
            for number in items.len()..to {
                items.push(numbered(&last, &distinct, number));
            }
        }
        Value::Object(entries) => grow_map(entries, to),
        other => unreachable!("{path}: {other} does not grow"),
    }
}

fn grow_map(entries: &mut Map<String, Value>, to: usize) {
    let (key, value) = entries
        .iter()
        .next_back()
        .map(|(key, value)| (key.clone(), value.clone()))
        .expect("an entry");
    for number in entries.len()..to {
        entries.insert(format!("{key}-{number}"), value.clone());
    }
}

fn numbered(item: &Value, distinct: &[Value], number: usize) -> Value {
    let mut item = item.clone();
    for field in distinct.iter().filter_map(Value::as_str) {
        item[field] = match &item[field] {
            Value::String(text) => json!(format!("{text}-{number}")),
            other => json!(other.as_u64().unwrap_or_default() + number as u64),
        };
    }
    item
}
