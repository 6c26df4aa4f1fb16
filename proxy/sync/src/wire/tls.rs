//! TLS settings and secrets.

use std::mem::take;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::downstream_tls_context::SessionTicketKeysType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use lateen_proxy_model::{
    Algorithms, ClientTls, Identity, IdentityRef, PeerChecks, Resumption, SanKind, SanMatcher,
    SanRegex, ServerTls, Slot, TrustBundle, TrustRef,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::{CipherSuite, NamedGroup};

use super::at::{At, Refused, nothing_left};
use super::common::{data, duration, flag, must_be_off, number};
use super::context::Context;
use super::{config_source, ignored};
use crate::source::Reference;

/// Parts of a TLS context that both directions have.
struct Common {
    versions: (u8, u8),
    algorithms: Algorithms,
    alpn: Vec<Vec<u8>>,
    identities: Vec<IdentityRef>,
    validation: Validation,
}

/// What a peer's certificate must be.
#[derive(Default)]
struct Validation {
    trust: Option<TrustRef>,
    sans: Vec<SanMatcher>,
    checks: PeerChecks,
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
    let at = at.field("common_tls_context");
    let common = common_context(context, &at, common)?;
    must_be_off(&at.field("tls_certificates"), common.identities.len() > 1)
        .map_err(|_| at.refuse("more than one certificate is not supported towards upstreams"))?;
    let Validation {
        trust,
        sans,
        checks,
    } = common.validation;
    let known = PeerChecks {
        spki: checks.spki.clone(),
        hashes: checks.hashes.clone(),
        ..PeerChecks::default()
    };
    if checks != known {
        let text = "of a validation context's checks only names, keys and hashes are supported \
                    towards upstreams";
        return Err(at.field("validation_context").refuse(text));
    }
    Ok(ClientTls {
        sni: (!sni.is_empty()).then(|| sni.into()),
        auto_sni,
        host_sni,
        alpn: common.alpn.into(),
        identity: common.identities.into_iter().next(),
        trust,
        sans,
        auto_san,
        versions: common.versions,
        checks: checks.into(),
        algorithms: common.algorithms.into(),
        compiled: Default::default(),
    })
}

/// TLS towards a downstream client.
pub(crate) fn server(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: tls::DownstreamTlsContext,
) -> Result<ServerTls, Refused> {
    let required = flag(message.require_client_certificate.take(), false);
    let require_sni = flag(message.require_sni.take(), false);
    let full_scan = flag(message.full_scan_certs_on_sni_mismatch.take(), false);
    let resumption = resumption(at, &mut message)?;
    let common = message.common_tls_context.take().unwrap_or_default();
    nothing_left(at, &message)?;
    let at = at.field("common_tls_context");
    let common = common_context(context, &at, common)?;
    let Validation {
        trust,
        sans,
        checks,
    } = common.validation;
    let known = trust.is_some() || !checks.spki.is_empty() || !checks.hashes.is_empty();
    if required && !known {
        return Err(at.refuse("client certificates are required, but there are no roots for them"));
    }
    let mut identities = common.identities.into_iter();
    Ok(ServerTls {
        identity: identities
            .next()
            .ok_or_else(|| at.refuse("no certificate is given"))?,
        more: identities.collect(),
        full_scan,
        require_sni,
        trust,
        require_client_certificate: required,
        sans,
        alpn: common.alpn,
        versions: common.versions,
        checks,
        algorithms: common.algorithms,
        resumption,
        quic: None,
        compiled: Default::default(),
    })
}

/// How sessions are resumed.
fn resumption(at: &At<'_>, message: &mut tls::DownstreamTlsContext) -> Result<Resumption, Refused> {
    // The client's order decides among the suites of a version, and all of them are good.
    message.prefer_client_ciphers = false;
    let mut made = Resumption {
        sessions: !take(&mut message.disable_stateful_session_resumption),
        ..Resumption::default()
    };
    let place = at.field("session_timeout");
    if let Some(timeout) = duration(&place, message.session_timeout.take())? {
        made.lifetime = timeout;
    }
    match message.session_ticket_keys_type.take() {
        None => {}
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(off)) => made.tickets = !off,
        Some(SessionTicketKeysType::SessionTicketKeys(keys)) => {
            let at = at.field("session_ticket_keys");
            let list = at.field("keys");
            for (index, source) in keys.keys.iter().enumerate() {
                let at = list.item(index);
                let key: [u8; 80] = data(&at, source)?
                    .try_into()
                    .map_err(|_| at.refuse("a session ticket key has 80 bytes"))?;
                made.keys.push(key);
            }
            if made.keys.is_empty() {
                return Err(list.refuse("empty"));
            }
        }
        Some(SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(_)) => {
            return Err(at
                .field("session_ticket_keys_sds_secret_config")
                .unsupported());
        }
    }
    Ok(made)
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
    let place = at.field("tls_params");
    let (versions, algorithms) = parameters(&place, message.tls_params.take())?;
    let alpn = take(&mut message.alpn_protocols);
    let certificates = take(&mut message.tls_certificates);
    let configs = take(&mut message.tls_certificate_sds_secret_configs);
    let validation = message.validation_context_type.take();
    nothing_left(at, &message)?;
    let validation = match validation {
        None => Validation::default(),
        Some(validation) => validation_context(context, at, validation)?,
    };
    Ok(Common {
        versions,
        algorithms,
        alpn: alpn.into_iter().map(String::into_bytes).collect(),
        identities: identities(context, at, certificates, configs)?,
        validation,
    })
}

