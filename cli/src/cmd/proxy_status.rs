//! `lateenctl proxy-status`: which proxies are connected, and whether they have what was sent to them (contract/cli.md §2).

use std::collections::BTreeSet;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::args::Scope;
use crate::dump::{at, camel_case, field, items, text};
use crate::failure::Failure;
use crate::mesh::Mesh;
use crate::output::{self, Format};
use crate::table::Table;

/// Show which proxies are connected, and whether they have what was sent to them
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lateenctl proxy-status\n  \
    lateenctl proxy-status -v 1\n  \
    lateenctl ps -n default -o json")]
pub(crate) struct ProxyStatusArgs {
    /// Not supported yet: a pod whose configuration is compared with the control plane's
    #[arg(value_name = "[TYPE/]NAME[.NAMESPACE]", hide = true)]
    pod: Option<String>,
    /// 1 shows the state of each type of configuration
    #[arg(short, long, value_name = "LEVEL", default_value_t = 0)]
    verbosity: u8,
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Not supported yet: a saved dump to compare
    #[arg(short, long, value_name = "FILE", hide = true)]
    file: Option<String>,
    /// Not supported yet: the address of a control plane
    #[arg(long, value_name = "HOST:PORT", hide = true)]
    xds_address: Option<String>,
    /// Not supported yet: a revision of the control plane
    #[arg(short, long, value_name = "REVISION", hide = true)]
    revision: Option<String>,
}

/// Prints the state of the local mesh's proxies.
pub(crate) async fn run(args: &ProxyStatusArgs, scope: &Scope) -> Result<(), Failure> {
    if args.pod.is_some() || args.file.is_some() {
        return Err(Failure::usage(
            "comparing a proxy with the control plane is not supported yet: use proxy-status -v 1, or proxy-config all POD",
        ));
    }
    for (flag, given) in [
        ("--xds-address", &args.xds_address),
        ("--revision", &args.revision),
    ] {
        if given.is_some() {
            return Err(Failure::usage(format!(
                "{flag}: only the control plane of a local mesh can be asked yet (--mesh NAME)"
            )));
        }
    }
    let (istiod, answer) = Mesh::find(scope)?.control_plane("debug/syncz").await?;
    let status = read(&answer, &istiod)?;
    let wanted: Vec<&Value> = status
        .iter()
        .filter(|client| in_namespace(client, &scope.namespace))
        .collect();
    if let Some(form) = args.output.structured() {
        return output::print(&output::render(&responses(&wanted, &istiod), form));
    }
    let mut proxies: Vec<Proxy> = wanted
        .into_iter()
        .map(|client| Proxy::of(client, &istiod))
        .collect();
    proxies.sort_by(|a, b| a.name.cmp(&b.name));
    let table = if args.verbosity == 0 {
        table(&proxies)
    } else {
        verbose_table(&proxies, Timestamp::now())
    };
    output::print(&table.text())
}

/// The discovery response of each control plane, as the debug type `istio.io/debug/syncz` has it.
fn responses(clients: &[&Value], istiod: &str) -> Value {
    let resources = clients.iter().map(|client| {
        let mut resource = camel_case(client);
        resource["@type"] = json!("type.googleapis.com/envoy.service.status.v3.ClientConfig");
        resource
    });
    json!({istiod: {
        "resources": resources.collect::<Vec<_>>(),
        "typeUrl": "istio.io/debug/syncz",
        "controlPlane": {"identifier": istiod},
    }})
}

/// The client configs of an answer: a list, or a discovery response that holds them.
pub(crate) fn read(answer: &[u8], from: &str) -> Result<Vec<Value>, Failure> {
    let value: Value = serde_json::from_slice(answer)
        .map_err(|error| Failure::data(format!("{from}: /debug/syncz is not JSON: {error}")))?;
    match value {
        Value::Array(list) => Ok(list),
        Value::Null => Ok(Vec::new()),
        other => match ["resources", "config", "configs"]
            .into_iter()
            .find_map(|name| other.get(name)?.as_array().cloned())
        {
            Some(list) => Ok(list),
            None => Err(Failure::data(format!(
                "{from}: /debug/syncz has no list of proxies"
            ))),
        },
    }
}

fn in_namespace(client: &Value, namespace: &str) -> bool {
    namespace.is_empty() || metadata(client, "NAMESPACE") == namespace
}

