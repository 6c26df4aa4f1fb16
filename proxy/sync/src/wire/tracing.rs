//! Tracing: of connection managers, of routes, and the collectors.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::grpc_service::TargetSpecifier;
use envoy_types::pb::envoy::config::core::v3::http_uri::HttpUpstreamType;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::config::trace::v3 as trace;
use envoy_types::pb::envoy::config::trace::v3::tracing::http::ConfigType;
use envoy_types::pb::envoy::config::trace::v3::zipkin_config::{
    CollectorEndpointVersion, TraceContextOption,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as part;
use envoy_types::pb::envoy::extensions::tracers::opentelemetry::resource_detectors::v3 as detectors;
use envoy_types::pb::envoy::extensions::tracers::opentelemetry::samplers::v3 as samplers;
use envoy_types::pb::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use envoy_types::pb::envoy::r#type::metadata::v3::metadata_kind::Kind;
use envoy_types::pb::envoy::r#type::tracing::v3::CustomTag as WireTag;
use envoy_types::pb::envoy::r#type::tracing::v3::custom_tag::Type;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, Percent};
use envoy_types::pb::google::protobuf::Any;
use http::{HeaderName, HeaderValue};
use lateen_proxy_model::{
    CustomTag, HttpTracing, Operation, RouteTracing, Sampler, Sampling, ServiceTarget, Share,
    TagSource, TraceKind, TraceProvider, TrafficDirection,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, number, unpack};
use super::context::Context;

/// Envoy's default of `max_path_tag_length`.
const PATH: usize = 256;
/// Envoy's default of `max_cache_size`; Zipkin has no such setting.
const SPANS: usize = 1024;
/// Most spans that may wait, whatever the configuration says.
const MAX_SPANS: u32 = 64 * 1024;
/// Longest call of a collector without a setting.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most custom tags of a list.
const MAX_TAGS: usize = 64;

/// The connection manager's block.
pub(super) fn http(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: part::Tracing,
) -> Result<HttpTracing, Refused> {
    let sampling = Sampling {
        client: whole(message.client_sampling.take()),
        random: hundredths(message.random_sampling.take()),
        overall: whole(message.overall_sampling.take()),
    };
    let place = at.field("provider");
    let provider = message
        .provider
        .take()
        .map(|provider| self::provider(context, &place, provider))
        .transpose()?;
    let made = HttpTracing {
        sampling,
        tags: tags(&at.field("custom_tags"), take(&mut message.custom_tags))?,
        max_path: number(message.max_path_tag_length.take()).map_or(PATH, |most| most as usize),
        verbose: take(&mut message.verbose),
        spawn_upstream: flag(message.spawn_upstream_span.take(), false),
        propagate: !take(&mut message.no_context_propagation),
        child_spans: context.child_spans.take(),
        operation: match context.direction.get() {
            TrafficDirection::Outbound => Operation::Egress,
            TrafficDirection::Inbound | TrafficDirection::Unspecified => Operation::Ingress,
        },
        provider: provider.map(Arc::new),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// A route's decorator and tracing block; `None` where there is neither.
pub(super) fn route(
    at: &At<'_>,
    decorator: Option<route::Decorator>,
    block: Option<route::Tracing>,
) -> Result<Option<Arc<RouteTracing>>, Refused> {
    if decorator.is_none() && block.is_none() {
        return Ok(None);
    }
    let mut made = RouteTracing {
        propagate: true,
        ..RouteTracing::default()
    };
    if let Some(decorator) = decorator {
        let name = HeaderValue::from_str(&decorator.operation).map_err(|_| {
            let at = at.field("decorator");
            at.field("operation").refuse("no header can hold it")
        })?;
        made.operation = Some(name).filter(|name| !name.is_empty());
        made.propagate = flag(decorator.propagate, true);
    }
    if let Some(mut block) = block {
        let at = at.field("tracing");
        let share = |name: &str, value: Option<FractionalPercent>| {
            value.map_or(Ok(Share::ALL), |value| fraction(&at.field(name), value))
        };
        made.sampling = Some(Sampling {
            client: share("client_sampling", block.client_sampling.take())?,
            random: share("random_sampling", block.random_sampling.take())?,
            overall: share("overall_sampling", block.overall_sampling.take())?,
        });
        made.tags = tags(&at.field("custom_tags"), take(&mut block.custom_tags))?;
        nothing_left(&at, &block)?;
    }
    Ok(Some(Arc::new(made)))
}

/// Whole percents, as Envoy reads them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 100"
)]
fn whole(value: Option<Percent>) -> Share {
    Share {
        numerator: value.map_or(100, |value| value.value.clamp(0.0, 100.0) as u32),
        denominator: 100,
    }
}

/// Hundredths of a percent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 10,000"
)]
fn hundredths(value: Option<Percent>) -> Share {
    Share {
        numerator: value.map_or(10_000, |value| {
            (value.value.clamp(0.0, 100.0) * 100.0).round() as u32
        }),
        denominator: 10_000,
    }
}

