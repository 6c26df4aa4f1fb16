//! TLS settings and secrets.

use std::mem::take;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use lateen_proxy_model::{
    ClientTls, Identity, IdentityRef, SanMatcher, ServerTls, Slot, TrustBundle, TrustRef,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::at::{At, Refused, nothing_left};
use super::common::{data, flag, must_be_off, must_be_unset};
use super::context::Context;
use super::{config_source, ignored};
use crate::source::Reference;

/// The suites of TLS 1.2 that rustls always offers. A list that leaves one of them out asks for less than is offered.
const OFFERED: [&str; 4] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
];

/// Parts of a TLS context that both directions have.
struct Common {
    versions: (u8, u8),
    alpn: Vec<Vec<u8>>,
    identity: Option<IdentityRef>,
    trust: Option<TrustRef>,
    sans: Vec<SanMatcher>,
}

/// TLS towards an upstream. `auto` comes from the cluster's HTTP options: server name, then its verification.
pub(crate) fn client(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: tls::UpstreamTlsContext,
    auto: (bool, bool),
) -> Result<ClientTls, Refused> {
    ignored::client_tls(&mut message);
    let sni = take(&mut message.sni);
    let host_sni = take(&mut message.auto_host_sni);
    let (auto_sni, auto_san) = (
        host_sni || auto.0,
        take(&mut message.auto_sni_san_validation) || auto.1,
    );
    let common = message.common_tls_context.take().unwrap_or_default();
    nothing_left(at, &message)?;
    let common = common_context(context, &at.field("common_tls_context"), common)?;
    Ok(ClientTls {
        sni: (!sni.is_empty()).then(|| sni.into()),
        auto_sni,
        host_sni,
        alpn: common.alpn,
        identity: common.identity,
        trust: common.trust,
        sans: common.sans,
        auto_san,
        versions: common.versions,
        compiled: Default::default(),
    })
}

/// TLS towards a downstream client.
pub(crate) fn server(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: tls::DownstreamTlsContext,
) -> Result<ServerTls, Refused> {
    ignored::server_tls(&mut message);
    let required = flag(message.require_client_certificate.take(), false);
    must_be_unset(&at.field("require_sni"), message.require_sni.take())?;
    let common = message.common_tls_context.take().unwrap_or_default();
    nothing_left(at, &message)?;
    let at = at.field("common_tls_context");
    let common = common_context(context, &at, common)?;
    if required && common.trust.is_none() {
        return Err(at.refuse("client certificates are required, but there are no roots for them"));
    }
    Ok(ServerTls {
        identity: common
            .identity
            .ok_or_else(|| at.refuse("no certificate is given"))?,
        trust: common.trust,
        require_client_certificate: required,
        sans: common.sans,
        alpn: common.alpn,
        versions: common.versions,
        compiled: Default::default(),
    })
}

/// An SDS resource: stored under its name.
pub(crate) fn secret(
    context: &Context<'_>,
    at: &At<'_>,
    message: tls::Secret,
) -> Result<(), Refused> {
    let secrets = context.state().secrets();
    match message.r#type {
        Some(tls::secret::Type::TlsCertificate(certificate)) => {
            let at = at.field("tls_certificate");
            secrets.set_identity(&message.name, inline_identity(&at, certificate)?);
        }
        Some(tls::secret::Type::ValidationContext(mut validation)) => {
            let at = at.field("validation_context");
            let source = validation.trusted_ca.take();
            nothing_left(&at, &validation)?;
            let at = at.field("trusted_ca");
            let source = source.ok_or_else(|| at.refuse("missing"))?;
            secrets.set_trust(&message.name, roots(&at, &data(&at, &source)?)?);
        }
        Some(tls::secret::Type::SessionTicketKeys(_)) => {
            return Err(at.field("session_ticket_keys").unsupported());
        }
        Some(tls::secret::Type::GenericSecret(_)) => {
            return Err(at.field("generic_secret").unsupported());
        }
        None => return Err(at.refuse("empty")),
    }
    Ok(())
}

