//! Filters that come by themselves (ECDS).

use envoy_types::pb::envoy::config::core::v3 as core;

use super::at::{At, Refused};
use super::context::Context;

/// Stores the filter of a resource under `key`.
pub(crate) fn put(
    _context: &Context<'_>,
    at: &At<'_>,
    _key: &str,
    _message: core::TypedExtensionConfig,
) -> Result<(), Refused> {
    Err(at.field("typed_config").unsupported())
}
