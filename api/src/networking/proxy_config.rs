//! ProxyConfig: settings of proxies that take effect when a pod is made.

use std::collections::BTreeMap;

use super::destination_rule::MatchLabelsSelector;
use crate::proto::message;

message! {
    /// Settings of the proxies of a namespace, of single workloads or (in the root namespace) of the mesh.
    ProxyConfig {
        /// The workloads; none means all of the namespace.
        selector: Option<MatchLabelsSelector>,
        /// Worker threads; 0 means one for each core, none means the mesh's setting.
        concurrency: Option<i32>,
        /// Environment variables of the proxy.
        environment_variables: BTreeMap<String, String>,
        /// The proxy's image.
        image: Option<ProxyConfigImage>,
    }
}

message! {
    /// Which flavour of the proxy's image is used.
    ProxyConfigImage {
        /// The flavour: `default`, `debug` or `distroless`.
        image_type: String,
    }
}