fn common_context(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: tls::CommonTlsContext,
) -> Result<Common, Refused> {
    let versions = parameters(&at.field("tls_params"), message.tls_params.take())?;
    let alpn = take(&mut message.alpn_protocols);
    let certificates = take(&mut message.tls_certificates);
    let configs = take(&mut message.tls_certificate_sds_secret_configs);
    let validation = message.validation_context_type.take();
    nothing_left(at, &message)?;
    let (trust, sans) = match validation {
        None => (None, Vec::new()),
        Some(validation) => validation_context(context, at, validation)?,
    };
    Ok(Common {
        versions,
        alpn: alpn.into_iter().map(String::into_bytes).collect(),
        identity: identity(context, at, certificates, configs)?,
        trust,
        sans,
    })
}

/// Lowest and highest version. Versions and suites that rustls lacks are skipped and reported; it is an error when none
/// remains, and when a list asks for fewer suites than are always offered.
fn parameters(at: &At<'_>, message: Option<tls::TlsParameters>) -> Result<(u8, u8), Refused> {
    let Some(mut message) = message else {
        return Ok((12, 13));
    };
    let (low, high) = (
        message.tls_minimum_protocol_version(),
        message.tls_maximum_protocol_version(),
    );
    message.tls_minimum_protocol_version = 0;
    message.tls_maximum_protocol_version = 0;
    let suites = take(&mut message.cipher_suites);
    nothing_left(at, &message)?;
    if matches!(low, TlsProtocol::TlSv10 | TlsProtocol::TlSv11) {
        tracing::warn!("{at}: TLS 1.0 and 1.1 are not supported; TLS 1.2 is the lowest version");
    }
    let low = if low == TlsProtocol::TlSv13 { 13 } else { 12 };
    let high = match high {
        TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => {
            return Err(at
                .field("tls_maximum_protocol_version")
                .refuse("no supported version remains; TLS 1.2 and 1.3 are supported"));
        }
        TlsProtocol::TlSv12 => 12,
        TlsProtocol::TlsAuto | TlsProtocol::TlSv13 => 13,
    };
    if low > high {
        return Err(at.refuse("the lowest version is above the highest"));
    }
    cipher_suites(&at.field("cipher_suites"), &suites, high)?;
    Ok((low, high))
}

fn cipher_suites(at: &At<'_>, suites: &[String], high: u8) -> Result<(), Refused> {
    if suites.is_empty() {
        return Ok(());
    }
    let named: Vec<&str> = suites
        .iter()
        .flat_map(|suite| suite.trim_matches(['[', ']']).split('|'))
        .collect();
    let missing: Vec<&str> = OFFERED
        .into_iter()
        .filter(|suite| !named.contains(suite))
        .collect();
    if missing.len() == OFFERED.len() && high < 13 {
        return Err(at.refuse("no supported suite remains"));
    }
    if !missing.is_empty() {
        return Err(at.refuse(format!(
            "a list without {} is not supported: these suites are always offered",
            missing.join(", ")
        )));
    }
    let skipped: Vec<&str> = named
        .into_iter()
        .filter(|suite| !OFFERED.contains(suite) && !suite.contains("CHACHA20"))
        .collect();
    if !skipped.is_empty() {
        tracing::debug!("{at}: not supported and skipped: {}", skipped.join(", "));
    }
    Ok(())
}

fn identity(
    context: &Context<'_>,
    at: &At<'_>,
    certificates: Vec<tls::TlsCertificate>,
    configs: Vec<tls::SdsSecretConfig>,
) -> Result<Option<IdentityRef>, Refused> {
    if certificates.len() + configs.len() > 1 {
        return Err(at.refuse("more than one certificate is not supported"));
    }
    if let Some(config) = configs.into_iter().next() {
        let list = at.field("tls_certificate_sds_secret_configs");
        let (name, from) = secret_name(context, &list.item(0), config)?;
        return Ok(Some(context.identity(&name, from)));
    }
    let Some(certificate) = certificates.into_iter().next() else {
        return Ok(None);
    };
    let list = at.field("tls_certificates");
    certificate_identity(context, &list.item(0), certificate).map(Some)
}