fn fraction(at: &At<'_>, value: FractionalPercent) -> Result<Share, Refused> {
    let denominator = match value.denominator() {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    };
    if value.numerator > denominator {
        return Err(at.refuse("more than 100 percent"));
    }
    Ok(Share {
        numerator: value.numerator,
        denominator,
    })
}

/// Tags with a value that may be had.
pub(super) fn tags(at: &At<'_>, tags: Vec<WireTag>) -> Result<Box<[CustomTag]>, Refused> {
    if tags.len() > MAX_TAGS {
        return Err(at.refuse(format!("more than {MAX_TAGS}")));
    }
    let mut made = Vec::with_capacity(tags.len());
    for (index, tag) in tags.into_iter().enumerate() {
        let at = at.item(index);
        if let Some(source) = source(&at, tag.r#type)? {
            made.push(CustomTag {
                name: tag.tag.into(),
                source,
            });
        }
    }
    Ok(made.into())
}

/// `None` for a variable of the environment that is not set and has no default: there is no such tag then.
fn source(at: &At<'_>, kind: Option<Type>) -> Result<Option<TagSource>, Refused> {
    Ok(Some(match kind {
        Some(Type::Literal(literal)) => TagSource::Literal(literal.value.into()),
        Some(Type::Environment(variable)) => {
            let value = std::env::var(&variable.name).unwrap_or(variable.default_value);
            if value.is_empty() {
                return Ok(None);
            }
            TagSource::Literal(value.into())
        }
        Some(Type::RequestHeader(header)) => TagSource::RequestHeader {
            name: match header.name.as_str() {
                ":authority" => http::header::HOST,
                name => HeaderName::try_from(name).map_err(|_| {
                    let at = at.field("request_header");
                    at.field("name")
                        .refuse(format!("{name:?} is not supported"))
                })?,
            },
            default: header.default_value.into(),
        },
        Some(Type::Metadata(metadata)) => {
            let at = at.field("metadata");
            match metadata.kind.and_then(|kind| kind.kind) {
                Some(Kind::Request(_)) => {}
                _ => return Err(at.field("kind").refuse("only request is supported")),
            }
            let key = metadata.metadata_key.unwrap_or_default();
            TagSource::RequestMetadata {
                namespace: key.key.into(),
                path: key
                    .path
                    .into_iter()
                    .map(|segment| match segment.segment {
                        Some(Segment::Key(key)) => Ok(key.into()),
                        _ => Err(at.field("metadata_key").refuse("only keys are supported")),
                    })
                    .collect::<Result<_, _>>()?,
                default: metadata.default_value.into(),
            }
        }
        Some(Type::Value(_)) => return Err(at.field("value").unsupported()),
        None => return Err(at.refuse("no value")),
    }))
}

fn provider(
    context: &Context<'_>,
    at: &At<'_>,
    provider: trace::tracing::Http,
) -> Result<TraceProvider, Refused> {
    let Some(ConfigType::TypedConfig(packed)) = provider.config_type else {
        return Err(at.field("typed_config").refuse("missing"));
    };
    let place = at.field("typed_config");
    if any::holds::<trace::OpenTelemetryConfig>(&packed) {
        return open_telemetry(context, &place, unpack(&place, &packed)?);
    }
    if any::holds::<trace::ZipkinConfig>(&packed) {
        return zipkin(context, &place, unpack(&place, &packed)?);
    }
    let (name, kind) = (provider.name, any::full_name(&packed.type_url));
    Err(at.refuse(format!("tracer {name:?} ({kind}) is not supported")))
}

fn open_telemetry(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: trace::OpenTelemetryConfig,
) -> Result<TraceProvider, Refused> {
    const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let target = match (message.grpc_service.take(), message.http_service.take()) {
        (Some(service), None) => grpc(context, &at.field("grpc_service"), service, EXPORT)?,
        (None, Some(service)) => http_service(context, &at.field("http_service"), service)?,
        (Some(_), Some(_)) => return Err(at.refuse("both grpc_service and http_service")),
        (None, None) => return Err(at.refuse("neither grpc_service nor http_service")),
    };
    let sampler = message.sampler.take();
    let sampler = sampler
        .map(|sampler| self::sampler(&at.field("sampler"), sampler, 0))
        .transpose()?;
    let sdk = flag(message.set_telemetry_sdk_resource_attributes.take(), true);
    let mut resource = Vec::new();
    if sdk {
        for (name, value) in [
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.name", "lateen"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ] {
            set(&mut resource, name, value);
        }
    }
    let list = at.field("resource_detectors");
    for (index, detector) in take(&mut message.resource_detectors)
        .into_iter()
        .enumerate()
    {
        detect(&list.item(index), detector, &mut resource)?;
    }
    let name = take(&mut message.service_name);
    if flag(message.set_service_name_resource_attribute.take(), true) {
        let known = resource.iter().any(|(own, _)| &**own == "service.name");
        match (name.is_empty(), known) {
            (false, _) => set(&mut resource, "service.name", &name),
            (true, false) => set(&mut resource, "service.name", "unknown_service:envoy"),
            (true, true) => {}
        }
    }
    // The scope names this program, which harms nobody who wants it left out.
    message.set_instrumentation_scope = None;
    let most = number(message.max_cache_size.take()).map(|most| most.min(MAX_SPANS) as usize);
    nothing_left(at, &message)?;
    Ok(TraceProvider {
        target,
        kind: TraceKind::OpenTelemetry {
            resource: resource.into(),
            sampler,
        },
        max_spans: most.filter(|most| *most > 0).unwrap_or(SPANS),
    })
}

