//! HTTP options of clusters.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use lateen_proxy_model::{ConnectionOptions, HttpProtocol, UpstreamCodec};

use super::at::{At, Refused, nothing_left};
use super::codec;
use super::common::{limit, number, unpack};
use super::matcher::header_name;

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const IDLE: Duration = Duration::from_secs(3600);

/// How HTTP is spoken to a cluster.
pub(super) struct Protocol {
    pub(super) http: HttpProtocol,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_requests_per_connection: Option<u32>,
    pub(super) codec: UpstreamCodec,
    /// Server name from the request's host, and its verification.
    pub(super) auto: (bool, bool),
    /// The configuration says something of it.
    auto_given: bool,
    /// Further settings of connections.
    pub(super) options: ConnectionOptions,
}

impl Protocol {
    /// Servers are named by the request's host and verified by it, unless the options say something else, which is
    /// refused.
    pub(super) fn verify_names(&mut self, at: &At<'_>) -> Result<(), Refused> {
        if self.auto_given && self.auto != (true, true) {
            let text = "auto_sni and auto_san_validation must be on for this cluster";
            return Err(at.field("upstream_http_protocol_options").refuse(text));
        }
        self.auto = (true, true);
        Ok(())
    }
}

/// The cluster's typed options, or the older fields of the cluster itself.
pub(super) fn of_cluster(at: &At<'_>, message: &mut cluster::Cluster) -> Result<Protocol, Refused> {
    let mut protocol = older(at, message)?;
    let mut options = take(&mut message.typed_extension_protocol_options);
    let at = at.field("typed_extension_protocol_options");
    if let Some(packed) = options.remove(OPTIONS) {
        let at = at.key(OPTIONS);
        typed(&at, unpack(&at, &packed)?, &mut protocol)?;
    }
    match options.keys().next() {
        Some(other) => Err(at.key(other).unsupported()),
        None => Ok(protocol),
    }
}

fn older(at: &At<'_>, message: &mut cluster::Cluster) -> Result<Protocol, Refused> {
    let mut protocol = Protocol {
        http: HttpProtocol::Http1,
        idle_timeout: Some(IDLE),
        max_requests_per_connection: number(message.max_requests_per_connection.take()),
        codec: UpstreamCodec::default(),
        auto: (false, false),
        auto_given: false,
        options: ConnectionOptions::default(),
    };
    let place = at.field("common_http_protocol_options");
    if let Some(options) = message.common_http_protocol_options.take() {
        common(&place, options, &mut protocol)?;
    }
    let place = at.field("http_protocol_options");
    if let Some(options) = message.http_protocol_options.take() {
        protocol.codec.http1 = codec::http1(&place, options, false)?;
    }
    let place = at.field("http2_protocol_options");
    if let Some(options) = message.http2_protocol_options.take() {
        protocol.http = HttpProtocol::Http2;
        protocol.codec.http2 = codec::http2(&place, options)?;
    }
    let place = at.field("upstream_http_protocol_options");
    if let Some(options) = message.upstream_http_protocol_options.take() {
        auto(&place, options, &mut protocol)?;
    }
    if take(&mut message.protocol_selection) == 1 {
        protocol.http = HttpProtocol::Downstream;
    }
    Ok(protocol)
}

fn typed(
    at: &At<'_>,
    mut message: upstream::HttpProtocolOptions,
    protocol: &mut Protocol,
) -> Result<(), Refused> {
    if let Some(options) = message.common_http_protocol_options.take() {
        common(&at.field("common_http_protocol_options"), options, protocol)?;
    }
    if let Some(options) = message.upstream_http_protocol_options.take() {
        auto(
            &at.field("upstream_http_protocol_options"),
            options,
            protocol,
        )?;
    }
    match message.upstream_protocol_options.take() {
        None => {}
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(config)) => {
            let at = at.field("explicit_http_config");
            match config.protocol_config {
                None => return Err(at.refuse("no protocol")),
                Some(ProtocolConfig::HttpProtocolOptions(options)) => {
                    let at = at.field("http_protocol_options");
                    protocol.codec.http1 = codec::http1(&at, options, false)?;
                    protocol.http = HttpProtocol::Http1;
                }
                Some(ProtocolConfig::Http2ProtocolOptions(options)) => {
                    let at = at.field("http2_protocol_options");
                    protocol.codec.http2 = codec::http2(&at, options)?;
                    protocol.http = HttpProtocol::Http2;
                }
                Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                    return Err(at.field("http3_protocol_options").unsupported());
                }
            }
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(mut config)) => {
            let at = at.field("use_downstream_protocol_config");
            if let Some(options) = config.http_protocol_options.take() {
                let at = at.field("http_protocol_options");
                protocol.codec.http1 = codec::http1(&at, options, false)?;
            }
            if let Some(options) = config.http2_protocol_options.take() {
                let at = at.field("http2_protocol_options");
                protocol.codec.http2 = codec::http2(&at, options)?;
            }
            nothing_left(&at, &config)?;
            protocol.http = HttpProtocol::Downstream;
        }
        Some(UpstreamProtocolOptions::AutoConfig(mut config)) => {
            let at = at.field("auto_config");
            if let Some(options) = config.http_protocol_options.take() {
                let at = at.field("http_protocol_options");
                protocol.codec.http1 = codec::http1(&at, options, false)?;
            }
            if let Some(options) = config.http2_protocol_options.take() {
                let at = at.field("http2_protocol_options");
                protocol.codec.http2 = codec::http2(&at, options)?;
            }
            nothing_left(&at, &config)?;
            protocol.http = HttpProtocol::Auto;
        }
    }
    nothing_left(at, &message)
}

fn common(
    at: &At<'_>,
    mut options: core::HttpProtocolOptions,
    protocol: &mut Protocol,
) -> Result<(), Refused> {
    let place = at.field("idle_timeout");
    protocol.idle_timeout = limit(&place, options.idle_timeout.take(), Some(IDLE))?;
    if let Some(most) = number(options.max_requests_per_connection.take()) {
        protocol.max_requests_per_connection = Some(most);
    }
    protocol
        .max_requests_per_connection
        .take_if(|most| *most == 0);
    let place = at.field("max_connection_duration");
    let own = &mut protocol.options;
    own.max_duration = limit(&place, options.max_connection_duration.take(), None)?;
    if let Some(jitter) = options.max_connection_duration_jitter.take() {
        own.max_duration_jitter = jitter.value.max(0.0);
    }
    if let Some(most) = number(options.max_headers_count.take()) {
        protocol.codec.max_headers_count = most.max(1);
    }
    if let Some(kb) = number(options.max_response_headers_kb.take()) {
        protocol.codec.max_headers_bytes = kb.clamp(1, 8192) * 1024;
    }
    nothing_left(at, &options)
}

fn auto(
    at: &At<'_>,
    mut options: core::UpstreamHttpProtocolOptions,
    protocol: &mut Protocol,
) -> Result<(), Refused> {
    protocol.auto_given = true;
    protocol.auto = (
        take(&mut options.auto_sni),
        take(&mut options.auto_san_validation),
    );
    let header = take(&mut options.override_auto_sni_header);
    if !header.is_empty() {
        let place = at.field("override_auto_sni_header");
        protocol.options.sni_header = Some(header_name(&place, &header)?);
    }
    nothing_left(at, &options)
}
