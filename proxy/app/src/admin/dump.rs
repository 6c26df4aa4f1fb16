//! `config_dump`: the accepted resources, written back from their bytes.
//!
//! A short-lived child of the same program writes the JSON: [`Snapshot::encode`] here, [`render`] there.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use envoy_types::pb::google::protobuf::Any;
use lateen_proxy_state::{Rejection, Resource, ResourceKind};
use lateen_xds::json::{Codec, JsonError, Naming};
use lateen_xds::node::Node;
use serde_json::{Map, Value, json};

use crate::child;

use super::{Admin, secrets, timestamp};

const PREFIX: &str = "type.googleapis.com/";

/// Everything a dump shows, without references to what is alive.
pub(super) struct Snapshot {
    /// Bootstrap and secrets parts, ready.
    bootstrap: Value,
    secrets: Value,
    include_eds: bool,
    accepted: [Named; ResourceKind::ALL.len()],
    rejected: [Vec<(Arc<str>, Arc<Rejection>)>; ResourceKind::ALL.len()],
}

/// A snapshot that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DumpError {
    /// A resource that does not write.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Its input is cut or of another version.
    #[error("rendering process: its input is malformed")]
    Malformed,
}

impl Snapshot {
    /// What is in use now.
    pub(super) fn take(admin: &Admin, include_eds: bool) -> Self {
        let resources = admin.state.resources();
        Self {
            bootstrap: json!({ "bootstrap": admin.bootstrap, "last_updated": timestamp(admin.started.1) }),
            secrets: secrets::dump(admin.state.secrets()),
            include_eds,
            // Secrets have keys in their bytes: they are shown from the store, never from here.
            accepted: ResourceKind::ALL.map(|kind| {
                if kind == ResourceKind::Secret {
                    Vec::new()
                } else {
                    resources.all(kind)
                }
            }),
            rejected: ResourceKind::ALL.map(|kind| resources.rejections(kind)),
        }
    }

    /// The page as JSON text, made by a child process.
    pub(super) fn page(&self, program: &str) -> anyhow::Result<Vec<u8>> {
        match child::run(program, child::RENDER_DUMP, &self.encode())? {
            Some(page) => Ok(page),
            None => Ok(self.render()?),
        }
    }

    fn render(&self) -> Result<Vec<u8>, DumpError> {
        let codec = Codec::new()?;
        let mut configs = vec![part("BootstrapConfigDump", self.bootstrap.clone())];
        configs.push(part("ClustersConfigDump", self.clusters(&codec)?));
        if self.include_eds {
            configs.push(part("EndpointsConfigDump", self.endpoints(&codec)?));
        }
        configs.push(part("ListenersConfigDump", self.listeners(&codec)?));
        configs.push(part("ScopedRoutesConfigDump", json!({})));
        configs.push(part("RoutesConfigDump", self.routes(&codec)?));
        configs.push(part("SecretsConfigDump", self.secrets.clone()));
        let mut text = serde_json::to_vec_pretty(&json!({ "configs": configs }))
            .map_err(|_| DumpError::Malformed)?;
        text.push(b'\n');
        Ok(text)
    }
}

/// The child: reads a snapshot and writes the page.
///
/// # Errors
/// When the snapshot is malformed or a resource does not write.
pub(crate) fn render(input: Vec<u8>) -> Result<Vec<u8>, DumpError> {
    Snapshot::decode(input.into())
        .ok_or(DumpError::Malformed)?
        .render()
}

/// The bootstrap that a pod's proxy would have been started with: its node, and the control plane as source of all else.
pub(crate) fn node_bootstrap(node: &Node, admin_port: u16) -> Value {
    let source = json!({ "ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3" });
    let mut shown = json!({
        "id": node.id.to_string(),
        "cluster": node.cluster,
        "metadata": node.metadata.to_json(),
    });
    if let (Some(locality), Some(fields)) = (&node.locality, shown.as_object_mut()) {
        let locality = json!({ "region": locality.region, "zone": locality.zone, "sub_zone": locality.sub_zone });
        fields.insert("locality".to_owned(), locality);
    }
    json!({
        "node": shown,
        "dynamic_resources": {
            "lds_config": source,
            "cds_config": source,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
            },
        },
        "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": admin_port } } },
    })
}

fn part(name: &str, body: Value) -> Value {
    let mut fields = Map::new();
    fields.insert(
        "@type".to_owned(),
        format!("{PREFIX}envoy.admin.v3.{name}").into(),
    );
    if let Value::Object(body) = body {
        fields.extend(body);
    }
    Value::Object(fields)
}

