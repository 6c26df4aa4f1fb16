//! Where a resource says that others come from.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::api_config_source::ApiType;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::grpc_service::TargetSpecifier;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, limit, must_be_off, number};
use super::context::Context;
use crate::source::{ADS, ApiSource, PathSource, Reference, Server, Source, Target, Variant};

/// How long a resource is waited for where nothing is said.
const WAIT: Duration = Duration::from_secs(15);

/// A reference to resources of another source.
pub(crate) fn reference(
    context: &Context<'_>,
    at: &At<'_>,
    value: Option<core::ConfigSource>,
) -> Result<Reference, Refused> {
    let (source, wait) = config_source(at, value)?;
    let source = match (source, context.sources()) {
        (Source::Ads, None) => ADS,
        (Source::Ads, Some(sources)) if sources.has_ads() => ADS,
        (Source::Ads, Some(_)) => {
            let text = "there is no ads_config in the bootstrap";
            return Err(at.field("ads").refuse(text));
        }
        (other, Some(sources)) => sources
            .id(other)
            .ok_or_else(|| at.refuse("too many sources of configuration"))?,
        (_, None) => return Err(at.refuse("only ads is supported")),
    };
    Ok(Reference { source, wait })
}

/// A source, and how long its resources are waited for (`None` is for ever).
pub(crate) fn config_source(
    at: &At<'_>,
    value: Option<core::ConfigSource>,
) -> Result<(Source, Option<Duration>), Refused> {
    let value = value.ok_or_else(|| at.refuse("missing"))?;
    let core::ConfigSource {
        authorities,
        initial_fetch_timeout,
        resource_api_version,
        config_source_specifier,
    } = value;
    must_be_off(&at.field("authorities"), !authorities.is_empty())?;
    version(&at.field("resource_api_version"), resource_api_version)?;
    let place = at.field("initial_fetch_timeout");
    let wait = limit(&place, initial_fetch_timeout, Some(WAIT))?;
    let source = match config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Source::Ads,
        Some(ConfigSourceSpecifier::Path(path)) => file(&at.field("path"), path, None)?,
        Some(ConfigSourceSpecifier::PathConfigSource(mut from)) => {
            let at = at.field("path_config_source");
            let folder = from.watched_directory.take().map(|watched| watched.path);
            let path = take(&mut from.path);
            nothing_left(&at, &from)?;
            file(&at.field("path"), path, folder)?
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(api)) => {
            Source::Api(api_source(&at.field("api_config_source"), api, false)?)
        }
        None => return Err(at.refuse("no source is given")),
    };
    Ok((source, wait))
}

/// V3 is the only version there is; AUTO means it too.
fn version(at: &At<'_>, value: i32) -> Result<(), Refused> {
    match core::ApiVersion::try_from(value) {
        Ok(core::ApiVersion::Auto | core::ApiVersion::V3) => Ok(()),
        _ => Err(at.refuse("only V3 is supported")),
    }
}

fn file(at: &At<'_>, path: String, watched: Option<String>) -> Result<Source, Refused> {
    if path.is_empty() {
        return Err(at.refuse("missing"));
    }
    if path.ends_with(".pb") || path.ends_with(".pb_text") {
        return Err(at.refuse(format!(
            "{path:?}: only YAML and JSON are supported, no binary or text protocol buffers"
        )));
    }
    Ok(Source::Path(PathSource {
        path: path.into(),
        watched: watched.map(Into::into),
    }))
}

/// A gRPC service; `aggregated` takes the types that `ads_config` may have.
pub(crate) fn api_source(
    at: &At<'_>,
    mut message: core::ApiConfigSource,
    aggregated: bool,
) -> Result<ApiSource, Refused> {
    let place = at.field("api_type");
    let variant = match (message.api_type(), aggregated) {
        (ApiType::Grpc, _) | (ApiType::AggregatedGrpc, true) => Variant::Sotw,
        (ApiType::DeltaGrpc, _) | (ApiType::AggregatedDeltaGrpc, true) => Variant::Delta,
        (other, _) => {
            let text = format!("{} is not supported", other.as_str_name());
            return Err(place.refuse(text));
        }
    };
    message.api_type = 0;
    version(
        &at.field("transport_api_version"),
        take(&mut message.transport_api_version),
    )?;
    // Only REST polls.
    message.refresh_delay = None;
    message.request_timeout = None;
    let node_once = take(&mut message.set_node_on_first_message_only);
    let list = at.field("grpc_services");
    let servers = take(&mut message.grpc_services)
        .into_iter()
        .enumerate()
        .map(|(index, one)| server(&list.item(index), one))
        .collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() {
        return Err(list.refuse("missing"));
    }
    nothing_left(at, &message)?;
    Ok(ApiSource {
        variant,
        servers,
        node_once,
    })
}