/// Versions and algorithms. What rustls lacks is skipped and reported; it is an error when none remains.
fn parameters(
    at: &At<'_>,
    message: Option<tls::TlsParameters>,
) -> Result<((u8, u8), Algorithms), Refused> {
    let Some(mut message) = message else {
        return Ok(((12, 13), Algorithms::default()));
    };
    let (low, high) = (
        message.tls_minimum_protocol_version(),
        message.tls_maximum_protocol_version(),
    );
    message.tls_minimum_protocol_version = 0;
    message.tls_maximum_protocol_version = 0;
    let suites = take(&mut message.cipher_suites);
    let groups = take(&mut message.ecdh_curves);
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
    let names = suites
        .iter()
        .flat_map(|suite| suite.trim_matches(['[', ']']).split('|'));
    let suites = chosen(&at.field("cipher_suites"), names, suite)?;
    let groups = chosen(
        &at.field("ecdh_curves"),
        groups.iter().map(String::as_str),
        group,
    )?;
    // Without a suite of TLS 1.2 only TLS 1.3 is left.
    let low = match suites {
        None if high < 13 => {
            return Err(at
                .field("cipher_suites")
                .refuse("no supported suite remains"));
        }
        None => 13,
        Some(_) => low,
    };
    let groups = groups.ok_or_else(|| at.field("ecdh_curves").refuse("none is supported"))?;
    let algorithms = Algorithms {
        suites: suites.unwrap_or_default(),
        groups,
    };
    Ok(((low, high), algorithms))
}

/// Those that are known; `None` when some are named and none is.
fn chosen<'a, T>(
    at: &At<'_>,
    names: impl Iterator<Item = &'a str>,
    known: fn(&str) -> Option<T>,
) -> Result<Option<Vec<T>>, Refused> {
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for name in names {
        match known(name) {
            Some(one) => found.push(one),
            None => skipped.push(name),
        }
    }
    if !skipped.is_empty() {
        tracing::debug!("{at}: not supported and skipped: {}", skipped.join(", "));
    }
    Ok((skipped.is_empty() || !found.is_empty()).then_some(found))
}

