//! Preference among endpoints by where they are.

use std::collections::BTreeMap;

use crate::proto::message;

message! {
    /// Preference by locality, `region/zone/subzone`.
    LocalityLoadBalancerSetting {
        /// Fixed shares by the client's locality.
        distribute: Vec<LocalityDistribute>,
        /// Where traffic goes when a region fails.
        failover: Vec<LocalityFailover>,
        /// Labels by whose equality endpoints are preferred, in order.
        failover_priority: Vec<String>,
        /// Whether the setting counts; none means yes.
        enabled: Option<bool>,
    }
}

message! {
    /// Shares of localities for clients of one locality.
    LocalityDistribute {
        /// The clients' locality, possibly ending in `*`.
        from: String,
        /// Shares in percent by locality, 100 together.
        to: BTreeMap<String, u32>,
    }
}

message! {
    /// Where traffic goes when a region fails.
    LocalityFailover {
        /// The region that fails.
        from: String,
        /// The region that takes over.
        to: String,
    }
}

message! {
    /// Preference for the client's zone as far as it has the capacity.
    ZoneAwareLoadBalancerSetting {
        /// Whether the setting counts; none means yes.
        enabled: Option<bool>,
        /// Where traffic goes when a region fails.
        failover: Vec<LocalityFailover>,
        /// Labels by whose equality endpoints are preferred, in order.
        failover_priority: Vec<String>,
        /// The least number of endpoints for which zones count; none means 6.
        min_cluster_size: Option<u32>,
    }
}
