//! `proxy-config route`: the routes that a proxy fetched by name.

use serde_json::Value;

use super::describe::{config_object, domains, route_match};
use crate::dump::{ConfigDump, field, items, text};
use crate::table::Table;

/// Which routes are shown; empty fields show all.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RouteFilter {
    /// Only the route configuration of this name
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) name: String,
}

/// The route configurations that the filter takes: ports first, by number, then by name.
pub(crate) fn select<'a>(dump: &'a ConfigDump, filter: &RouteFilter) -> Vec<&'a Value> {
    let mut routes = dump.routes();
    routes.retain(|route| filter.name.is_empty() || text(route, "name") == filter.name);
    routes.sort_by_cached_key(|route| {
        let name = text(route, "name").to_owned();
        (name.parse::<u32>().unwrap_or(u32::MAX), name)
    });
    routes
}

/// The table of routes: a row a route when `verbose`, else a row a configuration; `prefix` stands before each name.
pub(crate) fn table(routes: &[&Value], verbose: bool, prefix: &str) -> Table {
    if !verbose {
        let mut table = Table::new(["NAME", "VIRTUAL HOSTS"]);
        for route in routes {
            table.row([
                format!("{prefix}{}", text(route, "name")),
                items(route, "virtual_hosts").len().to_string(),
            ]);
        }
        return table;
    }
    let mut table = Table::new(["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"]);
    for config in routes {
        let name = format!("{prefix}{}", text(config, "name"));
        for host in items(config, "virtual_hosts") {
            let row = |condition: String, object: String| {
                [
                    name.clone(),
                    text(host, "name").to_owned(),
                    domains(host),
                    condition,
                    object,
                ]
            };
            let routes = items(host, "routes");
            for route in routes.iter().filter(|route| !is_passthrough(route)) {
                table.row(row(route_match(route), config_object(route)));
            }
            if routes.is_empty() {
                table.row(row("/*".to_owned(), "404".to_owned()));
            }
        }
    }
    table
}

fn is_passthrough(route: &Value) -> bool {
    field(route, "route").is_some_and(|action| text(action, "cluster") == "PassthroughCluster")
}
