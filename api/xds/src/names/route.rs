use std::fmt;
use std::str::FromStr;

use super::error::{NameError, port};

/// Name of a route configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteName {
    /// `<port>`: every HTTP service of the port.
    Port(u16),
    /// `<host>:<port>`: one service whose protocol is detected.
    Service {
        /// Host name of the service.
        host: String,
        /// Service port.
        port: u16,
    },
    /// `http_proxy`: the explicit proxy port.
    HttpProxy,
    /// Path of a unix domain socket.
    Unix(String),
    /// `http.<listener port>` of a gateway.
    GatewayHttp(u16),
    /// `https.<server port>.<port name>.<gateway>.<namespace>`
    GatewayHttps {
        /// Port of the server.
        port: u16,
        /// Name of the port, without dots.
        port_name: String,
        /// Name of the Gateway, dots allowed.
        gateway: String,
        /// Its namespace.
        namespace: String,
    },
    /// `inbound|<port>||`: inline route of an inbound chain.
    Inbound(u16),
    /// `InboundPassthroughCluster`: inline route of the inbound passthrough.
    InboundPassthrough,
    /// A name of the client's own.
    Other(String),
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "{port}"),
            Self::Service { host, port } => write!(f, "{host}:{port}"),
            Self::HttpProxy => f.write_str("http_proxy"),
            Self::GatewayHttp(port) => write!(f, "http.{port}"),
            Self::GatewayHttps {
                port,
                port_name,
                gateway,
                namespace,
            } => {
                write!(f, "https.{port}.{port_name}.{gateway}.{namespace}")
            }
            Self::Inbound(port) => write!(f, "inbound|{port}||"),
            Self::InboundPassthrough => f.write_str("InboundPassthroughCluster"),
            Self::Unix(name) | Self::Other(name) => f.write_str(name),
        }
    }
}

impl FromStr for RouteName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |reason| NameError::new("route", text, reason);
        if let Some(number) = port(text) {
            return Ok(Self::Port(number));
        }
        if let Some(rest) = text.strip_prefix("inbound|") {
            let number = rest.strip_suffix("||").and_then(port);
            return number
                .map(Self::Inbound)
                .ok_or_else(|| error("expected inbound|<port>||"));
        }
        if let Some(number) = text.strip_prefix("http.").and_then(port) {
            return Ok(Self::GatewayHttp(number));
        }
        if let Some(name) = text.strip_prefix("https.").and_then(gateway_https) {
            return Ok(name);
        }
        match text {
            "http_proxy" => return Ok(Self::HttpProxy),
            "InboundPassthroughCluster" => return Ok(Self::InboundPassthrough),
            _ if text.starts_with('/') || text.starts_with('@') => {
                return Ok(Self::Unix(text.to_owned()));
            }
            _ => {}
        }
        Ok(match host_port(text) {
            Some((host, port)) => Self::Service {
                host: host.to_owned(),
                port,
            },
            None => Self::Other(text.to_owned()),
        })
    }
}

fn gateway_https(text: &str) -> Option<RouteName> {
    let (number, rest) = text.split_once('.')?;
    let (port_name, rest) = rest.split_once('.')?;
    let (gateway, namespace) = rest.rsplit_once('.')?;
    if gateway.is_empty() || namespace.is_empty() {
        return None;
    }
    let (port_name, gateway, namespace) = (
        port_name.to_owned(),
        gateway.to_owned(),
        namespace.to_owned(),
    );
    Some(RouteName::GatewayHttps {
        port: port(number)?,
        port_name,
        gateway,
        namespace,
    })
}

fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, number) = text.rsplit_once(':')?;
    if host.is_empty() {
        None
    } else {
        Some((host, port(number)?))
    }
}

/// Name of a virtual host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VirtualHostName {
    /// `<host>:<port>`
    Service {
        /// Host name, which may be a wildcard.
        host: String,
        /// Service or server port.
        port: u16,
    },
    /// `inbound|http|<port>`
    Inbound(u16),
    /// `allow_any`: to the passthrough cluster.
    AllowAny,
    /// `block_all`: 502.
    BlockAll,
    /// `allow_any_dynamic_dns`: resolves what the request names.
    AllowAnyDynamicDns,
    /// `blackhole:<port>` of a gateway without a VirtualService: 404.
    Blackhole(u16),
    /// A name of the client's own.
    Other(String),
}

impl fmt::Display for VirtualHostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { host, port } => write!(f, "{host}:{port}"),
            Self::Inbound(port) => write!(f, "inbound|http|{port}"),
            Self::AllowAny => f.write_str("allow_any"),
            Self::BlockAll => f.write_str("block_all"),
            Self::AllowAnyDynamicDns => f.write_str("allow_any_dynamic_dns"),
            Self::Blackhole(port) => write!(f, "blackhole:{port}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl FromStr for VirtualHostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some(rest) = text.strip_prefix("inbound|http|") {
            let error = || NameError::new("virtual host", text, "expected inbound|http|<port>");
            return port(rest).map(Self::Inbound).ok_or_else(error);
        }
        Ok(match (text, host_port(text)) {
            ("allow_any", _) => Self::AllowAny,
            ("block_all", _) => Self::BlockAll,
            ("allow_any_dynamic_dns", _) => Self::AllowAnyDynamicDns,
            (_, Some(("blackhole", port))) => Self::Blackhole(port),
            (_, Some((host, port))) => Self::Service {
                host: host.to_owned(),
                port,
            },
            _ => Self::Other(text.to_owned()),
        })
    }
}
