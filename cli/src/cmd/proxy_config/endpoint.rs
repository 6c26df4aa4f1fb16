//! `proxy-config endpoint`: the endpoints a proxy sends to, from `clusters?format=json`.

use serde_json::{Map, Value};

use crate::dump::{ConfigDump, field, items, number, text};
use crate::failure::Failure;
use crate::table::Table;

/// Which endpoints are shown; empty fields show all.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct EndpointFilter {
    /// Only endpoints at this address
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) address: String,
    /// Only endpoints at this port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Only endpoints of this cluster
    #[arg(
        long,
        value_name = "CLUSTER",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) cluster: String,
    /// Only endpoints of this health, for example healthy or unhealthy
    #[arg(
        long,
        value_name = "STATUS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) status: String,
}

/// One endpoint of one cluster.
struct Endpoint<'a> {
    address: String,
    port: Option<u64>,
    status: &'a str,
    ejected: bool,
    cluster: &'a str,
}

impl<'a> Endpoint<'a> {
    fn of(host: &'a Value, cluster: &'a str) -> Self {
        let socket = field(host, "address").and_then(|address| field(address, "socket_address"));
        let (address, port) = match socket {
            Some(socket) => (
                text(socket, "address").to_owned(),
                Some(number(socket, "port_value").unwrap_or(0)),
            ),
            None => (other_address(host), None),
        };
        let health = field(host, "health_status");
        let status = health.map_or("", |health| text(health, "eds_health_status"));
        let ejected = health
            .and_then(|health| field(health, "failed_outlier_check"))
            .and_then(Value::as_bool)
            .unwrap_or(false);
        Self {
            address,
            port,
            status: if status.is_empty() { "UNKNOWN" } else { status },
            ejected,
            cluster,
        }
    }

    fn shown(&self) -> String {
        match self.port {
            Some(port) if self.address.contains(':') => format!("[{}]:{port}", self.address),
            Some(port) => format!("{}:{port}", self.address),
            None => self.address.clone(),
        }
    }
}

fn other_address(host: &Value) -> String {
    let Some(address) = field(host, "address") else {
        return String::new();
    };
    if let Some(pipe) = field(address, "pipe") {
        return format!("unix://{}", text(pipe, "path"));
    }
    let Some(internal) = field(address, "envoy_internal_address") else {
        return String::new();
    };
    match text(internal, "endpoint_id") {
        "" => format!("envoy://{}", text(internal, "server_listener_name")),
        id => format!("envoy://{}/{id}", text(internal, "server_listener_name")),
    }
}

impl EndpointFilter {
    fn takes(&self, endpoint: &Endpoint<'_>) -> bool {
        let same =
            |wanted: &str, found: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(found);
        same(&self.address, &endpoint.address)
            && same(&self.cluster, endpoint.cluster)
            && same(&self.status, endpoint.status)
            && self
                .port
                .is_none_or(|port| endpoint.port == Some(u64::from(port)))
    }
}

/// Reads the answer of `clusters?format=json`.
///
/// # Errors
/// When it is something else; `from` says where it came from.
pub(crate) fn read(text: &[u8], from: &str) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| Failure::data(format!("{from}: not JSON: {error}")))?;
    if field(&value, "cluster_statuses").is_some_and(Value::is_array)
        || value.as_object().is_some_and(Map::is_empty)
    {
        return Ok(value);
    }
    Err(Failure::data(format!(
        "{from}: not an answer of clusters?format=json: it has no list \"cluster_statuses\""
    )))
}

/// The table of endpoints, sorted by address, port and cluster.
pub(crate) fn table(clusters: &Value, filter: &EndpointFilter) -> Table {
    let mut endpoints: Vec<Endpoint<'_>> = items(clusters, "cluster_statuses")
        .iter()
        .flat_map(|cluster| {
            items(cluster, "host_statuses")
                .iter()
                .map(|host| Endpoint::of(host, text(cluster, "name")))
        })
        .filter(|endpoint| filter.takes(endpoint))
        .collect();
    endpoints.sort_by(|a, b| (&a.address, a.port, a.cluster).cmp(&(&b.address, b.port, b.cluster)));
    let mut table = Table::new(["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"]);
    for endpoint in endpoints {
        let outlier = if endpoint.ejected { "FAILED" } else { "OK" };
        table.row([
            endpoint.shown().as_str(),
            endpoint.status,
            outlier,
            endpoint.cluster,
        ]);
    }
    table
}

/// The clusters with the endpoints that the filter takes, as they came.
pub(crate) fn selected(clusters: &Value, filter: &EndpointFilter) -> Vec<Value> {
    let kept = |cluster: &Value| {
        let name = text(cluster, "name");
        let hosts: Vec<Value> = items(cluster, "host_statuses")
            .iter()
            .filter(|host| filter.takes(&Endpoint::of(host, name)))
            .cloned()
            .collect();
        let mut fields = cluster.as_object()?.clone();
        fields.shift_remove("hostStatuses");
        fields.insert("host_statuses".to_owned(), Value::Array(hosts.clone()));
        (!hosts.is_empty()).then_some(Value::Object(fields))
    };
    items(clusters, "cluster_statuses")
        .iter()
        .filter_map(kept)
        .collect()
}

/// The endpoint assignments of a dump, sorted by cluster.
pub(crate) fn assignments(dump: &ConfigDump) -> Vec<&Value> {
    let mut found = dump.endpoints();
    found.sort_by_key(|assignment| text(assignment, "cluster_name"));
    found
}

/// The table of endpoint assignments, as part of the summary of everything.
pub(crate) fn assignment_table(assignments: &[&Value]) -> Table {
    let mut table = Table::new(["NAME", "STATUS", "LOCALITY", "CLUSTER"]);
    for assignment in assignments {
        let cluster = text(assignment, "cluster_name");
        for group in items(assignment, "endpoints") {
            let locality = field(group, "locality").map(locality).unwrap_or_default();
            for endpoint in items(group, "lb_endpoints") {
                let Some(host) = field(endpoint, "endpoint") else {
                    continue;
                };
                let shown = Endpoint::of(host, cluster).shown();
                let health = text(endpoint, "health_status");
                let health = if health.is_empty() { "UNKNOWN" } else { health };
                table.row([
                    format!("endpoint/{shown}"),
                    health.to_owned(),
                    locality.clone(),
                    cluster.to_owned(),
                ]);
            }
        }
    }
    table
}

fn locality(locality: &Value) -> String {
    let parts = [
        text(locality, "region"),
        text(locality, "zone"),
        text(locality, "sub_zone"),
    ];
    parts
        .into_iter()
        .take_while(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}
