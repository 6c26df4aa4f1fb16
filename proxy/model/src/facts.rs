//! What policies may ask of a request beside its head: its connection, its peer, and what earlier filters found out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

static NO_METADATA: DynamicMetadata = DynamicMetadata::NONE;

/// Values that filters of a chain leave for later ones, for matchers and for logs: by the name of the filter (or the
/// namespace it was told to use) an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicMetadata(Vec<(Arc<str>, Values)>);

/// The values of a namespace; many requests may share them.
type Values = Arc<Map<String, Value>>;

impl DynamicMetadata {
    /// Nothing.
    pub const NONE: Self = Self(Vec::new());

    /// Whether no filter left anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All namespaces and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Map<String, Value>)> {
        self.0.iter().map(|(name, values)| (name, &**values))
    }

    /// The values of a namespace.
    pub fn find(&self, namespace: &str) -> Option<&Map<String, Value>> {
        let mut all = self.0.iter();
        let found = all.find(|(name, _)| **name == *namespace)?;
        Some(&*found.1)
    }

    /// The value at a path of keys in a namespace.
    pub fn value<'k>(
        &self,
        namespace: &str,
        path: impl IntoIterator<Item = &'k str>,
    ) -> Option<&Value> {
        let mut path = path.into_iter();
        let mut value = self.find(namespace)?.get(path.next()?)?;
        for key in path {
            value = value.as_object()?.get(key)?;
        }
        Some(value)
    }

    /// Adds values as Envoy does: objects are merged, lists are joined, anything else is replaced.
    pub fn merge(&mut self, namespace: &str, values: Map<String, Value>) {
        match self.0.iter_mut().find(|(name, _)| **name == *namespace) {
            Some((_, known)) => merge(Arc::make_mut(known), values),
            None => self.0.push((namespace.into(), Arc::new(values))),
        }
    }

    /// Adds values that were made before; they are copied only where the namespace has others.
    pub fn share(&mut self, namespace: &Arc<str>, values: &Arc<Map<String, Value>>) {
        match self.0.iter_mut().find(|(name, _)| name == namespace) {
            Some((_, known)) => merge(Arc::make_mut(known), Map::clone(values)),
            None => self.0.push((Arc::clone(namespace), Arc::clone(values))),
        }
    }

    /// Adds all of another's.
    pub fn share_all(&mut self, other: &Self) {
        for (namespace, values) in &other.0 {
            self.share(namespace, values);
        }
    }
}

fn merge(known: &mut Map<String, Value>, values: Map<String, Value>) {
    for (key, value) in values {
        match (known.get_mut(&key), value) {
            (Some(Value::Object(known)), Value::Object(value)) => merge(known, value),
            (Some(Value::Array(known)), Value::Array(value)) => known.extend(value),
            (_, value) => {
                known.insert(key, value);
            }
        }
    }
}

/// The verified certificate of a connection's client.
#[derive(Clone, Copy, Debug)]
pub struct PeerView<'a> {
    /// URI names.
    pub uris: &'a [Box<str>],
    /// DNS names.
    pub dns: &'a [Box<str>],
    /// Subject (RFC 2253).
    pub subject: &'a str,
    /// The certificate, DER.
    pub der: &'a [u8],
}

/// What policies may ask of a request beside its head.
pub trait RequestFacts: fmt::Debug {
    /// The other end of the connection.
    fn client(&self) -> Option<SocketAddr> {
        None
    }

    /// The client, as trusted forwarding headers say, or else the other end of the connection.
    fn remote(&self) -> Option<SocketAddr> {
        self.client()
    }

    /// Where the connection wanted to go.
    fn destination(&self) -> Option<SocketAddr> {
        None
    }

    /// The connection is TLS that ends here.
    fn tls(&self) -> bool {
        false
    }

    /// Server name asked for.
    fn sni(&self) -> Option<&str> {
        None
    }

    /// The client's verified certificate.
    fn peer(&self) -> Option<PeerView<'_>> {
        None
    }

    /// What filters found out.
    fn metadata(&self) -> &DynamicMetadata {
        &NO_METADATA
    }

    /// What the configuration says of the route.
    fn route_metadata(&self) -> &DynamicMetadata {
        &NO_METADATA
    }

    /// A value that the connection has by name. The peer's name is the only one.
    fn filter_state(&self, key: &str) -> Option<&str> {
        (key == "io.istio.peer_principal")
            .then(|| self.peer()?.principals_first())
            .flatten()
    }
}

/// Nothing known beside a head.
#[derive(Clone, Copy, Debug)]
pub struct NoFacts;

impl RequestFacts for NoFacts {}

impl<'a> PeerView<'a> {
    /// The name that a peer goes by: its first URI name.
    fn principals_first(&self) -> Option<&'a str> {
        self.uris.first().map(|name| &**name)
    }

    /// Names that a policy compares with a principal, in Envoy's order: URI names, DNS names, the subject.
    pub fn principals(&self) -> impl Iterator<Item = &str> {
        let names = self.uris.iter().chain(self.dns);
        names.map(|name| &**name).chain(Some(self.subject))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            _ => panic!("no object"),
        }
    }

    #[test]
    fn values_are_merged_as_structs_are() {
        let mut metadata = DynamicMetadata::default();
        metadata.merge(
            "jwt",
            object(json!({"a": {"b": 1, "c": 2}, "l": [1], "s": "x"})),
        );
        metadata.merge("jwt", object(json!({"a": {"b": 3}, "l": [2], "s": {}})));
        let wanted = object(json!({"a": {"b": 3, "c": 2}, "l": [1, 2], "s": {}}));
        assert_eq!(metadata.find("jwt"), Some(&wanted));
        assert_eq!(metadata.value("jwt", ["a", "c"]), Some(&json!(2)));
        assert_eq!(metadata.value("jwt", ["s", "c"]), None);
        assert_eq!(metadata.value("other", ["a"]), None);
    }
}
