//! How connections of a cluster are secured: mesh mTLS by endpoint, TLS as a rule asks, or nothing.

use envoy_types::pb::envoy::config::core::v3::{ProxyProtocolConfig, proxy_protocol_config};
use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use lateen_api::networking::{ClientTlsMode, ClientTlsSettings, ProxyProtocolVersion};
use lateen_controlplane_model::endpoint::Endpoints;
use lateen_controlplane_model::peer::Mtls;
use lateen_controlplane_model::service::{Resolution, Service};
use lateen_xds::names::SecretName;

use crate::names;
use crate::pb::cluster::cluster::TransportSocketMatch;
use crate::pb::core::{TransportSocket, transport_socket};
use crate::policy::Policy;
use crate::tls::{self, Secret, ServerCheck};
use crate::view::View;
use crate::wire::{pack, struct_of, text_value};

/// Name and metadata key by which endpoints choose their socket.
const TLS_MODE: &str = "tlsMode";

/// The security of one cluster.
#[derive(Debug, Default)]
pub(super) struct Transport {
    pub(super) socket: Option<TransportSocket>,
    pub(super) matches: Vec<TransportSocketMatch>,
    /// TLS of the rule's own: Istio's ALPN filter keeps away.
    pub(super) user_tls: bool,
    /// The name the client asked for becomes the SNI.
    pub(super) auto_sni: bool,
    /// The server must present that name.
    pub(super) auto_san: bool,
}

/// The cluster whose security is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) view: &'a View,
    pub(super) service: &'a Service,
    pub(super) endpoints: Option<&'a Endpoints>,
    pub(super) port: u16,
    pub(super) subset: &'a str,
    /// Upstream connections are HTTP/2.
    pub(super) http2: bool,
    /// Endpoints are not listed, each client's destination is used.
    pub(super) original_destination: bool,
}

/// Decides the security of a cluster.
pub(super) fn transport(target: &Target<'_>, policy: &Policy<'_>) -> Transport {
    let mut transport = match policy.tls {
        Some(tls) => explicit(target, tls),
        None => automatic(target),
    };
    if let Some(protocol) = policy.proxy_protocol {
        transport.socket = Some(with_proxy_protocol(
            transport.socket.take(),
            protocol.version,
        ));
        for choice in &mut transport.matches {
            choice.transport_socket = Some(with_proxy_protocol(
                choice.transport_socket.take(),
                protocol.version,
            ));
        }
        if !transport.matches.is_empty() {
            transport.socket = None;
        }
    }
    transport
}

fn automatic(target: &Target<'_>) -> Transport {
    let view = target.view;
    let enabled = view.config().enable_auto_mtls.unwrap_or(true);
    let mode = view
        .snapshot
        .peers
        .namespace_mode(&target.service.namespace);
    if !enabled || target.service.mesh_external || mode == Mtls::Disable {
        return Transport::default();
    }
    if target.original_destination
        || target.service.resolution == Resolution::OriginalDestination && !view.is_router()
    {
        let all = target.endpoints.is_some_and(Endpoints::all_mtls);
        return Transport {
            socket: all.then(|| mesh_socket(target, None)),
            ..Transport::default()
        };
    }
    let matching = |name: &str, fields: Vec<(&str, _)>, socket| TransportSocketMatch {
        name: name.into(),
        r#match: Some(struct_of(fields)),
        transport_socket: Some(socket),
    };
    Transport {
        matches: vec![
            matching(
                "tlsMode-istio",
                vec![(TLS_MODE, text_value("istio"))],
                mesh_socket(target, None),
            ),
            matching("tlsMode-disabled", vec![], tls::raw_buffer()),
        ],
        ..Transport::default()
    }
}

fn explicit(target: &Target<'_>, tls: &ClientTlsSettings) -> Transport {
    match tls.mode {
        ClientTlsMode::Disable => Transport::default(),
        ClientTlsMode::IstioMutual => Transport {
            socket: Some(mesh_socket(target, Some(tls))),
            ..Transport::default()
        },
        ClientTlsMode::Simple | ClientTlsMode::Mutual => user(target, tls),
    }
}

