//! Names of resources, by the contract's rules.

use lateen_xds::names::{ClusterName, SpecialCluster};

/// `outbound|<port>|<subset>|<host>`.
pub(crate) fn outbound(port: u16, subset: &str, host: &str) -> String {
    ClusterName::outbound(port, subset, host).to_string()
}

/// `outbound_.<port>_.<subset>_.<host>`: clusters behind AUTO_PASSTHROUGH, and the SNI of mesh mTLS.
pub(crate) fn sni(port: u16, subset: &str, host: &str) -> String {
    ClusterName::sni_dnat(port, subset, host).to_string()
}

/// `inbound|<port>||`.
pub(crate) fn inbound(port: u16) -> String {
    ClusterName::inbound(port).to_string()
}

/// Where refused traffic goes.
pub(crate) fn black_hole() -> &'static str {
    SpecialCluster::BlackHole.name()
}

/// Where traffic to unknown hosts goes.
pub(crate) fn passthrough() -> &'static str {
    SpecialCluster::Passthrough.name()
}

/// Where traffic to unknown ports of the pod goes.
pub(crate) fn inbound_passthrough() -> &'static str {
    SpecialCluster::InboundPassthrough.name()
}
