//! Which Services select a pod.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::ServiceSpec;
use lateen_api::labels::selects;
use lateen_api::object::{Kind, Object, Spec};

use crate::cluster::Cluster;

/// The Services of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Services<'a> {
    cluster: &'a Cluster,
    index: &'a ServiceIndex,
}

/// Services by one label of their selectors, built once for a cluster.
#[derive(Debug, Default)]
pub(crate) struct ServiceIndex {
    by_label: HashMap<(Box<str>, Box<str>), Vec<u32>>,
    /// Services without a selector, by namespace.
    without: HashMap<Box<str>, Vec<u32>>,
}

impl ServiceIndex {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let mut index = Self::default();
        for number in cluster.numbers_of(Kind::Service) {
            let Some(object) = cluster.object(number) else {
                continue;
            };
            let namespace = object.key.namespace.as_str();
            let label = spec_of(object)
                .and_then(|spec| spec.selector.as_ref())
                .and_then(|selector| selector.iter().next());
            match label {
                Some((key, value)) => {
                    let key = (namespace.into(), label_text(key, value).into());
                    index.by_label.entry(key).or_default().push(number);
                }
                None => index
                    .without
                    .entry(namespace.into())
                    .or_default()
                    .push(number),
            }
        }
        index
    }
}

impl<'a> Services<'a> {
    pub(crate) const fn new(cluster: &'a Cluster, index: &'a ServiceIndex) -> Self {
        Self { cluster, index }
    }

    /// The Services whose selectors select a pod of a namespace by its labels. Services without a selector are not among them.
    pub fn selecting<'l>(
        self,
        namespace: &'l str,
        labels: &'l BTreeMap<String, String>,
    ) -> impl Iterator<Item = (&'a Object, &'a ServiceSpec)> + use<'a, 'l> {
        labels
            .iter()
            .filter_map(move |(key, value)| {
                let key = (namespace.into(), label_text(key, value).into());
                self.index.by_label.get(&key)
            })
            .flatten()
            .filter_map(move |number| self.service(*number))
            .filter(move |(_, spec)| {
                let selector = spec.selector.as_ref();
                selector.is_some_and(|selector| selects(selector, labels))
            })
    }

    /// The Services of a namespace that have no selector.
    pub fn without_selector(
        self,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a Object, &'a ServiceSpec)> + use<'a> {
        let numbers = self.index.without.get(namespace);
        numbers
            .into_iter()
            .flatten()
            .filter_map(move |number| self.service(*number))
    }

    fn service(self, number: u32) -> Option<(&'a Object, &'a ServiceSpec)> {
        let object = self.cluster.object(number)?;
        Some((object, spec_of(object)?))
    }
}

fn spec_of(object: &Object) -> Option<&ServiceSpec> {
    match &object.spec {
        Spec::Service(service) => service.spec.as_ref(),
        _ => None,
    }
}

fn label_text(key: &str, value: &str) -> String {
    format!("{key}={value}")
}