fn suite(name: &str) -> Option<CipherSuite> {
    Some(match name {
        "ECDHE-ECDSA-AES256-GCM-SHA384" => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384" => CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES128-GCM-SHA256" => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256" => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "ECDHE-RSA-CHACHA20-POLY1305" => CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        _ => return None,
    })
}

fn group(name: &str) -> Option<NamedGroup> {
    Some(match name {
        "X25519" => NamedGroup::X25519,
        "P-256" => NamedGroup::secp256r1,
        "P-384" => NamedGroup::secp384r1,
        "X25519MLKEM768" => NamedGroup::X25519MLKEM768,
        _ => return None,
    })
}

fn identities(
    context: &Context<'_>,
    at: &At<'_>,
    certificates: Vec<tls::TlsCertificate>,
    configs: Vec<tls::SdsSecretConfig>,
) -> Result<Vec<IdentityRef>, Refused> {
    let mut made = Vec::with_capacity(certificates.len() + configs.len());
    let list = at.field("tls_certificates");
    for (index, certificate) in certificates.into_iter().enumerate() {
        made.push(certificate_identity(
            context,
            &list.item(index),
            certificate,
        )?);
    }
    let list = at.field("tls_certificate_sds_secret_configs");
    for (index, config) in configs.into_iter().enumerate() {
        let (name, from) = secret_name(context, &list.item(index), config)?;
        made.push(context.identity(&name, from));
    }
    Ok(made)
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
    // The files themselves are followed.
    certificate.watched_directory = None;
    let staple = certificate.ocsp_staple.take();
    nothing_left(at, &certificate)?;
    let place = at.field("ocsp_staple");
    let ocsp = staple
        .map(|source| data(&place, &source))
        .transpose()?
        .map(Vec::into_boxed_slice);
    let at_chain = at.field("certificate_chain");
    let chain = chain.ok_or_else(|| at_chain.refuse("missing"))?;
    let chain = certificates(&at_chain, &data(&at_chain, &chain)?)?;
    let at_key = at.field("private_key");
    let key = key.ok_or_else(|| at_key.refuse("missing"))?;
    let key = PrivateKeyDer::from_pem_slice(&data(&at_key, &key)?)
        .map_err(|_| at_key.refuse("holds no private key in PEM form"))?;
    Ok(Identity { chain, key, ocsp })
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
) -> Result<Validation, Refused> {
    match validation {
        ValidationContextType::ValidationContext(own) => {
            own_validation(context, &at.field("validation_context"), own)
        }
        ValidationContextType::ValidationContextSdsSecretConfig(config) => {
            let place = at.field("validation_context_sds_secret_config");
            let (name, from) = secret_name(context, &place, config)?;
            Ok(Validation {
                trust: Some(context.trust(&name, from)),
                ..Validation::default()
            })
        }
        ValidationContextType::CombinedValidationContext(mut combined) => {
            let at = at.field("combined_validation_context");
            let own = combined.default_validation_context.take();
            let config = combined.validation_context_sds_secret_config.take();
            nothing_left(&at, &combined)?;
            let place = at.field("default_validation_context");
            let mut made = own_validation(context, &place, own.unwrap_or_default())?;
            let Some(config) = config else {
                return Ok(made);
            };
            let place = at.field("validation_context_sds_secret_config");
            let (name, from) = secret_name(context, &place, config)?;
            made.trust = Some(context.trust(&name, from));
            Ok(made)
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
) -> Result<Validation, Refused> {
    let checks = checks(at, &mut own)?;
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
    Ok(Validation {
        trust,
        sans,
        checks,
    })
}

fn checks(at: &At<'_>, own: &mut tls::CertificateValidationContext) -> Result<PeerChecks, Refused> {
    use tls::certificate_validation_context::TrustChainVerification;
    let list = at.field("verify_certificate_spki");
    let mut made = PeerChecks::default();
    for (index, text) in take(&mut own.verify_certificate_spki)
        .into_iter()
        .enumerate()
    {
        let bytes = BASE64.decode(text.as_bytes()).ok();
        let hash = bytes.and_then(|bytes| bytes.try_into().ok());
        let place = list.item(index);
        made.spki
            .push(hash.ok_or_else(|| place.refuse("no SHA-256 in Base64"))?);
    }
    let list = at.field("verify_certificate_hash");
    for (index, text) in take(&mut own.verify_certificate_hash)
        .into_iter()
        .enumerate()
    {
        let place = list.item(index);
        made.hashes
            .push(hex(&text).ok_or_else(|| place.refuse("no SHA-256 in hexadecimal digits"))?);
    }
    let place = at.field("crl");
    if let Some(source) = own.crl.take() {
        let pem = data(&place, &source)?;
        made.crls = CertificateRevocationListDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| place.refuse(format!("malformed PEM: {error}")))?;
        if made.crls.is_empty() {
            return Err(place.refuse("holds no revocation list in PEM form"));
        }
    }
    made.leaf_crl_only = take(&mut own.only_verify_leaf_cert_crl);
    made.allow_expired = take(&mut own.allow_expired_certificate);
    made.max_depth = number(own.max_verify_depth.take());
    made.accept_untrusted =
        own.trust_chain_verification() == TrustChainVerification::AcceptUntrusted;
    own.trust_chain_verification = 0;
    Ok(made)
}

/// 32 bytes in hexadecimal digits, with or without colons.
fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|sign| *sign != ':')
        .map(|sign| sign.to_digit(16))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| u8::try_from(pair.iter().fold(0, |sum, digit| sum * 16 + digit)).ok())
        .collect();
    (digits.len() == 64).then(|| bytes.try_into().ok())?
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
    let kind = match matcher.san_type() {
        SanType::Uri => SanKind::Uri,
        SanType::Dns => SanKind::Dns,
        SanType::Email => SanKind::Email,
        SanType::IpAddress => SanKind::Ip,
        SanType::OtherName => SanKind::Other(matcher.oid.clone().into()),
        SanType::Unspecified => return Err(at.field("san_type").refuse("missing")),
    };
    let named = matches!(kind, SanKind::Other(_));
    if named == matcher.oid.is_empty() {
        return Err(at
            .field("oid")
            .refuse("goes with OTHER_NAME, and only with it"));
    }
    let place = at.field("matcher");
    let inner = matcher.matcher.ok_or_else(|| place.refuse("missing"))?;
    Ok(SanMatcher::Typed(kind, Box::new(san(&place, inner)?)))
}