fn metadata<'a>(client: &'a Value, key: &str) -> &'a str {
    at(client, &["node", "metadata"])
        .and_then(|metadata| metadata.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The state of one type of configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subscription {
    type_url: String,
    state: String,
    updated: Option<Timestamp>,
}

/// A proxy as one line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    name: String,
    cluster: String,
    istiod: String,
    /// The version that the proxy says it has.
    pub(crate) version: String,
    types: Vec<Subscription>,
}

impl Proxy {
    /// A proxy from its `ClientConfig`.
    pub(crate) fn of(client: &Value, istiod: &str) -> Self {
        let types = items(client, "generic_xds_configs")
            .iter()
            .map(|config| Subscription {
                type_url: text(config, "type_url").to_owned(),
                state: text(config, "config_status").to_owned(),
                updated: text(config, "last_updated").parse().ok(),
            });
        Self {
            name: field(client, "node")
                .map_or("", |node| text(node, "id"))
                .to_owned(),
            cluster: metadata(client, "CLUSTER_ID").to_owned(),
            istiod: istiod.to_owned(),
            version: metadata(client, "ISTIO_VERSION").to_owned(),
            types: types.collect(),
        }
    }

    /// The types that were sent or asked for: CDS, LDS, EDS, RDS, then the others.
    fn subscribed(&self) -> Vec<&str> {
        let order = |url: &str| {
            ["CDS", "LDS", "EDS", "RDS"]
                .iter()
                .position(|short| *short == short_type(url))
                .unwrap_or(4)
        };
        let mut urls: Vec<&str> = self.types.iter().map(|one| one.type_url.as_str()).collect();
        urls.sort_by_key(|url| (order(url), *url));
        urls.dedup();
        urls.into_iter().map(short_type).collect()
    }

    fn cell(&self, type_url: &str, now: Timestamp) -> String {
        let Some(one) = self.types.iter().find(|one| one.type_url == type_url) else {
            return "IGNORED".to_owned();
        };
        let age = one
            .updated
            .map(|updated| {
                format!(
                    " ({})",
                    age(now.as_second().saturating_sub(updated.as_second()))
                )
            })
            .unwrap_or_default();
        match one.state.as_str() {
            "SYNCED" => format!("SYNCED{age}"),
            "STALE" => format!("STALE{age}"),
            "NOT_SENT" => "NOT SENT".to_owned(),
            "ERROR" => "ERROR".to_owned(),
            _ => "IGNORED".to_owned(),
        }
    }
}

/// Types that have a column even when no proxy asks for them.
const KNOWN: [&str; 5] = [
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
];

fn short_type(url: &str) -> &str {
    match url.rsplit('/').next().unwrap_or(url) {
        "envoy.config.cluster.v3.Cluster" => "CDS",
        "envoy.config.core.v3.TypedExtensionConfig" => "ECDS",
        "envoy.config.endpoint.v3.ClusterLoadAssignment" => "EDS",
        "envoy.config.listener.v3.Listener" => "LDS",
        "envoy.config.route.v3.RouteConfiguration" => "RDS",
        "envoy.extensions.transport_sockets.tls.v3.Secret" => "SDS",
        "istio.networking.nds.v1.NameTable" => "NDS",
        "istio.mesh.v1alpha1.ProxyConfig" => "PCDS",
        "istio.workload.Address" | "istio.workload.Workload" => "WDS",
        "istio.security.Authorization" => "WADS",
        _ => url,
    }
}

fn table(proxies: &[Proxy]) -> Table {
    let mut table = Table::new(["NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"]);
    for proxy in proxies {
        let types = proxy.subscribed();
        let types = format!("{} ({})", types.len(), types.join(","));
        table.row([
            proxy.name.as_str(),
            &proxy.cluster,
            &proxy.istiod,
            &proxy.version,
            &types,
        ]);
    }
    table
}

fn verbose_table(proxies: &[Proxy], now: Timestamp) -> Table {
    let seen = proxies
        .iter()
        .flat_map(|proxy| proxy.types.iter().map(|one| one.type_url.as_str()));
    let urls: BTreeSet<&str> = KNOWN.into_iter().chain(seen).collect();
    let columns = urls.iter().map(|url| short_type(url));
    let mut table = Table::new(
        ["NAME", "CLUSTER"]
            .into_iter()
            .chain(columns)
            .chain(["ISTIOD", "VERSION"]),
    );
    for proxy in proxies {
        let cells = urls.iter().map(|url| proxy.cell(url, now));
        let start = [proxy.name.clone(), proxy.cluster.clone()].into_iter();
        table.row(
            start
                .chain(cells)
                .chain([proxy.istiod.clone(), proxy.version.clone()]),
        );
    }
    table
}

