//! The kinds of the group `extensions.istio.io`, with every field of the API (version v1alpha1).

mod traffic_extension;
mod wasm_plugin;

pub use traffic_extension::{
    Extension, LuaConfig, TrafficExtension, TrafficExtensionPhase, WasmConfig,
};
pub use wasm_plugin::{
    EnvValueSource, FailStrategy, PluginPhase, PluginType, PortSelector, PullPolicy, TrafficMode,
    TrafficSelector, VmConfig, VmEnvVar, WasmPlugin,
};
