//! How istioctl words parts of a proxy's configuration.

use serde_json::Value;

use crate::dump::{at, field, items, text, texts};

/// The resource that a cluster or route was made from, `name.namespace`; empty when the proxy was not told.
pub(super) fn config_object(resource: &Value) -> String {
    let metadata =
        at(resource, &["metadata", "filter_metadata"]).and_then(|metadata| metadata.get("istio"));
    let path = metadata
        .and_then(|istio| istio.get("config"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [
            "",
            "apis",
            _group,
            _version,
            "namespaces",
            namespace,
            _kind,
            name,
        ] => format!("{name}.{namespace}"),
        _ => path.to_owned(),
    }
}

/// The condition of a route on the path.
pub(super) fn route_match(route: &Value) -> String {
    let Some(condition) = field(route, "match") else {
        return String::new();
    };
    let mut parts = Vec::new();
    for (name, before, after) in [
        ("prefix", "", "*"),
        ("path_separated_prefix", "PathPrefix:", ""),
        ("path", "", ""),
    ] {
        let value = text(condition, name);
        if !value.is_empty() {
            parts.push(format!("{before}{value}{after}"));
        }
    }
    if let Some(regex) = field(condition, "safe_regex") {
        parts.push(format!("regex {}", text(regex, "regex")));
    }
    parts.join(" ")
}

/// The domains of a virtual host: one as it is, else the two shortest without a port and the number of the others.
pub(super) fn domains(host: &Value) -> String {
    const SHOWN: usize = 2;
    let domains = texts(host, "domains");
    if let [only] = domains.as_slice() {
        return (*only).to_owned();
    }
    let is_bare_ipv6 = |domain: &str| domain.matches(':').count() > 2 && domain.ends_with(']');
    let mut bare: Vec<&str> = domains
        .into_iter()
        .filter(|domain| !domain.contains(':') || is_bare_ipv6(domain))
        .collect();
    bare.sort_by_key(|domain| domain.len());
    let shown = bare
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match bare.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

/// Where a filter chain's connections go.
pub(super) fn destination(chain: &Value) -> String {
    for filter in items(chain, "filters") {
        let Some(config) = field(filter, "typed_config") else {
            continue;
        };
        if is_http(filter) {
            return http_destination(config);
        }
        if is_tcp(filter) && !reaches(config, "BlackHoleCluster") {
            return tcp_destination(config);
        }
    }
    "Non-HTTP/Non-TCP".to_owned()
}

/// Whether the filter is the HTTP connection manager.
pub(super) fn is_http(filter: &Value) -> bool {
    is_filter(filter, "http_connection_manager", "HttpConnectionManager")
}

/// Whether the filter is the TCP proxy.
pub(super) fn is_tcp(filter: &Value) -> bool {
    is_filter(filter, "tcp_proxy", "TcpProxy")
}

/// Whether a TCP proxy leads to a cluster of this name.
pub(super) fn reaches(config: &Value, cluster: &str) -> bool {
    text(config, "cluster").contains(cluster)
}

fn is_filter(filter: &Value, name: &str, message: &str) -> bool {
    let url = field(filter, "typed_config")
        .and_then(|config| config.get("@type"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    url.ends_with(&format!(".{message}")) || text(filter, "name").ends_with(&format!(".{name}"))
}

fn http_destination(config: &Value) -> String {
    if let Some(inline) = field(config, "route_config") {
        return inline_routes(inline);
    }
    match field(config, "rds").map(|rds| text(rds, "route_config_name")) {
        Some(name) if !name.is_empty() => format!("Route: {name}"),
        _ => "HTTP".to_owned(),
    }
}

fn tcp_destination(config: &Value) -> String {
    let weighted =
        at(config, &["weighted_clusters"]).map_or(&[][..], |weighted| items(weighted, "clusters"));
    let names: Vec<&str> = match text(config, "cluster") {
        "" => weighted
            .iter()
            .map(|cluster| text(cluster, "name"))
            .collect(),
        name => vec![name],
    };
    match names.as_slice() {
        [name] if name.contains("Cluster") => (*name).to_owned(),
        names => format!("Cluster: {}", names.join(",")),
    }
}

fn inline_routes(config: &Value) -> String {
    let hosts = items(config, "virtual_hosts");
    if let Some(cluster) = only_cluster(hosts) {
        return format!("Cluster: {cluster}");
    }
    let described = hosts.iter().map(|host| {
        let routes = items(host, "routes")
            .iter()
            .map(route_match)
            .collect::<Vec<_>>()
            .join(", ");
        match texts(host, "domains").as_slice() {
            ["*"] => routes,
            domains => format!("{} {routes}", domains.join("/")),
        }
    });
    format!("Inline Route: {}", described.collect::<Vec<_>>().join("; "))
}

/// The cluster of routes that send everything to one.
fn only_cluster(hosts: &[Value]) -> Option<&str> {
    let [host] = hosts else { return None };
    let ([route], ["*"]) = (items(host, "routes"), texts(host, "domains").as_slice()) else {
        return None;
    };
    let everything =
        field(route, "match").is_some_and(|condition| text(condition, "prefix") == "/");
    let cluster = text(field(route, "route")?, "cluster");
    (everything && !cluster.is_empty()).then_some(cluster)
}