fn set(resource: &mut Vec<(Box<str>, Box<str>)>, name: &str, value: &str) {
    match resource.iter_mut().find(|(own, _)| **own == *name) {
        Some(known) => known.1 = value.into(),
        None => resource.push((name.into(), value.into())),
    }
}

/// Attributes that a detector finds.
pub(super) fn detect(
    at: &At<'_>,
    detector: core::TypedExtensionConfig,
    resource: &mut Vec<(Box<str>, Box<str>)>,
) -> Result<(), Refused> {
    let packed = detector.typed_config.unwrap_or_default();
    let at = at.field("typed_config");
    if any::holds::<detectors::EnvironmentResourceDetectorConfig>(&packed) {
        let variable = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        for pair in variable.split(',') {
            if let Some((name, value)) = pair.split_once('=') {
                set(resource, name.trim(), value.trim());
            }
        }
        return Ok(());
    }
    if any::holds::<detectors::StaticConfigResourceDetectorConfig>(&packed) {
        let message: detectors::StaticConfigResourceDetectorConfig = unpack(&at, &packed)?;
        let mut sorted: Vec<_> = message.attributes.into_iter().collect();
        sorted.sort();
        for (name, value) in sorted {
            set(resource, &name, &value);
        }
        return Ok(());
    }
    let kind = any::full_name(&packed.type_url);
    Err(at.refuse(format!("resource detector {kind} is not supported")))
}

/// `depth` bounds samplers within samplers.
fn sampler(
    at: &At<'_>,
    sampler: core::TypedExtensionConfig,
    depth: usize,
) -> Result<Sampler, Refused> {
    let packed: Any = sampler.typed_config.unwrap_or_default();
    let at = at.field("typed_config");
    if any::holds::<samplers::AlwaysOnSamplerConfig>(&packed) {
        return Ok(Sampler::Always);
    }
    if any::holds::<samplers::TraceIdRatioBasedSamplerConfig>(&packed) {
        let message: samplers::TraceIdRatioBasedSamplerConfig = unpack(&at, &packed)?;
        let share = message.sampling_percentage;
        return match share {
            Some(share) => fraction(&at.field("sampling_percentage"), share).map(Sampler::Ratio),
            None => Ok(Sampler::Ratio(Share {
                numerator: 0,
                denominator: 100,
            })),
        };
    }
    if any::holds::<samplers::ParentBasedSamplerConfig>(&packed) && depth < 4 {
        let message: samplers::ParentBasedSamplerConfig = unpack(&at, &packed)?;
        let at = at.field("wrapped_sampler");
        let wrapped = message
            .wrapped_sampler
            .ok_or_else(|| at.refuse("missing"))?;
        let wrapped = self::sampler(&at, wrapped, depth + 1)?;
        return Ok(Sampler::Parent(Box::new(wrapped)));
    }
    let kind = any::full_name(&packed.type_url);
    Err(at.refuse(format!("sampler {kind} is not supported")))
}