/// A certificate in files is the secret `file-cert:<chain>~<key>`, so that its source can rotate it; one given inline
/// has a slot of its own.
fn certificate_identity(
    context: &Context<'_>,
    at: &At<'_>,
    certificate: tls::TlsCertificate,
) -> Result<IdentityRef, Refused> {
    let file = |source: &Option<core::DataSource>| match source {
        Some(core::DataSource {
            specifier: Some(Specifier::Filename(path)),
            ..
        }) => Some(path.clone()),
        _ => None,
    };
    let files = (
        file(&certificate.certificate_chain),
        file(&certificate.private_key),
    );
    let identity = inline_identity(at, certificate)?;
    Ok(match files {
        (Some(chain), Some(key)) => {
            let name = format!("file-cert:{chain}~{key}");
            context.state().secrets().set_identity(&name, identity);
            context.identity(&name, None)
        }
        _ => Slot::filled("inline", Arc::new(identity)),
    })
}

fn inline_identity(at: &At<'_>, mut certificate: tls::TlsCertificate) -> Result<Identity, Refused> {
    let chain = certificate.certificate_chain.take();
    let key = certificate.private_key.take();
    certificate.watched_directory = None;
    nothing_left(at, &certificate)?;
    let at_chain = at.field("certificate_chain");
    let chain = chain.ok_or_else(|| at_chain.refuse("missing"))?;
    let chain = certificates(&at_chain, &data(&at_chain, &chain)?)?;
    let at_key = at.field("private_key");
    let key = key.ok_or_else(|| at_key.refuse("missing"))?;
    let key = PrivateKeyDer::from_pem_slice(&data(&at_key, &key)?)
        .map_err(|_| at_key.refuse("holds no private key in PEM form"))?;
    Ok(Identity { chain, key })
}

fn certificates(at: &At<'_>, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Refused> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| at.refuse(format!("malformed PEM: {error}")))?;
    if found.is_empty() {
        return Err(at.refuse("holds no certificate in PEM form"));
    }
    Ok(found)
}

fn roots(at: &At<'_>, pem: &[u8]) -> Result<TrustBundle, Refused> {
    Ok(TrustBundle {
        roots: certificates(at, pem)?,
    })
}

fn validation_context(
    context: &Context<'_>,
    at: &At<'_>,
    validation: ValidationContextType,
) -> Result<(Option<TrustRef>, Vec<SanMatcher>), Refused> {
    match validation {
        ValidationContextType::ValidationContext(own) => {
            own_validation(context, &at.field("validation_context"), own)
        }
        ValidationContextType::ValidationContextSdsSecretConfig(config) => {
            let place = at.field("validation_context_sds_secret_config");
            let (name, from) = secret_name(context, &place, config)?;
            Ok((Some(context.trust(&name, from)), Vec::new()))
        }
        ValidationContextType::CombinedValidationContext(mut combined) => {
            let at = at.field("combined_validation_context");
            let own = combined.default_validation_context.take();
            let config = combined.validation_context_sds_secret_config.take();
            nothing_left(&at, &combined)?;
            let place = at.field("default_validation_context");
            let (trust, sans) = own_validation(context, &place, own.unwrap_or_default())?;
            let Some(config) = config else {
                return Ok((trust, sans));
            };
            let place = at.field("validation_context_sds_secret_config");
            let (name, from) = secret_name(context, &place, config)?;
            Ok((Some(context.trust(&name, from)), sans))
        }
        ValidationContextType::ValidationContextCertificateProvider(_)
        | ValidationContextType::ValidationContextCertificateProviderInstance(_) => Err(at
            .field("validation_context_certificate_provider")
            .unsupported()),
    }
}

