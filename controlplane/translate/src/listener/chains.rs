//! Which chains a port of the pod has, by its mTLS mode and what it declares to speak.

use lateen_api::protocol::Protocol;
use lateen_controlplane_model::peer::Mtls;

/// What a chain does with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    /// HTTP, because the port says so.
    Http,
    /// HTTP, because the first bytes or the ALPN said so.
    DetectedHttp,
    /// Bytes.
    Tcp,
}

/// One chain of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainKind {
    /// The client speaks TLS.
    pub(crate) tls: bool,
    /// Protocols the client offers, or that were detected; empty for any.
    pub(crate) alpn: &'static [&'static str],
    /// The mesh's TLS ends here.
    pub(crate) terminates: bool,
    pub(crate) carries: Carries,
}

const MESH: &[&str] = &[
    "istio",
    "istio-peer-exchange",
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
];
const MESH_HTTP: &[&str] = &["istio-http/1.0", "istio-http/1.1", "istio-h2"];
const MESH_TCP: &[&str] = &["istio-peer-exchange", "istio"];
const DETECTED: &[&str] = &["http/1.1", "h2c"];

const fn mesh(alpn: &'static [&'static str], carries: Carries) -> ChainKind {
    ChainKind {
        tls: true,
        alpn,
        terminates: true,
        carries,
    }
}

const fn plain(alpn: &'static [&'static str], carries: Carries) -> ChainKind {
    ChainKind {
        tls: false,
        alpn,
        terminates: false,
        carries,
    }
}

/// TLS of the application's own.
const OTHER_TLS: ChainKind = ChainKind {
    tls: true,
    alpn: &[],
    terminates: false,
    carries: Carries::Tcp,
};

const PERMISSIVE_HTTP: &[ChainKind] = &[mesh(MESH, Carries::Http), plain(&[], Carries::Http)];
const PERMISSIVE_TCP: &[ChainKind] = &[
    mesh(MESH, Carries::Tcp),
    OTHER_TLS,
    plain(&[], Carries::Tcp),
];
const PERMISSIVE_AUTO: &[ChainKind] = &[
    mesh(MESH_HTTP, Carries::DetectedHttp),
    plain(DETECTED, Carries::DetectedHttp),
    mesh(MESH_TCP, Carries::Tcp),
    plain(&[], Carries::Tcp),
    OTHER_TLS,
];
const STRICT_HTTP: &[ChainKind] = &[mesh(&[], Carries::Http)];
const STRICT_TCP: &[ChainKind] = &[mesh(&[], Carries::Tcp)];
const STRICT_AUTO: &[ChainKind] = &[
    mesh(MESH_HTTP, Carries::DetectedHttp),
    mesh(&[], Carries::Tcp),
];
const DISABLE_HTTP: &[ChainKind] = &[plain(&[], Carries::Http)];
const DISABLE_TCP: &[ChainKind] = &[plain(&[], Carries::Tcp)];
const DISABLE_AUTO: &[ChainKind] = &[
    plain(DETECTED, Carries::DetectedHttp),
    plain(&[], Carries::Tcp),
];

/// The chains of a port.
pub(crate) fn chain_kinds(mode: Mtls, protocol: Protocol) -> &'static [ChainKind] {
    let http = protocol.is_http();
    let auto = protocol == Protocol::Unsupported;
    match (mode, http, auto) {
        (Mtls::Permissive, true, _) => PERMISSIVE_HTTP,
        (Mtls::Permissive, _, true) => PERMISSIVE_AUTO,
        (Mtls::Permissive, _, _) => PERMISSIVE_TCP,
        (Mtls::Strict, true, _) => STRICT_HTTP,
        (Mtls::Strict, _, true) => STRICT_AUTO,
        (Mtls::Strict, _, _) => STRICT_TCP,
        (Mtls::Disable, true, _) => DISABLE_HTTP,
        (Mtls::Disable, _, true) => DISABLE_AUTO,
        (Mtls::Disable, _, _) => DISABLE_TCP,
    }
}
