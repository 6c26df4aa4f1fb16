//! `proxy-config listener`: where a proxy listens, and what it does with connections.

use serde_json::Value;

use super::describe::{destination, is_http, is_tcp, reaches};
use crate::dump::{ConfigDump, at, field, items, number, text, texts};
use crate::table::Table;

/// Which listeners are shown; empty fields show all.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ListenerFilter {
    /// Only listeners at this address
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) address: String,
    /// Only listeners of this type: HTTP, TCP, HTTP+TCP or UNKNOWN
    #[arg(
        long = "type",
        value_name = "TYPE",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) kind: String,
    /// Only listeners at this port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
}

impl ListenerFilter {
    fn takes(&self, listener: &Value) -> bool {
        let address = self.address.is_empty()
            || addresses(listener)
                .iter()
                .any(|one| one.eq_ignore_ascii_case(&self.address));
        let kind = self.kind.is_empty() || self.kind.eq_ignore_ascii_case(kind(listener));
        address
            && kind
            && self
                .port
                .is_none_or(|wanted| port(listener) == u64::from(wanted))
    }
}

/// The listeners that the filter takes, sorted by port, address and type.
pub(crate) fn select<'a>(dump: &'a ConfigDump, filter: &ListenerFilter) -> Vec<&'a Value> {
    let mut listeners = dump.listeners();
    listeners.retain(|listener| filter.takes(listener));
    listeners.sort_by_cached_key(|listener| (port(listener), addresses(listener), kind(listener)));
    listeners
}

/// The table of listeners: a row a filter chain when `verbose`, else a row a listener; `named` puts a column `NAME` before it.
pub(crate) fn table(listeners: &[&Value], verbose: bool, named: bool) -> Table {
    let columns: &[&str] = if verbose {
        &["ADDRESSES", "PORT", "MATCH", "DESTINATION"]
    } else {
        &["ADDRESSES", "PORT", "TYPE"]
    };
    let mut table = Table::new(
        named
            .then_some("NAME")
            .into_iter()
            .chain(columns.iter().copied()),
    );
    for listener in listeners {
        let start = || {
            let name = named.then(|| format!("listener/{}", text(listener, "name")));
            name.into_iter()
                .chain([addresses(listener).join(","), port(listener).to_string()])
        };
        if !verbose {
            table.row(start().chain([kind(listener).to_owned()]));
            continue;
        }
        let mut chains: Vec<(String, String)> = chains(listener)
            .map(|chain| (destination(chain), conditions(chain)))
            .collect();
        chains.sort_by(|a, b| b.0.cmp(&a.0));
        for (destination, conditions) in chains {
            table.row(start().chain([conditions, destination]));
        }
    }
    table
}

fn chains(listener: &Value) -> impl Iterator<Item = &Value> {
    items(listener, "filter_chains")
        .iter()
        .chain(field(listener, "default_filter_chain"))
}

fn addresses(listener: &Value) -> Vec<String> {
    let further = items(listener, "additional_addresses")
        .iter()
        .filter_map(|item| field(item, "address"));
    field(listener, "address")
        .into_iter()
        .chain(further)
        .filter_map(address)
        .collect()
}

fn address(address: &Value) -> Option<String> {
    if let Some(socket) = field(address, "socket_address") {
        return Some(text(socket, "address").to_owned());
    }
    if let Some(pipe) = field(address, "pipe") {
        return Some(format!("unix://{}", text(pipe, "path")));
    }
    field(address, "envoy_internal_address")
        .map(|internal| format!("envoy://{}", text(internal, "server_listener_name")))
}

fn port(listener: &Value) -> u64 {
    at(listener, &["address", "socket_address"])
        .and_then(|socket| number(socket, "port_value"))
        .unwrap_or(0)
}

fn kind(listener: &Value) -> &'static str {
    let (mut http, mut tcp) = (false, false);
    for filter in chains(listener).flat_map(|chain| items(chain, "filters")) {
        http |= is_http(filter);
        tcp |= is_tcp(filter)
            && !field(filter, "typed_config")
                .is_some_and(|config| reaches(config, "BlackHoleCluster"));
    }
    match (http, tcp) {
        (true, false) => "HTTP",
        (true, true) => "HTTP+TCP",
        (false, true) => "TCP",
        (false, false) => "UNKNOWN",
    }
}

/// Groups of application protocols that have a name.
const PROTOCOLS: [(&str, &[&str]); 4] = [
    (
        "App: HTTP TLS",
        &[
            "http/1.0",
            "http/1.1",
            "h2c",
            "istio-http/1.0",
            "istio-http/1.1",
            "istio-h2",
        ],
    ),
    (
        "App: Istio HTTP Plain",
        &["istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"],
    ),
    ("App: TCP TLS", &["istio-peer-exchange", "istio"]),
    ("App: HTTP", &["http/1.0", "http/1.1", "h2c"]),
];

/// Which connections a filter chain takes.
fn conditions(chain: &Value) -> String {
    let Some(condition) = field(chain, "filter_chain_match") else {
        return "ALL".to_owned();
    };
    let mut parts = Vec::new();
    let names = texts(condition, "server_names");
    if !names.is_empty() {
        parts.push(format!("SNI: {}", names.join(",")));
    }
    let transport = text(condition, "transport_protocol");
    if !transport.is_empty() {
        parts.push(format!("Trans: {transport}"));
    }
    let protocols = texts(condition, "application_protocols");
    if !protocols.is_empty() {
        let known = PROTOCOLS.iter().find(|(_, group)| *group == protocols);
        parts.push(known.map_or_else(
            || format!("App: {}", protocols.join(",")),
            |(name, _)| (*name).to_owned(),
        ));
    }
    let port = number(condition, "destination_port")
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let range = |range: &Value| {
        format!(
            "{}/{}",
            text(range, "address_prefix"),
            number(range, "prefix_len").unwrap_or(0)
        )
    };
    let ranges: Vec<String> = items(condition, "prefix_ranges")
        .iter()
        .map(range)
        .collect();
    if !ranges.is_empty() {
        parts.push(format!("Addr: {}{port}", ranges.join(",")));
    } else if !port.is_empty() {
        parts.push(format!("Addr: *{port}"));
    }
    if parts.is_empty() {
        "ALL".to_owned()
    } else {
        parts.join("; ")
    }
}
