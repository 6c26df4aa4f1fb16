//! Rules on EnvoyFilters, all but those on the values of patches, which need Envoy's messages.

use std::fmt::Display;

use super::report::Report;
use super::workload_selector::workload_selector;
use crate::networking::{
    ApplyTo, EnvoyConfigObjectPatch, EnvoyFilter, EnvoyListenerMatch, EnvoyNetworkFilterMatch,
    EnvoyObjectTypes, EnvoyPatchContext, EnvoyPatchOperation,
};

/// The network filters that hold HTTP filters, by both names.
const CONNECTION_MANAGERS: [&str; 2] = [
    "envoy.filters.network.http_connection_manager",
    "envoy.http_connection_manager",
];

/// Longer expressions are not looked at.
const LONGEST_VERSION: usize = 1024;

/// Filters that had short names, by what they filter.
const HTTP_FILTERS: [&str; 16] = [
    "buffer",
    "cors",
    "csrf",
    "http_dynamo_filter",
    "ext_authz",
    "fault",
    "grpc_http1_bridge",
    "grpc_json_transcoder",
    "grpc_web",
    "gzip",
    "health_check",
    "ip_tagging",
    "lua",
    "rate_limit",
    "router",
    "squash",
];
const NETWORK_FILTERS: [&str; 6] = [
    "client_ssl_auth",
    "http_connection_manager",
    "mongo_proxy",
    "ratelimit",
    "redis_proxy",
    "tcp_proxy",
];
const LISTENER_FILTERS: [&str; 5] = [
    "http_inspector",
    "original_dst",
    "original_src",
    "proxy_protocol",
    "tls_inspector",
];

pub(super) fn check(report: &mut Report<'_>, spec: &EnvoyFilter) {
    // A selector that cannot be used ends the check, and no warning is given.
    if let Some(selector) = &spec.workload_selector
        && !workload_selector(report, "labels", &selector.labels)
    {
        return;
    }
    report.warning(
        "spec",
        "an EnvoyFilter changes internals that another version may lay out differently: prefer another kind of object, and check it at each upgrade",
    );
    for (i, one) in spec.config_patches.iter().enumerate() {
        patch(report, format_args!("spec.configPatches[{i}]"), one);
    }
}

/// The indexes of the patches whose values count: those whose other fields are not refused. A value belongs to the message that
/// `applyTo` changes.
#[must_use]
pub fn patches_to_check(filter: &EnvoyFilter) -> Vec<usize> {
    let selects = filter.workload_selector.as_ref().is_none_or(|selector| {
        workload_selector(&mut Report::without_object(), "labels", &selector.labels)
    });
    if !selects {
        return Vec::new();
    }
    let patches = filter.config_patches.iter().enumerate();
    patches
        .filter(|(_, one)| patch(&mut Report::without_object(), "", one))
        .map(|(i, _)| i)
        .collect()
}

/// Checks a patch and says whether its value is to be checked too.
fn patch(report: &mut Report<'_>, field: impl Display, one: &EnvoyConfigObjectPatch) -> bool {
    let object = one.r#match.as_ref();
    if object.is_some_and(|object| object.context == EnvoyPatchContext::Waypoint) {
        return false;
    }
    if let Err((at, message)) = operation(one) {
        report.error(format_args!("{field}.{at}"), message);
        return false;
    }
    let proxy = object.and_then(|object| object.proxy.as_ref());
    let version = proxy.map_or("", |proxy| proxy.proxy_version.as_str());
    if !proxy_version(
        report,
        format_args!("{field}.match.proxy.proxyVersion"),
        version,
    ) {
        return false;
    }
    match object.and_then(|object| object.object_types.as_ref()) {
        Some(types) => object_types(report, format_args!("{field}.match"), one.apply_to, types),
        None => true,
    }
}

/// The first field that makes a patch useless.
fn operation(one: &EnvoyConfigObjectPatch) -> Result<(), (&'static str, &'static str)> {
    if one.apply_to == ApplyTo::Invalid {
        return Err(("applyTo", "what is changed is needed, such as HTTP_FILTER"));
    }
    let Some(patch) = &one.patch else {
        return Err(("patch", "a patch is needed"));
    };
    if patch.operation == EnvoyPatchOperation::Invalid {
        return Err((
            "patch.operation",
            "what is done is needed, such as MERGE or ADD",
        ));
    }
    if patch.value.is_none() && patch.operation != EnvoyPatchOperation::Remove {
        return Err((
            "patch.value",
            "a value is needed for all operations but REMOVE",
        ));
    }
    Ok(())
}

