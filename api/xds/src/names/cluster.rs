use std::fmt;
use std::str::FromStr;

use super::error::{NameError, port};

/// A cluster with a fixed name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SpecialCluster {
    /// Refuses everything.
    BlackHole,
    /// Outbound traffic to where it was going.
    Passthrough,
    /// Inbound traffic to where it was going.
    InboundPassthrough,
    /// Hosts resolved as requests name them.
    AllowAnyDynamicDns,
    /// The proxy's own service, for self discovery.
    Local,
    /// The agent.
    Agent,
    /// The proxy's own metrics.
    PrometheusStats,
    /// Secrets from the agent.
    SdsGrpc,
    /// The control plane.
    XdsGrpc,
    /// Secrets from outside.
    SdsExternal,
    /// Secrets from files, by an outside server.
    SdsFilesGrpc,
    /// HBONE: opens the CONNECT.
    ConnectOriginate,
    /// HBONE: wraps a stream for `ConnectOriginate`.
    Encap,
    /// HBONE: the internal listener behind CONNECT.
    MainInternal,
}

const SPECIAL: &[(SpecialCluster, &str)] = &[
    (SpecialCluster::BlackHole, "BlackHoleCluster"),
    (SpecialCluster::Passthrough, "PassthroughCluster"),
    (
        SpecialCluster::InboundPassthrough,
        "InboundPassthroughCluster",
    ),
    (
        SpecialCluster::AllowAnyDynamicDns,
        "AllowAnyDynamicDNSCluster",
    ),
    (SpecialCluster::Local, "local_cluster"),
    (SpecialCluster::Agent, "agent"),
    (SpecialCluster::PrometheusStats, "prometheus_stats"),
    (SpecialCluster::SdsGrpc, "sds-grpc"),
    (SpecialCluster::XdsGrpc, "xds-grpc"),
    (SpecialCluster::SdsExternal, "sds-external"),
    (SpecialCluster::SdsFilesGrpc, "sds-files-grpc"),
    (SpecialCluster::ConnectOriginate, "connect_originate"),
    (SpecialCluster::Encap, "encap"),
    (SpecialCluster::MainInternal, "main_internal"),
];

impl SpecialCluster {
    /// Every cluster with a fixed name.
    pub fn all() -> impl Iterator<Item = Self> {
        SPECIAL.iter().map(|(cluster, _)| *cluster)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        SPECIAL
            .iter()
            .find(|(cluster, _)| *cluster == self)
            .map_or("", |(_, name)| name)
    }
}

impl fmt::Display for SpecialCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Name of a cluster, which is also the name of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClusterName {
    /// `outbound|<port>|<subset>|<host>`
    Outbound {
        /// Service port.
        port: u16,
        /// Subset, empty for the whole service.
        subset: String,
        /// Host name of the service.
        host: String,
    },
    /// `outbound_.<port>_.<subset>_.<host>`: SNI-DNAT cluster, and SNI of mesh mTLS.
    SniDnat {
        /// Service port.
        port: u16,
        /// Subset, empty for the whole service.
        subset: String,
        /// Host name of the service.
        host: String,
    },
    /// `inbound|<target port>||`
    Inbound {
        /// Port of the application.
        port: u16,
    },
    /// `inbound-vip|<port>|<protocol>|<host>` of a waypoint.
    InboundVip {
        /// Service port.
        port: u16,
        /// `http` or `tcp`, with the subset form waypoints use.
        protocol: String,
        /// Host name of the service.
        host: String,
    },
    /// One of the fixed names.
    Special(SpecialCluster),
    /// A name of the client's own.
    Other(String),
}

impl ClusterName {
    /// `outbound|<port>|<subset>|<host>`
    pub fn outbound(port: u16, subset: impl Into<String>, host: impl Into<String>) -> Self {
        Self::Outbound {
            port,
            subset: subset.into(),
            host: host.into(),
        }
    }

    /// `outbound_.<port>_.<subset>_.<host>`
    pub fn sni_dnat(port: u16, subset: impl Into<String>, host: impl Into<String>) -> Self {
        Self::SniDnat {
            port,
            subset: subset.into(),
            host: host.into(),
        }
    }

    /// `inbound|<port>||`
    #[must_use]
    pub fn inbound(port: u16) -> Self {
        Self::Inbound { port }
    }

    /// Host the cluster is for, if it is for one.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Outbound { host, .. }
            | Self::SniDnat { host, .. }
            | Self::InboundVip { host, .. } => Some(host),
            _ => None,
        }
    }

    /// Port the cluster is for, if it is for one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Outbound { port, .. }
            | Self::SniDnat { port, .. }
            | Self::InboundVip { port, .. }
            | Self::Inbound { port } => Some(*port),
            _ => None,
        }
    }

    /// Subset, where the cluster is for one.
    #[must_use]
    pub fn subset(&self) -> Option<&str> {
        match self {
            Self::Outbound { subset, .. } | Self::SniDnat { subset, .. } if !subset.is_empty() => {
                Some(subset)
            }
            _ => None,
        }
    }

    /// Direction as tables print it: `outbound`, `inbound`, or `-`.
    #[must_use]
    pub fn direction(&self) -> &'static str {
        match self {
            Self::Outbound { .. } | Self::SniDnat { .. } => "outbound",
            Self::Inbound { .. } | Self::InboundVip { .. } => "inbound",
            _ => "-",
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbound { port, subset, host } => write!(f, "outbound|{port}|{subset}|{host}"),
            Self::SniDnat { port, subset, host } => write!(f, "outbound_.{port}_.{subset}_.{host}"),
            Self::Inbound { port } => write!(f, "inbound|{port}||"),
            Self::InboundVip {
                port,
                protocol,
                host,
            } => write!(f, "inbound-vip|{port}|{protocol}|{host}"),
            Self::Special(cluster) => cluster.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |reason| NameError::new("cluster", text, reason);
        if let Some(rest) = text.strip_prefix("outbound|") {
            let (port, subset, host) = parts(rest, "|").map_err(error)?;
            return Ok(Self::outbound(port, subset, host));
        }
        if let Some(rest) = text.strip_prefix("outbound_.") {
            let (port, subset, host) = parts(rest, "_.").map_err(error)?;
            return Ok(Self::sni_dnat(port, subset, host));
        }
        if let Some(rest) = text.strip_prefix("inbound-vip|") {
            let (port, protocol, host) = parts(rest, "|").map_err(error)?;
            return Ok(Self::InboundVip {
                port,
                protocol: protocol.to_owned(),
                host: host.to_owned(),
            });
        }
        if let Some(rest) = text.strip_prefix("inbound|") {
            let number = rest.strip_suffix("||").and_then(port);
            return number
                .map(Self::inbound)
                .ok_or_else(|| error("expected inbound|<port>||"));
        }
        let special = SPECIAL.iter().find(|(_, name)| *name == text);
        Ok(special.map_or_else(
            || Self::Other(text.to_owned()),
            |(cluster, _)| Self::Special(*cluster),
        ))
    }
}

impl From<SpecialCluster> for ClusterName {
    fn from(cluster: SpecialCluster) -> Self {
        Self::Special(cluster)
    }
}

/// `<port><sep><middle><sep><host>`, with a host and without further separators.
fn parts<'a>(text: &'a str, separator: &str) -> Result<(u16, &'a str, &'a str), &'static str> {
    let mut parts = text.split(separator);
    let number = parts
        .next()
        .and_then(port)
        .ok_or("the port is no number from 0 to 65535")?;
    let (middle, host) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    if host.is_empty() || parts.next().is_some() {
        return Err("expected port, subset and host");
    }
    Ok((number, middle, host))
}
