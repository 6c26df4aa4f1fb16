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

use super::dump_part::{Part, Refusal};
use super::{Admin, dump_fixed, secrets, server, timestamp};

const PREFIX: &str = "type.googleapis.com/";
const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// Everything a dump shows, without references to what is alive.
pub(super) struct Snapshot {
    bootstrap: Shown,
    /// When the process started.
    started: String,
    /// The part of secrets, ready.
    secrets: Value,
    include_eds: bool,
    part: Part,
    /// Keys of what is not visible yet, by kind.
    waiting: Vec<(ResourceKind, String)>,
    accepted: [Named; ResourceKind::ALL.len()],
    rejected: [Vec<(Arc<str>, Arc<Rejection>)>; ResourceKind::ALL.len()],
}

/// The bootstrap as it is kept for pages.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// Small, and made by this proxy.
    Json(Value),
    /// As its message, whose buffer resources are parts of.
    Encoded {
        /// The message.
        message: Bytes,
        /// Its node.
        node: Value,
    },
}

impl Shown {
    /// Who the proxy is.
    pub(super) fn node(&self) -> Value {
        match self {
            Self::Json(value) => value.get("node").cloned().unwrap_or_else(|| json!({})),
            Self::Encoded { node, .. } => node.clone(),
        }
    }

    fn json(&self, codec: &Codec) -> Result<Value, JsonError> {
        let message = match self {
            Self::Json(value) => return Ok(value.clone()),
            Self::Encoded { message, .. } => message,
        };
        let any = Any {
            type_url: format!("{PREFIX}{BOOTSTRAP}"),
            value: message.to_vec(),
        };
        let mut value = codec.write(&any, Naming::Proto)?;
        if let Some(fields) = value.as_object_mut() {
            fields.shift_remove("@type");
        }
        secrets::redact(&mut value);
        Ok(value)
    }
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
    pub(super) fn take(admin: &Admin, include_eds: bool, part: Part) -> Self {
        let resources = admin.state.resources();
        let waiting = admin.state.readiness().waiting().into_iter();
        // Secrets have keys in their bytes: those of control planes are shown from the store, never from here.
        let fixed: Named = resources
            .all(ResourceKind::Secret)
            .into_iter()
            .filter(|(_, secret)| secret.is_static)
            .filter_map(|(name, secret)| {
                let body = dump_fixed::redacted(&secret.body)?;
                let shown = Resource {
                    body,
                    ..(*secret).clone()
                };
                Some((name, Arc::new(shown)))
            })
            .collect();
        Self {
            bootstrap: admin.bootstrap.clone(),
            started: timestamp(admin.started.1),
            secrets: secrets::dump(admin.state.secrets(), |name| {
                fixed.iter().any(|(known, _)| **known == *name)
            }),
            include_eds,
            part,
            waiting: waiting
                .map(|(kind, name)| (kind, name.to_string()))
                .collect(),
            accepted: ResourceKind::ALL.map(|kind| match kind {
                ResourceKind::Secret => fixed.clone(),
                _ => resources.all(kind),
            }),
            rejected: ResourceKind::ALL.map(|kind| resources.rejections(kind)),
        }
    }

    /// The page as JSON text, made by a child process.
    pub(super) fn page(&self, program: &str) -> anyhow::Result<Result<Vec<u8>, Refusal>> {
        let page = match child::run(program, child::RENDER_DUMP, &self.encode())? {
            Some(page) => page,
            None => self.render()?,
        };
        Ok(match page.split_first() {
            Some((b'!', refusal)) => Err(refused(refusal)),
            _ => Ok(page),
        })
    }

