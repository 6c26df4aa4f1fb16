//! Settings and secrets to rustls configurations, cached until a secret changes.

use std::sync::Arc;

use lateen_proxy_model::{
    Algorithms, ClientTls, CompiledClient, CompiledServer, Identity, IdentityRef, PeerChecks,
    ServerTls, TrustBundle, TrustRef,
};
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::TlsError;
use crate::certificates::Certificates;
use crate::tickets::SharedTickets;
use crate::verify::{SanClientVerifier, SanServerVerifier};

/// The client configuration that offers `alpn`.
pub(crate) fn client(tls: &ClientTls, alpn: &[Vec<u8>]) -> Result<Arc<ClientConfig>, TlsError> {
    let identity = tls.identity.as_ref().map(known_identity).transpose()?;
    let trust = tls.trust.as_ref().map(known_trust).transpose()?;
    let cached = tls.compiled.load();
    let valid = cached
        .as_ref()
        .filter(|one| same(&one.identity, &identity) && same(&one.trust, &trust));
    if let Some(config) =
        valid.and_then(|one| one.configs.iter().find(|(offered, _)| offered == alpn))
    {
        return Ok(config.1.clone());
    }
    let base = valid.and_then(|one| one.configs.first());
    let mut config = match base {
        Some((_, config)) => ClientConfig::clone(config),
        None => new_client(tls, identity.as_deref(), trust.as_deref())?,
    };
    config.alpn_protocols = alpn.to_vec();
    let config = Arc::new(config);
    let mut configs = valid.map(|one| one.configs.clone()).unwrap_or_default();
    configs.push((alpn.to_vec(), config.clone()));
    tls.compiled.store(Some(Arc::new(CompiledClient {
        identity,
        trust,
        configs,
    })));
    Ok(config)
}

/// The server configuration, with and without ALPN.
pub(crate) fn server(tls: &ServerTls) -> Result<Arc<CompiledServer>, TlsError> {
    let trust = tls.trust.as_ref().map(known_trust).transpose()?;
    if let Some(one) = &*tls.compiled.load()
        && slots(tls).zip(&one.identities).all(|(slot, known)| {
            let now = slot.load();
            now.as_ref().is_some_and(|now| Arc::ptr_eq(now, known))
        })
        && same(&one.trust, &trust)
    {
        return Ok(one.clone());
    }
    let identities = slots(tls)
        .map(known_identity)
        .collect::<Result<Vec<_>, _>>()?;
    let provider = provider(&tls.algorithms);
    let verifier = client_verifier(tls, trust.as_deref(), &tls.checks, &provider)?;
    let strict = match (&verifier, tls.checks.accept_untrusted) {
        (Some(_), true) => {
            let checks = PeerChecks {
                accept_untrusted: false,
                ..tls.checks.clone()
            };
            client_verifier(tls, trust.as_deref(), &checks, &provider)?
        }
        _ => None,
    };
    let without = new_server(tls, &identities, trust.as_deref(), verifier, provider)?;
    let mut with = without.clone();
    with.alpn_protocols.clone_from(&tls.alpn);
    if let Some(quic) = tls.quic {
        if with.alpn_protocols.is_empty() {
            with.alpn_protocols = vec![b"h3".to_vec()];
        }
        // QUIC says so in place of a number of bytes.
        with.max_early_data_size = if quic.early_data { u32::MAX } else { 0 };
    }
    let compiled = Arc::new(CompiledServer {
        identities,
        trust,
        strict,
        config: Arc::new(with),
        config_without_alpn: Arc::new(without),
    });
    tls.compiled.store(Some(compiled.clone()));
    Ok(compiled)
}

fn new_client(
    tls: &ClientTls,
    identity: Option<&Identity>,
    trust: Option<&TrustBundle>,
) -> Result<ClientConfig, TlsError> {
    let provider = provider(&tls.algorithms);
    let verifier = SanServerVerifier {
        roots: trust
            .map(|bundle| roots(tls.trust.as_ref(), bundle))
            .transpose()?,
        sans: tls.sans.clone(),
        checks: (*tls.checks).clone(),
        match_server_name: tls.auto_san,
        provider: provider.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(tls.versions))
        .map_err(TlsError::Settings)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
            .map_err(TlsError::Settings)?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = tls.sni.is_some() || tls.auto_sni;
    Ok(config)
}

fn slots(tls: &ServerTls) -> impl Iterator<Item = &IdentityRef> {
    std::iter::once(&tls.identity).chain(&tls.more)
}

