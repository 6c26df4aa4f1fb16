//! TrafficExtension: a filter of the user's own, as a WebAssembly module or a Lua script.

use super::wasm_plugin::{FailStrategy, PluginType, PullPolicy, TrafficSelector, VmConfig};
use crate::networking::{MatchLabelsSelector, PolicyTargetReference};
use crate::proto::{Struct, message, oneof, proto_enum};

message! {
    /// A filter of the user's own, as a WebAssembly module or a Lua script.
    TrafficExtension {
        /// The workloads; none means all of the namespace, or of the mesh in the root namespace.
        selector: Option<MatchLabelsSelector>,
        /// The objects that the filter is attached to, instead of a selector.
        target_refs as "targetRefs": Vec<PolicyTargetReference>,
        /// Where among the filters it stands.
        phase: TrafficExtensionPhase,
        /// Within a phase, higher priority comes first; none is last.
        priority: Option<i32>,
        /// The traffic that it sees; none means all.
        r#match: Vec<TrafficSelector>,
    }
    oneof {
        /// The filter.
        extension: Extension,
    }
}

oneof! {
    /// What a filter is written in.
    Extension {
        /// A WebAssembly module.
        wasm: Wasm(WasmConfig),
        /// A Lua script.
        lua: Lua(LuaConfig),
    }
}

message! {
    /// A filter as a WebAssembly module.
    WasmConfig {
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
        /// What happens to traffic when the module fails.
        fail_strategy: FailStrategy,
        /// Settings of the machine that runs the module.
        vm_config: Option<VmConfig>,
        /// What kind of filter it is.
        r#type: PluginType,
    }
}

message! {
    /// A filter as a Lua script.
    LuaConfig {
        /// The script, at most 65,536 bytes.
        inline_code: String,
    }
}

proto_enum! {
    /// Where among the filters an extension stands.
    TrafficExtensionPhase {
        /// Last, before the router.
        Unspecified = "UNSPECIFIED" 0,
        /// Before authentication.
        Authn = "AUTHN" 1,
        /// Before authorization.
        Authz = "AUTHZ" 2,
        /// Before statistics.
        Stats = "STATS" 3,
    }
}