    fn render(&self) -> Result<Vec<u8>, DumpError> {
        let codec = Codec::new()?;
        let mut bootstrap = json!({ "node": dump_fixed::said(server::build()) });
        server::over(&mut bootstrap, &self.bootstrap.json(&codec)?);
        let bootstrap = json!({ "bootstrap": bootstrap, "last_updated": self.started });
        let mut configs = vec![part("BootstrapConfigDump", bootstrap)];
        let clusters = self.clusters(&codec)?;
        let endpoints = match self.include_eds {
            true => Some(self.endpoints(&codec, &clusters)?),
            false => None,
        };
        configs.push(part("ClustersConfigDump", clusters));
        configs.extend(endpoints.map(|shown| part("EndpointsConfigDump", shown)));
        let filters = self.filters(&codec)?;
        if !filters.is_empty() {
            configs.push(part("EcdsConfigDump", json!({ "ecds_filters": filters })));
        }
        let listeners = self.listeners(&codec)?;
        let inline = inline_tables(&listeners);
        configs.push(part("ListenersConfigDump", listeners));
        configs.push(part("ScopedRoutesConfigDump", json!({})));
        configs.push(part("RoutesConfigDump", self.routes(&codec, inline)?));
        let mut secrets = self.secrets.clone();
        secrets["static_secrets"] = self.fixed_secrets(&codec)?.into();
        configs.push(part("SecretsConfigDump", secrets));
        let page = match self.part.of(configs) {
            Ok(configs) if configs.is_empty() => json!({}),
            Ok(configs) => {
                let configs = configs.into_iter().map(dump_fixed::without_empty_lists);
                json!({ "configs": configs.collect::<Vec<_>>() })
            }
            Err(refusal) => {
                let text = format!("!{}{}", refusal.status, refusal.reason);
                return Ok(text.into_bytes());
            }
        };
        let mut text = serde_json::to_vec_pretty(&page).map_err(|_| DumpError::Malformed)?;
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
        let version = newest_version(&dynamic);
        let (warming, dynamic): (Named, Named) = dynamic
            .into_iter()
            .partition(|(name, _)| self.is_waiting(ResourceKind::Cluster, name));
        let mut active = entries(codec, kind, &dynamic)?;
        attach_failures(
            &mut active,
            &dynamic,
            self.failures(ResourceKind::Cluster),
            "cluster",
        );
        let mut shown = json!({
            "version_info": version,
            "static_clusters": entries(codec, kind, &fixed)?,
            "dynamic_active_clusters": active,
        });
        if !warming.is_empty() {
            shown["dynamic_warming_clusters"] = entries(codec, kind, &warming)?.into();
        }
        Ok(shown)
    }

    fn fixed_secrets(&self, codec: &Codec) -> Result<Vec<Value>, JsonError> {
        let (fixed, _) = self.split(ResourceKind::Secret);
        let kind = ("envoy.extensions.transport_sockets.tls.v3.Secret", "secret");
        let mut shown = entries(codec, kind, &fixed)?;
        for (entry, (name, _)) in shown.iter_mut().zip(&fixed) {
            *entry = json!({ "name": plain(name), "secret": entry["secret"] });
        }
        Ok(shown)
    }

    fn endpoints(&self, codec: &Codec, clusters: &Value) -> Result<Value, JsonError> {
        let (_, dynamic) = self.split(ResourceKind::Endpoint);
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
        for entry in &mut active {
            dump_fixed::complete(&mut entry["endpoint_config"]);
        }
        active.extend(dump_fixed::held(&clusters["dynamic_active_clusters"]));
        Ok(json!({
            "static_endpoint_configs": dump_fixed::held(&clusters["static_clusters"]),
            "dynamic_endpoint_configs": active,
        }))
    }

    fn routes(&self, codec: &Codec, inline: Vec<Value>) -> Result<Value, JsonError> {
        let (fixed, dynamic) = self.split(ResourceKind::Route);
        let kind = ("envoy.config.route.v3.RouteConfiguration", "route_config");
        let mut active = entries(codec, kind, &dynamic)?;
        attach_failures(
            &mut active,
            &dynamic,
            self.failures(ResourceKind::Route),
            "route_config",
        );
        let mut fixed = entries(codec, kind, &fixed)?;
        fixed.extend(inline);
        Ok(json!({
            "static_route_configs": fixed,
            "dynamic_route_configs": active,
        }))
    }

