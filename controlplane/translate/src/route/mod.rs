//! Routes (RDS, and inline for inbound traffic).

mod action;
mod fault;
mod gateway;
mod http;
mod matches;
mod policy;
mod sidecar;

use lateen_api::networking::HttpRetry;

use crate::pb::route::route::Action;
use crate::pb::route::route_action::{ClusterSpecifier, MaxStreamDuration};
use crate::pb::route::route_match::PathSpecifier;
use crate::pb::route::{
    Decorator, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use crate::view::View;
use crate::wire::{flag, number, seconds};

pub(crate) use fault::{grpc_code, http_status};
pub(crate) use gateway::gateway_routes;
pub(crate) use http::has_bad_regex;
pub(crate) use matches::{valid_domain, valid_regex};
pub(crate) use sidecar::sidecar_routes;

/// Longest body of a direct response, bytes.
const MAX_DIRECT_BODY: u32 = 1_048_576;

/// The routes of one port of the application: everything goes there.
pub(crate) fn inbound(
    view: &View,
    cluster: &str,
    port: u16,
    operation: &str,
) -> RouteConfiguration {
    let default = HttpRetry {
        attempts: 2,
        retry_on: "reset-before-request".into(),
        ..HttpRetry::default()
    };
    let wanted = view
        .config()
        .default_inbound_http_retry_policy
        .as_ref()
        .unwrap_or(&default);
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        timeout: seconds(0),
        max_stream_duration: Some(MaxStreamDuration {
            max_stream_duration: seconds(0),
            grpc_timeout_header_max: seconds(0),
            grpc_timeout_header_offset: None,
        }),
        retry_policy: policy::inbound_retry(wanted),
        ..Default::default()
    };
    let route = Route {
        name: "default".into(),
        r#match: Some(everything()),
        decorator: Some(Decorator {
            operation: format!("{operation}/*"),
            propagate: None,
        }),
        action: Some(Action::Route(action)),
        ..Default::default()
    };
    RouteConfiguration {
        name: cluster.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: format!("inbound|http|{port}"),
            domains: vec!["*".into()],
            routes: vec![route],
            ..Default::default()
        }],
        validate_clusters: flag(false),
        ..Default::default()
    }
}

/// What route configurations of outbound traffic and gateways have in common.
fn configuration(name: &str, virtual_hosts: Vec<VirtualHost>) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        validate_clusters: flag(false),
        max_direct_response_body_size_bytes: number(MAX_DIRECT_BODY),
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

/// A route configuration that nobody knows.
pub(crate) fn unknown(name: &str) -> RouteConfiguration {
    configuration(name, Vec::new())
}

fn virtual_host(
    view: &View,
    name: String,
    domains: Vec<String>,
    routes: Vec<Route>,
) -> VirtualHost {
    let headers = view.settings.proxy_headers.as_ref();
    let counted = headers
        .and_then(|headers| headers.attempt_count.as_ref())
        .and_then(|own| own.disabled)
        != Some(true);
    VirtualHost {
        name,
        domains,
        routes,
        include_request_attempt_count: counted,
        ..Default::default()
    }
}

fn everything() -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".into())),
        ..Default::default()
    }
}
