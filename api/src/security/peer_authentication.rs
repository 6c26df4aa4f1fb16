//! PeerAuthentication: which connections a workload accepts.

use std::collections::BTreeMap;

use crate::networking::MatchLabelsSelector;
use crate::proto::{message, proto_enum};

message! {
    /// Which connections a workload accepts: plain text, mesh mTLS, or both.
    PeerAuthentication {
        /// The workloads; none means all of the namespace, or of the mesh in the root namespace.
        selector: Option<MatchLabelsSelector>,
        /// The rule for all ports.
        mtls: Option<MutualTls>,
        /// Rules of single workload ports (the container's, not the Service's); a map without entries is refused.
        port_level_mtls: Option<BTreeMap<u32, MutualTls>>,
    }
}

message! {
    /// A rule on mutual TLS.
    MutualTls {
        /// The rule.
        mode: MutualTlsMode,
    }
}

proto_enum! {
    /// A rule on mutual TLS.
    MutualTlsMode {
        /// As the next wider level says; PERMISSIVE where there is none.
        Unset = "UNSET" 0,
        /// Plain text only.
        Disable = "DISABLE" 1,
        /// Plain text and mutual TLS.
        Permissive = "PERMISSIVE" 2,
        /// Mutual TLS only.
        Strict = "STRICT" 3,
    }
}
