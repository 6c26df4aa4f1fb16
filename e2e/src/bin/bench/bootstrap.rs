//! The bootstraps of a run, as JSON: the same text goes to both proxies.

use std::path::Path;

use serde_json::{Value, json};

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.http";
const NETWORK: &str = "type.googleapis.com/envoy.extensions.filters.network";

/// What a proxy of a run does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Service {
    /// HTTP/1.1 to the backend.
    #[default]
    Http1,
    /// HTTP/2 to the backend.
    Http2,
    /// Bytes.
    Tcp,
}

/// Which connections of a proxy are mutual TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Security {
    /// None.
    #[default]
    Plain,
    /// Those to the backend: the client's side of a pair.
    Client,
    /// Those of clients: the server's side of a pair.
    Server,
}

/// One proxy of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bootstrap {
    /// What it does.
    pub(crate) service: Service,
    /// What is encrypted.
    pub(crate) security: Security,
    /// Clusters beside the one that is used.
    pub(crate) clusters: usize,
    /// The route table is the file [`ROUTES`], which is watched.
    pub(crate) routes_from_file: bool,
}

/// The file of the route table, beside the certificates.
pub(crate) const ROUTES: &str = "routes.json";

/// Where a proxy stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) admin: u16,
    pub(crate) listen: u16,
    pub(crate) backend: u16,
}

impl Bootstrap {
    /// The bootstrap's text; `certificates` is the folder that [`crate::peers::Places`] made.
    pub(crate) fn text(&self, ports: Ports, certificates: &Path) -> String {
        let mut chain = json!({"filters": [self.terminal(certificates)]});
        if self.security == Security::Server {
            chain["transport_socket"] = self.accept(certificates);
        }
        let mut used = cluster("backend", ports.backend);
        if self.security == Security::Client {
            used["transport_socket"] = self.connect(certificates);
        }
        if self.service == Service::Http2 {
            used["typed_extension_protocol_options"] = http2();
        }
        let more = (0..self.clusters).map(|number| cluster(&service(number), ports.backend));
        let clusters: Vec<Value> = std::iter::once(used).chain(more).collect();
        json!({
            "node": {"id": "bench", "cluster": "bench"},
            "admin": {"address": address(ports.admin)},
            "static_resources": {
                "listeners": [{"name": "in", "address": address(ports.listen), "filter_chains": [chain]}],
                "clusters": clusters,
            },
        })
        .to_string()
    }

    fn terminal(&self, folder: &Path) -> Value {
        let mut manager = manager();
        if self.routes_from_file
            && let Some(fields) = manager.as_object_mut()
        {
            fields.remove("route_config");
            let source = json!({"path_config_source": {"path": folder.join(ROUTES)}, "resource_api_version": "V3"});
            fields.insert(
                "rds".to_owned(),
                json!({"route_config_name": "table", "config_source": source}),
            );
        }
        match self.service {
            Service::Tcp => json!({
                "name": "envoy.filters.network.tcp_proxy",
                "typed_config": {"@type": format!("{NETWORK}.tcp_proxy.v3.TcpProxy"), "stat_prefix": "in", "cluster": "backend"},
            }),
            Service::Http1 | Service::Http2 => json!({
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }),
        }
    }

    fn protocols(&self) -> Value {
        match self.service {
            Service::Http1 => json!(["http/1.1"]),
            Service::Http2 => json!(["h2"]),
            Service::Tcp => json!([]),
        }
    }

    fn accept(&self, certificates: &Path) -> Value {
        tls(
            "DownstreamTlsContext",
            json!({
                "require_client_certificate": true,
                "common_tls_context": self.common("server", json!({"prefix": "spiffe://cluster.local/"}), certificates),
            }),
        )
    }

    fn connect(&self, certificates: &Path) -> Value {
        let server = json!({"exact": "spiffe://cluster.local/ns/default/sa/server"});
        tls(
            "UpstreamTlsContext",
            json!({"sni": "backend.test", "common_tls_context": self.common("client", server, certificates)}),
        )
    }

    fn common(&self, side: &str, peer: Value, certificates: &Path) -> Value {
        let file = |name: String| json!({"filename": certificates.join(name)});
        json!({
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": self.protocols(),
            "tls_certificates": [{"certificate_chain": file(format!("{side}.crt")), "private_key": file(format!("{side}.key"))}],
            "validation_context": {
                "trusted_ca": file("ca.crt".to_owned()),
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peer}],
            },
        })
    }
}

/// The route table [`ROUTES`] of this version: a virtual host for each of the other clusters, and one that answers with
/// the version.
pub(crate) fn routes(version: usize, clusters: usize) -> String {
    let hosts = (0..clusters).map(|number| {
        let name = service(number);
        json!({
            "name": name,
            "domains": [format!("service-{number}"), format!("service-{number}:8080")],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}],
        })
    });
    let changed = json!({
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": format!("<{version}>")}}}],
    });
    let hosts: Vec<Value> = hosts.chain(std::iter::once(changed)).collect();
    json!({
        "version_info": version.to_string(),
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "table",
            "virtual_hosts": hosts,
        }],
    })
    .to_string()
}

fn service(number: usize) -> String {
    format!("outbound|8080||service-{number}.default.svc.cluster.local")
}

/// What a sidecar's connection manager has.
fn manager() -> Value {
    json!({
        "@type": format!("{NETWORK}.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "in",
        "normalize_path": true,
        "use_remote_address": false,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "0s",
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": {"@type": format!("{HTTP}.fault.v3.HTTPFault")}},
            {"name": "envoy.filters.http.cors", "typed_config": {"@type": format!("{HTTP}.cors.v3.Cors")}},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": format!("{HTTP}.router.v3.Router")}},
        ],
        "route_config": {"name": "local", "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}}],
        }]},
    })
}

fn cluster(name: &str, port: u16) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
        },
    })
}

fn http2() -> Value {
    json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }})
}

fn tls(kind: &str, mut context: Value) -> Value {
    context["@type"] = json!(format!("{TLS}.{kind}"));
    json!({"name": "envoy.transport_sockets.tls", "typed_config": context})
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}