    fn is_waiting(&self, kind: ResourceKind, name: &str) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|(of, waits)| *of == kind && waits == name)
    }

    fn filters(&self, codec: &Codec) -> Result<Vec<Value>, JsonError> {
        let (_, dynamic) = self.split(ResourceKind::Extension);
        let kind = ("envoy.config.core.v3.TypedExtensionConfig", "ecds_filter");
        let mut shown = entries(codec, kind, &dynamic)?;
        let failures = self.failures(ResourceKind::Extension);
        attach_failures(&mut shown, &dynamic, failures, "ecds_filter");
        Ok(shown)
    }

    fn listeners(&self, codec: &Codec) -> Result<Value, JsonError> {
        let (fixed, dynamic) = self.split(ResourceKind::Listener);
        let kind = ("envoy.config.listener.v3.Listener", "listener");
        let mut failures = self.failures(ResourceKind::Listener);
        let mut shown = Vec::with_capacity(dynamic.len());
        for (name, resource) in &dynamic {
            let stage = match self.is_waiting(ResourceKind::Listener, name) {
                true => "warming_state",
                false => "active_state",
            };
            let mut fields =
                json!({ "name": **name, stage: entry(codec, kind.0, kind.1, resource)? });
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
        let waiting = self.waiting.iter();
        let waiting: Vec<Value> = waiting
            .map(|(kind, name)| json!([*kind as usize, name]))
            .collect();
        let bootstrap = match &self.bootstrap {
            Shown::Json(value) => value.clone(),
            Shown::Encoded { .. } => Value::Null,
        };
        let head = json!([
            bootstrap,
            self.started,
            self.secrets,
            self.include_eds,
            self.part.to_json(),
            waiting
        ]);
        put(&mut out, head.to_string().as_bytes());
        match &self.bootstrap {
            Shown::Json(_) => put(&mut out, &[]),
            Shown::Encoded { message, .. } => put(&mut out, message),
        }
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
        let [bootstrap, started, secrets, include_eds, part, waiting] =
            <[Value; 6]>::try_from(head.as_array()?.clone()).ok()?;
        let message = take(&mut bytes)?;
        let bootstrap = match message.is_empty() {
            true => Shown::Json(bootstrap),
            false => Shown::Encoded {
                message,
                node: Value::Null,
            },
        };
        let mut snapshot = Self {
            bootstrap,
            started: started.as_str()?.to_owned(),
            secrets,
            include_eds: include_eds.as_bool()?,
            part: Part::from_json(&part)?,
            waiting: waiting.as_array()?.iter().filter_map(waits).collect(),
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

fn waits(value: &Value) -> Option<(ResourceKind, String)> {
    let kind = usize::try_from(value.get(0)?.as_u64()?).ok()?;
    let name = value.get(1)?.as_str()?.to_owned();
    Some((*ResourceKind::ALL.get(kind)?, name))
}

/// What a rendering process says in place of a page: the status in three digits, then the text.
fn refused(bytes: &[u8]) -> Refusal {
    let text = String::from_utf8_lossy(bytes);
    let (status, reason) = text.split_at_checked(3).unwrap_or(("500", &text));
    Refusal {
        status: status.parse().unwrap_or(500),
        reason: reason.to_owned(),
    }
}

/// Tables that connection managers of the listeners hold themselves.
fn inline_tables(listeners: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for list in ["static_listeners", "dynamic_listeners"] {
        for entry in listeners[list].as_array().into_iter().flatten() {
            let state = entry.get("active_state").unwrap_or(entry);
            let updated = &state["last_updated"];
            tables_below(&state["listener"], updated, &mut found);
        }
    }
    found
}

fn tables_below(value: &Value, updated: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(fields) => {
            let kind = fields.get("@type").and_then(Value::as_str);
            let manager = kind.is_some_and(|kind| kind.ends_with(".HttpConnectionManager"));
            if let Some(Value::Object(table)) = fields.get("route_config").filter(|_| manager) {
                let mut shown = Map::new();
                let kind = format!("{PREFIX}envoy.config.route.v3.RouteConfiguration");
                shown.insert("@type".to_owned(), kind.into());
                shown.extend(table.clone());
                found.push(json!({ "route_config": shown, "last_updated": updated }));
                return;
            }
            for inner in fields.values() {
                tables_below(inner, updated, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                tables_below(item, updated, found);
            }
        }
        _ => {}
    }
}

/// The name that a resource has in its source.
fn plain(key: &str) -> &str {
    key.split('\0').next().unwrap_or_default()
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
    let mut shown = codec.write(&any, Naming::Proto)?;
    secrets::redact(&mut shown);
    fields.insert(field.to_owned(), shown);
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
            None => {
                entries.push(json!({ field: { "name": plain(&name) }, "error_state": failure }))
            }
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
    use super::{Shown, Snapshot, render};

    #[test]
    fn cut_input_is_refused() {
        let empty = Snapshot {
            bootstrap: Shown::Json(serde_json::json!({})),
            started: String::new(),
            secrets: serde_json::json!({}),
            include_eds: false,
            part: Default::default(),
            waiting: vec![(super::ResourceKind::Cluster, "a".to_owned())],
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
