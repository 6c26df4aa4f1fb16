//! Servers of the Gateways that select a router, sorted by the port they listen on, with conflicts resolved: oldest first.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::host::overlap;
use lateen_api::networking::{Gateway, Server, ServerTlsMode, VirtualService};
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::endpoint::Endpoints;
use lateen_controlplane_model::generate::Rejection;
use lateen_controlplane_model::proxy::Labels;
use lateen_controlplane_model::rule::Rule;
use lateen_controlplane_model::service::{Service, TargetPort, covers};
use lateen_controlplane_model::snapshot::Snapshot;

/// How a server handles connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    /// HTTP in plain text.
    Http,
    /// HTTP over TLS that ends here.
    Https,
    /// Bytes over TLS that ends here.
    TlsTcp,
    /// TLS routed by name and passed on.
    Passthrough,
    /// Bytes.
    Tcp,
}

/// One server in effect.
#[derive(Debug, Clone)]
pub(crate) struct ActiveServer {
    pub(crate) gateway: Arc<Rule<Gateway>>,
    /// Position in the Gateway.
    pub(crate) at: usize,
    pub(crate) handling: Handling,
    /// The port as the Gateway states it.
    pub(crate) number: u16,
}

/// Servers by the port and address that the router binds.
pub(crate) type Servers = BTreeMap<(u16, String), Vec<ActiveServer>>;

impl ActiveServer {
    /// The server as written.
    pub(crate) fn server(&self) -> Option<&Server> {
        self.gateway.spec.servers.get(self.at)
    }

    /// Hosts without their namespace part.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.server()
            .into_iter()
            .flat_map(|server| server.hosts.iter().map(|host| split_host(host).1))
    }

    /// Name of the routes of an HTTPS server.
    pub(crate) fn https_routes(&self) -> String {
        let port_name = self
            .server()
            .and_then(|server| server.port.as_ref())
            .map_or("", |port| port.name.as_str());
        let bind = self
            .server()
            .map(|server| server.bind.as_str())
            .filter(|bind| !bind.is_empty());
        let name = format!(
            "https.{}.{port_name}.{}.{}",
            self.number, self.gateway.name, self.gateway.namespace
        );
        bind.map_or(name.clone(), |bind| format!("{name}.{bind}"))
    }

    /// True when plain requests are sent to https.
    pub(crate) fn redirects(&self) -> bool {
        self.server()
            .and_then(|server| server.tls.as_ref())
            .is_some_and(|tls| tls.https_redirect)
    }

    /// The hosts of a rule that this server serves.
    pub(crate) fn served<'a>(&self, rule: &'a Rule<VirtualService>) -> Vec<&'a str> {
        let Some(server) = self.server() else {
            return Vec::new();
        };
        let serves = |name: &str| {
            server.hosts.iter().any(|host| {
                let (namespace, host) = split_host(host);
                let place = match namespace {
                    "*" => true,
                    "." => self.gateway.namespace == rule.namespace,
                    other => *other == *rule.namespace,
                };
                place && overlap(host, name)
            })
        };
        rule.spec
            .hosts
            .iter()
            .map(String::as_str)
            .filter(|name| serves(name))
            .collect()
    }
}

/// `namespace/host` as its parts; a bare host is of any namespace.
fn split_host(host: &str) -> (&str, &str) {
    host.split_once('/').unwrap_or(("*", host))
}

