//! Settings and secrets to rustls configurations, cached until a secret changes.

use std::sync::Arc;

use lateen_proxy_model::{
    ClientTls, CompiledClient, CompiledServer, Identity, IdentityRef, ServerTls, TrustBundle,
    TrustRef,
};
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::TlsError;
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
    let identity = known_identity(&tls.identity)?;
    let trust = tls.trust.as_ref().map(known_trust).transpose()?;
    if let Some(one) = &*tls.compiled.load()
        && Arc::ptr_eq(&one.identity, &identity)
        && same(&one.trust, &trust)
    {
        return Ok(one.clone());
    }
    let without = new_server(tls, &identity, trust.as_deref())?;
    let mut with = without.clone();
    with.alpn_protocols.clone_from(&tls.alpn);
    let compiled = Arc::new(CompiledServer {
        identity,
        trust,
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
    let provider = provider();
    let verifier = SanServerVerifier {
        roots: trust
            .map(|bundle| roots(tls.trust.as_ref(), bundle))
            .transpose()?,
        sans: tls.sans.clone(),
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

fn new_server(
    tls: &ServerTls,
    identity: &Identity,
    trust: Option<&TrustBundle>,
) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions(tls.versions))
        .map_err(TlsError::Settings)?;
    let builder = match trust {
        Some(bundle) => {
            let roots = roots(tls.trust.as_ref(), bundle)?;
            let verifier = SanClientVerifier::new(
                roots,
                tls.sans.clone(),
                tls.require_client_certificate,
                provider,
            )
            .map_err(TlsError::Settings)?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
        None => builder.with_no_client_auth(),
    };
    builder
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(TlsError::Settings)
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

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .clone()
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
