//! What analyzers of Sidecars and of Telemetries have in common: objects that select pods of their namespace, of which a pod heeds one.

use std::collections::{BTreeMap, HashMap};

use lateen_api::object::Object;
use lateen_api::yaml::key_step;

use crate::cluster::Cluster;
use crate::code;
use crate::message::Messages;
use crate::pods::selector_text;

/// What a selector selects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Anything at all; on files templates, too.
    pub(super) any: bool,
    /// A pod that is in the mesh without a sidecar.
    pub(super) ambient: bool,
}

/// A namespace and the labels that a selector asks for in it.
type Selector<'a> = (&'a str, &'a BTreeMap<String, String>);

/// Objects by the selector that they have in a namespace.
#[derive(Debug, Default)]
pub(super) struct Selecting<'a> {
    by_selector: HashMap<Selector<'a>, (Found, Vec<&'a Object>)>,
}

impl<'a> Selecting<'a> {
    /// Adds an object with its selector, and tells what it selects.
    pub(super) fn add(
        &mut self,
        cluster: &Cluster,
        object: &'a Object,
        labels: &'a BTreeMap<String, String>,
    ) -> Found {
        let namespace = object.key.namespace.as_str();
        let entry = self.by_selector.entry((namespace, labels));
        let (found, objects) = entry.or_insert_with(|| {
            let pods = cluster.pods();
            let found = Found {
                any: pods.any_match(Some(namespace), labels),
                ambient: pods.any(Some(namespace), labels, |pod| {
                    !pod.is_template && pod.is_ambient()
                }),
            };
            (found, Vec::new())
        });
        objects.push(object);
        *found
    }

    /// Calls for each pod and each of the objects that select it, if there are several, with all of them and the pod's name. Objects
    /// that select a pod without a sidecar are left out.
    pub(super) fn for_each_pod(
        self,
        cluster: &'a Cluster,
        mut report: impl FnMut(&'a Object, &[&'a Object], (&'a str, &'a str)),
    ) {
        let mut by_pod: HashMap<*const Object, (&'a Object, Vec<&'a Object>)> = HashMap::new();
        for ((namespace, labels), (found, objects)) in self.by_selector {
            if found.ambient {
                continue;
            }
            for pod in cluster.pods().matching(Some(namespace), labels) {
                by_pod
                    .entry(std::ptr::from_ref(pod.object))
                    .or_insert_with(|| (pod.object, Vec::new()))
                    .1
                    .extend(&objects);
            }
        }
        let mut several: Vec<(&Object, Vec<&Object>)> = by_pod
            .into_values()
            .filter(|(_, objects)| objects.len() > 1)
            .collect();
        several.sort_by(|(one, _), (two, _)| one.key.cmp(&two.key));
        for (pod, mut objects) in several {
            objects.sort_by(|one, two| one.key.name.cmp(&two.key.name));
            for object in &objects {
                report(object, &objects, (&pod.key.namespace, &pod.key.name));
            }
        }
    }
}

/// The namespaces that have several of some objects, each with its objects.
pub(super) fn several_by_namespace<'a>(objects: &[&'a Object]) -> Vec<(&'a str, Vec<&'a Object>)> {
    let mut by_namespace: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    for object in objects {
        by_namespace
            .entry(&object.key.namespace)
            .or_default()
            .push(object);
    }
    by_namespace
        .into_iter()
        .filter(|(_, objects)| objects.len() > 1)
        .collect()
}

/// The names of objects, joined by commas.
pub(super) fn names(objects: &[&Object]) -> String {
    let names: Vec<&str> = objects
        .iter()
        .map(|object| object.key.name.as_str())
        .collect();
    names.join(", ")
}

/// Reports that an object's selector, whose labels stand at a path, selects nothing.
pub(super) fn report_missing(
    object: &Object,
    path: &str,
    labels: &BTreeMap<String, String>,
    messages: &mut Messages,
) {
    let first = labels.keys().next().map(|key| key_step(key));
    messages.scalar(
        code::REFERENCED_RESOURCE_NOT_FOUND,
        object,
        &format!("{path}{}", first.unwrap_or_default()),
        format!(
            "no pod of the namespace matches the selector \"{}\": correct the labels, or the namespace",
            selector_text(labels)
        ),
    );
}
