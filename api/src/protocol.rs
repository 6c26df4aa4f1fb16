//! Application protocols of ports: by name, by a Service port's name or `appProtocol`, and their classes.

use std::fmt;

/// The protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP without a look inside.
    Tcp,
    /// UDP, which the mesh leaves alone.
    Udp,
    /// gRPC.
    Grpc,
    /// gRPC for browsers.
    GrpcWeb,
    /// HTTP/1.1.
    Http,
    /// An HTTP proxy.
    HttpProxy,
    /// HTTP/2.
    Http2,
    /// HTTP over TLS, not opened.
    Https,
    /// TLS, not opened.
    Tls,
    /// MongoDB.
    Mongo,
    /// Redis.
    Redis,
    /// MySQL.
    MySql,
    /// Not declared: the first bytes tell.
    #[default]
    Unsupported,
}

/// Every protocol with its name in objects.
const NAMES: [(&str, Protocol); 12] = [
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("grpc", Protocol::Grpc),
    ("grpc-web", Protocol::GrpcWeb),
    ("http", Protocol::Http),
    ("http_proxy", Protocol::HttpProxy),
    ("http2", Protocol::Http2),
    ("https", Protocol::Https),
    ("tls", Protocol::Tls),
    ("mongo", Protocol::Mongo),
    ("redis", Protocol::Redis),
    ("mysql", Protocol::MySql),
];

impl Protocol {
    /// The protocol of a name, with any case; [`Protocol::Unsupported`] for a name that is not known or empty.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Unsupported, |(_, protocol)| *protocol)
    }

    /// The protocol of a Kubernetes Service's port: its `appProtocol` if it has one, else its name; of either what stands before the
    /// first `-` counts (but all of `grpc-web`). `transport` is the port's `protocol`: all but TCP is not looked into.
    ///
    /// A port that says nothing is sniffed, but for the ports of well-known protocols in which the server speaks first.
    #[must_use]
    pub fn of_service_port(
        port: i32,
        name: &str,
        app_protocol: Option<&str>,
        transport: &str,
    ) -> Self {
        match transport {
            "UDP" => return Self::Udp,
            "" | "TCP" => {}
            _ => return Self::Unsupported,
        }
        let declared = match app_protocol {
            Some("kubernetes.io/h2c") => Self::Http2,
            // WebSocket is HTTP/1.1 with an upgrade.
            Some("kubernetes.io/ws") => Self::Http,
            Some("kubernetes.io/wss") => Self::Https,
            Some(app_protocol) => by_prefix(app_protocol),
            None => by_prefix(name),
        };
        if declared.is_unsupported() && SERVER_FIRST_PORTS.contains(&port) {
            Self::Tcp
        } else {
            declared
        }
    }

    /// Whether requests are seen: http, http2, http_proxy, grpc, grpc-web.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(
            self,
            Self::Http | Self::Http2 | Self::HttpProxy | Self::Grpc | Self::GrpcWeb
        )
    }

    /// Whether the protocol is HTTP/2 on the wire.
    #[must_use]
    pub const fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether connections are TLS: https, tls.
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// Whether connections are passed on whole: tcp, https, tls, mongo, redis, mysql.
    #[must_use]
    pub const fn is_tcp(self) -> bool {
        matches!(
            self,
            Self::Tcp | Self::Https | Self::Tls | Self::Mongo | Self::Redis | Self::MySql
        )
    }

    /// Whether the protocol is not declared and the first bytes tell.
    #[must_use]
    pub const fn is_unsupported(self) -> bool {
        matches!(self, Self::Unsupported)
    }

    /// The protocol's name in objects, in upper case; empty where it is not declared.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Grpc => "GRPC",
            Self::GrpcWeb => "GRPC-Web",
            Self::Http => "HTTP",
            Self::HttpProxy => "HTTP_PROXY",
            Self::Http2 => "HTTP2",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Mongo => "Mongo",
            Self::Redis => "Redis",
            Self::MySql => "MySQL",
            Self::Unsupported => "",
        }
    }
}

/// Ports of protocols in which the server speaks first, so that sniffing would wait for ever: SMTP, DNS, MySQL, MongoDB.
const SERVER_FIRST_PORTS: [i32; 4] = [25, 53, 3306, 27017];

fn by_prefix(name: &str) -> Protocol {
    if name
        .get(.."grpc-web".len())
        .is_some_and(|start| start.eq_ignore_ascii_case("grpc-web"))
    {
        return Protocol::GrpcWeb;
    }
    Protocol::parse(name.split('-').next().unwrap_or(name))
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_port_tells_its_protocol() {
        for (port, name, app, transport, protocol) in [
            (9080, "http", None, "TCP", Protocol::Http),
            (9080, "http-web", None, "", Protocol::Http),
            (9080, "HTTP2-x", None, "TCP", Protocol::Http2),
            (9080, "grpc-web", None, "TCP", Protocol::GrpcWeb),
            (9080, "grpc-web-x", None, "TCP", Protocol::GrpcWeb),
            (9080, "web", None, "TCP", Protocol::Unsupported),
            (9080, "httpx", None, "TCP", Protocol::Unsupported),
            (9080, "", None, "TCP", Protocol::Unsupported),
            (3306, "db", None, "TCP", Protocol::Tcp),
            (3306, "http", None, "TCP", Protocol::Http),
            (9080, "tcp", Some("http"), "TCP", Protocol::Http),
            (
                9080,
                "http",
                Some("kubernetes.io/h2c"),
                "TCP",
                Protocol::Http2,
            ),
            (
                9080,
                "http",
                Some("example.com/own"),
                "TCP",
                Protocol::Unsupported,
            ),
            (9080, "web", Some("http-x"), "TCP", Protocol::Http),
            (53, "http", None, "UDP", Protocol::Udp),
            (80, "http", None, "SCTP", Protocol::Unsupported),
        ] {
            assert_eq!(
                Protocol::of_service_port(port, name, app, transport),
                protocol,
                "{port} {name} {app:?}"
            );
        }
    }

    #[test]
    fn classes_follow_the_protocol() {
        let classes = |p: Protocol| (p.is_http(), p.is_tls(), p.is_tcp());
        assert_eq!(classes(Protocol::Grpc), (true, false, false));
        assert_eq!(classes(Protocol::Https), (false, true, true));
        assert_eq!(classes(Protocol::Mongo), (false, false, true));
        assert_eq!(classes(Protocol::Udp), (false, false, false));
        assert_eq!(classes(Protocol::parse("HBONE")), (false, false, false));
    }
}
