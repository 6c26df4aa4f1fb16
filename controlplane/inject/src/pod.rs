//! A pod, or a workload's pod template, as a JSON object: what merging and re-applying work on, so that fields this crate knows nothing of
//! stay as they were given.

use serde_json::{Map, Value};

use crate::names;

/// The list of `spec` that a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Containers,
    InitContainers,
}

impl List {
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Containers => "containers",
            Self::InitContainers => "initContainers",
        }
    }
}

/// A pod (or pod template): an object with `metadata` and `spec`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PodObject(pub(crate) Map<String, Value>);

impl PodObject {
    /// The value of an annotation.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata_text("annotations", key)
    }

    /// The value of a label.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.metadata_text("labels", key)
    }

    /// All annotations in the order of the document.
    pub(crate) fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata("annotations")
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    pub(crate) fn set_annotation(&mut self, key: &str, value: impl Into<String>) {
        self.metadata_mut("annotations")
            .insert(key.to_owned(), Value::String(value.into()));
    }

    pub(crate) fn set_label(&mut self, key: &str, value: impl Into<String>) {
        self.metadata_mut("labels")
            .insert(key.to_owned(), Value::String(value.into()));
    }

    pub(crate) fn remove_annotations(&mut self, mut gone: impl FnMut(&str) -> bool) {
        self.metadata_mut("annotations").retain(|key, _| !gone(key));
    }

    /// The pod's own namespace, empty when none is given.
    pub(crate) fn namespace(&self) -> &str {
        self.0
            .get("metadata")
            .and_then(|m| m.get("namespace"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The pod's name, empty when none is given.
    pub(crate) fn name(&self) -> &str {
        self.0
            .get("metadata")
            .and_then(|m| m.get("name"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(crate) fn spec(&self) -> Option<&Map<String, Value>> {
        self.0.get("spec").and_then(Value::as_object)
    }

    pub(crate) fn host_network(&self) -> bool {
        self.spec()
            .and_then(|spec| spec.get("hostNetwork"))
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// The containers of a list; empty when there is none.
    pub(crate) fn containers(&self, list: List) -> &[Value] {
        self.spec()
            .and_then(|spec| spec.get(list.key()))
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// The containers of a list, which is made when there is none.
    pub(crate) fn containers_mut(&mut self, list: List) -> &mut Vec<Value> {
        array(object(&mut self.0, "spec"), list.key())
    }

    /// Drops a list that holds nothing.
    pub(crate) fn tidy(&mut self, list: List) {
        if self.containers(list).is_empty() {
            object(&mut self.0, "spec").shift_remove(list.key());
        }
    }

    pub(crate) fn container(&self, list: List, name: &str) -> Option<&Value> {
        self.containers(list)
            .iter()
            .find(|container| name_of(container) == name)
    }

    pub(crate) fn container_mut(
        &mut self,
        list: List,
        name: &str,
    ) -> Option<&mut Map<String, Value>> {
        // Nothing is made where there is nothing.
        self.container(list, name)?;
        self.containers_mut(list)
            .iter_mut()
            .find(|container| name_of(container) == name)?
            .as_object_mut()
    }

    /// The proxy's container, in `containers` or as a native sidecar.
    pub(crate) fn sidecar(&self) -> Option<&Value> {
        self.container(List::Containers, names::PROXY)
            .or_else(|| self.container(List::InitContainers, names::PROXY))
    }

    pub(crate) fn sidecar_mut(&mut self) -> Option<&mut Map<String, Value>> {
        let list = match self.container(List::Containers, names::PROXY) {
            Some(_) => List::Containers,
            None => List::InitContainers,
        };
        self.container_mut(list, names::PROXY)
    }

    fn metadata(&self, part: &str) -> Option<&Map<String, Value>> {
        self.0.get("metadata")?.get(part)?.as_object()
    }

    fn metadata_text(&self, part: &str, key: &str) -> Option<&str> {
        self.metadata(part)?.get(key)?.as_str()
    }

    fn metadata_mut(&mut self, part: &str) -> &mut Map<String, Value> {
        object(object(&mut self.0, "metadata"), part)
    }
}

/// The object under `key`; what is not an object there is replaced by an empty one.
pub(crate) fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = map.entry(key.to_owned()).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(inner) => inner,
        _ => unreachable!("made an object above"),
    }
}

/// The list under `key`; what is not a list there is replaced by an empty one.
pub(crate) fn array<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let slot = map.entry(key.to_owned()).or_insert(Value::Null);
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    match slot {
        Value::Array(inner) => inner,
        _ => unreachable!("made a list above"),
    }
}

/// The `name` of an item; empty when it has none.
pub(crate) fn name_of(item: &Value) -> &str {
    item.get("name").and_then(Value::as_str).unwrap_or_default()
}
