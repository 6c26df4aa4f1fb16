//! WorkloadEntry: an endpoint that is no pod.

use std::collections::BTreeMap;

use crate::proto::message;

message! {
    /// An endpoint that is no pod, by itself or in a ServiceEntry.
    WorkloadEntry {
        /// An IP address, a name or `unix://` and a path.
        address: String,
        /// Ports by the service port's name.
        ports: BTreeMap<String, u32>,
        /// Labels, for subsets and selectors.
        labels: BTreeMap<String, String>,
        /// The network that it is on.
        network: String,
        /// Where it is, `region/zone/subzone`.
        locality: String,
        /// Its share of traffic; 0 means 1.
        weight: u32,
        /// Its service account.
        service_account: String,
    }
}