fn san(at: &At<'_>, matcher: StringMatcher) -> Result<SanMatcher, Refused> {
    let ignore = matcher.ignore_case;
    let text = |text: String| -> Box<str> {
        match ignore {
            true => text.to_ascii_lowercase().into(),
            false => text.into(),
        }
    };
    let made = match matcher.match_pattern {
        Some(MatchPattern::Exact(own)) => SanMatcher::Exact(text(own)),
        Some(MatchPattern::Prefix(own)) => SanMatcher::Prefix(text(own)),
        Some(MatchPattern::Suffix(own)) => SanMatcher::Suffix(text(own)),
        Some(MatchPattern::Contains(own)) => SanMatcher::Contains(text(own)),
        Some(MatchPattern::SafeRegex(own)) => {
            let place = at.field("safe_regex");
            let anchored = format!("^(?:{})$", own.regex);
            let regex = regex::RegexBuilder::new(&anchored)
                .size_limit(1 << 20)
                .build();
            let regex = regex.map_err(|error| place.refuse(error.to_string()))?;
            return Ok(SanMatcher::Regex(SanRegex(regex)));
        }
        Some(MatchPattern::Custom(_)) => return Err(at.field("custom").unsupported()),
        None => return Err(at.refuse("empty")),
    };
    Ok(match ignore {
        true => SanMatcher::IgnoreCase(Box::new(made)),
        false => made,
    })
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