fn mesh_socket(target: &Target<'_>, tls: Option<&ClientTlsSettings>) -> TransportSocket {
    let sni = tls.map(|tls| tls.sni.clone()).filter(|sni| !sni.is_empty());
    let sni = sni.unwrap_or_else(|| names::sni(target.port, target.subset, &target.service.host));
    tls::mesh_client(&sni, &subject_names(target, tls), target.http2)
}

/// Names the server must present: the rule's, else the identities behind the endpoints and what the service itself declares.
fn subject_names(target: &Target<'_>, tls: Option<&ClientTlsSettings>) -> Vec<String> {
    if let Some(tls) = tls.filter(|tls| !tls.subject_alt_names.is_empty()) {
        return tls.subject_alt_names.clone();
    }
    let domains = target.view.mesh().trust_domains();
    let accounts = target
        .endpoints
        .into_iter()
        .flat_map(|endpoints| &endpoints.accounts);
    let mut names: Vec<String> = accounts
        .flat_map(|(namespace, account)| {
            domains
                .iter()
                .map(move |domain| format!("spiffe://{domain}/ns/{namespace}/sa/{account}"))
        })
        .chain(target.service.subject_alt_names.iter().cloned())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn user(target: &Target<'_>, tls: &ClientTlsSettings) -> Transport {
    let verify = !tls.insecure_skip_verify.unwrap_or(false);
    let names = if tls.subject_alt_names.is_empty() {
        target.service.subject_alt_names.clone()
    } else {
        tls.subject_alt_names.clone()
    };
    let credential = Some(tls.credential_name.as_str())
        .filter(|name| !name.is_empty() && uses_credential(target, name));
    let mutual = tls.mode == ClientTlsMode::Mutual;
    let certificate = mutual.then(|| match credential {
        Some(name) => Secret::ControlPlane(credential_secret(name)),
        None => Secret::Agent(
            SecretName::FileCert {
                cert: tls.client_certificate.clone(),
                key: tls.private_key.clone(),
            }
            .to_string(),
        ),
    });
    let roots = match credential {
        Some(name) => Secret::ControlPlane(format!("{}-cacert", credential_secret(name))),
        None if tls.ca_certificates.is_empty() || tls.ca_certificates == "system" => {
            Secret::Agent(SecretName::SystemRoots.to_string())
        }
        None => Secret::Agent(SecretName::FileRoot(tls.ca_certificates.clone()).to_string()),
    };
    let check = ServerCheck {
        roots: verify.then_some(roots),
        names: if verify { names.clone() } else { Vec::new() },
        crl: Some(tls.ca_crl.clone()).filter(|path| !path.is_empty()),
    };
    let alpn = if target.http2 {
        vec!["h2".to_owned()]
    } else {
        Vec::new()
    };
    let auto_sni = tls.sni.is_empty();
    Transport {
        socket: Some(tls::client(certificate, &check, &tls.sni, alpn)),
        user_tls: true,
        auto_sni,
        auto_san: auto_sni && verify && names.is_empty(),
        ..Transport::default()
    }
}

/// Credentials of a rule for a sidecar count only where the rule selects workloads; gateways and ConfigMaps always use them.
fn uses_credential(target: &Target<'_>, name: &str) -> bool {
    let selects = target.view.rule(target.service).is_some_and(|rule| {
        rule.spec
            .workload_selector
            .as_ref()
            .is_some_and(|selector| !selector.match_labels.is_empty())
    });
    target.view.is_router() || selects || name.starts_with("configmap://")
}

/// The SDS name of a credential: as written when it has a scheme, else a secret of the proxy's own namespace.
pub(crate) fn credential_secret(name: &str) -> String {
    if name.contains("://") {
        name.to_owned()
    } else {
        format!("kubernetes://{name}")
    }
}

fn with_proxy_protocol(
    inner: Option<TransportSocket>,
    version: ProxyProtocolVersion,
) -> TransportSocket {
    let version = match version {
        ProxyProtocolVersion::V1 => proxy_protocol_config::Version::V1,
        ProxyProtocolVersion::V2 => proxy_protocol_config::Version::V2,
    };
    let config = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig {
            version: version as i32,
            ..Default::default()
        }),
        transport_socket: Some(inner.unwrap_or_else(tls::raw_buffer)),
        ..Default::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.upstream_proxy_protocol".into(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(&config))),
    }
}
