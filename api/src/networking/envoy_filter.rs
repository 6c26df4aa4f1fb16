//! EnvoyFilter: changes of the configuration that proxies get.

use std::collections::BTreeMap;

use super::sidecar::WorkloadSelector;
use super::target::PolicyTargetReference;
use crate::proto::{Struct, message, oneof, proto_enum};

message! {
    /// Changes of the configuration that proxies get.
    EnvoyFilter {
        /// The workloads; none means all of the namespace, or of the mesh in the root namespace.
        workload_selector: Option<WorkloadSelector>,
        /// The objects that the changes are for, instead of a selector.
        target_refs as "targetRefs": Vec<PolicyTargetReference>,
        /// The changes, made in this order.
        config_patches: Vec<EnvoyConfigObjectPatch>,
        /// Filters are applied by ascending priority; 0 is the default.
        priority: i32,
    }
}

message! {
    /// One change.
    EnvoyConfigObjectPatch {
        /// What kind of configuration is changed.
        apply_to: ApplyTo,
        /// Which objects of the kind are changed; none means all.
        r#match: Option<EnvoyConfigObjectMatch>,
        /// The change.
        patch: Option<EnvoyPatch>,
    }
}

message! {
    /// A change.
    EnvoyPatch {
        /// What is done.
        operation: EnvoyPatchOperation,
        /// The configuration in the JSON form of the matching Envoy message.
        value: Option<Struct>,
        /// Where among the filters of a class a new filter goes.
        filter_class: EnvoyFilterClass,
    }
}

message! {
    /// Conditions on the proxy and on the configuration.
    EnvoyConfigObjectMatch {
        /// The traffic that the configuration serves.
        context: EnvoyPatchContext,
        /// The proxy.
        proxy: Option<EnvoyProxyMatch>,
    }
    oneof {
        /// The configuration's own traits.
        object_types: EnvoyObjectTypes,
    }
}

oneof! {
    /// Traits of one kind of configuration.
    EnvoyObjectTypes {
        /// A listener.
        listener: Listener(EnvoyListenerMatch),
        /// A route configuration.
        route_configuration: RouteConfiguration(EnvoyRouteConfigurationMatch),
        /// A cluster.
        cluster: Cluster(EnvoyClusterMatch),
        /// A waypoint's configuration.
        waypoint: Waypoint(EnvoyWaypointMatch),
    }
}

message! {
    /// Conditions on a proxy.
    EnvoyProxyMatch {
        /// An expression that the proxy's version has to match.
        proxy_version: String,
        /// Node metadata that the proxy has to have.
        metadata: BTreeMap<String, String>,
    }
}

message! {
    /// Conditions on a listener.
    EnvoyListenerMatch {
        /// The port; 0 for any.
        port_number: u32,
        /// Not used.
        port_name: String,
        /// A filter chain in it.
        filter_chain: Option<EnvoyFilterChainMatch>,
        /// A listener filter in it.
        listener_filter: String,
        /// The listener's name.
        name: String,
    }
}

message! {
    /// Conditions on a filter chain.
    EnvoyFilterChainMatch {
        /// The chain's name.
        name: String,
        /// The server name that it is for.
        sni: String,
        /// The transport protocol that it is for: `raw_buffer` or `tls`.
        transport_protocol: String,
        /// The transport socket that it uses.
        transport_socket: String,
        /// The application protocols that it is for, joined by commas.
        application_protocols: String,
        /// The destination port that it is for; 0 for any.
        destination_port: u32,
        /// A network filter in it.
        filter: Option<EnvoyNetworkFilterMatch>,
    }
}

message! {
    /// Conditions on a network filter.
    EnvoyNetworkFilterMatch {
        /// The filter's name.
        name: String,
        /// A filter within it.
        sub_filter: Option<EnvoySubFilterMatch>,
    }
}

message! {
    /// Conditions on a filter within a network filter, such as an HTTP filter.
    EnvoySubFilterMatch {
        /// The filter's name.
        name: String,
    }
}

message! {
    /// Conditions on a route configuration.
    EnvoyRouteConfigurationMatch {
        /// The port; 0 for any.
        port_number: u32,
        /// The name of the gateway server's port.
        port_name: String,
        /// The gateway, as `namespace/name`.
        gateway: String,
        /// A virtual host in it.
        vhost: Option<EnvoyVirtualHostMatch>,
        /// The route configuration's name.
        name: String,
    }
}

