//! The values of EnvoyFilter patches: whether they are messages of the type that the patch changes.
//!
//! The rest of an EnvoyFilter is checked in [`lateen_api::validate`]; the values need descriptors of all of Envoy's messages, which are
//! loaded when the first value comes.

use std::cell::OnceCell;

use lateen_api::networking::{ApplyTo, EnvoyFilter};
use lateen_api::validate::{Fault, Verdict};
use serde_json::Value;

use crate::json::{Codec, JsonError, Remark, RemarkKind};

/// Checks values of patches; holds the descriptors once they are loaded, so drop it when done.
#[derive(Default)]
pub struct PatchValues {
    codec: OnceCell<Result<Codec, String>>,
}

impl PatchValues {
    /// The faults of an EnvoyFilter's values. Patches whose other fields are refused are left out, as by the webhook.
    #[must_use]
    pub fn validate(&self, filter: &EnvoyFilter) -> Vec<Fault> {
        let mut faults = Vec::new();
        for index in lateen_api::validate::patches_to_check(filter) {
            let Some(patch) = filter.config_patches.get(index) else {
                continue;
            };
            let value = patch.patch.as_ref().and_then(|patch| patch.value.as_ref());
            if let (Some(name), Some(value)) = (message_of(patch.apply_to), value) {
                let field = format!("spec.configPatches[{index}].patch.value");
                self.check(name, &Value::Object(value.clone()), &field, &mut faults);
            }
        }
        faults
    }

    fn check(&self, name: &str, value: &Value, field: &str, faults: &mut Vec<Fault>) {
        let codec = self
            .codec
            .get_or_init(|| Codec::of_all_messages().map_err(|error| error.to_string()));
        let checked = match codec {
            Ok(codec) => codec.check(name, value),
            Err(reason) => Err(JsonError::Descriptors(reason.clone())),
        };
        match checked {
            Ok(remarks) => faults.extend(remarks.into_iter().map(|remark| warning(field, remark))),
            Err(error) => faults.push(Fault {
                field: format!("{field}{}", error.path()),
                message: format!("is not a {name}: {error}"),
                verdict: Verdict::Refused,
            }),
        }
    }
}

impl std::fmt::Debug for PatchValues {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PatchValues")
            .field("loaded", &self.codec.get().is_some())
            .finish()
    }
}

fn warning(field: &str, remark: Remark) -> Fault {
    let message = match remark.kind {
        RemarkKind::UnknownField { field, message } => {
            format!("{message} has no field `{field}`: it is left out")
        }
        RemarkKind::Frozen { message } => {
            format!("{message} is of a version that is not developed further: use the v3 message")
        }
        RemarkKind::NoTypedConfig { message } => {
            format!("{message} needs a typedConfig, or it may have no effect")
        }
    };
    Fault {
        field: format!("{field}{}", remark.path),
        message,
        verdict: Verdict::Warned,
    }
}

/// The Envoy message that a patch changes.
const fn message_of(apply_to: ApplyTo) -> Option<&'static str> {
    Some(match apply_to {
        ApplyTo::Invalid => return None,
        ApplyTo::Listener => "envoy.config.listener.v3.Listener",
        ApplyTo::FilterChain => "envoy.config.listener.v3.FilterChain",
        ApplyTo::NetworkFilter => "envoy.config.listener.v3.Filter",
        ApplyTo::ListenerFilter => "envoy.config.listener.v3.ListenerFilter",
        ApplyTo::HttpFilter => {
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
        }
        ApplyTo::RouteConfiguration => "envoy.config.route.v3.RouteConfiguration",
        ApplyTo::VirtualHost => "envoy.config.route.v3.VirtualHost",
        ApplyTo::HttpRoute => "envoy.config.route.v3.Route",
        ApplyTo::Cluster => "envoy.config.cluster.v3.Cluster",
        ApplyTo::ExtensionConfig => "envoy.config.core.v3.TypedExtensionConfig",
        ApplyTo::Bootstrap => "envoy.config.bootstrap.v3.Bootstrap",
    })
}

#[cfg(test)]
mod tests;