/// Resources of a kind by name.
type Named = Vec<(Arc<str>, Arc<Resource>)>;

impl Snapshot {
    /// What the bootstrap gave and what the control plane gave.
    fn split(&self, kind: ResourceKind) -> (Named, Named) {
        self.accepted[kind as usize]
            .iter()
            .cloned()
            .partition(|(_, resource)| resource.is_static)
    }

    /// Refused resources of a kind, by name, in the shape of `UpdateFailureState`.
    fn failures(&self, kind: ResourceKind) -> Vec<(Arc<str>, Value)> {
        let shown = |rejection: &Rejection| {
            json!({
                "last_update_attempt": timestamp(rejection.at),
                "details": *rejection.reason,
                "version_info": *rejection.version,
            })
        };
        self.rejected[kind as usize]
            .iter()
            .map(|(name, rejection)| (Arc::clone(name), shown(rejection)))
            .collect()
    }

    fn clusters(&self, codec: &Codec) -> Result<Value, JsonError> {
        let (fixed, dynamic) = self.split(ResourceKind::Cluster);
        let kind = ("envoy.config.cluster.v3.Cluster", "cluster");
        let mut active = entries(codec, kind, &dynamic)?;
        attach_failures(
            &mut active,
            &dynamic,
            self.failures(ResourceKind::Cluster),
            "cluster",
        );
        Ok(json!({
            "version_info": newest_version(&dynamic),
            "static_clusters": entries(codec, kind, &fixed)?,
            "dynamic_active_clusters": active,
        }))
    }

    fn endpoints(&self, codec: &Codec) -> Result<Value, JsonError> {
        let (fixed, dynamic) = self.split(ResourceKind::Endpoint);
        let kind = (
            "envoy.config.endpoint.v3.ClusterLoadAssignment",
            "endpoint_config",
        );
        let mut active = entries(codec, kind, &dynamic)?;
        attach_failures(
            &mut active,
            &dynamic,
            self.failures(ResourceKind::Endpoint),
            "endpoint_config",
        );
        Ok(json!({
            "static_endpoint_configs": entries(codec, kind, &fixed)?,
            "dynamic_endpoint_configs": active,
        }))
    }

    fn routes(&self, codec: &Codec) -> Result<Value, JsonError> {
        let (fixed, dynamic) = self.split(ResourceKind::Route);
        let kind = ("envoy.config.route.v3.RouteConfiguration", "route_config");
        let mut active = entries(codec, kind, &dynamic)?;
        attach_failures(
            &mut active,
            &dynamic,
            self.failures(ResourceKind::Route),
            "route_config",
        );
        Ok(json!({
            "static_route_configs": entries(codec, kind, &fixed)?,
            "dynamic_route_configs": active,
        }))
    }

    fn listeners(&self, codec: &Codec) -> Result<Value, JsonError> {
        let (fixed, dynamic) = self.split(ResourceKind::Listener);
        let kind = ("envoy.config.listener.v3.Listener", "listener");
        let mut failures = self.failures(ResourceKind::Listener);
        let mut shown = Vec::with_capacity(dynamic.len());
        for (name, resource) in &dynamic {
            let mut fields =
                json!({ "name": **name, "active_state": entry(codec, kind.0, kind.1, resource)? });
            if let Some(place) = failures.iter().position(|(failed, _)| failed == name) {
                let (_, failure) = failures.swap_remove(place);
                fields["error_state"] = failure;
            }
            shown.push(fields);
        }
        for (name, failure) in failures {
            shown.push(json!({ "name": *name, "error_state": failure }));
        }
        Ok(json!({
            "version_info": newest_version(&dynamic),
            "static_listeners": entries(codec, kind, &fixed)?,
            "dynamic_listeners": shown,
        }))
    }

