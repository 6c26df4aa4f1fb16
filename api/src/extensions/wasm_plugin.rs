//! WasmPlugin: a filter of the user's own, as a WebAssembly module.

use crate::networking::{MatchLabelsSelector, PolicyTargetReference};
use crate::proto::{Struct, message, proto_enum};

message! {
    /// A filter of the user's own, as a WebAssembly module.
    WasmPlugin {
        /// The workloads; none means all of the namespace, or of the mesh in the root namespace.
        selector: Option<MatchLabelsSelector>,
        /// Deprecated: one object that the plugin is attached to.
        target_ref as "targetRef": Option<PolicyTargetReference>,
        /// The objects that the plugin is attached to, instead of a selector.
        target_refs as "targetRefs": Vec<PolicyTargetReference>,
        /// Where the module is: `oci://`, `http://`, `https://` or `file://`; without a scheme `oci://`.
        url: String,
        /// The module's checksum, 64 lower-case hexadecimal digits.
        sha256: String,
        /// When an image is fetched again.
        image_pull_policy: PullPolicy,
        /// The Secret with the registry's credentials.
        image_pull_secret: String,
        /// Not used.
        verification_key: String,
        /// What the module is configured with.
        plugin_config: Option<Struct>,
        /// The name that the module knows itself by.
        plugin_name: String,
        /// Where among the filters it stands.
        phase: PluginPhase,
        /// Within a phase, higher priority comes first; none is last.
        priority: Option<i32>,
        /// What happens to traffic when the module fails.
        fail_strategy: FailStrategy,
        /// Settings of the machine that runs the module.
        vm_config: Option<VmConfig>,
        /// The traffic that it sees; none means all.
        r#match: Vec<TrafficSelector>,
        /// What kind of filter it is.
        r#type: PluginType,
    }
}

message! {
    /// Settings of the machine that runs a module.
    VmConfig {
        /// Its environment.
        env: Vec<VmEnvVar>,
    }
}

message! {
    /// A variable of a module's environment.
    VmEnvVar {
        /// The name.
        name: String,
        /// Where the value comes from.
        value_from: EnvValueSource,
        /// The value, for INLINE.
        value: String,
    }
}

message! {
    /// Traffic that a filter sees.
    TrafficSelector {
        /// The side of the proxy.
        mode: TrafficMode,
        /// The ports, any of which matches; none means all.
        ports: Vec<PortSelector>,
    }
}

message! {
    /// A port.
    PortSelector {
        /// Its number.
        number: u32,
    }
}

proto_enum! {
    /// The side of the proxy that a filter sees (the enum of the group `type`, whose zero is not the one of Telemetry).
    TrafficMode {
        /// Both.
        Undefined = "UNDEFINED" 0,
        /// The client's.
        Client = "CLIENT" 1,
        /// The server's.
        Server = "SERVER" 2,
        /// Both.
        ClientAndServer = "CLIENT_AND_SERVER" 3,
    }
}

proto_enum! {
    /// When an image is fetched again.
    PullPolicy {
        /// Always for the tag `latest`, else when it is missing.
        Unspecified = "UNSPECIFIED_POLICY" 0,
        /// When it is missing.
        IfNotPresent = "IfNotPresent" 1,
        /// Whenever the plugin changes.
        Always = "Always" 2,
    }
}

proto_enum! {
    /// Where among the filters a plugin stands.
    PluginPhase {
        /// Last, before the router.
        Unspecified = "UNSPECIFIED_PHASE" 0,
        /// Before authentication.
        Authn = "AUTHN" 1,
        /// Before authorization.
        Authz = "AUTHZ" 2,
        /// Before statistics.
        Stats = "STATS" 3,
    }
}

proto_enum! {
    /// What happens to traffic when a module fails.
    FailStrategy {
        /// It is refused.
        FailClose = "FAIL_CLOSE" 0,
        /// It passes without the module.
        FailOpen = "FAIL_OPEN" 1,
        /// The module is loaded again.
        FailReload = "FAIL_RELOAD" 2,
    }
}

proto_enum! {
    /// What kind of filter a plugin is.
    PluginType {
        /// An HTTP filter.
        Unspecified = "UNSPECIFIED_PLUGIN_TYPE" 0,
        /// An HTTP filter.
        Http = "HTTP" 1,
        /// A network filter.
        Network = "NETWORK" 2,
    }
}

proto_enum! {
    /// Where a variable's value comes from.
    EnvValueSource {
        /// The plugin itself.
        Inline = "INLINE" 0,
        /// The proxy's own environment.
        Host = "HOST" 1,
    }
}
