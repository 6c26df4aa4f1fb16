//! The pods of a cluster, and which of them a selector selects.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use lateen_api::labels::{annotation, label, selects};
use lateen_api::object::{Kind, Object, Spec};

use crate::cluster::Cluster;

/// The kinds of objects that pods are made from.
pub const WORKLOADS: [Kind; 7] = [
    Kind::Deployment,
    Kind::StatefulSet,
    Kind::DaemonSet,
    Kind::ReplicaSet,
    Kind::Job,
    Kind::CronJob,
    Kind::ReplicationController,
];

/// The container that a pod's proxy runs in.
pub const PROXY: &str = "istio-proxy";

/// The annotation that tells how a pod's traffic comes to the mesh without a sidecar.
const REDIRECTION: &str = "ambient.istio.io/redirection";
/// The label of namespaces and pods that join the mesh without a sidecar.
pub(crate) const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";

static NONE: BTreeMap<String, String> = BTreeMap::new();

/// A pod, or the template that a workload makes pods from.
#[derive(Debug, Clone, Copy)]
pub struct PodRef<'a> {
    /// The pod, or the workload.
    pub object: &'a Object,
    /// The pod's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The pod's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// The pod's content.
    pub spec: Option<&'a PodSpec>,
    /// Whether it is a template, about which nothing is reported.
    pub is_template: bool,
    in_mesh: bool,
}

/// The pods of a cluster. Templates of workloads count only where a cluster is made of files, and only for the methods that say so.
#[derive(Debug, Clone, Copy)]
pub struct Pods<'a> {
    cluster: &'a Cluster,
    index: &'a PodIndex,
}

/// Pods by label, built once for a cluster.
#[derive(Debug, Default)]
pub(crate) struct PodIndex {
    entries: Vec<Entry>,
    /// Hashes of labels, of labels within a namespace, and of namespaces, each with a pod that has it; sorted.
    postings: Vec<(u64, u32)>,
    hasher: RandomState,
    given: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    object: u32,
    is_template: bool,
    in_mesh: bool,
}

impl PodIndex {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let mut index = Self::default();
        for number in cluster.numbers_of(Kind::Pod) {
            index.add(cluster, number, false);
        }
        if cluster.files_only {
            for kind in WORKLOADS {
                for number in cluster.numbers_of(kind) {
                    index.add(cluster, number, true);
                }
            }
        }
        index.postings.sort_unstable();
        index
    }

    fn add(&mut self, cluster: &Cluster, number: u32, is_template: bool) {
        let Some(pod) = cluster.object(number).and_then(PodRef::of) else {
            return;
        };
        let place = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let namespace = pod.namespace();
        self.postings.push((self.hasher.hash_one(namespace), place));
        for label in pod.labels {
            self.postings.push((self.hasher.hash_one(label), place));
            self.postings
                .push((self.hasher.hash_one((namespace, label)), place));
        }
        self.given |= !cluster.is_default(pod.object);
        self.entries.push(Entry {
            object: number,
            is_template,
            in_mesh: is_in_mesh(cluster, &pod),
        });
    }

    fn range(&self, hash: u64) -> Range<usize> {
        let start = self.postings.partition_point(|(other, _)| *other < hash);
        let length = self
            .postings
            .get(start..)
            .unwrap_or_default()
            .partition_point(|(other, _)| *other == hash);
        start..start + length
    }

    /// The pods that may be selected: those of the rarest label, or of the namespace.
    fn candidates(
        &self,
        namespace: Option<&str>,
        selector: &BTreeMap<String, String>,
    ) -> Found<'_> {
        let hash = |label: (&String, &String)| match namespace {
            Some(namespace) => self.hasher.hash_one((namespace, label)),
            None => self.hasher.hash_one(label),
        };
        let rarest = selector
            .iter()
            .map(|label| self.range(hash(label)))
            .min_by_key(Range::len);
        let range = match (rarest, namespace) {
            (Some(range), _) => range,
            (None, Some(namespace)) => self.range(self.hasher.hash_one(namespace)),
            (None, None) => return Found::All(self.entries.iter()),
        };
        Found::Some(self, self.postings.get(range).unwrap_or_default().iter())
    }
}

