//! HTTP connection managers.

use envoy_types::pb::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use envoy_types::pb::envoy::r#type::metadata::v3 as metadata;
use envoy_types::pb::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use lateen_api::Duration;
use lateen_api::mesh::{CustomTagKind, ForwardClientCertDetails as Forward, NormalizationType};

use crate::access_log;
use crate::filters::{self, Direction};
use crate::pb::core::{Http1ProtocolOptions, HttpProtocolOptions};
use crate::pb::hcm::http_connection_manager::{
    self as parts, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    SetCurrentClientCertDetails, UpgradeConfig,
};
use crate::pb::hcm::{HttpConnectionManager, Rds, RequestIdExtension};
use crate::pb::listener::Filter;
use crate::pb::{kind, route};
use crate::view::View;
use crate::wire::{ads, flag, number, pack, span};

const NAME: &str = "envoy.filters.network.http_connection_manager";
/// Spans say which policies a dry run would have applied.
const DRY_RUN: [(&str, &str); 4] = [
    (
        "istio.authorization.dry_run.allow_policy.name",
        "istio_dry_run_allow_shadow_effective_policy_id",
    ),
    (
        "istio.authorization.dry_run.allow_policy.result",
        "istio_dry_run_allow_shadow_engine_result",
    ),
    (
        "istio.authorization.dry_run.deny_policy.name",
        "istio_dry_run_deny_shadow_effective_policy_id",
    ),
    (
        "istio.authorization.dry_run.deny_policy.result",
        "istio_dry_run_deny_shadow_engine_result",
    ),
];

/// What tells one connection manager from another.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) direction: Direction,
    /// `inbound_0.0.0.0_80` and the like.
    pub(crate) stat_prefix: String,
    pub(crate) routes: Routes,
    pub(crate) grpc_web: bool,
}

/// Where routes come from.
#[derive(Debug)]
pub(crate) enum Routes {
    /// RDS, by this name.
    Named(String),
    /// Inline.
    Inline(Box<route::RouteConfiguration>),
}

/// A connection manager as a network filter.
pub(crate) fn manager(view: &View, http: Http) -> Filter {
    let direction = http.direction;
    let route_specifier = match http.routes {
        Routes::Named(route_config_name) => RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name,
        }),
        Routes::Inline(routes) => RouteSpecifier::RouteConfig(*routes),
    };
    let mut manager = HttpConnectionManager {
        stat_prefix: format!("{};", http.stat_prefix),
        http_filters: filters::http_filters(view.extras(), direction, http.grpc_web),
        tracing: tracing(view),
        use_remote_address: flag(direction == Direction::Gateway),
        access_log: access_log::logs(view.config()),
        stream_idle_timeout: span(Duration::ZERO),
        proxy_100_continue: true,
        upgrade_configs: vec![UpgradeConfig {
            upgrade_type: "websocket".into(),
            ..Default::default()
        }],
        request_id_extension: Some(RequestIdExtension {
            typed_config: Some(pack(&UuidRequestIdConfig {
                use_request_id_for_trace_sampling: flag(true),
                ..Default::default()
            })),
        }),
        http_protocol_options: view.traits.http10.then(|| Http1ProtocolOptions {
            accept_http_10: true,
            ..Default::default()
        }),
        common_http_protocol_options: view.idle_timeout().map(|idle| HttpProtocolOptions {
            idle_timeout: Some(idle),
            ..Default::default()
        }),
        route_specifier: Some(route_specifier),
        ..Default::default()
    };
    normalize(&mut manager, view);
    if direction != Direction::Outbound {
        identify(&mut manager, view, direction);
    }
    headers(&mut manager, view, direction);
    filters::network(NAME, pack(&manager))
}

fn normalize(manager: &mut HttpConnectionManager, view: &View) {
    let wanted = view
        .config()
        .path_normalization
        .as_ref()
        .map(|own| own.normalization)
        .unwrap_or_default();
    manager.normalize_path = flag(wanted != NormalizationType::None);
    manager.merge_slashes = matches!(
        wanted,
        NormalizationType::MergeSlashes | NormalizationType::DecodeAndMergeSlashes
    );
    let escaped = if wanted == NormalizationType::DecodeAndMergeSlashes {
        PathWithEscapedSlashesAction::UnescapeAndForward
    } else {
        PathWithEscapedSlashesAction::KeepUnchanged
    };
    manager.path_with_escaped_slashes_action = escaped as i32;
}