message! {
    /// Conditions on a virtual host.
    EnvoyVirtualHostMatch {
        /// The virtual host's name.
        name: String,
        /// A domain of the virtual host.
        domain_name: String,
        /// A route in it.
        route: Option<EnvoyRouteMatch>,
    }
}

message! {
    /// Conditions on a route.
    EnvoyRouteMatch {
        /// The route's name.
        name: String,
        /// What the route does.
        action: EnvoyRouteAction,
    }
}

message! {
    /// Conditions on a cluster.
    EnvoyClusterMatch {
        /// The service's port; 0 for any.
        port_number: u32,
        /// The service's host.
        service: String,
        /// The subset.
        subset: String,
        /// The cluster's name.
        name: String,
    }
}

message! {
    /// Conditions on a waypoint's configuration.
    EnvoyWaypointMatch {
        /// The service's port; 0 for any.
        port_number: u32,
        /// A filter.
        filter: Option<EnvoyNetworkFilterMatch>,
        /// A route.
        route: Option<EnvoyWaypointRouteMatch>,
    }
}

message! {
    /// Conditions on a waypoint's route.
    EnvoyWaypointRouteMatch {
        /// The route's name.
        name: String,
    }
}

proto_enum! {
    /// Which kind of configuration a patch changes.
    ApplyTo {
        /// None, which is refused.
        Invalid = "INVALID" 0,
        /// Listeners.
        Listener = "LISTENER" 1,
        /// Filter chains.
        FilterChain = "FILTER_CHAIN" 2,
        /// Network filters.
        NetworkFilter = "NETWORK_FILTER" 3,
        /// HTTP filters.
        HttpFilter = "HTTP_FILTER" 4,
        /// Route configurations.
        RouteConfiguration = "ROUTE_CONFIGURATION" 5,
        /// Virtual hosts.
        VirtualHost = "VIRTUAL_HOST" 6,
        /// Routes.
        HttpRoute = "HTTP_ROUTE" 7,
        /// Clusters.
        Cluster = "CLUSTER" 8,
        /// Extension configurations, which filters refer to.
        ExtensionConfig = "EXTENSION_CONFIG" 9,
        /// The proxy's bootstrap.
        Bootstrap = "BOOTSTRAP" 10,
        /// Listener filters.
        ListenerFilter = "LISTENER_FILTER" 11,
    }
}

proto_enum! {
    /// The traffic that a configuration serves.
    EnvoyPatchContext {
        /// Any.
        Any = "ANY" 0,
        /// What comes to a sidecar.
        SidecarInbound = "SIDECAR_INBOUND" 1,
        /// What leaves through a sidecar.
        SidecarOutbound = "SIDECAR_OUTBOUND" 2,
        /// Gateways.
        Gateway = "GATEWAY" 3,
        /// Waypoints.
        Waypoint = "WAYPOINT" 4,
    }
}

proto_enum! {
    /// What a patch does.
    EnvoyPatchOperation {
        /// Nothing, which is refused.
        Invalid = "INVALID" 0,
        /// Merges the value into what is there.
        Merge = "MERGE" 1,
        /// Adds the value at the end of a list.
        Add = "ADD" 2,
        /// Removes what matches.
        Remove = "REMOVE" 3,
        /// Puts the value before what matches.
        InsertBefore = "INSERT_BEFORE" 4,
        /// Puts the value after what matches.
        InsertAfter = "INSERT_AFTER" 5,
        /// Puts the value first.
        InsertFirst = "INSERT_FIRST" 6,
        /// Puts the value in the place of what matches.
        Replace = "REPLACE" 7,
        /// Merges the value, with lists replaced instead of appended to.
        MergeAndReplaceList = "MERGE_AND_REPLACE_LIST" 8,
    }
}

proto_enum! {
    /// A class of filters; a filter with a class is put beside its like.
    EnvoyFilterClass {
        /// No class.
        Unspecified = "UNSPECIFIED" 0,
        /// Authentication.
        Authn = "AUTHN" 1,
        /// Authorization.
        Authz = "AUTHZ" 2,
        /// Statistics.
        Stats = "STATS" 3,
    }
}

proto_enum! {
    /// What a route does.
    EnvoyRouteAction {
        /// Anything.
        Any = "ANY" 0,
        /// Forwards.
        Route = "ROUTE" 1,
        /// Redirects.
        Redirect = "REDIRECT" 2,
        /// Answers.
        DirectResponse = "DIRECT_RESPONSE" 3,
    }
}