/// An iterator over entries of an index.
enum Found<'a> {
    All(std::slice::Iter<'a, Entry>),
    Some(&'a PodIndex, std::slice::Iter<'a, (u64, u32)>),
}

impl Iterator for Found<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        match self {
            Self::All(entries) => entries.next().copied(),
            Self::Some(index, postings) => {
                let (_, place) = postings.next()?;
                index.entries.get(*place as usize).copied()
            }
        }
    }
}

impl<'a> Pods<'a> {
    pub(crate) const fn new(cluster: &'a Cluster, index: &'a PodIndex) -> Self {
        Self { cluster, index }
    }

    /// All pods, in the order of namespace and name.
    pub fn all(self) -> impl Iterator<Item = PodRef<'a>> {
        self.matching(None, &NONE)
    }

    /// The pods that a selector selects, in one namespace or in all. A selector without labels selects all.
    pub fn matching<'s>(
        self,
        namespace: Option<&'s str>,
        selector: &'s BTreeMap<String, String>,
    ) -> impl Iterator<Item = PodRef<'a>> {
        self.matching_with_templates(namespace, selector)
            .filter(|pod| !pod.is_template)
    }

    /// As [`Pods::matching`], and on files templates too: what questions of the kind "does it select anything at all" ask.
    pub fn matching_with_templates<'s>(
        self,
        namespace: Option<&'s str>,
        selector: &'s BTreeMap<String, String>,
    ) -> impl Iterator<Item = PodRef<'a>> {
        self.index
            .candidates(namespace, selector)
            .filter_map(move |entry| self.pod(entry))
            .filter(move |pod| {
                namespace.is_none_or(|namespace| pod.namespace() == namespace)
                    && selects(selector, pod.labels)
            })
    }

    /// Whether a selector selects any pod or, on files, any template.
    #[must_use]
    pub fn any_match(self, namespace: Option<&str>, selector: &BTreeMap<String, String>) -> bool {
        self.any(namespace, selector, |_| true)
    }

    /// Whether a selector selects any pod or, on files, any template, for which a condition holds.
    pub fn any(
        self,
        namespace: Option<&str>,
        selector: &BTreeMap<String, String>,
        holds: impl Fn(&PodRef<'a>) -> bool,
    ) -> bool {
        self.index
            .candidates(namespace, selector)
            .filter_map(|entry| self.pod(entry))
            .any(|pod| {
                namespace.is_none_or(|namespace| pod.namespace() == namespace)
                    && selects(selector, pod.labels)
                    && holds(&pod)
            })
    }

    /// Whether there is a pod or template besides those that a cluster of files has by default.
    #[must_use]
    pub const fn are_given(self) -> bool {
        self.index.given
    }

    fn pod(self, entry: Entry) -> Option<PodRef<'a>> {
        let pod = PodRef::of(self.cluster.object(entry.object)?)?;
        Some(PodRef {
            is_template: entry.is_template,
            in_mesh: entry.in_mesh,
            ..pod
        })
    }
}

impl<'a> PodRef<'a> {
    /// The pod that an object is, or the template that it holds; `None` for all other objects.
    fn of(object: &'a Object) -> Option<Self> {
        if let Spec::Pod(pod) = &object.spec {
            return Some(Self {
                object,
                labels: &object.meta.labels,
                annotations: &object.meta.annotations,
                spec: pod.spec.as_ref(),
                is_template: false,
                in_mesh: false,
            });
        }
        let template = pod_template(object)?;
        let meta = template.metadata.as_ref();
        Some(Self {
            object,
            labels: meta.and_then(|meta| meta.labels.as_ref()).unwrap_or(&NONE),
            annotations: meta
                .and_then(|meta| meta.annotations.as_ref())
                .unwrap_or(&NONE),
            spec: template.spec.as_ref(),
            is_template: true,
            in_mesh: false,
        })
    }