/// Server name and what is said of the client's certificate.
fn identify(manager: &mut HttpConnectionManager, view: &View, direction: Direction) {
    manager.server_name = "istio-envoy".into();
    let gateway = direction == Direction::Gateway;
    let default = if gateway {
        ForwardClientCertDetails::SanitizeSet
    } else {
        ForwardClientCertDetails::AppendForward
    };
    let topology = view.settings.gateway_topology.as_ref();
    let proxy_headers = view.settings.proxy_headers.as_ref();
    let wanted = match (gateway, topology, proxy_headers) {
        (true, Some(topology), _) => topology.forward_client_cert_details,
        (false, _, Some(headers)) => headers.forwarded_client_cert,
        _ => Forward::Undefined,
    };
    let mode = match wanted {
        Forward::Undefined => default,
        Forward::Sanitize => ForwardClientCertDetails::Sanitize,
        Forward::ForwardOnly => ForwardClientCertDetails::ForwardOnly,
        Forward::AppendForward => ForwardClientCertDetails::AppendForward,
        Forward::SanitizeSet => ForwardClientCertDetails::SanitizeSet,
        Forward::AlwaysForwardOnly => ForwardClientCertDetails::AlwaysForwardOnly,
    };
    manager.forward_client_cert_details = mode as i32;
    if gateway {
        manager.xff_num_trusted_hops = topology.map_or(0, |topology| topology.num_trusted_proxies);
    }
    let own = proxy_headers.and_then(|headers| headers.set_current_client_cert_details.as_ref());
    if matches!(
        mode,
        ForwardClientCertDetails::AppendForward | ForwardClientCertDetails::SanitizeSet
    ) {
        manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails {
            subject: flag(own.and_then(|own| own.subject).unwrap_or(true)),
            cert: own.and_then(|own| own.cert).unwrap_or(gateway),
            chain: own.and_then(|own| own.chain).unwrap_or(false),
            dns: own.and_then(|own| own.dns).unwrap_or(true),
            uri: own.and_then(|own| own.uri).unwrap_or(true),
            ..Default::default()
        });
    }
}

/// Headers that the pod's settings switch off or on.
fn headers(manager: &mut HttpConnectionManager, view: &View, direction: Direction) {
    let Some(headers) = view.settings.proxy_headers.as_ref() else {
        return;
    };
    if headers
        .request_id
        .as_ref()
        .is_some_and(|own| own.disabled == Some(true))
    {
        manager.generate_request_id = flag(false);
    }
    if let Some(server) = headers
        .server
        .as_ref()
        .filter(|_| direction != Direction::Outbound)
    {
        if server.disabled == Some(true) {
            manager.server_name.clear();
            manager.server_header_transformation =
                parts::ServerHeaderTransformation::PassThrough as i32;
        } else if !server.value.is_empty() {
            manager.server_name.clone_from(&server.value);
        }
    }
    manager.append_x_forwarded_port = headers
        .x_forwarded_port
        .as_ref()
        .is_some_and(|own| own.enabled == Some(true));
}

fn tracing(view: &View) -> Option<parts::Tracing> {
    if !view.config().enable_tracing {
        return None;
    }
    let settings = view.settings.tracing.as_ref();
    let sampling = settings
        .map(|own| own.sampling)
        .filter(|value| *value > 0.0 && *value <= 100.0)
        .unwrap_or(1.0);
    let percent = |value: f64| Some(kind::Percent { value });
    let istio_tags = settings
        .and_then(|own| own.enable_istio_tags)
        .unwrap_or(true);
    let mut custom_tags: Vec<CustomTag> = Vec::new();
    if istio_tags {
        custom_tags.extend(DRY_RUN.iter().map(|(tag, key)| dry_run_tag(tag, key)));
        custom_tags.extend(view.tags.iter().map(|(tag, value)| {
            let literal = custom_tag::Literal {
                value: if value.is_empty() {
                    "unknown".into()
                } else {
                    value.clone()
                },
            };
            CustomTag {
                tag: (*tag).into(),
                r#type: Some(custom_tag::Type::Literal(literal)),
            }
        }));
    }
    let own = settings.into_iter().flat_map(|own| &own.custom_tags);
    custom_tags.extend(own.filter_map(|(tag, value)| {
        let r#type = match value.r#type.as_ref()? {
            CustomTagKind::Literal(literal) => custom_tag::Type::Literal(custom_tag::Literal {
                value: literal.value.clone(),
            }),
            CustomTagKind::Environment(variable) => {
                custom_tag::Type::Environment(custom_tag::Environment {
                    name: variable.name.clone(),
                    default_value: variable.default_value.clone(),
                })
            }
            CustomTagKind::Header(header) => custom_tag::Type::RequestHeader(custom_tag::Header {
                name: header.name.clone(),
                default_value: header.default_value.clone(),
            }),
        };
        Some(CustomTag {
            tag: tag.clone(),
            r#type: Some(r#type),
        })
    }));
    custom_tags.sort_by(|a, b| a.tag.cmp(&b.tag));
    Some(parts::Tracing {
        client_sampling: percent(100.0),
        random_sampling: percent(sampling),
        overall_sampling: percent(100.0),
        max_path_tag_length: settings
            .map(|own| own.max_path_tag_length)
            .filter(|length| *length > 0)
            .and_then(number),
        custom_tags,
        ..Default::default()
    })
}

fn dry_run_tag(tag: &str, key: &str) -> CustomTag {
    let segment = metadata::metadata_key::PathSegment {
        segment: Some(metadata::metadata_key::path_segment::Segment::Key(
            key.to_owned(),
        )),
    };
    let source = custom_tag::Metadata {
        kind: Some(metadata::MetadataKind {
            kind: Some(metadata::metadata_kind::Kind::Request(
                metadata::metadata_kind::Request {},
            )),
        }),
        metadata_key: Some(metadata::MetadataKey {
            key: "envoy.filters.http.rbac".into(),
            path: vec![segment],
        }),
        default_value: String::new(),
    };
    CustomTag {
        tag: tag.to_owned(),
        r#type: Some(custom_tag::Type::Metadata(source)),
    }
}
