use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::error::port;

/// Name of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenerName {
    /// `virtualOutbound`: takes redirected outbound connections on 15001.
    VirtualOutbound,
    /// `virtualInbound`: takes redirected inbound connections on 15006.
    VirtualInbound,
    /// `<bind>_<port>`
    Bound {
        /// Address, which may be the wildcard.
        bind: IpAddr,
        /// Port.
        port: u16,
    },
    /// `udp_<bind>_<port>`: QUIC.
    Quic {
        /// Address, which may be the wildcard.
        bind: IpAddr,
        /// Port.
        port: u16,
    },
    /// `connect_terminate`: HBONE in.
    ConnectTerminate,
    /// `main_internal`: streams out of HBONE.
    MainInternal,
    /// `connect_originate`: HBONE out.
    ConnectOriginate,
    /// `inner_connect_originate`: the inner of two nested HBONE tunnels.
    InnerConnectOriginate,
    /// `outer_connect_originate`: the outer of two nested HBONE tunnels.
    OuterConnectOriginate,
    /// A name of the client's own.
    Other(String),
}

impl ListenerName {
    /// `<bind>_<port>`
    #[must_use]
    pub fn bound(bind: IpAddr, port: u16) -> Self {
        Self::Bound { bind, port }
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VirtualOutbound => f.write_str("virtualOutbound"),
            Self::VirtualInbound => f.write_str("virtualInbound"),
            Self::Bound { bind, port } => write!(f, "{bind}_{port}"),
            Self::Quic { bind, port } => write!(f, "udp_{bind}_{port}"),
            Self::ConnectTerminate => f.write_str("connect_terminate"),
            Self::MainInternal => f.write_str("main_internal"),
            Self::ConnectOriginate => f.write_str("connect_originate"),
            Self::InnerConnectOriginate => f.write_str("inner_connect_originate"),
            Self::OuterConnectOriginate => f.write_str("outer_connect_originate"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl FromStr for ListenerName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "virtualOutbound" => Self::VirtualOutbound,
            "virtualInbound" => Self::VirtualInbound,
            "connect_terminate" => Self::ConnectTerminate,
            "main_internal" => Self::MainInternal,
            "connect_originate" => Self::ConnectOriginate,
            "inner_connect_originate" => Self::InnerConnectOriginate,
            "outer_connect_originate" => Self::OuterConnectOriginate,
            _ => bound(text).unwrap_or_else(|| Self::Other(text.to_owned())),
        })
    }
}

/// Only the exact spelling that `Display` gives counts, so that no two names mean one listener.
fn bound(text: &str) -> Option<ListenerName> {
    let (quic, rest) = text
        .strip_prefix("udp_")
        .map_or((false, text), |rest| (true, rest));
    let (address, number) = rest.rsplit_once('_')?;
    let (bind, port) = (address.parse::<IpAddr>().ok()?, port(number)?);
    let name = if quic {
        ListenerName::Quic { bind, port }
    } else {
        ListenerName::Bound { bind, port }
    };
    (name.to_string() == text).then_some(name)
}

/// Name of a filter chain; outbound service chains and gateway chains have none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FilterChainName {
    /// TCP passthrough of `virtualInbound`.
    VirtualInbound,
    /// HTTP passthrough of `virtualInbound`.
    VirtualInboundCatchallHttp,
    /// Refuses connections to 15006 itself.
    VirtualInboundBlackhole,
    /// Everything no outbound listener takes.
    VirtualOutboundCatchallTcp,
    /// Refuses connections to 15001 itself.
    VirtualOutboundBlackhole,
    /// What no chain of an outbound listener matches.
    Passthrough,
    /// `<wildcard or pod IP>_<port>`: an inbound service chain.
    Service {
        /// Wildcard address, or the pod's with Sidecar ingress.
        bind: IpAddr,
        /// Port.
        port: u16,
    },
    /// A name of the client's own.
    Other(String),
}

impl fmt::Display for FilterChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VirtualInbound => f.write_str("virtualInbound"),
            Self::VirtualInboundCatchallHttp => f.write_str("virtualInbound-catchall-http"),
            Self::VirtualInboundBlackhole => f.write_str("virtualInbound-blackhole"),
            Self::VirtualOutboundCatchallTcp => f.write_str("virtualOutbound-catchall-tcp"),
            Self::VirtualOutboundBlackhole => f.write_str("virtualOutbound-blackhole"),
            Self::Passthrough => f.write_str("PassthroughFilterChain"),
            Self::Service { bind, port } => write!(f, "{bind}_{port}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl FromStr for FilterChainName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "virtualInbound" => Self::VirtualInbound,
            "virtualInbound-catchall-http" => Self::VirtualInboundCatchallHttp,
            "virtualInbound-blackhole" => Self::VirtualInboundBlackhole,
            "virtualOutbound-catchall-tcp" => Self::VirtualOutboundCatchallTcp,
            "virtualOutbound-blackhole" => Self::VirtualOutboundBlackhole,
            "PassthroughFilterChain" => Self::Passthrough,
            _ => match bound(text) {
                Some(ListenerName::Bound { bind, port }) => Self::Service { bind, port },
                _ => Self::Other(text.to_owned()),
            },
        })
    }
}
