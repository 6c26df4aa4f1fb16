//! The objects of a cluster: all kinds at the same time, page by page.

use std::collections::BTreeSet;
use std::time::Duration;

use ::kube::Client;
use http::Request;
use lateen_api::object::{Kind, Object, read_node};
use lateen_api::yaml::Node;
use serde_json::Value;
use tokio::task::JoinSet;

use super::Cluster;
use crate::failure::Failure;

/// Objects on a page.
const PAGE: usize = 500;

/// What a cluster holds.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// The objects.
    pub(crate) objects: Vec<Object>,
    /// The kinds of which all is known: those that could be read, and those that are not served, of which there can be no objects.
    pub(crate) readable: BTreeSet<Kind>,
    /// The kinds that may not be read, with what the API server says of it.
    pub(crate) forbidden: Vec<(Kind, String)>,
    /// Objects that cannot be read.
    pub(crate) unreadable: Vec<String>,
}

/// What is known of one kind.
enum Outcome {
    Listed(Vec<Object>, Vec<String>),
    NotServed,
    Forbidden(String),
}

impl Cluster {
    /// Lists the objects of kinds within a time limit. ConfigMaps are those of one namespace.
    ///
    /// # Errors
    /// When the cluster cannot be reached, does not know the caller, or lets it read nothing.
    pub(crate) async fn list(
        &self,
        kinds: &[Kind],
        settings_namespace: &str,
        limit: Duration,
    ) -> Result<Listed, Failure> {
        let mut tasks = JoinSet::new();
        for kind in kinds.iter().copied() {
            let namespace = (kind == Kind::ConfigMap).then(|| settings_namespace.to_owned());
            let client = self.client.clone();
            tasks.spawn(async move { (kind, list_kind(&client, kind, namespace).await) });
        }
        let gathered = async {
            let mut outcomes = Vec::new();
            while let Some(done) = tasks.join_next().await {
                // A task neither panics nor is it cancelled while this waits for it.
                let Ok((kind, outcome)) = done else { continue };
                outcomes.push((kind, outcome.map_err(|error| self.failure(&error))?));
            }
            Ok::<_, Failure>(outcomes)
        };
        let mut outcomes = tokio::time::timeout(limit, gathered)
            .await
            .map_err(|_| self.late(limit))??;
        outcomes.sort_by_key(|(kind, _)| *kind);
        self.sum_up(outcomes)
    }

    fn sum_up(&self, outcomes: Vec<(Kind, Outcome)>) -> Result<Listed, Failure> {
        let mut listed = Listed::default();
        let mut knows_any = false;
        for (kind, outcome) in outcomes {
            match outcome {
                Outcome::Listed(mut objects, mut unreadable) => {
                    knows_any = true;
                    listed.readable.insert(kind);
                    listed.objects.append(&mut objects);
                    listed.unreadable.append(&mut unreadable);
                }
                Outcome::NotServed => {
                    listed.readable.insert(kind);
                }
                Outcome::Forbidden(reason) => listed.forbidden.push((kind, reason)),
            }
        }
        match listed.forbidden.first() {
            Some((_, reason)) if !knows_any => Err(Failure::other(format!(
                "nothing of the cluster {} may be read, for example: {reason}",
                self.url
            ))),
            _ => Ok(listed),
        }
    }

