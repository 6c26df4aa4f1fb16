//! HTTP options of clusters: which version is spoken upstream, and for how long.

use std::collections::HashMap;

use lateen_api::mesh::MeshH2UpgradePolicy;
use lateen_api::networking::{ConnectionPoolSettings, H2UpgradePolicy};
use lateen_api::protocol::Protocol;

use crate::pb::upstream_http::HttpProtocolOptions;
use crate::pb::upstream_http::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
    explicit_http_config::ProtocolConfig,
};
use crate::pb::{Any, Duration, core};
use crate::wire::{pack, positive, span};

const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What decides the options of one cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) protocol: Protocol,
    pub(super) pool: Option<&'a ConnectionPoolSettings>,
    pub(super) mesh_upgrade: MeshH2UpgradePolicy,
    /// The proxy asks for the name the client asked for.
    pub(super) auto_sni: bool,
    /// The server must present that name.
    pub(super) auto_san: bool,
}

impl Wanted<'_> {
    /// True when connections are HTTP/2 whatever the client speaks.
    pub(super) fn http2(&self) -> bool {
        let http = self.pool.and_then(|pool| pool.http.as_ref());
        let upgrade = match http.map(|http| http.h2_upgrade_policy).unwrap_or_default() {
            H2UpgradePolicy::Upgrade => true,
            H2UpgradePolicy::DoNotUpgrade => false,
            H2UpgradePolicy::Default => self.mesh_upgrade == MeshH2UpgradePolicy::Upgrade,
        };
        self.protocol.is_http2() || (upgrade && self.protocol == Protocol::Http)
    }

    /// The typed options; empty when HTTP/1.1 needs none.
    pub(super) fn options(&self) -> HashMap<String, Any> {
        let http = self.pool.and_then(|pool| pool.http.as_ref());
        let tcp = self.pool.and_then(|pool| pool.tcp.as_ref());
        let of_client = self.protocol == Protocol::Unsupported
            || http.is_some_and(|http| http.use_client_protocol);
        let common = core::HttpProtocolOptions {
            idle_timeout: http.and_then(|http| http.idle_timeout).and_then(span),
            max_requests_per_connection: http
                .and_then(|http| positive(http.max_requests_per_connection)),
            max_connection_duration: tcp
                .and_then(|tcp| tcp.max_connection_duration)
                .and_then(span),
            ..Default::default()
        };
        let common = Some(common).filter(|common| *common != core::HttpProtocolOptions::default());
        let sni = self.auto_sni || self.auto_san;
        let may_be_http = self.protocol.is_http() || self.protocol == Protocol::Unsupported;
        let needed = self.http2() || (of_client && may_be_http) || sni || common.is_some();
        if !needed {
            return HashMap::new();
        }
        let upstream = if of_client && !self.protocol.is_http2() {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(core::Http1ProtocolOptions::default()),
                http2_protocol_options: Some(self.http2_options()),
                http3_protocol_options: None,
            })
        } else {
            let config = if self.http2() {
                ProtocolConfig::Http2ProtocolOptions(self.http2_options())
            } else {
                ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions::default())
            };
            UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
                protocol_config: Some(config),
            })
        };
        entry(&HttpProtocolOptions {
            common_http_protocol_options: common,
            upstream_http_protocol_options: sni.then(|| core::UpstreamHttpProtocolOptions {
                auto_sni: self.auto_sni,
                auto_san_validation: self.auto_san,
                ..Default::default()
            }),
            upstream_protocol_options: Some(upstream),
            ..Default::default()
        })
    }

    fn http2_options(&self) -> core::Http2ProtocolOptions {
        let http = self.pool.and_then(|pool| pool.http.as_ref());
        let keepalive = http.and_then(|http| http.http2_keep_alive.as_ref());
        core::Http2ProtocolOptions {
            max_concurrent_streams: http.and_then(|http| positive(http.max_concurrent_streams)),
            connection_keepalive: keepalive.map(|keepalive| core::KeepaliveSettings {
                interval: keepalive.interval.and_then(span),
                timeout: keepalive.timeout.and_then(span),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// Options that follow the client's protocol.
pub(super) fn of_client(idle_timeout: Option<Duration>) -> HashMap<String, Any> {
    let common = core::HttpProtocolOptions {
        idle_timeout,
        ..Default::default()
    };
    entry(&HttpProtocolOptions {
        common_http_protocol_options: idle_timeout.is_some().then_some(common),
        upstream_protocol_options: Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(
            UseDownstreamHttpConfig {
                http_protocol_options: Some(core::Http1ProtocolOptions::default()),
                http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
                http3_protocol_options: None,
            },
        )),
        ..Default::default()
    })
}

fn entry(options: &HttpProtocolOptions) -> HashMap<String, Any> {
    HashMap::from([(KEY.to_owned(), pack(options))])
}
