//! Resources for a bookinfo-like mesh, asserted on their decisive parts.

mod affected;
mod clusters;
mod gateways;
mod inbound;
mod outbound;
mod routes;
mod validate;

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use lateen_api::mesh::MeshConfig;
use lateen_api::object::parse_documents;
use lateen_controlplane_index::{Index, Settings, Step};
use lateen_controlplane_model::affected::TypeSet;
use lateen_controlplane_model::change::{Batch, Change};
use lateen_controlplane_model::generate::{Generate, Names, Resource};
use lateen_controlplane_model::proxy::Proxy;
use lateen_controlplane_model::snapshot::Mesh;
use lateen_xds::json::{Codec, Naming};
use prost::Message;
use serde_json::{Value, json};

use crate::Config;

/// Services details, ratings, reviews and productpage with their pods, the usual DestinationRules and a router.
const BOOKINFO: &str = include_str!("bookinfo.yaml");

/// A mesh under test.
struct World {
    index: Index,
    config: Config,
}

impl World {
    fn new(yaml: &[&str]) -> Self {
        Self::with(MeshConfig::default(), yaml)
    }

    fn with(config: MeshConfig, yaml: &[&str]) -> Self {
        let mesh = Mesh {
            config,
            domain: "cluster.local".into(),
        };
        let mut index = Index::new(
            Settings {
                started: "t".into(),
                cluster: "Kubernetes".into(),
            },
            mesh,
        );
        let step = apply(&mut index, yaml).expect("a first step");
        Self {
            index,
            config: Config::new(step.snapshot),
        }
    }

    fn apply(&mut self, yaml: &[&str]) -> Step {
        let step = apply(&mut self.index, yaml).expect("something changes");
        self.config = self.config.next(Arc::clone(&step.snapshot), &step.affected);
        step
    }

    fn all(&self, proxy: &Proxy, url: &str) -> Vec<Resource> {
        self.config.generate(proxy, url, &Names::Wildcard)
    }

    fn one(&self, proxy: &Proxy, url: &str, name: &str) -> Value {
        let names = Names::Set(BTreeSet::from([Arc::from(name)]));
        let found = self.config.generate(proxy, url, &names);
        let [only] = found.as_slice() else {
            panic!("{name}: {found:?}, of {:?}", self.names(proxy, url))
        };
        decode(only)
    }

    fn names(&self, proxy: &Proxy, url: &str) -> Vec<String> {
        self.all(proxy, url)
            .iter()
            .map(|own| own.name.to_string())
            .collect()
    }

    fn cluster(&self, proxy: &Proxy, name: &str) -> Value {
        self.one(proxy, TypeSet::CLUSTER_URL, name)
    }

    fn listener(&self, proxy: &Proxy, name: &str) -> Value {
        self.one(proxy, TypeSet::LISTENER_URL, name)
    }

    fn routes(&self, proxy: &Proxy, name: &str) -> Value {
        self.one(proxy, TypeSet::ROUTE_URL, name)
    }

    fn endpoints(&self, proxy: &Proxy, name: &str) -> Value {
        self.one(proxy, TypeSet::ENDPOINT_URL, name)
    }

    /// The virtual host of a name in a route table.
    fn host(&self, proxy: &Proxy, table: &str, name: &str) -> Value {
        let routes = self.routes(proxy, table);
        let hosts = routes["virtual_hosts"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = hosts.iter().find(|host| host["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no {name} in {routes:#}"))
    }
}

fn apply(index: &mut Index, yaml: &[&str]) -> Option<Step> {
    let mut changes = Vec::new();
    for text in yaml {
        let parsed = parse_documents("test.yaml", text, "default");
        let errors: Vec<String> = parsed
            .problems
            .iter()
            .filter(|problem| problem.is_error())
            .map(ToString::to_string)
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        changes.extend(
            parsed
                .objects
                .into_iter()
                .map(|object| Change::Apply(Arc::new(object))),
        );
    }
    index.apply(&Batch {
        changes,
        synced: true,
    })
}

fn decode(resource: &Resource) -> Value {
    let any = Any::decode(resource.body.as_ref()).expect("an Any");
    Codec::new()
        .expect("descriptors")
        .write(&any, Naming::Proto)
        .expect("JSON")
}

fn proxy_of(role: &str, namespace: &str, ip: &str, labels: &Value, istio: bool) -> Proxy {
    let mut metadata = json!({
        "NAMESPACE": namespace, "INSTANCE_IPS": ip, "LABELS": labels, "CLUSTER_ID": "Kubernetes",
        "WORKLOAD_NAME": "w", "POD_PORTS": "[{\"name\":\"web\",\"containerPort\":9080}]",
    });
    if istio {
        metadata["ISTIO_VERSION"] = json!("1.32.0");
    }
    let id = format!("{role}~{ip}~pod.{namespace}~{namespace}.svc.cluster.local");
    Proxy::parse(&id, metadata.as_object().cloned().expect("a map"), "", "").expect("a node")
}

/// The sidecar of productpage.
fn productpage() -> Proxy {
    proxy_of(
        "sidecar",
        "default",
        "10.0.0.2",
        &json!({"app": "productpage", "version": "v1"}),
        true,
    )
}

/// The sidecar of reviews v1.
fn reviews() -> Proxy {
    proxy_of(
        "sidecar",
        "default",
        "10.0.0.11",
        &json!({"app": "reviews", "version": "v1"}),
        true,
    )
}

/// The ingress gateway.
fn router() -> Proxy {
    proxy_of(
        "router",
        "istio-system",
        "10.0.0.20",
        &json!({"istio": "ingressgateway"}),
        true,
    )
}

/// An upstream Envoy in the place of productpage's sidecar.
fn envoy() -> Proxy {
    proxy_of(
        "sidecar",
        "default",
        "10.0.0.2",
        &json!({"app": "productpage", "version": "v1"}),
        false,
    )
}

/// Names of a list of objects.
fn names_of(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["name"].as_str())
        .collect()
}
