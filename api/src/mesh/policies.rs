//! Mesh-wide rules on services: scope, visibility, default traffic policy.

use super::selectors::LabelSelector;
use crate::networking::{ConnectionPoolSettings, OutlierDetection};
use crate::proto::{message, proto_enum};

message! {
    /// What every DestinationRule starts from.
    DefaultTrafficPolicy {
        /// Limits and times of connections.
        connection_pool: Option<ConnectionPoolSettings>,
        /// When an endpoint is left out for a while.
        outlier_detection: Option<OutlierDetection>,
    }
}

message! {
    /// Settings of some services.
    ServiceSettings {
        /// The settings.
        settings: Option<ServiceSettingsValues>,
        /// The services' hosts, possibly wildcards.
        hosts: Vec<String>,
    }
}

message! {
    /// Settings of a service.
    ServiceSettingsValues {
        /// Whether clients use endpoints of their own cluster only.
        cluster_local: bool,
    }
}

message! {
    /// Which services other clusters see.
    ServiceScopeConfig {
        /// The namespaces.
        namespace_selector: Option<LabelSelector>,
        /// The services in them.
        services_selector: Option<LabelSelector>,
        /// What they are.
        scope: ServiceScope,
    }
}

proto_enum! {
    /// Who sees a service.
    ServiceScope {
        /// Its own cluster.
        Local = "LOCAL" 0,
        /// All clusters.
        Global = "GLOBAL" 1,
    }
}

message! {
    /// Who sees ServiceEntries; without the message all of the mesh does.
    ServiceEntryVisibility {
        /// What holds where no policy does; unset means PUBLIC.
        default_visibility: Visibility,
        /// Policies; the first whose rules all match counts.
        policies: Vec<VisibilityPolicy>,
        /// Whether sidecars and gateways follow it too.
        apply_to_sidecars: bool,
    }
}

message! {
    /// A rule on who sees ServiceEntries.
    VisibilityPolicy {
        /// Who sees them.
        visibility: Visibility,
        /// The conditions, all of which must hold.
        matching_rules: Vec<VisibilityRule>,
    }
}

message! {
    /// A condition on a ServiceEntry.
    VisibilityRule {
        /// On the labels of its namespace.
        namespace_selector: Option<LabelSelector>,
    }
}

proto_enum! {
    /// Who sees a ServiceEntry.
    Visibility {
        /// The default.
        Unspecified = "VISIBILITY_UNSPECIFIED" 0,
        /// Nobody.
        None = "NONE" 1,
        /// Its own namespace.
        Namespace = "NAMESPACE" 2,
        /// All of the mesh.
        Public = "PUBLIC" 3,
    }
}