    /// Whether a namespace exists; `None` if that may not be asked.
    ///
    /// # Errors
    /// When the cluster cannot be reached.
    pub(crate) async fn has_namespace(&self, name: &str) -> Result<Option<bool>, Failure> {
        let path = format!("/api/v1/namespaces/{}", encoded(name));
        match ask(&self.client, &path).await {
            Ok(_) => Ok(Some(true)),
            Err(::kube::Error::Api(status)) if status.code == 404 => Ok(Some(false)),
            Err(::kube::Error::Api(status)) if status.code == 403 => Ok(None),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn failure(&self, error: &::kube::Error) -> Failure {
        let url = &self.url;
        match error {
            ::kube::Error::Api(status) if status.code == 401 => Failure::other(format!(
                "the cluster {url} does not accept the credentials of context \"{}\": {}",
                self.name, status.message
            )),
            ::kube::Error::Api(status) => Failure::other(format!(
                "the cluster {url} answered {}: {}",
                status.code, status.message
            )),
            ::kube::Error::Auth(error) => Failure::other(format!(
                "no credentials for the cluster {url} could be had: {}",
                lateen_api::causes(error)
            )),
            error => Failure::other(format!(
                "the cluster {url} cannot be reached: {} (--use-kube=false analyzes files alone)",
                lateen_api::causes(error)
            )),
        }
    }

    fn late(&self, limit: Duration) -> Failure {
        Failure::other(format!(
            "the cluster {} did not answer within {} s (--timeout)",
            self.url,
            limit.as_secs_f64()
        ))
    }
}

/// Lists a kind in the first of its versions that is served.
async fn list_kind(
    client: &Client,
    kind: Kind,
    namespace: Option<String>,
) -> Result<Outcome, ::kube::Error> {
    for version in kind.versions() {
        let root = if kind.group().is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{}/{version}", kind.group())
        };
        let within = namespace
            .as_ref()
            .map(|namespace| format!("/namespaces/{}", encoded(namespace)))
            .unwrap_or_default();
        let path = format!("{root}{within}/{}", plural(kind));
        match list_path(client, kind, &path).await {
            Ok((objects, unreadable)) => return Ok(Outcome::Listed(objects, unreadable)),
            Err(::kube::Error::Api(status)) if matches!(status.code, 404 | 405) => {}
            Err(::kube::Error::Api(status)) if status.code == 403 => {
                return Ok(Outcome::Forbidden(status.message.clone()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Outcome::NotServed)
}

/// All pages of a list. A list that changed too much while it was read is read again as one page.
async fn list_path(
    client: &Client,
    kind: Kind,
    path: &str,
) -> Result<(Vec<Object>, Vec<String>), ::kube::Error> {
    let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
    let mut next = format!("{path}?limit={PAGE}");
    loop {
        let page = match ask(client, &next).await {
            Err(::kube::Error::Api(status)) if status.code == 410 && !objects.is_empty() => {
                objects.clear();
                unreadable.clear();
                ask(client, path).await?
            }
            page => page?,
        };
        let Value::Object(mut page) = page else {
            return Ok((objects, unreadable));
        };
        let token = page
            .get("metadata")
            .and_then(|metadata| metadata.get("continue"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if let Some(Value::Array(items)) = page.remove("items") {
            for item in items {
                match object(kind, item) {
                    Ok(object) => objects.push(object),
                    Err(reason) => unreadable.push(reason),
                }
            }
        }
        if token.is_empty() {
            return Ok((objects, unreadable));
        }
        next = format!("{path}?limit={PAGE}&continue={}", encoded(&token));
    }
}

async fn ask(client: &Client, path: &str) -> Result<Value, ::kube::Error> {
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(::kube::Error::HttpError)?;
    let text = client.request_text(request).await?;
    serde_json::from_str(&text).map_err(::kube::Error::SerdeError)
}

/// An object of a list's items, which Kubernetes' own kinds leave without `apiVersion` and `kind`.
fn object(kind: Kind, mut item: Value) -> Result<Object, String> {
    if let Some(Value::Object(metadata)) = item.get_mut("metadata") {
        // Large, and nobody's business here.
        metadata.remove("managedFields");
    }
    read_node(&Node::from(&item), kind, "")
        .map(|(object, _)| object)
        .map_err(|error| {
            let text = |key: &str| item["metadata"][key].as_str().unwrap_or_default();
            format!("{kind} {}/{}: {error}", text("namespace"), text("name"))
        })
}

/// The kind's name in paths.
fn plural(kind: Kind) -> String {
    let name = kind.as_str().to_ascii_lowercase();
    let vowel = |letter: char| "aeiou".contains(letter);
    if name.ends_with('s') {
        format!("{name}es")
    } else if let Some(stem) = name.strip_suffix('y').filter(|stem| !stem.ends_with(vowel)) {
        format!("{stem}ies")
    } else {
        format!("{name}s")
    }
}

/// A text as part of a path or a query.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_plurals_of_their_definitions() {
        for (kind, name) in [
            (Kind::VirtualService, "virtualservices"),
            (Kind::AuthorizationPolicy, "authorizationpolicies"),
            (Kind::ServiceEntry, "serviceentries"),
            (Kind::Telemetry, "telemetries"),
            (Kind::Gateway, "gateways"),
            (Kind::GatewayClass, "gatewayclasses"),
            (Kind::Ingress, "ingresses"),
            (Kind::BackendTlsPolicy, "backendtlspolicies"),
            (Kind::CustomResourceDefinition, "customresourcedefinitions"),
            (Kind::EndpointSlice, "endpointslices"),
        ] {
            assert_eq!(plural(kind), name);
        }
    }

    #[test]
    fn items_are_read_as_files_are() {
        let item = serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"a": "1"}, "managedFields": [{"manager": "x"}]},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
        });
        let read = object(Kind::Service, item).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.key.to_string(), "Service shop/web");
        assert_eq!(read.meta.labels.get("a").map(String::as_str), Some("1"));
        let item = serde_json::json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"hosts": ["web"], "http": [{"timeout": "5s", "route": [{"destination": {"host": "web"}}]}]},
        });
        let read = object(Kind::VirtualService, item).unwrap_or_else(|error| panic!("{error}"));
        assert!(
            read.spec
                .as_virtual_service()
                .is_some_and(|spec| spec.hosts == ["web"])
        );
        let item = serde_json::json!({"metadata": {"name": "x"}, "spec": {"ports": 3}});
        let error = object(Kind::Service, item).expect_err("ports are a list");
        assert!(error.starts_with("Service /x: spec.ports: "), "{error}");
    }
}
