//! The annotations by which a pod remembers what was injected and what the user had said before.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::prometheus;
use crate::error::InjectError;
use crate::names;
use crate::pod::{List, PodObject, name_of};

/// `sidecar.istio.io/status`: the names that the templates gave.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    init_containers: Option<Vec<String>>,
    containers: Option<Vec<String>>,
    volumes: Option<Vec<String>>,
    image_pull_secrets: Option<Vec<String>>,
    revision: String,
}

impl Status {
    /// The status of an earlier injection; one that cannot be read counts as empty.
    pub(crate) fn of(pod: &PodObject) -> Option<Self> {
        pod.annotation(names::STATUS)
            .map(|text| serde_json::from_str(text).unwrap_or_default())
    }

    /// The status of what the templates gave.
    pub(crate) fn new(rendered: &PodObject, revision: &str) -> Self {
        let list = |key: &str| {
            let items = rendered
                .spec()
                .and_then(|spec| spec.get(key))
                .and_then(Value::as_array);
            let names: Vec<String> = items
                .into_iter()
                .flatten()
                .map(|item| name_of(item).to_owned())
                .collect();
            (!names.is_empty()).then_some(names)
        };
        Self {
            init_containers: list("initContainers"),
            containers: list("containers"),
            volumes: list("volumes"),
            image_pull_secrets: list("imagePullSecrets"),
            revision: if revision.is_empty() {
                "default".to_owned()
            } else {
                revision.to_owned()
            },
        }
    }

    /// The status as the annotation's text.
    pub(crate) fn text(&self) -> String {
        json!({
            "initContainers": self.init_containers,
            "containers": self.containers,
            "volumes": self.volumes,
            "imagePullSecrets": self.image_pull_secrets,
            "revision": self.revision,
        })
        .to_string()
    }

    /// Whether the earlier injection gave a container of this name.
    pub(crate) fn has(&self, list: List, name: &str) -> bool {
        let names = match list {
            List::Containers => &self.containers,
            List::InitContainers => &self.init_containers,
        };
        names.iter().flatten().any(|known| known == name)
    }
}

/// `proxy.istio.io/overrides`: containers as the user gave them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides(Map<String, Value>);

impl Overrides {
    /// The overrides that an earlier injection recorded.
    ///
    /// # Errors
    /// When the annotation is not JSON of that shape.
    pub(crate) fn of(pod: &PodObject) -> Result<Self, InjectError> {
        let Some(text) = pod.annotation(names::OVERRIDES) else {
            return Ok(Self::default());
        };
        serde_json::from_str(text)
            .map(Self)
            .map_err(|error| InjectError::Annotation {
                key: names::OVERRIDES,
                reason: error.to_string(),
            })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn list(&self, list: List) -> &[Value] {
        self.0
            .get(list.key())
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    pub(crate) fn find(&self, list: List, name: &str) -> Option<&Value> {
        self.list(list)
            .iter()
            .find(|container| name_of(container) == name)
    }

    /// Records a container; `resources` is always there, as Kubernetes prints it.
    pub(crate) fn push(&mut self, list: List, container: &Value) {
        let mut recorded = container.clone();
        if let Some(fields) = recorded.as_object_mut() {
            fields.entry("resources").or_insert_with(|| json!({}));
        }
        crate::pod::array(&mut self.0, list.key()).push(recorded);
    }

    /// The overrides as the annotation's text.
    pub(crate) fn text(&self) -> String {
        let shown: Map<String, Value> = [List::Containers, List::InitContainers]
            .into_iter()
            .filter_map(|list| Some((list.key().to_owned(), self.0.get(list.key())?.clone())))
            .collect();
        Value::Object(shown).to_string()
    }
}

/// The pod as templates see it: without the containers and annotations of an earlier injection, and with the user's recorded ones back.
///
/// # Errors
/// When the recorded overrides cannot be read.
pub(crate) fn as_given(pod: &PodObject, status_port: i32) -> Result<PodObject, InjectError> {
    let mut given = pod.clone();
    if let Some(status) = Status::of(pod) {
        for list in [List::Containers, List::InitContainers] {
            given
                .containers_mut(list)
                .retain(|container| !status.has(list, name_of(container)));
        }
        if prometheus::port(&given) == Some(status_port.to_string().as_str()) {
            prometheus::clear(&mut given);
        }
        given.remove_annotations(|key| key == names::STATUS);
    }
    let overrides = Overrides::of(pod)?;
    for list in [List::Containers, List::InitContainers] {
        for container in overrides.list(list) {
            if given.container(list, name_of(container)).is_none() {
                given.containers_mut(list).push(container.clone());
            }
        }
    }
    Ok(given)
}