fn client_verifier(
    tls: &ServerTls,
    trust: Option<&TrustBundle>,
    checks: &PeerChecks,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if trust.is_none() && checks.spki.is_empty() && checks.hashes.is_empty() {
        return Ok(None);
    }
    let roots = trust
        .map(|bundle| roots(tls.trust.as_ref(), bundle))
        .transpose()?;
    let verifier = SanClientVerifier::new(
        roots,
        (tls.sans.clone(), checks.clone()),
        tls.require_client_certificate,
        provider.clone(),
    )
    .map_err(TlsError::Settings)?;
    Ok(Some(Arc::new(verifier)))
}

fn new_server(
    tls: &ServerTls,
    identities: &[Arc<Identity>],
    trust: Option<&TrustBundle>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, TlsError> {
    let keys = identities
        .iter()
        .map(|identity| {
            let key = identity.key.clone_key();
            let mut made = CertifiedKey::from_der(identity.chain.clone(), key, &provider)?;
            made.ocsp = identity.ocsp.as_deref().map(<[u8]>::to_vec);
            Ok(Arc::new(made))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::Settings)?;
    let allowed = match tls.quic {
        Some(_) => (13, 13),
        None => tls.versions,
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(allowed))
        .map_err(TlsError::Settings)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificates::new(keys, tls.full_scan)));
    // Sessions live in this configuration alone, which is made anew when what verified them changes (S13).
    let resumption = &tls.resumption;
    if !resumption.sessions {
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    if resumption.tickets && !resumption.keys.is_empty() {
        let lifetime = u32::try_from(resumption.lifetime.as_secs()).unwrap_or(u32::MAX);
        let binding = binding(tls, trust);
        config.ticketer = Arc::new(SharedTickets::new(&resumption.keys, binding, lifetime)?);
    }
    Ok(config)
}

/// What a session was verified under.
fn binding(tls: &ServerTls, trust: Option<&TrustBundle>) -> Vec<u8> {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for root in trust.iter().flat_map(|bundle| &bundle.roots) {
        digest.update(root);
    }
    let rest = format!(
        "{:?} {:?} {}",
        tls.sans, tls.checks, tls.require_client_certificate
    );
    digest.update(rest.as_bytes());
    digest.finish().as_ref().to_vec()
}

fn roots(slot: Option<&TrustRef>, bundle: &TrustBundle) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(bundle.roots.iter().cloned());
    if added == 0 {
        return Err(TlsError::EmptyTrust(
            slot.map(|slot| Box::from(&**slot.name()))
                .unwrap_or_default(),
        ));
    }
    Ok(Arc::new(store))
}

fn known_identity(slot: &IdentityRef) -> Result<Arc<Identity>, TlsError> {
    slot.load_full()
        .ok_or_else(|| TlsError::MissingSecret(Box::from(&**slot.name())))
}

fn known_trust(slot: &TrustRef) -> Result<Arc<TrustBundle>, TlsError> {
    slot.load_full()
        .ok_or_else(|| TlsError::MissingSecret(Box::from(&**slot.name())))
}

fn same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// Cryptography with these algorithms alone; one value for all that ask for none.
fn provider(algorithms: &Algorithms) -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    let all = PROVIDER.get_or_init(|| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // As Envoy orders them where the processor has instructions for AES: for a sixth less time a byte.
        provider.cipher_suites.sort_by_key(|suite| {
            !matches!(
                suite.suite(),
                CipherSuite::TLS13_AES_128_GCM_SHA256
                    | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                    | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
            )
        });
        Arc::new(provider)
    });
    if *algorithms == Algorithms::default() {
        return all.clone();
    }
    let mut own = CryptoProvider::clone(all);
    if !algorithms.suites.is_empty() {
        own.cipher_suites
            .retain(|suite| suite.tls13().is_some() || algorithms.suites.contains(&suite.suite()));
    }
    if !algorithms.groups.is_empty() {
        let known = own.kx_groups.clone();
        own.kx_groups = algorithms
            .groups
            .iter()
            .filter_map(|wanted| known.iter().find(|group| group.name() == *wanted).copied())
            .collect();
    }
    Arc::new(own)
}

fn versions((low, high): (u8, u8)) -> &'static [&'static SupportedProtocolVersion] {
    static ONLY_12: [&SupportedProtocolVersion; 1] = [&TLS12];
    static ONLY_13: [&SupportedProtocolVersion; 1] = [&TLS13];
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match (low, high) {
        (13.., _) => &ONLY_13,
        (_, ..=12) => &ONLY_12,
        _ => &BOTH,
    }
}