/// How a server handles connections; the reason when it cannot be served.
pub(crate) fn handling(server: &Server) -> Result<Handling, &'static str> {
    let protocol = server.port.as_ref().map_or(Protocol::Unsupported, |port| {
        Protocol::parse(&port.protocol)
    });
    let tls = server.tls.as_ref();
    let mode = tls.filter(|tls| !tls.https_redirect).map(|tls| tls.mode);
    match (protocol, mode) {
        (_, Some(ServerTlsMode::AutoPassthrough)) => {
            Err("AUTO_PASSTHROUGH (several networks) is not supported")
        }
        (Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb, None) => {
            Ok(Handling::Http)
        }
        (Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb, Some(_)) => {
            Err("a plain HTTP port takes no TLS mode: use protocol HTTPS")
        }
        (Protocol::Https | Protocol::Tls, Some(ServerTlsMode::Passthrough)) => {
            Ok(Handling::Passthrough)
        }
        (Protocol::Https, Some(_)) => Ok(Handling::Https),
        (Protocol::Tls, Some(_)) => Ok(Handling::TlsTcp),
        (Protocol::Https | Protocol::Tls, None) => Err("a TLS port needs tls settings"),
        (Protocol::Tcp | Protocol::Mongo | Protocol::MySql | Protocol::Redis, None) => {
            Ok(Handling::Tcp)
        }
        (
            Protocol::Tcp | Protocol::Mongo | Protocol::MySql | Protocol::Redis,
            Some(ServerTlsMode::Passthrough),
        ) => Ok(Handling::Passthrough),
        (Protocol::Tcp | Protocol::Mongo | Protocol::MySql | Protocol::Redis, Some(_)) => {
            Ok(Handling::TlsTcp)
        }
        _ => Err(
            "this protocol cannot be served by a gateway: use HTTP, HTTPS, HTTP2, GRPC, GRPC-Web, TLS, TCP or MONGO",
        ),
    }
}

/// The servers for a router with these labels in this namespace; what cannot be served is told to `refuse`.
pub(crate) fn servers(
    snapshot: &Snapshot,
    namespace: &str,
    labels: &Labels,
    mut refuse: impl FnMut(Rejection),
) -> Servers {
    let mut out = Servers::new();
    let selected = snapshot
        .gateways
        .iter()
        .filter(|gateway| covers(labels, &gateway.spec.selector));
    for gateway in selected {
        for (at, server) in gateway.spec.servers.iter().enumerate() {
            let mut reject = |field: &str, reason: &str| {
                refuse(Rejection {
                    kind: "Gateway".into(),
                    object: gateway.full_name(),
                    field: format!("spec.servers[{at}]{field}"),
                    reason: reason.into(),
                });
            };
            let number = server
                .port
                .as_ref()
                .and_then(|port| u16::try_from(port.number).ok())
                .filter(|number| *number > 0);
            let Some(number) = number else {
                reject(".port.number", "a port number is between 1 and 65535");
                continue;
            };
            let handling = match handling(server) {
                Ok(handling) => handling,
                Err(reason) => {
                    reject("", reason);
                    continue;
                }
            };
            let active = ActiveServer {
                gateway: Arc::clone(gateway),
                at,
                handling,
                number,
            };
            let port = pod_port(snapshot, namespace, labels, number);
            let held = out.entry((port, server.bind.clone())).or_default();
            match conflict(held, &active) {
                Some(reason) => reject("", reason),
                None => held.push(active),
            }
        }
    }
    out.retain(|_, servers| !servers.is_empty());
    out
}

/// Why a server cannot join those that hold the port already.
fn conflict(held: &[ActiveServer], new: &ActiveServer) -> Option<&'static str> {
    let first = held.first()?;
    let secure = |handling| {
        matches!(
            handling,
            Handling::Https | Handling::TlsTcp | Handling::Passthrough
        )
    };
    match (first.handling, new.handling) {
        (Handling::Http, Handling::Http) => None,
        (Handling::Tcp, Handling::Tcp) => Some("another TCP server has the port"),
        (a, b) if secure(a) && secure(b) => {
            let taken = held.iter().any(|other| {
                other
                    .hosts()
                    .any(|host| new.hosts().any(|own| own.eq_ignore_ascii_case(host)))
            });
            taken.then_some("another TLS server on the port has one of the hosts")
        }
        _ => Some("another server on the port speaks another protocol"),
    }
}

/// The port of the pod behind a port of the router's Service; the number itself without such a Service.
fn pod_port(snapshot: &Snapshot, namespace: &str, labels: &Labels, number: u16) -> u16 {
    let services = snapshot
        .services
        .row(namespace)
        .filter(|service| service.selects(labels));
    let target = |service: &Arc<Service>| {
        let port = service.port(number)?;
        match &port.target {
            TargetPort::Number(target) => Some(*target),
            TargetPort::Name(_) => {
                let endpoints: Option<&Arc<Endpoints>> = snapshot.endpoints_of(service);
                endpoints?
                    .list
                    .iter()
                    .find(|endpoint| endpoint.port_name == port.name)
                    .map(|endpoint| endpoint.port)
            }
        }
    };
    services.filter_map(target).next().unwrap_or(number)
}