fn own_validation(
    context: &Context<'_>,
    at: &At<'_>,
    mut own: tls::CertificateValidationContext,
) -> Result<(Option<TrustRef>, Vec<SanMatcher>), Refused> {
    let typed = take(&mut own.match_typed_subject_alt_names);
    let untyped = take(&mut own.match_subject_alt_names);
    let source = own.trusted_ca.take();
    let system = own.system_root_certs.take().is_some();
    own.watched_directory = None;
    nothing_left(at, &own)?;
    let list = at.field("match_typed_subject_alt_names");
    let mut sans = Vec::with_capacity(typed.len() + untyped.len());
    for (index, matcher) in typed.into_iter().enumerate() {
        sans.push(typed_san(&list.item(index), matcher)?);
    }
    let list = at.field("match_subject_alt_names");
    for (index, matcher) in untyped.into_iter().enumerate() {
        sans.push(san(&list.item(index), matcher)?);
    }
    let trust = match source {
        None if system => Some(context.trust("file-root:system", None)),
        None => None,
        Some(source) => Some(own_roots(context, &at.field("trusted_ca"), &source)?),
    };
    Ok((trust, sans))
}

/// Roots in a file are the secret `file-root:<path>`; those given inline have a slot of their own.
fn own_roots(
    context: &Context<'_>,
    at: &At<'_>,
    source: &core::DataSource,
) -> Result<TrustRef, Refused> {
    let bundle = roots(at, &data(at, source)?)?;
    if let Some(Specifier::Filename(path)) = &source.specifier {
        let name = format!("file-root:{path}");
        context.state().secrets().set_trust(&name, bundle);
        return Ok(context.trust(&name, None));
    }
    Ok(Slot::filled("inline", Arc::new(bundle)))
}

fn typed_san(at: &At<'_>, matcher: tls::SubjectAltNameMatcher) -> Result<SanMatcher, Refused> {
    use tls::subject_alt_name_matcher::SanType;
    match matcher.san_type() {
        SanType::Uri | SanType::Dns => {}
        other => {
            let name = other.as_str_name();
            return Err(at
                .field("san_type")
                .refuse(format!("{name} is not supported; URI and DNS are")));
        }
    }
    must_be_off(&at.field("oid"), !matcher.oid.is_empty())?;
    let place = at.field("matcher");
    match matcher.matcher {
        Some(matcher) => san(&place, matcher),
        None => Err(place.refuse("missing")),
    }
}

fn san(at: &At<'_>, matcher: StringMatcher) -> Result<SanMatcher, Refused> {
    must_be_off(&at.field("ignore_case"), matcher.ignore_case)?;
    match matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => Ok(SanMatcher::Exact(text.into())),
        Some(MatchPattern::Prefix(text)) => Ok(SanMatcher::Prefix(text.into())),
        Some(MatchPattern::Suffix(text)) => Ok(SanMatcher::Suffix(text.into())),
        _ => Err(at.refuse("only exact, prefix and suffix are supported")),
    }
}

/// Name of a secret, and who serves it. `default`, `ROOTCA` and `file-…` are served by the proxy's own agent whatever
/// source of a control plane is named, since there is no other process.
fn secret_name(
    context: &Context<'_>,
    at: &At<'_>,
    config: tls::SdsSecretConfig,
) -> Result<(String, Option<Reference>), Refused> {
    let name = config.name;
    let own = matches!(&*name, "default" | "ROOTCA")
        || name.starts_with("file-cert:")
        || name.starts_with("file-root:");
    let place = at.field("name");
    if name.is_empty() {
        return Err(place.refuse("missing"));
    }
    if name.starts_with("xdstp:") {
        return Err(place.refuse("xdstp names are not supported"));
    }
    let Some(source) = config.sds_config else {
        return Ok((name, None));
    };
    if own && context.has_agent() {
        return Ok((name, None));
    }
    let from = config_source::reference(context, &at.field("sds_config"), Some(source))?;
    Ok((name, Some(from)))
}
