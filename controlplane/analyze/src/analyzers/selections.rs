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

/// Objects by the selector that they have in a namespace.
#[derive(Debug, Default)]
pub(super) struct Selecting<'a> {
    objects: BTreeMap<(&'a str, &'a BTreeMap<String, String>), Vec<&'a Object>>,
    found: HashMap<(&'a str, &'a BTreeMap<String, String>), Found>,
}

impl<'a> Selecting<'a> {
    /// What a selector selects in its namespace.
    pub(super) fn matches(
        &mut self,
        cluster: &'a Cluster,
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> Found {
        *self.found.entry((namespace, labels)).or_insert_with(|| {
            let pods = cluster.pods();
            Found {
                any: pods.any_match(Some(namespace), labels),
                ambient: pods.any(Some(namespace), labels, |pod| {
                    !pod.is_template && pod.is_ambient()
                }),
            }
        })
    }

    /// Adds an object with its selector.
    pub(super) fn add(&mut self, object: &'a Object, labels: &'a BTreeMap<String, String>) {
        let namespace = object.key.namespace.as_str();
        self.objects
            .entry((namespace, labels))
            .or_default()
            .push(object);
    }

    /// Calls for each pod and each of the objects that select it, if there are several, with all of them and the pod's name.
    pub(super) fn for_each_pod(
        self,
        cluster: &'a Cluster,
        mut report: impl FnMut(&'a Object, &[&'a Object], (&'a str, &'a str)),
    ) {
        type Pod<'a> = (&'a str, &'a str);
        let mut by_pod: BTreeMap<Pod<'a>, Vec<&'a Object>> = BTreeMap::new();
        for ((namespace, labels), objects) in self.objects {
            for pod in cluster.pods().matching(Some(namespace), labels) {
                by_pod
                    .entry((pod.namespace(), pod.name()))
                    .or_default()
                    .extend(&objects);
            }
        }
        for (pod, mut objects) in by_pod {
            if objects.len() > 1 {
                objects.sort_by(|one, two| one.key.name.cmp(&two.key.name));
                for object in &objects {
                    report(object, &objects, pod);
                }
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
