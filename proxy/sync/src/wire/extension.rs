//! HTTP filters that come by themselves (ECDS): a place in the chain, and what fills it.

use std::mem::take;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::Any;
use lateen_proxy_model::{HttpFilter, Slot};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::context::Context;
use super::{config_source, http_filters};

/// What may fill a place, and what does until something comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    types: Vec<String>,
    default: Option<Arc<HttpFilter>>,
}

/// The place of the filter `name` in a chain.
pub(super) fn place(
    context: &Context<'_>,
    at: &At<'_>,
    name: &str,
    mut message: core::ExtensionConfigSource,
) -> Result<Arc<Slot<HttpFilter>>, Refused> {
    let list = at.field("type_urls");
    let types: Vec<String> = take(&mut message.type_urls)
        .iter()
        .map(|url| any::full_name(url).to_owned())
        .collect();
    if types.is_empty() {
        return Err(list.refuse("missing"));
    }
    for (index, name) in types.iter().enumerate() {
        if !http_filters::knows(context, name) {
            let text = format!("{name} is not supported");
            return Err(list.item(index).refuse(text));
        }
    }
    let default = message.default_config.take();
    let early = take(&mut message.apply_default_config_without_warming);
    let source = message.config_source.take();
    nothing_left(at, &message)?;
    let from = config_source::reference(context, &at.field("config_source"), source)?;
    let place = at.field("default_config");
    let default = default
        .map(|packed| filter(context, &place, &types, &packed).map(Arc::new))
        .transpose()?;
    if early && default.is_none() {
        return Err(place.refuse("missing, though it is to be applied without warming"));
    }
    let key = context.extension_key(name, from, !early);
    let slot = context.state().extensions().slot(&key);
    if slot.load().is_none() {
        slot.store(default.clone());
    }
    if let Some(sources) = context.sources() {
        sources.expect(&key, Expected { types, default });
    }
    Ok(slot)
}

/// Fills the places of `key`.
pub(crate) fn put(
    context: &Context<'_>,
    at: &At<'_>,
    key: &str,
    message: core::TypedExtensionConfig,
) -> Result<(), Refused> {
    let place = at.field("typed_config");
    let packed = message
        .typed_config
        .ok_or_else(|| place.refuse("missing"))?;
    let expected = context.sources().map(|sources| sources.expected(key));
    let expected = expected.unwrap_or_default();
    let filter = filter(context, &place, &expected.types, &packed)?;
    let slot = context.state().extensions().slot(key);
    slot.store(Some(Arc::new(filter)));
    Ok(())
}

/// What came is gone: the default is in force again.
pub(crate) fn reset(context: &Context<'_>, key: &str) {
    let expected = context.sources().map(|sources| sources.expected(key));
    let slot = context.state().extensions().slot(key);
    slot.store(expected.and_then(|expected| expected.default));
}

fn filter(
    context: &Context<'_>,
    at: &At<'_>,
    types: &[String],
    packed: &Any,
) -> Result<HttpFilter, Refused> {
    let name = any::full_name(&packed.type_url);
    if !types.is_empty() && !types.iter().any(|allowed| allowed == name) {
        let text = format!(
            "{name} is none of type_urls, which are {}",
            types.join(", ")
        );
        return Err(at.refuse(text));
    }
    http_filters::acting(context, at, packed)
}