    /// Length-prefixed parts: a JSON head, then a count and the entries of each kind.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let head = json!([self.bootstrap, self.secrets, self.include_eds]);
        put(&mut out, head.to_string().as_bytes());
        for (accepted, rejected) in self.accepted.iter().zip(&self.rejected) {
            put_number(&mut out, accepted.len() as u64);
            for (name, resource) in accepted {
                put(&mut out, name.as_bytes());
                put(&mut out, resource.version.as_bytes());
                put(&mut out, &resource.body);
                put_time(&mut out, resource.updated);
                put_number(&mut out, u64::from(resource.is_static));
            }
            put_number(&mut out, rejected.len() as u64);
            for (name, rejection) in rejected {
                put(&mut out, name.as_bytes());
                put(&mut out, rejection.version.as_bytes());
                put(&mut out, rejection.reason.as_bytes());
                put_time(&mut out, rejection.at);
            }
        }
        out
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let head: Value = serde_json::from_slice(&take(&mut bytes)?).ok()?;
        let [bootstrap, secrets, include_eds] =
            <[Value; 3]>::try_from(head.as_array()?.clone()).ok()?;
        let mut snapshot = Self {
            bootstrap,
            secrets,
            include_eds: include_eds.as_bool()?,
            accepted: Default::default(),
            rejected: Default::default(),
        };
        for (accepted, rejected) in snapshot.accepted.iter_mut().zip(&mut snapshot.rejected) {
            for _ in 0..bytes.try_get_u64().ok()? {
                let name = take_text(&mut bytes)?;
                let resource = Resource {
                    version: take_text(&mut bytes)?.into(),
                    body: take(&mut bytes)?,
                    updated: take_time(&mut bytes)?,
                    is_static: bytes.try_get_u64().ok()? == 1,
                };
                accepted.push((name.into(), Arc::new(resource)));
            }
            for _ in 0..bytes.try_get_u64().ok()? {
                let name = take_text(&mut bytes)?;
                let (version, reason) =
                    (take_text(&mut bytes)?.into(), take_text(&mut bytes)?.into());
                rejected.push((
                    name.into(),
                    Arc::new(Rejection {
                        version,
                        reason,
                        at: take_time(&mut bytes)?,
                    }),
                ));
            }
        }
        Some(snapshot)
    }
}

fn newest_version(resources: &[(Arc<str>, Arc<Resource>)]) -> String {
    let newest = resources
        .iter()
        .max_by_key(|(_, resource)| resource.updated);
    newest
        .map(|(_, resource)| resource.version.to_string())
        .unwrap_or_default()
}

/// One entry: the resource under `field`, with version and time.
fn entry(
    codec: &Codec,
    type_name: &str,
    field: &str,
    resource: &Resource,
) -> Result<Value, JsonError> {
    let any = Any {
        type_url: format!("{PREFIX}{type_name}"),
        value: resource.body.to_vec(),
    };
    let mut fields = Map::new();
    if !resource.version.is_empty() {
        fields.insert("version_info".to_owned(), (*resource.version).into());
    }
    fields.insert(field.to_owned(), codec.write(&any, Naming::Proto)?);
    fields.insert(
        "last_updated".to_owned(),
        timestamp(resource.updated).into(),
    );
    Ok(Value::Object(fields))
}

fn entries(
    codec: &Codec,
    (type_name, field): (&str, &str),
    resources: &[(Arc<str>, Arc<Resource>)],
) -> Result<Vec<Value>, JsonError> {
    resources
        .iter()
        .map(|(_, resource)| entry(codec, type_name, field, resource))
        .collect()
}

/// Notes refusals at the entries they are of; those of resources never accepted get entries of their own.
fn attach_failures(
    entries: &mut Vec<Value>,
    resources: &[(Arc<str>, Arc<Resource>)],
    failures: Vec<(Arc<str>, Value)>,
    field: &str,
) {
    for (name, failure) in failures {
        let place = resources.iter().position(|(known, _)| *known == name);
        match place.and_then(|place| entries.get_mut(place)) {
            Some(entry) => entry["error_state"] = failure,
            None => entries.push(json!({ field: { "name": *name }, "error_state": failure })),
        }
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_time(out: &mut Vec<u8>, time: SystemTime) {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    put_number(out, u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
}

fn take(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(bytes.try_get_u64().ok()?).ok()?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn take_text(bytes: &mut Bytes) -> Option<String> {
    String::from_utf8(take(bytes)?.to_vec()).ok()
}

fn take_time(bytes: &mut Bytes) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(bytes.try_get_u64().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Snapshot, render};

    #[test]
    fn cut_input_is_refused() {
        let empty = Snapshot {
            bootstrap: serde_json::json!({}),
            secrets: serde_json::json!({}),
            include_eds: false,
            accepted: Default::default(),
            rejected: Default::default(),
        };
        let whole = empty.encode();
        assert_eq!(
            render(whole.clone()).expect("renders"),
            empty.render().expect("renders")
        );
        for length in [0, 7, whole.len() - 1] {
            assert!(render(whole[..length].to_vec()).is_err(), "{length}");
        }
    }
}
