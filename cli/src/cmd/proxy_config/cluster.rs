//! `proxy-config cluster`: the clusters a proxy knows.

use serde_json::Value;

use super::describe::config_object;
use crate::dump::{ConfigDump, field, text};
use crate::table::Table;

/// Which clusters are shown; empty fields show all.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ClusterFilter {
    /// Only clusters whose name contains this host name
    #[arg(
        long,
        value_name = "HOST",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) fqdn: String,
    /// Only clusters of this port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Only clusters of this subset
    #[arg(
        long,
        value_name = "SUBSET",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) subset: String,
    /// Only clusters of this direction: inbound or outbound
    #[arg(
        long,
        value_name = "DIRECTION",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) direction: String,
}

/// The parts of a name such as `outbound|9080|v1|reviews.default.svc.cluster.local`.
struct Key<'a> {
    direction: &'a str,
    port: &'a str,
    subset: &'a str,
    host: &'a str,
}

impl<'a> Key<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let mut parts = name.splitn(4, '|');
        Some(Self {
            direction: parts.next()?,
            port: parts.next()?,
            subset: parts.next()?,
            host: parts.next()?,
        })
    }
}

impl ClusterFilter {
    fn takes(&self, name: &str) -> bool {
        let has = |part: &str| part.is_empty() || name.contains(part);
        has(&self.fqdn)
            && has(&self.subset)
            && has(&self.direction)
            && self
                .port
                .is_none_or(|port| name.contains(&format!("|{port}|")))
    }
}

/// The clusters that the filter takes, sorted by host, subset, port and direction.
pub(crate) fn select<'a>(dump: &'a ConfigDump, filter: &ClusterFilter) -> Vec<&'a Value> {
    let mut clusters = dump.clusters();
    clusters.retain(|cluster| filter.takes(text(cluster, "name")));
    clusters.sort_by_cached_key(|cluster| {
        let name = text(cluster, "name");
        match Key::of(name) {
            Some(key) => (
                key.host.to_owned(),
                key.subset.to_owned(),
                key.port.parse().unwrap_or(0),
                key.direction.to_owned(),
            ),
            None => (name.to_owned(), String::new(), 0_u32, String::new()),
        }
    });
    clusters
}

/// The table of clusters; `named` puts a column `NAME` before it.
pub(crate) fn table(clusters: &[&Value], named: bool) -> Table {
    let columns = [
        "SERVICE FQDN",
        "PORT",
        "SUBSET",
        "DIRECTION",
        "TYPE",
        "DESTINATION RULE",
    ];
    let mut table = Table::new(named.then_some("NAME").into_iter().chain(columns));
    for cluster in clusters {
        let name = text(cluster, "name");
        let key = Key::of(name).unwrap_or(Key {
            direction: "-",
            port: "-",
            subset: "-",
            host: name,
        });
        let subset = if key.subset.is_empty() {
            "-"
        } else {
            key.subset
        };
        let cells = [
            key.host,
            key.port,
            subset,
            key.direction,
            kind(cluster),
            &config_object(cluster),
        ]
        .map(str::to_owned);
        table.row(
            named
                .then(|| format!("cluster/{name}"))
                .into_iter()
                .chain(cells),
        );
    }
    table
}

/// How the cluster finds its endpoints; what is not said is STATIC.
fn kind(cluster: &Value) -> &str {
    match (
        text(cluster, "type"),
        field(cluster, "cluster_type").map_or("", |custom| text(custom, "name")),
    ) {
        ("", "") => "STATIC",
        ("", custom) => custom,
        (kind, _) => kind,
    }
}
