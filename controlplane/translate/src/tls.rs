//! TLS contexts: mutual TLS inside the mesh, TLS to the outside, and the server side of sidecars and gateways.

use crate::pb::core::{TransportSocket, transport_socket};
use crate::pb::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use crate::pb::tls::tls_parameters::TlsProtocol;
use crate::pb::tls::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    TlsParameters, UpstreamTlsContext,
};
use crate::pb::{Any, core};
use crate::wire::{ads_secret, agent_secrets, exact, flag, pack, prefix};
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;

/// ALPN of a client inside the mesh.
const MESH_ALPN: [&str; 2] = ["istio-peer-exchange", "istio"];
/// Cipher suites of the server side inside the mesh, for TLS 1.2.
const SERVER_CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

/// Where a certificate, key or root comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// The agent beside the proxy, by this name.
    Agent(String),
    /// The control plane's SDS, by this name.
    ControlPlane(String),
}

/// How a client checks the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerCheck {
    /// Root certificates; `None` turns verification off.
    pub(crate) roots: Option<Secret>,
    /// Names of which the certificate must carry one; empty for any.
    pub(crate) names: Vec<String>,
    /// A revocation list file.
    pub(crate) crl: Option<String>,
}

/// The client side of mesh mTLS.
pub(crate) fn mesh_client(sni: &str, names: &[String], http2: bool) -> TransportSocket {
    let check = ServerCheck {
        roots: Some(Secret::Agent("ROOTCA".into())),
        names: names.to_vec(),
        crl: None,
    };
    let mut alpn: Vec<String> = MESH_ALPN.map(String::from).to_vec();
    if http2 {
        alpn.push("h2".into());
    }
    client(Some(Secret::Agent("default".into())), &check, sni, alpn)
}

/// The client side of TLS as a DestinationRule asks for it.
pub(crate) fn client(
    certificate: Option<Secret>,
    check: &ServerCheck,
    sni: &str,
    alpn_protocols: Vec<String>,
) -> TransportSocket {
    let context = UpstreamTlsContext {
        sni: sni.to_owned(),
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: TlsProtocol::TlSv12 as i32,
                tls_maximum_protocol_version: TlsProtocol::TlSv13 as i32,
                ..Default::default()
            }),
            tls_certificate_sds_secret_configs: certificate.into_iter().map(sds).collect(),
            validation_context_type: Some(server_check(check)),
            alpn_protocols,
            ..Default::default()
        }),
        ..Default::default()
    };
    tls_socket(pack(&context))
}

fn server_check(check: &ServerCheck) -> ValidationContextType {
    let Some(roots) = &check.roots else {
        return ValidationContextType::ValidationContext(CertificateValidationContext::default());
    };
    let crl = check.crl.as_ref().map(|path| core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.clone())),
        ..Default::default()
    });
    combined(
        roots.clone(),
        check.names.iter().map(|name| exact(name)).collect(),
        crl,
    )
}

#[allow(deprecated)] // The untyped list matches names of any kind, which is what SAN lists of the API mean.
fn combined(
    roots: Secret,
    names: Vec<crate::pb::matcher::StringMatcher>,
    crl: Option<core::DataSource>,
) -> ValidationContextType {
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_subject_alt_names: names,
            crl,
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(sds(roots)),
        ..Default::default()
    })
}

/// The server side of mesh mTLS on a sidecar: any workload of the trust domains may connect.
pub(crate) fn mesh_server(
    trust_domains: &[String],
    minimum: TlsProtocol,
    http: bool,
) -> TransportSocket {
    let names = trust_domains
        .iter()
        .map(|domain| prefix(&format!("spiffe://{domain}/")))
        .collect();
    let alpn: &[&str] = if http {
        &["h2", "http/1.1"]
    } else {
        &["istio-peer-exchange", "h2", "http/1.1"]
    };
    let context = DownstreamTlsContext {
        require_client_certificate: flag(true),
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: minimum as i32,
                tls_maximum_protocol_version: TlsProtocol::TlSv13 as i32,
                cipher_suites: SERVER_CIPHERS.map(String::from).to_vec(),
                ..Default::default()
            }),
            tls_certificate_sds_secret_configs: vec![sds(Secret::Agent("default".into()))],
            validation_context_type: Some(combined(Secret::Agent("ROOTCA".into()), names, None)),
            alpn_protocols: alpn.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    tls_socket(pack(&context))
}

/// What a gateway server presents and asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerTls {
    /// Certificates with keys.
    pub(crate) certificates: Vec<Secret>,
    /// Roots for client certificates; `None` asks for none.
    pub(crate) client_roots: Option<Secret>,
    /// Whether a client without certificate is refused.
    pub(crate) require_client: bool,
    /// Names of which a client's certificate must carry one.
    pub(crate) client_names: Vec<String>,
    /// Accepted certificate hashes (hex SHA-256).
    pub(crate) client_hashes: Vec<String>,
    /// Accepted public key hashes (base64 SHA-256).
    pub(crate) client_keys: Vec<String>,
    /// Revocation list file.
    pub(crate) crl: Option<String>,
    /// Version and cipher limits, only where the Gateway sets them.
    pub(crate) parameters: Option<TlsParameters>,
}

/// The server side of a gateway.
#[allow(deprecated)] // As in `combined`.
pub(crate) fn gateway_server(tls: ServerTls) -> TransportSocket {
    let validation = CertificateValidationContext {
        match_subject_alt_names: tls.client_names.iter().map(|name| exact(name)).collect(),
        verify_certificate_hash: tls.client_hashes,
        verify_certificate_spki: tls.client_keys,
        crl: tls.crl.map(|path| core::DataSource {
            specifier: Some(core::data_source::Specifier::Filename(path)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let wants_names = validation != CertificateValidationContext::default();
    let validation_context_type = match tls.client_roots {
        Some(roots) => Some(ValidationContextType::CombinedValidationContext(
            CombinedCertificateValidationContext {
                default_validation_context: Some(validation),
                validation_context_sds_secret_config: Some(sds(roots)),
                ..Default::default()
            },
        )),
        None if wants_names => Some(ValidationContextType::ValidationContext(validation)),
        None => None,
    };
    let context = DownstreamTlsContext {
        require_client_certificate: flag(tls.require_client),
        common_tls_context: Some(CommonTlsContext {
            tls_params: tls.parameters,
            tls_certificate_sds_secret_configs: tls.certificates.into_iter().map(sds).collect(),
            validation_context_type,
            alpn_protocols: vec!["h2".into(), "http/1.1".into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    tls_socket(pack(&context))
}

/// No TLS at all, stated.
pub(crate) fn raw_buffer() -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(
            &RawBuffer {},
        ))),
    }
}

fn tls_socket(context: Any) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(context)),
    }
}

fn sds(secret: Secret) -> SdsSecretConfig {
    let (name, config) = match secret {
        Secret::Agent(name) => (name, agent_secrets()),
        Secret::ControlPlane(name) => (name, ads_secret()),
    };
    SdsSecretConfig {
        name,
        sds_config: Some(config),
    }
}
