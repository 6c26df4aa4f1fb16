//! Environment, command and arguments of a container, with references and `$(NAME)` resolved as a kubelet does.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource};
use thiserror::Error;

use crate::facts::{Data, FactError, PodFacts, Settings, resource};

/// Why a container's environment cannot be made.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum EnvError {
    /// A ConfigMap or Secret is not there.
    #[error("{kind} \"{name}\" of env is not in namespace \"{namespace}\"")]
    Absent {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The pod's namespace.
        namespace: String,
    },
    /// A key is not there.
    #[error("{kind} \"{name}\" has no key {key:?}, which env asks for")]
    Key {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A field of the pod is not there.
    #[error("env {0}: {1}")]
    Fact(String, FactError),
    /// A kind of source that a local mesh does not have.
    #[error("env {0}: valueFrom.{1} is not supported in a local mesh")]
    Unsupported(String, &'static str),
}

/// Variables in order; a later one of the same name replaces the earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(Vec<(String, String)>);

impl Environment {
    /// Starts from the variables of the image.
    #[must_use]
    pub(crate) fn new(image: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut made = Self::default();
        for (name, value) in image {
            made.set(&name, value);
        }
        made
    }

    /// Sets one variable.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Value of a variable.
    #[must_use]
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// All variables in order.
    #[must_use]
    pub(crate) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// Replaces `$(NAME)` by the variable's value; an unknown name stays as it is and `$$` is a plain `$`.
    #[must_use]
    pub(crate) fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let name = from
                .strip_prefix("$(")
                .and_then(|inner| inner.split_once(')'));
            if let Some(after) = from.strip_prefix("$$") {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = name {
                match self.value(name) {
                    Some(value) => out.push_str(value),
                    None => out.push_str(&format!("$({name})")),
                }
                rest = after;
            } else {
                out.push('$');
                rest = from.get(1..).unwrap_or_default();
            }
        }
        out.push_str(rest);
        out
    }
}

/// Adds a container's `envFrom` and `env`.
///
/// # Errors
/// [`EnvError`] naming what a variable asks for and does not get.
pub(crate) fn resolve(
    mut env: Environment,
    container: &Container,
    all: &[Container],
    facts: &PodFacts,
    settings: &Settings,
) -> Result<Environment, EnvError> {
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let map = source
            .config_map_ref
            .as_ref()
            .map(|r| ("ConfigMap", &settings.config_maps, &r.name, r.optional));
        let secret = source
            .secret_ref
            .as_ref()
            .map(|r| ("Secret", &settings.secrets, &r.name, r.optional));
        for (kind, store, name, optional) in map.into_iter().chain(secret) {
            let Some(data) = find(store, kind, name, optional, facts)? else {
                continue;
            };
            for (key, value) in data {
                env.set(
                    &format!("{prefix}{key}"),
                    String::from_utf8_lossy(value).into_owned(),
                );
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(env.expand(variable.value.as_deref().unwrap_or_default())),
            Some(source) => from_source(variable, source, (container, all), facts, settings)?,
        };
        if let Some(value) = value {
            env.set(&variable.name, value);
        }
    }
    Ok(env)
}

fn from_source(
    variable: &EnvVar,
    source: &EnvVarSource,
    (own, all): (&Container, &[Container]),
    facts: &PodFacts,
    settings: &Settings,
) -> Result<Option<String>, EnvError> {
    let fact = |e| EnvError::Fact(variable.name.clone(), e);
    if let Some(field) = &source.field_ref {
        return facts.field(field).map(Some).map_err(fact);
    }
    if let Some(selector) = &source.resource_field_ref {
        return resource(selector, all, &own.name).map(Some).map_err(fact);
    }
    if let Some(r) = &source.config_map_key_ref {
        let data = find(
            &settings.config_maps,
            "ConfigMap",
            &r.name,
            r.optional,
            facts,
        )?;
        return key(data, "ConfigMap", &r.name, &r.key, r.optional);
    }
    if let Some(r) = &source.secret_key_ref {
        let data = find(&settings.secrets, "Secret", &r.name, r.optional, facts)?;
        return key(data, "Secret", &r.name, &r.key, r.optional);
    }
    Err(EnvError::Unsupported(variable.name.clone(), "fileKeyRef"))
}

type Store = BTreeMap<(String, String), Data>;

fn find<'a>(
    store: &'a Store,
    kind: &'static str,
    name: &str,
    optional: Option<bool>,
    facts: &PodFacts,
) -> Result<Option<&'a Data>, EnvError> {
    match store.get(&(facts.namespace.clone(), name.to_owned())) {
        None if optional != Some(true) => Err(EnvError::Absent {
            kind,
            name: name.to_owned(),
            namespace: facts.namespace.clone(),
        }),
        found => Ok(found),
    }
}

fn key(
    data: Option<&Data>,
    kind: &'static str,
    name: &str,
    key: &str,
    optional: Option<bool>,
) -> Result<Option<String>, EnvError> {
    match data.map(|d| d.get(key)) {
        Some(Some(value)) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        Some(None) if optional != Some(true) => Err(EnvError::Key {
            kind,
            name: name.to_owned(),
            key: key.to_owned(),
        }),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand() {
        let env = Environment::new([
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "2".to_owned()),
        ]);
        let table = [
            ("$(A)-$(B)", "1-2"),
            ("$(C)", "$(C)"),
            ("$$(A)", "$(A)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("é$(A)", "é1"),
        ];
        for (text, expanded) in table {
            assert_eq!(env.expand(text), expanded, "{text}");
        }
    }

    fn facts() -> PodFacts {
        PodFacts::of(
            &k8s_openapi::api::core::v1::Pod::default(),
            std::net::Ipv4Addr::LOCALHOST,
        )
    }

    #[test]
    fn a_missing_required_key_is_named() {
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]
        }))
        .expect("container");
        let mut settings = Settings::default();
        let ask = |settings: &Settings| {
            resolve(Environment::default(), &container, &[], &facts(), settings)
        };
        assert!(matches!(
            ask(&settings),
            Err(EnvError::Absent {
                kind: "ConfigMap",
                ..
            })
        ));
        settings
            .config_maps
            .insert((String::new(), "m".to_owned()), Data::new());
        assert!(matches!(ask(&settings), Err(EnvError::Key { .. })));
        settings.config_maps.insert(
            (String::new(), "m".to_owned()),
            Data::from([("k".to_owned(), b"v".to_vec())]),
        );
        assert_eq!(ask(&settings).expect("resolved").value("X"), Some("v"));
    }
}