fn proxy_version(report: &mut Report<'_>, field: impl Display, version: &str) -> bool {
    if version.len() > LONGEST_VERSION {
        report.warning(
            field,
            format_args!(
                "is longer than {LONGEST_VERSION} characters and does not count: shorten it"
            ),
        );
        return true;
    }
    report.passes(|report| {
        if !version.is_empty() {
            report.regex(field, version);
        }
    })
}

fn object_types(
    report: &mut Report<'_>,
    field: impl Display,
    apply_to: ApplyTo,
    types: &EnvoyObjectTypes,
) -> bool {
    match (apply_to, types) {
        (
            ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::NetworkFilter | ApplyTo::HttpFilter,
            EnvoyObjectTypes::Listener(of),
        ) => listener(report, format_args!("{field}.listener"), apply_to, of),
        (
            ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::NetworkFilter | ApplyTo::HttpFilter,
            _,
        ) => {
            report.error(
                field,
                format_args!("{apply_to} is part of a listener: match on `listener`, or leave the condition out"),
            );
            false
        }
        // The value is looked at all the same.
        (ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute, types) => {
            report.require(
                matches!(types, EnvoyObjectTypes::RouteConfiguration(_)),
                field,
                format_args!("{apply_to} is part of routes: match on `routeConfiguration`, or leave the condition out"),
            );
            true
        }
        (ApplyTo::Cluster, types) => {
            report.require(
                matches!(types, EnvoyObjectTypes::Cluster(_)),
                field,
                "match on `cluster`, or leave the condition out",
            );
            true
        }
        _ => true,
    }
}

fn listener(
    report: &mut Report<'_>,
    field: impl Display,
    apply_to: ApplyTo,
    of: &EnvoyListenerMatch,
) -> bool {
    let chain = of.filter_chain.as_ref();
    let Some(filter) = chain.and_then(|chain| chain.filter.as_ref()) else {
        return true;
    };
    let field = format_args!("{field}.filterChain.filter");
    if matches!(apply_to, ApplyTo::Listener | ApplyTo::FilterChain) {
        report.warning(
            field,
            format_args!("a filter does not count as a condition on {apply_to}: take it out"),
        );
    }
    if let Err((at, message)) = filters(apply_to, filter) {
        report.error(format_args!("{field}.{at}"), message);
        return false;
    }
    old_name(report, format_args!("{field}.name"), &filter.name);
    if let Some(inner) = &filter.sub_filter {
        old_name(report, format_args!("{field}.subFilter.name"), &inner.name);
    }
    true
}

fn filters(
    apply_to: ApplyTo,
    filter: &EnvoyNetworkFilterMatch,
) -> Result<(), (&'static str, &'static str)> {
    if filter.name.is_empty() {
        return Err(("name", "the filter's name is needed"));
    }
    let Some(inner) = &filter.sub_filter else {
        return Ok(());
    };
    if apply_to != ApplyTo::HttpFilter {
        return Err(("subFilter", "counts for HTTP_FILTER only: take it out"));
    }
    if !CONNECTION_MANAGERS.contains(&filter.name.as_str()) {
        return Err((
            "name",
            "a subFilter stands in envoy.filters.network.http_connection_manager: name that",
        ));
    }
    if inner.name.is_empty() {
        return Err(("subFilter.name", "the filter's name is needed"));
    }
    Ok(())
}

fn old_name(report: &mut Report<'_>, field: impl Display, name: &str) {
    let Some(short) = name.strip_prefix("envoy.") else {
        return;
    };
    let listener = short.strip_prefix("listener.");
    let old = HTTP_FILTERS.contains(&short)
        || NETWORK_FILTERS.contains(&short)
        || listener.is_some_and(|short| LISTENER_FILTERS.contains(&short));
    if old {
        report.warning(
            field,
            format_args!(
                "`{name}` is the filter's old name: use the one that begins with `envoy.filters.`"
            ),
        );
    }
}