/// A span of time as Kubernetes' tools print it: fewer parts the longer it is.
pub(crate) fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |whole: i64, unit: &str, rest: i64, small: &str| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{small}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ if days < 730 => format!("{days}d"),
        _ => two(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: &str, configs: Value) -> Value {
        json!({"node": {"id": id, "metadata": {"CLUSTER_ID": "Kubernetes", "NAMESPACE": "shop", "ISTIO_VERSION": "0.1.0"}}, "genericXdsConfigs": configs})
    }

    fn config(url: &str, state: &str, updated: &str) -> Value {
        json!({"typeUrl": format!("type.googleapis.com/{url}"), "configStatus": state, "lastUpdated": updated})
    }

    fn proxies() -> Vec<Proxy> {
        let answer = json!([
            client(
                "web.shop",
                json!([
                    config(
                        "envoy.config.listener.v3.Listener",
                        "STALE",
                        "2025-01-01T00:00:00Z"
                    ),
                    config(
                        "envoy.config.cluster.v3.Cluster",
                        "SYNCED",
                        "2025-01-01T00:57:00Z"
                    ),
                    config("istio.networking.nds.v1.NameTable", "NOT_SENT", ""),
                ])
            ),
            client(
                "gate.istio-system",
                json!([config("envoy.config.cluster.v3.Cluster", "ERROR", "")])
            ),
        ]);
        let read =
            read(answer.to_string().as_bytes(), "istiod").unwrap_or_else(|error| panic!("{error}"));
        read.iter()
            .map(|client| Proxy::of(client, "istiod-0"))
            .collect()
    }

    #[test]
    fn a_line_a_proxy_counts_its_types() {
        assert_eq!(
            table(&proxies()).text_in(None),
            "\
NAME                  CLUSTER        ISTIOD       VERSION     SUBSCRIBED TYPES
web.shop              Kubernetes     istiod-0     0.1.0       3 (CDS,LDS,NDS)
gate.istio-system     Kubernetes     istiod-0     0.1.0       1 (CDS)
"
        );
    }

    #[test]
    fn verbose_has_a_column_a_type_with_state_and_age() {
        let now = "2025-01-01T01:00:00Z"
            .parse()
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            verbose_table(&proxies(), now).text_in(None),
            "\
NAME                  CLUSTER        CDS             ECDS        EDS         LDS             RDS         NDS          ISTIOD       VERSION
web.shop              Kubernetes     SYNCED (3m)     IGNORED     IGNORED     STALE (60m)     IGNORED     NOT SENT     istiod-0     0.1.0
gate.istio-system     Kubernetes     ERROR           IGNORED     IGNORED     IGNORED         IGNORED     IGNORED      istiod-0     0.1.0
"
        );
    }

    #[test]
    fn structured_output_is_a_discovery_response_a_control_plane() {
        let client =
            json!({"node": {"id": "web.shop"}, "generic_xds_configs": [{"type_url": "t"}]});
        assert_eq!(
            responses(&[&client], "istiod-0")["istiod-0"]["resources"],
            json!([{"node": {"id": "web.shop"}, "genericXdsConfigs": [{"typeUrl": "t"}],
                "@type": "type.googleapis.com/envoy.service.status.v3.ClientConfig"}])
        );
    }

    #[test]
    fn ages_have_fewer_parts_the_longer_they_are() {
        for (seconds, shown) in [
            (-5, "0s"),
            (119, "119s"),
            (180, "3m"),
            (185, "3m5s"),
            (3600, "60m"),
            (11_000, "3h3m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
            (800_000, "9d"),
            (70_000_000, "2y80d"),
        ] {
            assert_eq!(age(seconds), shown);
        }
    }

    #[test]
    fn answers_are_a_list_or_hold_one() {
        for (answer, count) in [
            ("[{}]", Some(1)),
            ("{\"resources\": [{}, {}]}", Some(2)),
            ("null", Some(0)),
            ("{}", None),
            ("<html>", None),
        ] {
            assert_eq!(
                read(answer.as_bytes(), "x").ok().map(|list| list.len()),
                count,
                "{answer}"
            );
        }
    }
}