fn zipkin(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: trace::ZipkinConfig,
) -> Result<TraceProvider, Refused> {
    let version = message.collector_endpoint_version();
    let w3c = message.trace_context_option() == TraceContextOption::UseB3WithW3cPropagation;
    message.collector_endpoint_version = 0;
    message.trace_context_option = 0;
    let cluster = take(&mut message.collector_cluster);
    let (endpoint, host) = (
        take(&mut message.collector_endpoint),
        take(&mut message.collector_hostname),
    );
    let target = match message.collector_service.take() {
        Some(service) => http_service(context, &at.field("collector_service"), service)?,
        None => {
            if version != CollectorEndpointVersion::HttpJson {
                let text = format!("{} is not supported; HTTP_JSON is", version.as_str_name());
                return Err(at.field("collector_endpoint_version").refuse(text));
            }
            if cluster.is_empty() || !endpoint.starts_with('/') {
                return Err(
                    at.refuse("collector_cluster and a path as collector_endpoint are needed")
                );
            }
            let host = if host.is_empty() { &cluster } else { &host };
            ServiceTarget {
                cluster: context.cluster(&cluster),
                authority: authority(&at.field("collector_hostname"), host)?,
                path: endpoint.into(),
                method: None,
                timeout: Some(TIMEOUT),
                headers: Box::default(),
            }
        }
    };
    // Ids are random; Zipkin takes them either way.
    message.timestamp_trace_ids = false;
    // The older way to say spawn_upstream_span, which Envoy itself does not read any more.
    #[allow(deprecated, reason = "older configurations have it")]
    {
        message.split_spans_for_request = false;
    }
    let node = context.node();
    let made = TraceProvider {
        target,
        kind: TraceKind::Zipkin {
            service: node.cluster.clone(),
            address: node.address,
            shared: flag(message.shared_span_context.take(), true),
            wide: take(&mut message.trace_id_128bit),
            w3c,
        },
        max_spans: SPANS,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn authority(at: &At<'_>, text: &str) -> Result<HeaderValue, Refused> {
    HeaderValue::from_str(text).map_err(|_| at.refuse(format!("{text:?} is no host")))
}

/// A gRPC service behind a cluster.
pub(super) fn grpc(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: core::GrpcService,
    method: &'static str,
) -> Result<ServiceTarget, Refused> {
    let place = at.field("envoy_grpc");
    let mut envoy = match message.target_specifier.take() {
        Some(TargetSpecifier::EnvoyGrpc(envoy)) => envoy,
        Some(TargetSpecifier::GoogleGrpc(_)) => return Err(at.field("google_grpc").unsupported()),
        None => return Err(place.refuse("missing")),
    };
    let cluster = take(&mut envoy.cluster_name);
    let host = take(&mut envoy.authority);
    nothing_left(&place, &envoy)?;
    let list = at.field("initial_metadata");
    let metadata = take(&mut message.initial_metadata);
    let headers = metadata
        .into_iter()
        .enumerate()
        .map(|(index, header)| header_of(&list.item(index), header))
        .collect::<Result<_, _>>()?;
    let timeout = duration(&at.field("timeout"), message.timeout.take())?;
    nothing_left(at, &message)?;
    let host = if host.is_empty() { &cluster } else { &host };
    Ok(ServiceTarget {
        authority: authority(&place.field("authority"), host)?,
        cluster: context.cluster(&cluster),
        path: Box::default(),
        method: Some(method),
        timeout: timeout.filter(|limit| !limit.is_zero()),
        headers,
    })
}

/// An HTTP service behind a cluster.
pub(super) fn http_service(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: core::HttpService,
) -> Result<ServiceTarget, Refused> {
    let place = at.field("http_uri");
    let mut uri = message.http_uri.take().unwrap_or_default();
    let Some(HttpUpstreamType::Cluster(cluster)) = uri.http_upstream_type.take() else {
        return Err(place.field("cluster").refuse("missing"));
    };
    let text = take(&mut uri.uri);
    let (host, path) = host_and_path(&text);
    let timeout = duration(&place.field("timeout"), uri.timeout.take())?;
    nothing_left(&place, &uri)?;
    let list = at.field("request_headers_to_add");
    let mut headers = Vec::new();
    for (index, option) in take(&mut message.request_headers_to_add)
        .into_iter()
        .enumerate()
    {
        let at = list.item(index);
        let at = at.field("header");
        let header = option.header.ok_or_else(|| at.refuse("missing"))?;
        headers.push(header_of(&at, header)?);
    }
    nothing_left(at, &message)?;
    let host = if host.is_empty() { &*cluster } else { host };
    Ok(ServiceTarget {
        authority: authority(&place.field("uri"), host)?,
        path: path.into(),
        cluster: context.cluster(&cluster),
        method: None,
        timeout: timeout.filter(|limit| !limit.is_zero()),
        headers: headers.into(),
    })
}

fn host_and_path(uri: &str) -> (&str, &str) {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    }
}

fn header_of(at: &At<'_>, header: core::HeaderValue) -> Result<(HeaderName, HeaderValue), Refused> {
    let name = HeaderName::try_from(&header.key).map_err(|_| {
        at.field("key")
            .refuse(format!("{:?} is no header", header.key))
    })?;
    if header.value.contains('%') {
        return Err(at.field("value").refuse("operators are not supported here"));
    }
    let value = match header.raw_value.is_empty() {
        true => HeaderValue::from_str(&header.value),
        false => HeaderValue::from_bytes(&header.raw_value),
    };
    let value = value.map_err(|_| at.field("value").refuse("no header can hold it"))?;
    Ok((name, value))
}
