//! Patches of EnvoyFilters that have no effect or depend on the order of others.

use std::collections::HashSet;

use lateen_api::networking::{
    ApplyTo, EnvoyConfigObjectPatch, EnvoyFilter, EnvoyObjectTypes, EnvoyPatch, EnvoyPatchOperation,
};
use lateen_api::object::{Kind, Object};

use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::{
    Code, ENVOY_FILTER_USES_ADD_OPERATION_INCORRECTLY, ENVOY_FILTER_USES_RELATIVE_OPERATION,
    ENVOY_FILTER_USES_RELATIVE_OPERATION_WITH_PROXY_VERSION,
    ENVOY_FILTER_USES_REMOVE_OPERATION_INCORRECTLY,
    ENVOY_FILTER_USES_REPLACE_OPERATION_INCORRECTLY,
};
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "envoyfilter.EnvoyPatchAnalyzer",
    description: "Finds patches of EnvoyFilters that have no effect or whose effect depends on other patches",
    inputs: &[Input::Kind(Kind::EnvoyFilter)],
    run: |cluster, _, messages| run(cluster, messages),
};

fn run(cluster: &Cluster, messages: &mut Messages) {
    // Names of filters that a patch for some proxy versions changes.
    let mut versioned: HashSet<&str> = HashSet::new();
    for object in cluster.of(Kind::EnvoyFilter) {
        let Some(filter) = object.spec.as_envoy_filter() else {
            continue;
        };
        for (index, entry) in filter.config_patches.iter().enumerate() {
            let Some(patch) = &entry.patch else {
                break;
            };
            let name = filter_name(entry, patch);
            if let Some(fault) = fault(filter, entry, patch) {
                report(object, index, fault, versioned.contains(name), messages);
            }
            let proxy = entry
                .r#match
                .as_ref()
                .and_then(|conditions| conditions.proxy.as_ref());
            if proxy.is_some_and(|proxy| !proxy.proxy_version.is_empty()) {
                versioned.insert(name);
            }
        }
    }
}

/// What is wrong with a patch.
#[derive(Clone, Copy)]
enum Fault {
    Add,
    Remove,
    Replace,
    Relative,
}

fn fault(
    filter: &EnvoyFilter,
    entry: &EnvoyConfigObjectPatch,
    patch: &EnvoyPatch,
) -> Option<Fault> {
    let unnamed = matches!(
        entry.apply_to,
        ApplyTo::RouteConfiguration | ApplyTo::HttpRoute
    );
    let replaced = matches!(
        entry.apply_to,
        ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::VirtualHost
    );
    let relative = (filter.priority == 0).then_some(Fault::Relative);
    match patch.operation {
        EnvoyPatchOperation::Add => unnamed.then_some(Fault::Add),
        EnvoyPatchOperation::Remove if unnamed => Some(Fault::Remove),
        EnvoyPatchOperation::Replace if !replaced => Some(Fault::Replace),
        EnvoyPatchOperation::Remove
        | EnvoyPatchOperation::Replace
        | EnvoyPatchOperation::InsertBefore
        | EnvoyPatchOperation::InsertAfter => relative,
        _ => None,
    }
}

fn report(object: &Object, index: usize, fault: Fault, versioned: bool, messages: &mut Messages) {
    let (code, text): (Code, &str) = match fault {
        Fault::Add => (
            ENVOY_FILTER_USES_ADD_OPERATION_INCORRECTLY,
            "ADD has no effect on ROUTE_CONFIGURATION and HTTP_ROUTE; use another operation or applyTo",
        ),
        Fault::Remove => (
            ENVOY_FILTER_USES_REMOVE_OPERATION_INCORRECTLY,
            "REMOVE has no effect on ROUTE_CONFIGURATION and HTTP_ROUTE; use another operation or applyTo",
        ),
        Fault::Replace => (
            ENVOY_FILTER_USES_REPLACE_OPERATION_INCORRECTLY,
            "REPLACE works on NETWORK_FILTER, HTTP_FILTER and VIRTUAL_HOST only; use MERGE or another applyTo",
        ),
        Fault::Relative if versioned => (
            ENVOY_FILTER_USES_RELATIVE_OPERATION_WITH_PROXY_VERSION,
            "the place of this patch follows from another one that counts for some proxy versions only; set spec.priority, or use \
             INSERT_FIRST or ADD",
        ),
        Fault::Relative => (
            ENVOY_FILTER_USES_RELATIVE_OPERATION,
            "the effect of this patch follows from what other EnvoyFilters did before; set spec.priority, or use INSERT_FIRST or ADD",
        ),
    };
    let field = format!("spec.configPatches[{index}].patch.operation");
    messages.field(code, object, &field, text);
}

/// The name of the filter that a patch gives or changes.
fn filter_name<'a>(entry: &'a EnvoyConfigObjectPatch, patch: &'a EnvoyPatch) -> &'a str {
    let Some(value) = &patch.value else {
        return "";
    };
    if let Some(name) = value.get("name").and_then(|name| name.as_str()) {
        return name;
    }
    let conditions = entry.r#match.as_ref();
    match conditions.and_then(|conditions| conditions.object_types.as_ref()) {
        Some(EnvoyObjectTypes::Listener(listener)) => listener
            .filter_chain
            .as_ref()
            .and_then(|chain| chain.filter.as_ref())
            .map_or("", |filter| &filter.name),
        _ => "",
    }
}