    /// The pod's namespace.
    #[must_use]
    pub fn namespace(&self) -> &'a str {
        &self.object.key.namespace
    }

    /// The pod's name, or the workload's.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.object.key.name
    }

    /// Whether the pod has a sidecar, or gets one as far as labels, annotations and the namespace tell.
    #[must_use]
    pub const fn is_in_mesh(&self) -> bool {
        self.in_mesh
    }

    /// Whether the pod is in the mesh without a sidecar.
    #[must_use]
    pub fn is_ambient(&self) -> bool {
        self.annotations.get(REDIRECTION).map(String::as_str) == Some("enabled")
    }

    /// The pod's containers; those that start first, too.
    pub fn all_containers(&self) -> impl Iterator<Item = &'a Container> + use<'a> {
        let init = self.spec.and_then(|spec| spec.init_containers.as_deref());
        let plain = self.spec.map(|spec| spec.containers.as_slice());
        plain
            .unwrap_or_default()
            .iter()
            .chain(init.unwrap_or_default())
    }
}

/// The template that a workload makes its pods from; `None` for all other objects.
#[must_use]
pub fn pod_template(object: &Object) -> Option<&PodTemplateSpec> {
    match &object.spec {
        Spec::Deployment(workload) => workload.spec.as_ref().map(|spec| &spec.template),
        Spec::StatefulSet(workload) => workload.spec.as_ref().map(|spec| &spec.template),
        Spec::DaemonSet(workload) => workload.spec.as_ref().map(|spec| &spec.template),
        Spec::ReplicaSet(workload) => workload.spec.as_ref()?.template.as_ref(),
        Spec::Job(workload) => workload.spec.as_ref().map(|spec| &spec.template),
        Spec::CronJob(workload) => {
            let job = &workload.spec.job_template;
            job.spec.as_ref().map(|spec| &spec.template)
        }
        Spec::ReplicationController(workload) => workload.spec.as_ref()?.template.as_ref(),
        _ => None,
    }
}

/// A selector as messages write it: `key=value` in the order of keys, joined by commas.
#[must_use]
pub fn selector_text(selector: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// Whether a namespace's pods are in the mesh without a sidecar.
#[must_use]
pub fn is_ambient_namespace(cluster: &Cluster, namespace: &str) -> bool {
    let Some(object) = cluster.find(Kind::Namespace, "", namespace) else {
        return false;
    };
    let value = |key: &str| object.meta.labels.get(key).map(String::as_str);
    value(DATAPLANE_MODE) == Some("ambient")
        && value(label::INJECTION) != Some("enabled")
        && value(label::REVISION).is_none_or(str::is_empty)
}

/// Whether any of some containers is a proxy; one without an image is only a place for the proxy's settings.
pub(crate) fn has_proxy<'a>(containers: impl IntoIterator<Item = &'a Container>) -> bool {
    containers.into_iter().any(|container| {
        let image = container.image.as_deref();
        container.name == PROXY && image.is_some_and(|image| !image.is_empty())
    })
}

/// Whether pods without a proxy get one: the pod's label decides, else its annotation, else the namespace.
pub(crate) fn is_injected(
    cluster: &Cluster,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> bool {
    let said = labels
        .get(label::INJECT)
        .or_else(|| annotations.get(annotation::INJECT));
    match said {
        Some(said) => said == "true",
        None => cluster
            .find(Kind::Namespace, "", namespace)
            .and_then(|object| object.meta.labels.get(label::INJECTION))
            .is_some_and(|value| value == "enabled"),
    }
}

fn is_in_mesh(cluster: &Cluster, pod: &PodRef<'_>) -> bool {
    has_proxy(pod.all_containers())
        || is_injected(cluster, pod.namespace(), pod.labels, pod.annotations)
}