fn server(at: &At<'_>, mut message: core::GrpcService) -> Result<Server, Refused> {
    // A stream has no time limit; Envoy takes none into account here either.
    message.timeout = None;
    let list = at.field("initial_metadata");
    let metadata = take(&mut message.initial_metadata)
        .into_iter()
        .enumerate()
        .map(|(index, one)| header(&list.item(index), &one))
        .collect::<Result<_, _>>()?;
    let place = at.field("retry_policy");
    let mut backoff = backoff(&place, message.retry_policy.take())?;
    let target = message.target_specifier.take();
    nothing_left(at, &message)?;
    let mut max_message = None;
    let target = match target {
        Some(TargetSpecifier::EnvoyGrpc(mut envoy)) => {
            let at = at.field("envoy_grpc");
            let own = self::backoff(&at.field("retry_policy"), envoy.retry_policy.take())?;
            backoff = own.or(backoff);
            max_message = number(envoy.max_receive_message_length.take()).map(|max| max as usize);
            // No header of Envoy's own is added to streams.
            envoy.skip_envoy_headers = false;
            let name = take(&mut envoy.cluster_name);
            let authority = take(&mut envoy.authority);
            nothing_left(&at, &envoy)?;
            Target::Cluster {
                name,
                authority: (!authority.is_empty()).then_some(authority),
            }
        }
        Some(TargetSpecifier::GoogleGrpc(mut google)) => {
            let at = at.field("google_grpc");
            // A name for statistics.
            google.stat_prefix.clear();
            let uri = take(&mut google.target_uri);
            nothing_left(&at, &google)?;
            Target::Address(address(&at.field("target_uri"), &uri)?)
        }
        None => return Err(at.refuse("no target is given")),
    };
    Ok(Server {
        target,
        metadata,
        backoff,
        max_message,
    })
}

fn address(at: &At<'_>, uri: &str) -> Result<String, Refused> {
    let plain = uri.strip_prefix("dns:///").unwrap_or(uri);
    let port = plain.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) if !plain.contains('/') => Ok(plain.to_owned()),
        _ => Err(at.refuse(format!("{uri:?} is not of the form host:port"))),
    }
}

fn header(
    at: &At<'_>,
    message: &core::HeaderValue,
) -> Result<(MetadataKey<Ascii>, MetadataValue<Ascii>), Refused> {
    must_be_off(&at.field("raw_value"), !message.raw_value.is_empty())?;
    let key = message.key.to_ascii_lowercase().parse();
    let key = key.map_err(|_| at.field("key").refuse("no header name of text"))?;
    let value = message.value.parse();
    let value = value.map_err(|_| at.field("value").refuse("no header value"))?;
    Ok((key, value))
}

fn backoff(
    at: &At<'_>,
    message: Option<core::RetryPolicy>,
) -> Result<Option<(Duration, Duration)>, Refused> {
    let Some(mut message) = message else {
        return Ok(None);
    };
    // A stream is tried again for as long as the proxy runs.
    message.num_retries = None;
    let own = message.retry_back_off.take();
    nothing_left(at, &message)?;
    let Some(own) = own else {
        return Ok(None);
    };
    let at = at.field("retry_back_off");
    let place = at.field("base_interval");
    let base = duration(&place, own.base_interval)?.ok_or_else(|| place.refuse("missing"))?;
    let most = duration(&at.field("max_interval"), own.max_interval)?;
    let most = most.unwrap_or(base.saturating_mul(10));
    if most < base {
        return Err(at.field("max_interval").refuse("below base_interval"));
    }
    Ok(Some((base.max(Duration::from_millis(1)), most)))
}

#[cfg(test)]
mod tests {
    use lateen_xds::json::message_from_json;
    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Result<(Source, Option<Duration>), String> {
        let message = message_from_json(value).expect("JSON of the message");
        config_source(&At::ROOT, Some(message)).map_err(|error| error.to_string())
    }

    #[test]
    fn sources_are_told_apart() {
        let ads = read(&json!({ "ads": {}, "initial_fetch_timeout": "0s" }));
        assert_eq!(ads, Ok((Source::Ads, None)));
        let (file, wait) = read(&json!({ "path_config_source": {
            "path": "/a/b.yaml", "watched_directory": { "path": "/a" } } }))
        .expect("a file");
        assert_eq!(wait, Some(WAIT));
        assert!(matches!(file, Source::Path(one) if one.watched.is_some()));
        let (api, _) = read(
            &json!({ "resource_api_version": "V3", "api_config_source": {
            "api_type": "DELTA_GRPC", "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{
                "envoy_grpc": { "cluster_name": "xds", "authority": "a.b" },
                "initial_metadata": [{ "key": "X-Key", "value": "v" }] },
                { "google_grpc": { "target_uri": "dns:///a.b:80", "stat_prefix": "x" } }] } }),
        )
        .expect("a service");
        let Source::Api(api) = api else {
            panic!("{api:?}")
        };
        assert_eq!((api.variant, api.node_once), (Variant::Delta, true));
        assert_eq!(api.servers[0].metadata[0].0, "x-key");
        assert_eq!(api.servers[1].target, Target::Address("a.b:80".into()));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (value, path) in [
            (json!({}), "no source is given"),
            (
                json!({ "path": "x.pb" }),
                "path: \"x.pb\": only YAML and JSON",
            ),
            (json!({ "ads": {}, "authorities": [{}] }), "authorities: "),
            (
                json!({ "ads": {}, "resource_api_version": "V2" }),
                "resource_api_version: only V3",
            ),
            (
                json!({ "api_config_source": { "api_type": "REST" } }),
                "api_config_source.api_type: REST",
            ),
            (
                json!({ "api_config_source": { "api_type": "GRPC" } }),
                "grpc_services: missing",
            ),
            (
                json!({ "api_config_source": { "api_type": "GRPC", "rate_limit_settings": {},
                    "grpc_services": [{ "envoy_grpc": { "cluster_name": "a" } }] } }),
                "rate_limit_settings",
            ),
            (
                json!({ "api_config_source": { "api_type": "GRPC", "grpc_services": [{ "google_grpc": {
                    "target_uri": "a:1", "channel_credentials": {} } }] } }),
                "google_grpc.channel_credentials",
            ),
        ] {
            let error = read(&value).expect_err("refused");
            assert!(error.contains(path), "{error}");
        }
    }
}
