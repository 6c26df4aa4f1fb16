//! Answers to resources: envelopes taken off, types and names checked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::Resource;
use envoy_types::pb::google::protobuf as wkt;
use lateen_proxy_state::ResourceKind;
use prost::Message;

use crate::apply::Incoming;
use crate::delta::type_of;
use crate::session::Answer;
use crate::source::{ADS, SourceId, key};

/// What an answer holds.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) resources: Vec<Incoming>,
    /// Keys of resources that are gone.
    pub(crate) removed: Vec<String>,
    /// Resources that only live on, for how long.
    pub(crate) kept: Vec<(Arc<str>, Duration)>,
    /// What is wrong with single resources, or with all.
    pub(crate) errors: Vec<String>,
    /// The answer as such can be used.
    pub(crate) whole: bool,
}

/// Every kind of resource has its name in the first field.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Named {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// Takes an answer apart. One that names a resource twice is refused whole, since it does not say which is meant.
pub(crate) fn taken(kind: ResourceKind, source: SourceId, answer: Answer) -> Taken {
    // Clusters and listeners have one source each: their names are enough.
    let source = match kind {
        ResourceKind::Cluster | ResourceKind::Listener => ADS,
        _ => source,
    };
    let system: Box<str> = answer.version.into();
    let mut found = Taken {
        whole: true,
        ..Taken::default()
    };
    let mut names = BTreeSet::new();
    for resource in answer.resources {
        let time = resource.ttl.as_ref().and_then(positive);
        let name = name_of(&resource);
        if !names.insert(name.clone()) {
            return spoilt(format!("{kind:?} {name:?}: given twice"));
        }
        if name.starts_with("xdstp:") {
            let text = "xdstp names are not supported";
            found.errors.push(format!("{kind:?} {name:?}: {text}"));
            continue;
        }
        if name.contains('\0') {
            found.errors.push(format!("{kind:?} {name:?}: not a name"));
            continue;
        }
        if let Some(error) = foreign(kind, &resource) {
            return spoilt(format!("{kind:?} {name:?}: {error}"));
        }
        let known: Arc<str> = key(source, &name).into();
        match incoming(Arc::clone(&known), resource, &system) {
            Ok(Some(mut one)) => {
                one.time_to_live = time;
                found.resources.push(one);
            }
            Ok(None) => found.kept.extend(time.map(|time| (known, time))),
            Err(error) => found.errors.push(format!("{kind:?} {name:?}: {error}")),
        }
    }
    for name in answer.removed {
        if names.contains(&name) {
            return spoilt(format!("{kind:?} {name:?}: given and removed"));
        }
        found.removed.push(key(source, &name).into_owned());
    }
    found
}

fn spoilt(error: String) -> Taken {
    Taken {
        errors: vec![error],
        ..Taken::default()
    }
}

/// A resource without its envelope; `None` is a sign of life.
fn incoming(name: Arc<str>, resource: Resource, system: &str) -> Result<Option<Incoming>, String> {
    let Some(packed) = resource.resource else {
        return match resource.ttl {
            Some(_) => Ok(None),
            None => Err("neither a resource nor a time to live".to_owned()),
        };
    };
    let version = if resource.version.is_empty() {
        system.into()
    } else {
        resource.version.into()
    };
    Ok(Some(Incoming {
        name,
        version,
        body: Bytes::from(packed.value),
        is_static: false,
        time_to_live: None,
    }))
}

/// What is wrong with the type of a resource: an answer of mixed types is none.
fn foreign(kind: ResourceKind, resource: &Resource) -> Option<String> {
    let wanted = type_of(kind).type_url();
    let url = &resource.resource.as_ref()?.type_url;
    (url != wanted).then(|| format!("type {url:?} where {wanted:?} was asked for"))
}

fn name_of(resource: &Resource) -> String {
    if !resource.name.is_empty() {
        return resource.name.clone();
    }
    let body = resource.resource.as_ref();
    let named = body.and_then(|packed| Named::decode(&*packed.value).ok());
    named.unwrap_or_default().name
}

fn positive(value: &wkt::Duration) -> Option<Duration> {
    let seconds = u64::try_from(value.seconds).ok()?;
    let nanos = u32::try_from(value.nanos).ok()?;
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

impl Answer {
    /// The resources of a kind: of a file that others read too (`shared`) those of its type, and of them those that
    /// are `wanted`.
    pub(crate) fn part(
        &self,
        kind: ResourceKind,
        shared: bool,
        wanted: Option<&BTreeSet<Arc<str>>>,
    ) -> Self {
        let url = type_of(kind).type_url();
        let of_type = |one: &&Resource| {
            let packed = one.resource.as_ref();
            !shared || packed.is_none_or(|packed| packed.type_url == url)
        };
        let asked =
            |one: &&Resource| wanted.is_none_or(|names| names.contains(name_of(one).as_str()));
        let resources = self.resources.iter().filter(of_type).filter(asked);
        Self {
            type_url: url.to_owned(),
            version: self.version.clone(),
            resources: resources.cloned().collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use lateen_xds::any;

    use super::*;

    fn cluster(name: &str) -> Resource {
        let message = Cluster {
            name: name.into(),
            ..Cluster::default()
        };
        Resource {
            resource: Some(any::pack(&message)),
            ..Resource::default()
        }
    }

    fn of(resources: Vec<Resource>, removed: &[&str]) -> Taken {
        let answer = Answer {
            version: "v".into(),
            resources,
            removed: removed.iter().map(ToString::to_string).collect(),
            ..Answer::default()
        };
        taken(ResourceKind::Cluster, 0, answer)
    }

    #[test]
    fn names_come_from_envelope_or_message() {
        let wrapped = Resource {
            name: "b".into(),
            version: "7".into(),
            ..cluster("b")
        };
        let taken = of(vec![cluster("a"), wrapped], &["c"]);
        assert!(taken.whole && taken.errors.is_empty());
        let names: Vec<_> = taken
            .resources
            .iter()
            .map(|one| (&*one.name, &*one.version))
            .collect();
        assert_eq!(names, [("a", "v"), ("b", "7")]);
        assert_eq!(taken.removed, ["c"]);
    }

    #[test]
    fn a_sign_of_life_has_no_resource() {
        let alive = Resource {
            name: "a".into(),
            ttl: Some(wkt::Duration {
                seconds: 2,
                nanos: 0,
            }),
            ..Resource::default()
        };
        let taken = of(vec![alive], &[]);
        assert_eq!(taken.kept, [("a".into(), Duration::from_secs(2))]);
        let nothing = Resource {
            name: "a".into(),
            ..Resource::default()
        };
        assert_eq!(of(vec![nothing], &[]).errors.len(), 1);
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        assert!(!of(vec![cluster("a"), cluster("a")], &[]).whole);
        assert!(!of(vec![cluster("a")], &["a"]).whole);
        let taken = of(vec![cluster("xdstp://x/y"), cluster("a")], &[]);
        assert!(taken.whole && taken.resources.len() == 1);
        assert_eq!(
            taken.errors,
            ["Cluster \"xdstp://x/y\": xdstp names are not supported"]
        );
    }
}
