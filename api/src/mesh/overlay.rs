//! Settings laid over others: a mesh text over the defaults, an annotation over the mesh's proxy settings.

use serde::de::Deserializer;

use super::defaults::built_in_providers;
use super::mesh_config::MeshConfig;
use super::proxy_config::ProxyConfig;
use super::proxy_headers::{ForwardClientCertDetails, ProxyHeaders};
use crate::proto::{Message, Value};

impl MeshConfig {
    /// Reads settings over these: a field that is given replaces the one here as a whole, but `defaultConfig` is laid over the
    /// built-in default, and the built-in extension providers stay unless one of their name is given.
    ///
    /// # Errors
    /// When a value is not of its field's kind.
    pub fn overlay<'de, D: Deserializer<'de>>(&self, input: D) -> Result<Self, D::Error> {
        let mut read = Self::read_onto(self.clone(), input)?;
        for built_in in built_in_providers() {
            if !read
                .extension_providers
                .iter()
                .any(|given| given.name == built_in.name)
            {
                read.extension_providers.push(built_in);
            }
        }
        read.trust_domain_aliases.sort();
        read.trust_domain_aliases.dedup();
        Ok(read)
    }
}

impl ProxyConfig {
    /// Reads settings over these: a field that is given replaces the one here as a whole, but `proxyMetadata` adds to the one here
    /// and `proxyHeaders` replaces header by header.
    ///
    /// # Errors
    /// When a value is not of its field's kind.
    pub fn overlay<'de, D: Deserializer<'de>>(&self, input: D) -> Result<Self, D::Error> {
        let mut read = Self::read_onto(self.clone(), input)?;
        let mut metadata = self.proxy_metadata.clone();
        metadata.append(&mut read.proxy_metadata);
        read.proxy_metadata = metadata;
        read.proxy_headers = match (&self.proxy_headers, read.proxy_headers) {
            (Some(base), Some(given)) => Some(given.over(base)),
            (_, given) => given,
        };
        Ok(read)
    }

    /// The settings as injected pods carry them in `PROXY_CONFIG`: proto JSON without the fields that equal the built-in default.
    #[must_use]
    pub fn without_defaults(&self) -> serde_json::Value {
        let default = Self::default();
        let json = serde_json::to_value(Whole(self)).unwrap_or_default();
        let default_json = serde_json::to_value(Whole(&default)).unwrap_or_default();
        let serde_json::Value::Object(mut fields) = json else {
            return json;
        };
        fields.retain(|name, value| {
            !DROPPED.contains(&name.as_str()) || default_json.get(name) != Some(value)
        });
        serde_json::Value::Object(fields)
    }
}

/// Fields of `PROXY_CONFIG` that are left out when they equal the default.
const DROPPED: [&str; 14] = [
    "configPath",
    "binaryPath",
    "controlPlaneAuthPolicy",
    "serviceCluster",
    "drainDuration",
    "terminationDrainDuration",
    "discoveryAddress",
    "envoyMetricsService",
    "envoyAccessLogService",
    "tracing",
    "proxyAdminPort",
    "statNameLength",
    "statusPort",
    "concurrency",
];

struct Whole<'a>(&'a ProxyConfig);

impl serde::Serialize for Whole<'_> {
    fn serialize<S: serde::Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        self.0.write(output)
    }
}

impl ProxyHeaders {
    fn over(self, base: &Self) -> Self {
        let forwarded_client_cert = match self.forwarded_client_cert {
            ForwardClientCertDetails::Undefined => base.forwarded_client_cert,
            given => given,
        };
        let base = base.clone();
        Self {
            forwarded_client_cert,
            set_current_client_cert_details: self
                .set_current_client_cert_details
                .or(base.set_current_client_cert_details),
            request_id: self.request_id.or(base.request_id),
            server: self.server.or(base.server),
            attempt_count: self.attempt_count.or(base.attempt_count),
            envoy_debug_headers: self.envoy_debug_headers.or(base.envoy_debug_headers),
            metadata_exchange_headers: self
                .metadata_exchange_headers
                .or(base.metadata_exchange_headers),
            preserve_http1_header_case: self
                .preserve_http1_header_case
                .or(base.preserve_http1_header_case),
            x_forwarded_host: self.x_forwarded_host.or(base.x_forwarded_host),
            x_forwarded_port: self.x_forwarded_port.or(base.x_forwarded_port),
        }
    }
}
